"""Octets become the text that their writer meant, by one table of charsets."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.charset import decode, fits, html_charset, known, label_for
from smtprelay.mime.charset.labels import codec_of
from tests.mime.linear import LIMIT, growth

#: What programs write, by the label that they write beside it.
TEXTS = (
    ("gb2312", b"\xd6\xec\xe9F\xbb\xf9", "朱镕基"),
    ("GB_2312-80", b"\xd6\xec\xe9F\xbb\xf9", "朱镕基"),
    ("gbk", b"\x80\xb0\xa1", "€啊"),
    ("x-gbk", b"\xa2\xe3\x81\x30\x84\x36", "€¥"),
    ("shift_jis", b"\x87@\x87T\x87\x8a\xb1", "①Ⅰ㈱ｱ"),
    ("x-sjis", b"\xed\x40\xfa\x5c\x81\x60", "纊纊～"),
    ("Windows-31J", b"\x83\\\x95\\", "ソ表"),
    ("iso-2022-jp", b"\x1b$B-!3t<02q<R-j\x1b(B Co.", "①株式会社㈱ Co."),
    ("iso-2022-jp", b"a \x1b(I6@\x1b(B \x1b$By!\x1b(B", "a ｶﾀ 纊"),
    ("csISO2022JP", b'\x1b(J\\100\x1b$@$"\x1b(B', "¥100あ"),
    ("iso-2022-jp", b"\x0e6@\x0f ok \x0e1\n1", "ｶﾀ ok ｱ\n1"),
    ("iso-2022-jp", b"\x83e\x83X\x83g", "テスト"),
    ("iso-2022-jp", b"\xbc\xa1\xa4\xce\xb0\xb8\xc0\xe8\x8f\xb0\xa1\x8e\xb1\r\n ok", "次の宛先丂ｱ\r\n ok"),
    ("iso-2022-jp", b"\xbc\xa1\xb1\xb2 ok", "ｼ｡ｱｲ ok"),
    ("iso-2022-jp", b"\xbc\xa1\xa4\xce\xe9", "ｼ｡､ﾎ\ufffd"),
    ("iso-2022-jp-2", b"\x1b$A0!\x1b$(C0!\x1b(B!", "啊가!"),
    ("iso-2022-jp-1", b"\x1b$(D0!\x1b(B", "丂"),
    ("euc-jp", b"\xad\xa1\xad\xea\xa4\xa2\x8e\xb1\x8f\xb0\xa1", "①㈱あｱ丂"),
    ("eucJP-ms", b"\xf9\xa1\xa1\xc1", "纊～"),
    ("euc-kr", b"\x8c\x63\xb9\xe6\xb0\xa2\xc7\xcf", "똠방각하"),
    ("ks_c_5601-1987", b"\xb9\xe6\xc0\xc7 \xc0\xce\xbb\xe7\x8c\x63", "방의 인사똠"),
    ("iso-2022-kr", b"\x1b$)C\x0eGQ1[\x0f ok \x0eGQ\nGQ", "한글 ok 한\nGQ"),
    ("iso-2022-kr", b"\x0eGQ\x0f", "한"),
    ("iso-2022-kr", b"\x0eGQ\nab\x1b(Bcd", "한\nabcd"),
    ("iso-2022-cn", b"\x1b$)A\x0e0!\x0f", "啊"),
    ("hz-gb-2312", b"~~a~{VPND~}b~\nc~{VP\n~}", "~a中文bc中\n~}"),
    ("big5", b"\xa4\xa4\xf9\xd6\xa3\xe1\xa1\x45", "中碁€‧"),
    ("big5-hkscs", b"\x88\x62\xc6\xa1", "Ê̄①"),
    ("johab", b"\x88\x61", "가"),
    ("iso-8859-1", b"\x93Gr\xfc\xdfe\x94 5 \x80", "“Grüße” 5 €"),
    ("latin1", b"\x96", "–"),
    ("us-ascii", b"\x93Gr\xfc\xdfe\x94 5 \x80", "“Grüße” 5 €"),
    ("ansi_x3.4-1968", b"\xe9", "é"),
    ("iso-8859-2", b"\xb1\xea \x84\x93", "ąę „“"),
    ("iso-8859-5", b"\xbf\xe0\xd8 \x93", "При “"),
    ("iso-8859-7", b"\xe1\xe2 \x80", "αβ €"),
    ("iso-8859-8-i", b"\xf9\xec\xe5\xed \x93\xe0\x94", "שלום “א”"),
    ("iso-8859-8-e", b"\xf9\xec\xe5\xed", "שלום"),
    ("iso-8859-9", b"\xfe\xf0\xdd \x93", "şğİ “"),
    ("iso-8859-11", b"\xa1\xd2 \x93\x80", "กา “€"),
    ("tis-620", b"\xa1\xd2\x85", "กา…"),
    ("iso-8859-15", b"\xa4\xa6 \x93", "€Š “"),
    ("iso-8859-16", b"\xaa\xba\xde \x94", "ȘșȚ ”"),
    ("windows-1258", b"\xd0\xfe\xea", "Đ₫ê"),
    ("windows-1251", b"\xcf\xf0\xe8", "При"),
    ("cp-1251", b"\xcf", "П"),
    ("cp850", b"\x81\xe1\xd5", "üßı"),
    ("ibm437", b"\x81\xe1", "üß"),
    ("koi8-r", b"\xf0\xd2\xc9", "При"),
    ("koi8-u", b"\xa4\xa6\xae", "єіў"),
    ("macintosh", b"\x9f\xa7\xdb", "üß€"),
    ("x-mac-cyrillic", b"\x8f\xf0\xe8", "При"),
    ("utf-16", b"\xff\xfeH\0\xfc\0", "Hü"),
    ("utf-16", b"H\0a\0\xfc\0", "Haü"),
    ("utf-16", b"\0H\0a\0\xfc", "Haü"),
    ("utf-16le", b"H\0\x3d\xd8\x00\xde", "H😀"),
    ("utf-16be", b"\0H\x65\xe5", "H日"),
    ("utf-16", b"not UTF-16 at all", "not UTF-16 at all"),
    ("utf-7", b"Gr+APwA3w-e +- a", "Grüße + a"),
    ("unicode-1-1-utf-7", b"+ZeVnLIqe-", "日本語"),
    ("utf-8", b"\xef\xbb\xbfGr\xc3\xbc", "Grü"),
    ("utf8", "日本😀".encode(), "日本😀"),
    ("utf8mb4", "😀".encode(), "😀"),
    ('"utf-8"', b"\xc3\xbc", "ü"),
)


class TableTests(SynchronousTestCase):
    def test_texts(self):
        """Each charset is the largest one that is called by its name."""
        for label, octets, text in TEXTS:
            with self.subTest(label, octets=octets):
                self.assertEqual(decode(octets, label), text)

    def test_spellings(self):
        """A label is known in any case, with x-, quotes, years, blanks, and what follows by mistake."""
        spellings = {
            "cp1252": "ISO_8859-1:1987, l1, iso8859-1, 8859-1, ISO-8859-1; format=flowed, ANSI, x-ansi, "
            "win1252, 'iso-8859-1', ISO 8859-1, windows 1252, cp_1252, CP-01252",
            "utf-8": "UTF8, utf 8, utf-8;, x-utf-8, utf_8, cp65001, unicode-1-1-utf-8, utf-8*de, utf-8\r\n",
            "cp932": "ms932, CP932, windows-932, csShiftJIS, MS_Kanji, shift-jis, sjis, ibm-943",
            "cp949": "KS_C_5601, korean, uhc, ms949, windows-949, x-windows-949, KSC5601, euc_kr, cp51949",
            "gb18030": "cp936, ms936, GBK, EUC-CN, chinese, csGB2312, iso-ir-58, gb18030-2022",
            "iso8859-15": "latin-9, ISO_8859-15, l9, iso885915, cp28605",
            "iso8859-8": "iso-8859-8, ISO-8859-8-I, ISO-8859-8-E, hebrew, logical, cp38598",
            "ascii": "US-ASCII, ascii, ANSI_X3.4-1968, iso646-us, cp367, us",
            "cp850": "ibm850, CP-850, dos-850, cp00850",
        }
        for codec, labels in spellings.items():
            for label in labels.split(", "):
                with self.subTest(label):
                    self.assertEqual(codec_of(label), codec)

    def test_no_charset(self):
        """What says nothing, a codec of Python that is no charset, and a font's own octets are not known."""
        labels = (
            "default, unknown-8bit, x-unknown, 8bit, binary, , =, undefined, punycode, idna, rot13, rot_13, "
            "zlib, hex, bz2, base64, quopri, uu, unicode_escape, raw_unicode_escape, mbcs, oem, cp037, "
            "x-user-defined, replacement, iso-8859-12, iso-8859-99, cp99999, utf-9, \xff, \ud800"
        )
        for label in labels.split(", "):
            with self.subTest(label):
                self.assertFalse(known(label))
                self.assertEqual(decode("Grüße".encode(), label), "Grüße")
                self.assertEqual(decode(b"Gr\xfc\xdfe", label), "Grüße")


