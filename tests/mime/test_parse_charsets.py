"""What octets of a mail mean whose charset nobody named, or not where one looks for it."""

import base64

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import Address
from smtprelay.mime.parse import read
from tests.mime.writing import PLAIN, crlf, multipart, part


class CharsetTests(SynchronousTestCase):
    """A, B2: what octets mean whose charset nobody named, or not where one looks for it."""

    def test_control_characters(self):
        """Texts have no controls but tab, CR and LF, however they were packed."""
        mail = read(crlf("Content-Transfer-Encoding: quoted-printable\n\na=00=1B\tb=07=0D=0Ac=7F=C2=9B"))
        self.assertEqual(mail.text, "a\tb\r\nc")
        mail = read(multipart(PLAIN, part("Content-Type: text/html", "<p>a&#x81;&#12;b")))
        self.assertTrue((mail.text or "").endswith("ab"), mail.text)
        lines = b"a" * 70_000 + b"\x1b\x7f\r\n"
        self.assertEqual(read(b"Subject: a\r\n\r\n" + lines).text, "a" * 70_000 + "\r\n")

    def test_everywhere(self):
        """A charset is read alike in a text, a raw or encoded subject, a display name and a file name."""
        cases = (
            ("gb2312", "镕基".encode("gbk"), "镕基"),
            ("gb_2312-80", "中文".encode("gbk"), "中文"),
            ("shift_jis", "①日本".encode("cp932"), "①日本"),
            ("x-sjis", "髙島".encode("cp932"), "髙島"),
            ("iso-2022-jp", b"\x1b$B-j\x1b(B", "㈱"),
            ("iso-2022-jp", b"\x1b(I1\x1b(B", "ｱ"),
            ("iso-8859-8-i", "שלום".encode("iso-8859-8"), "שלום"),
            ("iso-8859-1", b"\x93a\x94 \x80", "“a” €"),
            ("latin1", b"\x85\xfc", "…ü"),
            ("iso-8859-9", b"\x80\xf0", "€ğ"),
            ("ks_c_5601-1987", "똠방".encode("cp949"), "똠방"),
            ("utf-8", b"gr\xc3\xbcn \xff \xc3\xa4", "grün \ufffd ä"),
        )
        for label, octets, expected in cases:
            with self.subTest(label, octets=octets):
                packed = base64.b64encode(octets).decode()
                percents = "".join(f"%{octet:02X}" for octet in octets)
                word = f"=?{label}?B?{packed}?="
                head = f"Subject: {word}\nFrom: {word} <a@x>\nContent-Type: text/plain; charset={label}\n\n"
                mail = read(crlf(head) + octets)
                self.assertEqual(
                    (mail.subject, mail.sender[0].name, mail.text), (expected, expected, expected)
                )
                for name in (f'filename="{word}"', f"filename*={label}''{percents}"):
                    attached = read(crlf(f"Content-Disposition: attachment; {name}\nContent-Type: a/b\n\nx"))
                    self.assertEqual(attached.attachments[0].name, expected)
                if b"\xff" not in octets:
                    raw = b"Subject: " + octets + crlf(f"\nContent-Type: text/plain; charset={label}\n\nx")
                    self.assertEqual(read(raw).subject, expected)

    def test_raw_octets_within_an_encoded_word(self):
        """They are of the word's charset."""
        self.assertEqual(read(b"Subject: =?iso-8859-1?q?gr\xfcn?=\r\n\r\n").subject, "grün")

    def test_subject_in_the_charset_of_the_body(self):
        """A raw subject, name or file name is in the charset of the first text that names one."""
        for charset, word in (
            ("gb2312", "镕基"),
            ("windows-1251", "Привет"),
            ("iso-8859-2", "Łódź"),
            ("shift_jis", "①日本"),
        ):
            with self.subTest(charset):
                codec = {"gb2312": "gb18030", "shift_jis": "cp932"}.get(charset, charset)
                raw = word.encode(codec)
                single = (
                    b"Subject: "
                    + raw
                    + b"\r\nTo: "
                    + raw
                    + b" <a@x.org>\r\nContent-Type: text/plain; charset="
                )
                mail = read(single + charset.encode() + b"\r\n\r\n" + raw)
                self.assertEqual(
                    (mail.subject, mail.to, mail.text), (word, (Address("a@x.org", word),), word)
                )
                self.assertEqual(mail.headers[0], ("Subject", word))
                attached = b"--b\r\nContent-Type: image/png; name=" + raw + b".png\r\n\r\nx\r\n"
                text = part(f"Content-Type: text/html; charset={charset}", raw)
                self.assertEqual(read(multipart(attached, text)).attachments[0].name, f"{word}.png")

    def test_a_text_that_says_nothing_of_it(self):
        """ASCII and UTF-8 are no guess: the next text is asked."""
        raw = "Привет".encode("cp1251")
        for label in ("us-ascii", "utf-8", "nonsense"):
            with self.subTest(label):
                texts = part(f"Content-Type: text/plain; charset={label}", "x")
                texts += part("Content-Type: text/plain; charset=windows-1251", "y")
                attached = b"--b\r\nContent-Type: a/b\r\nContent-Disposition: attachment; filename=" + raw
                mail = read(b"Subject: " + raw + b"\r\n" + multipart(texts, attached + b"\r\n\r\nx\r\n"))
                self.assertEqual((mail.subject, mail.attachments[0].name), ("Привет", "Привет"))

    def test_header_names_the_charset(self):
        """A text that names no charset is in that of the header's encoded words, if it is not UTF-8."""
        words = {
            "Subject: =?iso-8859-9?q?Say=FD?=": "cp1254",
            "Subject: =?utf-8?q?a?= =?us-ascii?q?b?=\nFrom: =?koi8-r?b?8g==?= <a@x.org>": "koi8-r",
            "To: =?euc-kr?b?sKE=?= <a@x.org>": "euc-kr",
        }
        for field, codec in words.items():
            content = {"cp1254": "sayı ş", "koi8-r": "привет", "euc-kr": "한글"}[codec]
            for kind in ("", "Content-Type: text/plain\n", "Content-Type: text/html; charset=us-ascii\n"):
                with self.subTest(field, kind=kind):
                    mail = read(crlf(f"{field}\n{kind}\n") + content.encode(codec))
                    self.assertEqual(mail.html if "html" in kind else mail.text, content)
                    self.assertIn("grün", str(read(crlf(f"{field}\n{kind}\ngrün"))))

    def test_a_text_names_it_before_the_header(self):
        """What a text says of its charset holds for others more than the words of the header."""
        mail = (
            b"Subject: =?koi8-r?q?a?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nx\r\n--b\r\n\r\ngr\xfcn"
        )
        self.assertIn("grün", read(mail).text or "")

    def test_utf8_needs_no_guess(self):
        """UTF-8 is read as that, whatever the body is in; what is not, by no body in UTF-8."""
        head = "Subject: grün\nContent-Type: text/plain; charset=gb2312\n\nx"
        self.assertEqual(read(crlf(head)).subject, "grün")
        self.assertEqual(
            read(b"Subject: gr\xfcn\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx").subject, "grün"
        )
        self.assertEqual(read(b"Subject: \x93a\x94\r\n\r\nx").subject, "“a”")

    def test_html_names_its_charset(self):
        """HTML whose type names no charset, or none that is known, may name it itself."""
        word = "镕".encode("gbk")
        for head in (
            b"<meta charset=gbk>",
            b'<meta http-equiv="Content-Type" content="text/html; charset=gbk">',
        ):
            for kind in (b"", b"; charset=us-ascii", b"; charset=nonsense"):
                with self.subTest(head + kind):
                    mail = read(
                        b"Subject: "
                        + word
                        + b"\r\nContent-Type: text/html"
                        + kind
                        + b"\r\n\r\n"
                        + head
                        + word
                    )
                    self.assertEqual((mail.html[-1:], mail.subject), ("镕", "镕"))

    def test_marks(self):
        """A byte order mark is obeyed before anything else, and not shown."""
        for codec, mark in (("utf-8", b"\xef\xbb\xbf"), ("utf-16le", b"\xff\xfe"), ("utf-16be", b"\xfe\xff")):
            with self.subTest(codec):
                content = base64.encodebytes(mark + "grün".encode(codec)).decode()
                head = "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\n"
                self.assertEqual(read(crlf(head + content)).text, "grün")

    def test_utf16(self):
        """A text in UTF-16 without a mark is read by its charset."""
        content = base64.encodebytes("grün\r\n".encode("utf-16le")).decode()
        head = "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n"
        self.assertEqual(read(crlf(head + content)).text, "grün\r\n")

    def test_shifted_without_a_charset(self):
        """ISO-2022-JP is known by its escapes, where nobody names it."""
        for kind in ("", "; charset=us-ascii"):
            mail = read(crlf(f"Content-Type: text/plain{kind}\n\n") + "日本".encode("iso-2022-jp"))
            self.assertEqual(mail.text, "日本")

    def test_one_wrong_octet(self):
        """It costs one character, not all umlauts of the text."""
        self.assertEqual(
            read(b"Content-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbcn \xff").text, "grün \ufffd"
        )
