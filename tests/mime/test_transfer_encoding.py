"""Transfer encodings are undone, however they are named and whatever is broken."""

import base64
import binascii
import quopri

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.transfer_encoding import (
    decode,
    encoding_of,
    from_base64,
    from_q,
    from_quoted_printable,
    is_no_base64,
    tidy_base64,
)
from tests.mime.linear import LIMIT, growth

#: Every octet, and an end that needs padding.
OCTETS = bytes(range(256)) * 3 + b"."


def uu(octets: bytes) -> bytes:
    return b"".join(binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45))


class NameTests(SynchronousTestCase):
    def test_names(self):
        """A name with a comment, blanks, quotes, or what stands behind it; anything else is none."""
        spellings = {
            "base64": (
                "base64",
                "BASE64;",
                "base64 (x)",
                "(x) base64",
                '"base64"',
                "base-64",
                " base64, 8bit",
                "base64; x=y",
                "b64",
            ),
            "quoted-printable": (
                "quoted-printable",
                "quoted printable",
                "Quoted-Printable;",
                "quotedprintable",
                "quoted_printable",
            ),
            "x-uuencode": ("x-uuencode", "uuencode", "X-UUE", "x-uue;", "uuencoded"),
            "7bit": (
                "7bit",
                "8-bit",
                "8bit (x)",
                "binary",
                "",
                "x",
                "none",
                "7 bit",
                "(base64)",
                "(" * 10_000,
            ),
        }
        for encoding, values in spellings.items():
            for value in values:
                with self.subTest(value):
                    self.assertEqual(encoding_of(value), encoding)

    def test_none(self):
        """Without an encoding octets are what they are."""
        self.assertEqual(decode(OCTETS, "7bit"), OCTETS)


class Base64Tests(SynchronousTestCase):
    def test_blocks(self):
        """Padded blocks one after the other, as programs make that encode line by line or piece by piece."""
        for size in (1, 2, 4, 5, 57, 100):
            blocks = [base64.b64encode(OCTETS[at : at + size]) for at in range(0, len(OCTETS), size)]
            for between in (b"", b"\r\n", b"\n\n", b" \r\n"):
                with self.subTest(size, between=between):
                    self.assertEqual(decode(between.join(blocks), "base64"), OCTETS)

    def test_broken(self):
        """What does not belong to it is skipped, and an incomplete end is cut off."""
        cases = {
            b"JVBERg": b"%PDF",
            b"JVB!ERg=\r\n": b"%PDF",
            b"JV BE\x00Rg\xff==": b"%PDF",
            b"JVBER": b"%PD",
            b"JVBERg===": b"%PDF",
            b"JVBERg= =": b"%PDF",
            b"=JVBE": b"%PD",
            b"JVBE=": b"%PD",
            b"J": b"",
            b"!": b"",
            b"==": b"",
            b"": b"",
        }
        for content, octets in cases.items():
            with self.subTest(content):
                self.assertEqual(from_base64(content), octets)

    def test_footer(self):
        """What a mailing list puts below a padded block is no part of it."""
        for footer in (
            b"_______\r\nlist mailing list\r\n",
            b"Unsubscribe\r\n",
            b"to the list\r\n",
            b"-- \r\n",
            b"--b--\r\n",
            b"http://x.example/=\r\n",
        ):
            with self.subTest(footer):
                self.assertEqual(from_base64(b"JVBERg==\r\n" + footer), b"%PDF")

    def test_footer_below_a_file_without_padding(self):
        """So it is where the length of the file needs no padding, as of each third file."""
        octets = bytes(range(256)) * 3
        for file in (octets[:3], octets[:54], octets):
            lines = base64.encodebytes(file)
            for footer in (
                b"_______\nlist mailing list\nhttps://lists.example/list\n",
                b"\n-- \nUnsubscribe\nat https://lists.example/?id=3&a==\nBest\n",
                "Gruß\n\nnobody\n".encode(),
                b"to the list",
            ):
                with self.subTest(footer, size=len(file)):
                    self.assertEqual(from_base64(lines + footer), file)
                    self.assertEqual(tidy_base64(lines + footer), base64.b64encode(file))
            for strange in (b"\n", b" \n", b"\n.\n", b"*"):
                self.assertEqual(from_base64(lines + strange), file)
        for stray in (0, 30, 100, len(lines) - 40):
            self.assertEqual(from_base64(lines[:stray] + b"!" + lines[stray:]), octets)

    def test_a_text_that_was_not_encoded(self):
        """What has words in its first line is no base64, unless it decodes to a text or has a block of it."""
        for content, plain in (
            (b"The door is open.\r\n", True),
            (b"\r\n two words\r\nJVBERg==\r\n", True),
            (b"?what\r\n", True),
            (b"caf\xe9\r\n", True),
            (b"JVBERg==\r\n", False),
            (b"JVBERg== junk\r\n", False),
            (b"\r\nJVBERi0x\r\nand more\r\n", False),
            (b"SGVs bG8=\r\n", False),  # blanks were put into it
            (b"> SGVsbG8=\r\n", False),
            (b"word\r\n", False),
            (b"word", False),
            (b"\r\n", False),
            (b"", False),
        ):
            with self.subTest(content):
                self.assertEqual(is_no_base64(content), plain)

    @given(st.text("Qz9+/=\r\n! \xe9", max_size=30).map(lambda text: text.encode("latin-1")))
    def test_tidy(self, content):
        """Whatever claims to be base64 is carried as that of what it decodes to."""
        self.assertEqual(tidy_base64(content), base64.b64encode(from_base64(content)))

    @given(st.binary(max_size=200), st.integers(1, 80), st.sampled_from([b"\r\n", b"\n", b"\t\r\n"]))
    def test_right(self, octets, length, end):
        """Right base64 of any line length decodes to what it was made of."""
        letters = base64.b64encode(octets)
        lines = end.join(letters[at : at + length] for at in range(0, len(letters), length))
        self.assertEqual(from_base64(lines), octets)