class WrongOctetTests(SynchronousTestCase):
    def test_utf_8(self):
        """One octet that is wrong or cut off costs one character; what Windows pasted in is read."""
        cases = {
            b"Gr\xc3\xbc\xc3\x9fe \xff K\xc3\xa4the": "Grüße \ufffd Käthe",
            b"Gr\xc3\xbc\xc3\x9fe K\xc3": "Grüße K\ufffd",
            b"Gr\xc3\xbc\xc3\x9fe \xe2\x82": "Grüße \ufffd",
            b"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98": "Grüße \ufffd",
            b"\xe2\x82 Gr\xc3\xbc\xc3\x9fe": "\ufffd Grüße",
            b"Gr\xc3 K\xc3\xa4the": "Gr\ufffd Käthe",
            b"Gr\xfc\xdfe, K\xc3\xa4the \x93x\x94": "Grüße, Käthe “x”",
            b"Gr\xfc\xdfe": "Grüße",
            b"Caf\xe9": "Café",
            b"Caf\xc3": "Caf\ufffd",
            b"N\xc3O": "NÃO",
            b"\xed\xa0\xbd": "í\xa0½",
        }
        for octets, text in cases.items():
            with self.subTest(octets):
                self.assertEqual(decode(octets, "utf-8"), text)

    def test_a_line_end_within_a_character(self):
        """A server that breaks long lines anywhere costs no character."""
        for character in "дü€😀":
            octets = character.encode()
            for at in range(1, len(octets)):
                for end in ("\r\n", "\n"):
                    broken = "да ".encode() + octets[:at] + end.encode() + octets[at:] + b" x"
                    with self.subTest(character, at=at, end=end):
                        self.assertEqual(decode(broken, "utf-8"), f"да {character}{end} x")
        self.assertEqual(decode(b"\xc3\xbc \xc3\r\n\xa9\xa9", "utf-8"), "ü \ufffd\r\n©©")
        self.assertEqual(decode(b"\xc3\xbc \xc3\r\n\xc3\xa9", "utf-8"), "ü \ufffd\r\né")

    def test_long_text(self):
        """In a long text a few wrong octets are mended; in one full of them what is right is read."""
        page = "Käthe ".encode() * 2000
        self.assertEqual(decode(page + b"\xfc" + page, "utf-8").count("Käthe"), 4000)
        self.assertIn("ü", decode(page + b"\xfc" + page, "utf-8"))
        for charset, right in (("big5", b"\xa4\xa4"), ("euc-jp", b"\xa4\xa2"), ("gb2312", b"\xb0\xa1")):
            with self.subTest(charset):
                text = decode(b"\xff" * 8000 + right, charset)
                self.assertEqual(text, "\ufffd" * 8000 + decode(right, charset))

    def test_others(self):
        """So in every other charset of several octets, and what surrounds it is whole."""
        cases = {
            "gb2312": b"\xb0\xa1\xff\xb0\xa1",
            "big5": b"\xa4\xa4\xff\xa4\xa4",
            "shift_jis": b"\x83e\xff\x83e",
            "euc-jp": b"\xa4\xa2\xff\xa4\xa2",
            "euc-kr": b"\xb0\xa1\xff\xb0\xa1",
            "iso-2022-jp": b'\x1b$B$"\xff$"\x1b(B',
            "iso-2022-kr": b"\x0eGQ\xffGQ\x0f",
            "hz-gb-2312": b"~{VP~}\xff~{VP~}",
            "utf-7": b"+AOQ-\xff+AOQ-",
            "utf-16le": b"\xe4\0\0\xd8\xe4\0",
            "windows-1252": b"\xe4\x81\xe4",
            "koi8-t": b"\xc1\x88\xc1",
        }
        for label, octets in cases.items():
            with self.subTest(label):
                text = decode(octets, label)
                self.assertEqual((text[1:-1], text[0]), ("\ufffd", text[-1]))
                self.assertGreater(text[0], "\x7f")

    def test_half_a_pair(self):
        """A character that was cut off at the end is one sign as well."""
        for label, octets in (
            ("gb2312", b"\xb0\xa1\xb0"),
            ("shift_jis", b"\x83e\x83"),
            ("iso-2022-jp", b'\x1b$B$"$'),
            ("utf-16be", b"\0a\0"),
        ):
            with self.subTest(label):
                self.assertEqual(decode(octets, label)[1:], "\ufffd")

    def test_half_a_surrogate(self):
        """Halves of characters, which UTF-7, UTF-16 and CESU-8 can spell, are no text."""
        cases = (
            ("utf-7", b"+2D0-"),
            ("utf-7", b"+3gA-"),
            ("utf-16le", b"\x3d\xd8"),
            ("utf-16be", b"\xde\x00"),
        )
        for label, octets in cases:
            with self.subTest(label, octets=octets):
                self.assertEqual(decode(octets, label), "\ufffd")
        self.assertEqual(decode(b"+2D3eAA-", "utf-7"), "😀")

    def test_in_step(self):
        """Two octets that could be a character but are none cost one sign, and nothing of what follows."""
        cases = (
            ("big5", b"\xa4\xa4\x87\xa1\xa4\xa4", "中\ufffd中"),
            ("euc-kr", b"\xb0\xa1\xc9\xa1\xb0\xa1", "가\ufffd가"),
            ("shift_jis", b"\x83e\x85\xa0\x83e", "テ\ufffdテ"),
            ("euc-jp", b"\xa4\xa2\xa9\xa1\xa4\xa2", "あ\ufffdあ"),
            ("iso-2022-jp", b'\x1b$B$")!$"\x1b(B', "あ\ufffdあ"),
        )
        for label, octets, text in cases:
            with self.subTest(label, octets=octets):
                self.assertEqual(decode(octets, label), text)

    def test_wrong_label(self):
        """Octets that do not fit their label and are UTF-8 are read as that; ISO-2022 needs no label."""
        for label in ("shift_jis", "big5", "euc-kr", "us-ascii", "utf-16"):
            with self.subTest(label):
                self.assertEqual(decode("Grüße à la carte™".encode(), label), "Grüße à la carte™")
        for label in ("", "utf-8", "us-ascii", "iso-8859-1", "nonsense"):
            with self.subTest(label):
                self.assertEqual(decode(b"\x1b$B-j\x1b(B", label), "㈱")
                self.assertEqual(decode(b"\x1b$)C\x0eGQ\x0f", label), "한")


