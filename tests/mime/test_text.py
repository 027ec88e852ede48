"""What a charset does to a subject, a display name, a file name and a text: the same everywhere."""

import base64
from urllib.parse import quote_from_bytes

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import charset
from smtprelay.mime.address import Address, addresses
from smtprelay.mime.parameters import disposition
from smtprelay.mime.text import decoded

#: Label, octets as programs write them, text.
CASES = (
    ("gb2312", b"\xd6\xec\xe9F\xbb\xf9", "朱镕基"),
    ("gbk", b"\x80 \xe9F", "€ 镕"),
    ("shift_jis", b"\x87@ \x83\\\x95\\", "① ソ表"),
    ("iso-2022-jp", b"\x1b$B-j3t\x1b(B", "㈱株"),
    ("iso-2022-jp", b"\x1b(I6@6E\x1b(B!", "ｶﾀｶﾅ!"),
    ("euc-jp", b"\xad\xa1\xad\xea", "①㈱"),
    ("euc-kr", b"\x8c\x63\xb9\xe6", "똠방"),
    ("ks_c_5601-1987", b"\x8c\x63", "똠"),
    ("iso-2022-kr", b"\x1b$)C\x0eGQ1[\x0f", "한글"),
    ("big5-hkscs", b"\x88\x62\xa3\xe1", "Ê̄€"),
    ("iso-8859-8-i", b"\xf9\xec\xe5\xed \x93\xe0\x94", "שלום “א”"),
    ("iso-8859-1", b"\x93Gr\xfc\xdfe\x94 5 \x80", "“Grüße” 5 €"),
    ("iso-8859-9", b"\xfe\x93", "ş“"),
    ("iso-8859-16", b"\xaa\xba", "Șș"),
    ("tis-620", b"\xa1\xd2\x85", "กา…"),
    ("windows-1258", b"\xd0\xfe", "Đ₫"),
    ("koi8-u", b"\xf0\xd2\xae", "Прў"),
    ("utf-8", b"Gr\xc3\xbc\xc3\x9fe \xff K\xc3\xa4the", "Grüße \ufffd Käthe"),
    ("utf-8", b"Gr\xc3\xbc\xc3\x9fe K\xc3", "Grüße K\ufffd"),
    ("us-ascii", b"Gr\xfc\xdfe", "Grüße"),
    ("unknown-8bit", b"Gr\xfc\xdfe", "Grüße"),
    ("utf-7", b"Gr+APwA3w-e", "Grüße"),
)


def b_word(label, octets):
    return f"=?{label}?b?{base64.b64encode(octets).decode()}?="


def q_word(label, octets):
    return f"=?{label}?Q?{''.join(f'={octet:02x}' for octet in octets)}?="


class EverywhereTests(SynchronousTestCase):
    def test_subject(self):
        """In a subject, as either kind of encoded word."""
        for label, octets, text in CASES:
            with self.subTest(label, octets=octets):
                self.assertEqual(decoded(f"Re: {b_word(label, octets)}"), f"Re: {text}")
                self.assertEqual(decoded(f"Re: {q_word(label, octets)}"), f"Re: {text}")

    def test_display_name(self):
        """In a name, as either kind of encoded word, also within quotes; no comma or quote of it counts."""
        for label, octets, text in CASES:
            for word in (b_word(label, octets), q_word(label, octets), f'"{b_word(label, octets)}"'):
                with self.subTest(word):
                    found = addresses([f"{word} <a@x.example>, b@x.example"])
                    self.assertEqual(list(found), [Address("a@x.example", text), Address("b@x.example")])

    def test_file_name(self):
        """In a file name by RFC 2231, whole and in sections that split characters, and in encoded words."""
        for label, octets, text in CASES:
            signs = "".join(f"%{octet:02X}" for octet in octets)
            half = len(signs) // 6 * 3
            values = (
                f"attachment; filename*={label}''{signs}.pdf",
                f"attachment; filename*={label}'de'{quote_from_bytes(octets)}.pdf",
                f"inline; filename*1*={signs[half:]}; filename*0*={label}''{signs[:half]}; filename*2=.pdf",
                f'attachment; filename="{b_word(label, octets)}.pdf"',
                f"attachment; filename={q_word(label, octets)}.pdf",
            )
            for value in values:
                with self.subTest(value):
                    self.assertEqual(disposition(value).parameters["filename"], f"{text}.pdf")

    def test_text(self):
        """In a text."""
        for label, octets, text in CASES:
            with self.subTest(label, octets=octets):
                self.assertEqual(charset.decode(octets, label), text)

    def test_raw_octets(self):
        """Octets without any encoding are in the body's charset, in a subject, a name and a file name."""
        for label, octets, text in CASES:
            if label in ("utf-7", "unknown-8bit") or not charset.known(label):
                continue
            with self.subTest(label, octets=octets):
                raw = octets.decode("ascii", "surrogateescape")
                self.assertEqual(decoded(octets, label), text)
                self.assertEqual(decoded(raw, label), text)
                self.assertEqual(
                    list(addresses([f"{raw} <a@x.example>"], label)), [Address("a@x.example", text)]
                )
                self.assertEqual(
                    disposition(f'attachment; filename="{raw}"', label).parameters, {"filename": text}
                )


class ControlTests(SynchronousTestCase):
    def test_controls(self):
        """What is shown is one line: a tab or line end is a blank, other controls are dropped, words too."""
        cases = {
            "a\tb": "a b",
            " a\r\n b ": "a   b",
            "a\x00b\x1b[31mc\x7f\x85": "ab[31mc",
            "=?utf-8?q?=0D=0ABcc:_x@y?=": "Bcc: x@y",
            "a=?utf-8?q?=00=E2=80=A8?=b": "a b",
        }
        for value, text in cases.items():
            with self.subTest(value):
                self.assertEqual(decoded(value), text)

    @settings(max_examples=120, deadline=None)
    @given(
        st.binary(max_size=60), st.sampled_from(["", "shift_jis", "iso-2022-jp", "utf-16", "hz", "nonsense"])
    )
    def test_any_octets(self, octets, guess):
        """Nothing makes it fail; the text is one line and can be written as UTF-8."""
        text = decoded(octets, guess)
        self.assertIsInstance(text.encode(), bytes)
        self.assertEqual([*text], [*"".join(text.splitlines())])
        self.assertNotIn("\x00", text)