class QuotedPrintableTests(SynchronousTestCase):
    def test_cases(self):
        """Soft breaks with blanks, small letters, blanks that were added; what is no escape stays."""
        cases = {
            b"a=3Db=e4=E4": b"a=b\xe4\xe4",
            b"a=\r\nb=\nc": b"abc",
            b"a= \r\nb=\t \nc": b"abc",
            b"a=": b"a",
            b"a= ": b"a",
            b"a =\r\nb": b"a b",
            b"a=20\r\nb": b"a \r\nb",
            b"a \t\r\nb ": b"a\r\nb",
            b"a\r\n\r\nb": b"a\r\n\r\nb",
            b"=XY=4=a=": b"=XY=4=a",
            b"==41": b"=A",
            b"=\rb\r\nc": b"=\rb\r\nc",
            b"\xfc=C3=BC\x00": b"\xfc\xc3\xbc\x00",
        }
        for content, octets in cases.items():
            with self.subTest(content):
                self.assertEqual(decode(content, "quoted-printable"), octets)

    # The encoder makes all line ends of a text like the first one.
    @given(st.binary(max_size=200).map(lambda octets: octets.replace(b"\r", b"")))
    def test_right(self, octets):
        """What an encoder made decodes to what it was made of."""
        self.assertEqual(from_quoted_printable(quopri.encodestring(octets)), octets)

    def test_words(self):
        """The Q of an encoded word: no line ends, and an underscore is a blank."""
        cases = {
            b"a_b=5F=20": b"a b_ ",
            b"a=": b"a=",
            b"==41=": b"=A=",
            b"=C3=bc": b"\xc3\xbc",
            b" a ": b" a ",
        }
        for content, octets in cases.items():
            with self.subTest(content):
                self.assertEqual(from_q(content), octets)


class UuencodeTests(SynchronousTestCase):
    def test_right(self):
        """With its first and last line or without, with text around it, with any line ends."""
        lines = uu(OCTETS)
        whole = b"begin 644 file name.bin\n" + lines + b"`\nend\n"
        forms = (
            whole,
            whole.replace(b"\n", b"\r\n"),
            whole.replace(b" ", b"`").replace(b"begin`644`file`name.bin", b"begin 644 x"),
            b"Here it is:\r\n\r\n" + whole + b"\r\n-- \r\nM me\r\n",
            b"\n".join(line.rstrip(b" ") for line in whole.split(b"\n")),
            lines,
            lines.replace(b"\n", b"\r\n"),
            b"begin-base64 644 x\n" + base64.encodebytes(OCTETS) + b"====\n",
        )
        for form in forms:
            with self.subTest(form[:20]):
                self.assertEqual(decode(form, "x-uuencode"), OCTETS)

    def test_filled(self):
        """What stands in place of the octets that the last group lacks does not matter, and is nothing."""
        for octets, line in ((b"ab", b'"86)_'), (b"a", b"!80__"), (b"abcd", b"$86)C9/__")):
            for form in (line, b"begin 644 a.bin\n" + line + b"\n`\nend\n"):
                with self.subTest(form):
                    self.assertEqual(decode(form, "x-uuencode"), octets)

    def test_broken(self):
        """A line that is none is skipped; what has none at all is no uuencode."""
        lines = uu(OCTETS).split(b"\n")
        lines.insert(1, b"This is a line of text \xff.")
        self.assertEqual(decode(b"\n".join(lines), "x-uuencode"), OCTETS)
        for plain in (b"Hello,\r\nthis is text.\r\n", b"", b"\xff" * 10):
            self.assertEqual(decode(plain, "x-uuencode"), plain)


class AnythingTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [b"=", b"==", b"QUJD", b"\r\n", b"\n", b" ", b"=C3", b"begin 644 x\n", b"#0V%T", b"end", b"_"]
            )
            | st.binary(max_size=4),
            max_size=20,
        ).map(b"".join),
        st.sampled_from(["base64", "quoted-printable", "x-uuencode", "7bit"]),
    )
    def test_anything(self, content, encoding):
        """Nothing makes it fail, and it hardly grows."""
        self.assertLessEqual(len(decode(content, encoding)), 2 * len(content))
        self.assertEqual(tidy_base64(content), base64.b64encode(from_base64(content)))

    def test_cost(self):
        """The cost is that of one pass."""
        pieces = (
            b"=",
            b"QQ==",
            b"A=",
            b"A=\n",
            b"A=!",
            b"!A",
            b"\n",
            b" ",
            b"= ",
            b" \n",
            b"=\r",
            b"==",
            b"=C3",
            b"#0V%T\n",
            b"begin 644 x",
            b"begin 644 x\n",
        )
        for encoding in ("base64", "quoted-printable", "x-uuencode"):
            for piece in pieces:
                with self.subTest(encoding, piece=piece):
                    found = growth(
                        lambda content, encoding=encoding: decode(content, encoding),
                        lambda size, piece=piece: piece * size,
                    )
                    self.assertLessEqual(found, LIMIT)