class UnlabelledTests(SynchronousTestCase):
    def test_fallbacks(self):
        """An unknown, wrong or absent charset falls back to UTF-8, then to Windows-1252."""
        for charset, content, expected in (
            ("no-such-charset", "grün".encode(), "grün"),
            ("us-ascii", b"gr\xfcn", "grün"),
            ("utf-8", b"gr\xfcn", "grün"),
            ("base64", b"x", "x"),
            ("utf\x00-8", b"gr\xfcn", "grün"),
            ("", b"\x81\xff", "\ufffdÿ"),
        ):
            with self.subTest(charset):
                self.assertEqual(decode(content, charset), expected)

    def test_guess(self):
        """Octets without a label are UTF-8 if they can be, else the guess, else Windows-1252."""
        cases = (
            ("Grüße".encode(), "koi8-r", "Grüße"),
            ("Привет".encode("koi8-r"), "koi8-r", "Привет"),
            ("Привет".encode("koi8-r"), "", "ðÒÉ×ÅÔ"),
            ("テスト".encode("cp932"), "shift_jis", "テスト"),
            ("简体中文".encode("gbk"), "gb2312", "简体中文"),
            ("联通".encode("gbk"), "gb2312", "联通"),
            (b"~{VPND~}", "hz-gb-2312", "中文"),
            (b"~{VPND~}", "", "~{VPND~}"),
            (b"1+1=2 +AOQ-", "utf-7", "1+1=2 +AOQ-"),
            (b"Gr\xfc\xdfe", "utf-8", "Grüße"),
            (b"Gr\xfc\xdfe", "utf-16", "Grüße"),
            (b"Gr\xfc\xdfe", "nonsense", "Grüße"),
            (
                b"Gr\xfc\xdfe",
                "gb2312",
                "Gr\ufffd\ufffde".replace("\ufffd\ufffd", b"\xfc\xdf".decode("gb18030")),
            ),
        )
        for octets, guess, text in cases:
            with self.subTest(octets, guess=guess):
                self.assertEqual(decode(octets, "", guess), text)

    def test_nearly_utf_8(self):
        """Unlabelled UTF-8 that was cut off is still UTF-8."""
        for guess in ("", "iso-8859-1", "koi8-r", "utf-8", "nonsense"):
            with self.subTest(guess):
                self.assertEqual(decode(b"Gr\xc3\xbc\xc3\x9fe K\xc3", "", guess), "Grüße K\ufffd")

    def test_html(self):
        """An HTML document says its charset itself; so does XHTML."""
        cases = {
            b"<html><head><META charset=gbk></head>": "gbk",
            b'<meta http-equiv="Content-Type" content="text/html; charset=shift_jis">': "shift_jis",
            b"<meta charset = 'koi8-r'/>": "koi8-r",
            b'<?xml version="1.0" encoding="iso-8859-2"?><html>': "iso-8859-2",
            b"<p>charset=gbk</p>": "",
            b"<meta name=x><p charset=gbk>": "",
            b"": "",
            b" " * 5000 + b"<meta charset=gbk>": "",
        }
        for octets, label in cases.items():
            with self.subTest(octets):
                self.assertEqual(html_charset(octets), label)


