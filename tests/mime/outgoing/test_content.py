"""What the content of a mail that is one part becomes, or of each part of one that has several."""

import binascii

from twisted.trial.unittest import SynchronousTestCase

from tests.mime.outgoing.finishing import (
    ADDED,
    ASCII_FIELDS,
    EIGHT_BIT,
    HEAD,
    LONG,
    SEVEN_BIT,
    finish,
    leaves,
    mixed,
    said,
    text,
)

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


class ContentTests(SynchronousTestCase):
    def test_plain_text(self) -> None:
        """Text without MIME fields gets them, with its charset, for a hop that takes no 8-bit."""
        for octets, charset, encoding in (
            ("Die Grüße kommen heute an, und morgen auch.\r\n".encode(), "utf-8", "quoted-printable"),
            (
                "Die Grüße kommen heute an, und morgen auch.\r\n".encode("latin-1"),
                "windows-1252",
                "quoted-printable",
            ),
            ("привет\r\n".encode(), "utf-8", "base64"),
            ("привет".encode(), "utf-8", "base64"),
        ):
            mail = ADDED + b"\r\n" + octets
            self.assertEqual(finish(mail, EIGHT_BIT), mail)
            finished = finish(mail, SEVEN_BIT)
            [part] = leaves(finished)
            self.assertTrue(finished.isascii())
            self.assertTrue(finished.endswith(b"\r\n"))
            self.assertEqual(part.get_payload(decode=True), octets)
            self.assertEqual(
                (part.get_content_charset(), part["Content-Transfer-Encoding"]), (charset, encoding)
            )
            self.assertEqual(part["MIME-Version"], "1.0")

    def test_long_line(self) -> None:
        """A line over 998 octets is encoded for every hop; of 998 it stays."""
        for hop in (EIGHT_BIT, ASCII_FIELDS, SEVEN_BIT):
            short = ADDED + b"\r\n" + b"x" * 998 + b"\r\n"
            self.assertEqual(finish(short, hop), short)
            finished = finish(ADDED + b"\r\n" + b"x" * 999 + b"\r\n", hop)
            self.assertLess(max(map(len, finished.split(b"\r\n"))), 80)
            [part] = leaves(finished)
            self.assertEqual(part.get_payload(decode=True), b"x" * 999 + b"\r\n")
            self.assertEqual(
                (part.get_content_type(), part.get_content_charset()), ("text/plain", "us-ascii")
            )

    def test_label(self) -> None:
        """A charset that is known stays; none, us-ascii and what nobody knows become what the octets are."""
        for given, wanted in (
            ("; charset=iso-8859-15", "iso-8859-15"),
            ("", "utf-8"),
            ("; charset=us-ascii; format=flowed", "utf-8"),
            ("; charset=unknown-8bit", "utf-8"),
        ):
            mail = HEAD + f"Content-Type: text/plain{given}\r\n\r\n".encode() + "Grüße".encode()
            [part] = leaves(finish(mail, SEVEN_BIT))
            self.assertEqual(part.get_content_charset(), wanted)
            self.assertEqual(part.get_param("format"), "flowed" if "flowed" in given else None)
            self.assertEqual(finish(mail, EIGHT_BIT), mail)

    def test_html_says_its_charset(self) -> None:
        """The label is what the HTML itself says, if it does."""
        octets = "<meta charset=gbk><p>镕基".encode("gbk")
        [part] = leaves(finish(HEAD + b"Content-Type: text/html\r\n\r\n" + octets, SEVEN_BIT))
        self.assertEqual((part.get_content_charset(), part.get_payload(decode=True)), ("gbk", octets))

    def test_encoded_already(self) -> None:
        """What is base64 or quoted-printable already is put into short lines and stays what it is."""
        for encoding, octets, content in (
            ("base64", b"QUJD" * 1000, b"ABC" * 1000),
            ("Base64", b"QUJD" * 1000 + b"\r\n", b"ABC" * 1000),
            ("quoted-printable", b"=C3=BC" * 500 + b"\r\n", b"\xc3\xbc" * 500 + b"\r\n"),
            ("quoted-printable", b"x =\r\n" + b"y" * 2000, b"x " + b"y" * 2000),
        ):
            mail = HEAD + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + octets
            finished = finish(mail)
            [part] = leaves(finished)
            self.assertEqual(part.get_payload(decode=True), content)
            self.assertEqual(part["Content-Transfer-Encoding"], encoding)
            self.assertLess(max(map(len, finished.split(b"\r\n"))), 80)

    def test_uuencode(self) -> None:
        """A file in uuencode under a name that is not ASCII is the same file behind a hop that takes none."""
        octets = bytes(range(256)) * 3
        lines = [binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45)]
        packed = "begin 644 Übersicht.bin\n".encode("latin-1") + b"".join(lines) + b"`\nend\n"
        head = (
            HEAD + b"Content-Type: application/x-a; name=a\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
        )
        mail = head + packed.replace(b"\n", b"\r\n")
        self.assertEqual(finish(mail), mail)
        for whole in (mail, mixed(mail.removeprefix(HEAD))):
            [part] = leaves(finish(whole, SEVEN_BIT))
            self.assertEqual(part["Content-Transfer-Encoding"], "base64")
            self.assertEqual((part.get_payload(decode=True), part.get_param("name")), (octets, "a"))

    def test_base64_that_is_none(self) -> None:
        """A text that claims to be base64 and is not stays a text."""
        head = HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        octets = "Die Grüße kommen heute an.\r\n".encode()
        for content, hop in ((octets, SEVEN_BIT), (LONG, EIGHT_BIT)):
            [part] = leaves(finish(head + content, hop))
            self.assertEqual(part["Content-Transfer-Encoding"], "quoted-printable")
            self.assertEqual(part.get_payload(decode=True).rstrip(), content.rstrip())

    def test_the_words_of_the_header_tell_the_charset(self) -> None:
        """A text of one octet a letter that names no charset is in that of the words in the header."""
        for charset, wanted, octets in (
            ("iso-8859-9", "iso-8859-9", "Sayı ş ve iki".encode("cp1254")),
            ("koi8-r", "koi8-r", "привет и ещё много слов".encode("koi8-r")),
            ("euc-kr", "euc-kr", "제목과 더 많은 글".encode("euc-kr")),
            ("utf-8", "windows-1252", "Sayı ş ve iki".encode("cp1254")),
        ):
            mail = ADDED + f"Subject: =?{charset}?q?a?=\r\n\r\n".encode() + octets
            [part] = leaves(finish(mail, SEVEN_BIT))
            self.assertEqual((part.get_content_charset(), part.get_payload(decode=True)), (wanted, octets))

    def test_html_names_its_charset_first(self) -> None:
        """What HTML says of its charset holds, though its octets might be UTF-8 by chance."""
        octets = "<meta charset=iso-8859-1><p>Ã¼ and much more".encode("latin-1")
        [part] = leaves(finish(HEAD + b"Content-Type: text/html\r\n\r\n" + octets, SEVEN_BIT))
        self.assertEqual(part.get_content_charset(), "iso-8859-1")

    def test_ascii_under_an_eight_bit_label(self) -> None:
        """Nothing changes in a mail that is all ASCII, whatever it says of itself."""
        for label in (b"8bit", b"binary"):
            mail = HEAD + b"Content-Transfer-Encoding: " + label + b"\r\n" + mixed(text(b"x"))[len(HEAD) :]
            self.assertEqual(finish(mail, SEVEN_BIT), mail)

    def test_octets_that_are_no_text(self) -> None:
        """What is no text, or has controls that no text has, becomes base64, to the octet."""
        for kind, octets in (
            ("application/pdf", b"%PDF\xe2" + LONG),
            ("text/plain", b"a\0b" + LONG),
            ("image/png", b"\r\n\xff"),
        ):
            mail = (
                HEAD
                + f"Content-Type: {kind}; name=x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
                + octets
            )
            [part] = leaves(finish(mail, SEVEN_BIT))
            self.assertEqual(part.get_all("Content-Transfer-Encoding"), ["base64"])
            self.assertEqual(part.get_payload(decode=True), octets)
            self.assertEqual(part.get_param("name"), "x")

    def test_strange_encodings(self) -> None:
        """An encoding that says nothing counts as none."""
        for encoding in ("utf-8", "8-bit", "", "7bit\r\nContent-Transfer-Encoding: 8bit"):
            mail = HEAD + f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + "Grüße".encode()
            [part] = leaves(finish(mail, SEVEN_BIT))
            self.assertEqual(part.get_payload(decode=True), "Grüße".encode())
            self.assertEqual(len(part.get_all("Content-Transfer-Encoding")), 1)

    def test_footer_below_base64(self) -> None:
        """What a list or a scanner wrote below a file in base64 does not become part of the file."""
        head = (
            HEAD + b"Content-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        )
        long_word = b"Donaudampfschifffahrtsgesellschaftskapitaenswitwe"
        octets = b"%PDF-1.4\n" + bytes(range(256)) * 7
        for file, footers in (
            (octets, (b"\r\n" + long_word + b" b\r\n", b"\r\n-- \r\n" + long_word + b"\r\n", b" \r\n")),
            (octets[:-1], ()),
            (octets[:241], ()),
        ):
            letters = binascii.b2a_base64(file, newline=False)
            for footer in (
                *footers,
                b"\r\n________\r\nList mailing list\r\nhttps://lists.example/info/list\r\n",
                "\r\n-- \r\nGeprüft: keine Gefahr für Sie\r\n".encode(),
                "\r\nÜberwacht: a@x.example\r\n".encode("latin-1"),
            ):
                content = head + letters + footer + LONG + b"\r\n"
                for mail in (content, mixed(content.removeprefix(HEAD))):
                    finished = finish(mail)
                    [part] = leaves(finished)
                    self.assertEqual(part.get_payload(decode=True), file)
                    self.assertEqual(said(finished), said(mail))

    def test_blocks_of_base64(self) -> None:
        """Of several padded blocks all are there for each reader, and a footer is not."""
        for footer in (b"", b"\r\nvirus-free\r\n"):
            letters = b"YQ==\r\n" + b"QUJD" * 400 + b"\r\nYmM=" + footer
            mail = HEAD + b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + letters
            [part] = leaves(finish(mail))
            self.assertEqual(part.get_payload(decode=True), b"a" + b"ABC" * 400 + b"bc")

    def test_type_by_the_file_name(self) -> None:
        """A part without a type, or with one that nobody can read, is what its file name tells."""
        octets = b"%PDF\xe2" * 20
        for fields, kind in (
            (b"Content-Disposition: attachment; filename=a.pdf\r\n", "application/pdf"),
            (b"Content-Type: \r\nContent-Disposition: attachment; filename=a.docx\r\n", DOCX),
            (b"Content-Type: ; name=a.png\r\n", "image/png"),
            (b"Content-Disposition: inline; filename=a.txt\r\n", "text/plain"),
        ):
            mail = mixed(fields + b"\r\n" + octets)
            for stored in (mail, (HEAD + fields + b"\r\n" + octets)):
                finished = finish(stored, SEVEN_BIT)
                [part] = leaves(finished)
                self.assertEqual((part.get_content_type(), part.get_payload(decode=True)), (kind, octets))
                self.assertEqual(said(finished), said(stored))
            self.assertEqual(finish(mail), mail)