LABELS = sorted(
    {label for label, _, _ in TEXTS} | {"", "punycode", "utf-32", "euc-jisx0213", "nonsense", "iso-2022-cn"}
)
#: What switches, begins, pads or ends something in one charset or another.
PIECES = (
    *(octets for _, octets, _ in TEXTS),
    *(
        b"\x1b",
        b"\x1b$B",
        b"\x1b(I",
        b"\x1b$)C",
        b"\x1b$(D",
        b"\x1bN\x7f",
        b"\x0e",
        b"\x0f",
        b"~{",
        b"~",
        b"+2AA-",
        b"+",
    ),
    *(
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xd8\0",
        b"\0\xd8",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\0",
        b"\n",
        b"a",
    ),
)


class AnythingTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=12).map(b"".join),
        st.sampled_from(LABELS) | st.text(max_size=8),
        st.sampled_from(LABELS),
    )
    def test_anything(self, octets, label, guess):
        """Nothing makes it fail; the text can be sent on as UTF-8 and has no more characters than octets."""
        text = decode(octets, label, guess)
        self.assertIsInstance(text.encode(), bytes)
        self.assertLessEqual(len(text), len(octets))
        self.assertIn(fits(octets, label), (True, False))

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=12).map(b"".join),
        st.sampled_from(LABELS),
    )
    def test_label(self, octets, guess):
        """With the label that 8-bit octets get they read as they did without one."""
        octets += "ü".encode("latin-1")
        self.assertEqual(decode(octets, label_for(octets, guess), guess), decode(octets, "", guess))

    @given(st.text(max_size=30))
    def test_utf_8_is_left_alone(self, text):
        """Text comes back from UTF-8 with or without its label, but for a mark at its beginning."""
        octets = text.encode("utf-8", "ignore")
        if b"\x1b" not in octets and not octets.startswith((b"\xef\xbb\xbf", b"+")):
            self.assertEqual(decode(octets, "utf-8"), octets.decode())
            self.assertEqual(decode(octets), octets.decode())

    def test_cost(self):
        """The cost is that of one pass, in each charset, also where no octet is right."""
        pieces = (
            b"\xff",
            b"\xc3\xbc\xff",
            b"\x80",
            b"\x1b$B",
            b'$"\x01',
            b"\x0e!\n",
            b"~{",
            b"+A ",
            b"+\xff",
            b"A",
            b"\xd8\0",
        )
        labels = (
            "utf-8",
            "gb2312",
            "big5",
            "shift_jis",
            "euc-jp",
            "euc-kr",
            "iso-2022-jp",
            "hz-gb-2312",
            "utf-7",
            "utf-16",
        )
        for label in labels:
            for piece in pieces:
                with self.subTest(label, piece=piece):
                    found = growth(
                        lambda octets, label=label: decode(octets, label),
                        lambda size, piece=piece: piece * size,
                    )
                    self.assertLessEqual(found, LIMIT)
