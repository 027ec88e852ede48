"""What is attached to a mail is a file: its name, its type and each of its octets."""

from email.message import EmailMessage

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import read
from tests.mime.writing import BYTES, PLAIN, crlf, file, multipart, part, within


class AttachmentTests(SynchronousTestCase):
    def built(self) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = "Grüße"
        mail.set_content("text")
        mail.add_alternative('<img src="cid:i1">', subtype="html")
        mail.get_payload()[1].add_related(b"\x89PNG\r\n", "image", "png", cid="<i1>")
        mail.add_attachment(
            bytes(range(256)), maintype="application", subtype="pdf", filename="Prüfung 1.pdf"
        )
        return mail

    def test_nested(self):
        """Mixed, alternative and related within each other: nothing is lost, and bytes are exact."""
        mail = read(self.built().as_bytes().replace(b"\n", b"\r\n"))
        self.assertEqual(
            (mail.subject, mail.text.strip(), mail.html.strip()), ("Grüße", "text", '<img src="cid:i1">')
        )
        inline, attached = mail.attachments
        self.assertEqual(inline, file("attachment-1.png", "image/png", b"\x89PNG\r\n", "i1"))
        self.assertEqual(attached, file("Prüfung 1.pdf", "application/pdf", BYTES))

    def test_scan_to_mail(self):
        """A mail that is only an attachment has no text."""
        mail = read(
            b"Content-Type: application/pdf; name=scan.pdf\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nJVBERg=="
        )
        self.assertEqual((mail.text, mail.html), (None, None))
        self.assertEqual(mail.attachments, [file("scan.pdf", "application/pdf", b"%PDF")])

    def test_forwarded_mail(self):
        """An attached mail is one file, byte for byte, named by its subject."""
        inner = b"Subject: =?utf-8?q?a/b?=\r\nTo: x@y\r\n\r\n--b\r\ninner\r\n"
        for label in (b"", b"Content-Transfer-Encoding: base64\r\n"):  # which no mail in a mail is
            part = b"Content-Type: message/rfc822\r\n" + label + b"\r\n" + inner
            mail = read(
                b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n" + part + b"\r\n--bb--\r\n"
            )
            self.assertEqual(mail.attachments, [file("a_b.eml", "message/rfc822", inner)], label)


class AppleDoubleTests(SynchronousTestCase):
    """RFC 1740: a file of a Mac in two parts: its resource fork, which only a Mac reads, and itself."""

    FORK = part("Content-Type: application/applefile; name=a.pdf", b"\0\x05\x16\x07")
    FILE = part("Content-Type: application/pdf; name=a.pdf", b"%PDF")

    def test_the_file_alone_arrives(self):
        """The resource fork is no second file of the same name, wherever it stands."""
        double = multipart(self.FORK, self.FILE, subtype="appledouble")
        for mail in (
            double,
            multipart(self.FILE, self.FORK, subtype="appledouble"),
            multipart(PLAIN, within(double)),
        ):
            with self.subTest(mail):
                self.assertEqual(read(mail).attachments, [file("a.pdf", "application/pdf", b"%PDF")])

    def test_a_fork_without_its_file(self):
        """What has no file beside it in such a pair is all that there is, and is attached."""
        fork = file("a.pdf", "application/applefile", b"\0\x05\x16\x07")
        pdf = file("a.pdf", "application/pdf", b"%PDF")
        for mail, expected in (
            (multipart(self.FORK, subtype="appledouble"), [fork]),
            (multipart(self.FORK, self.FORK, subtype="appledouble"), [fork, fork]),
            (multipart(self.FORK, self.FILE), [fork, pdf]),
            (multipart(within(multipart(self.FORK, subtype="appledouble")), self.FILE), [fork, pdf]),
        ):
            with self.subTest(mail):
                self.assertEqual(read(mail).attachments, expected)


class NameTests(SynchronousTestCase):
    """B11: names that programs give, or do not."""

    def test_names(self):
        """File names are decoded by RFC 2231 and RFC 2047, and lose folders and control characters."""
        cases = {
            "filename*=utf-8''%e2%82%ac.pdf": "€.pdf",
            'filename*0="a"; filename*1="b.pdf"': "ab.pdf",
            'filename="=?utf-8?b?4oKsLnBkZg==?="': "€.pdf",
            'filename="../../etc/passwd"': "passwd",
            'filename="C:\\\\x\\\\y.doc"': "y.doc",
            'filename="a\x07b"': "ab",
            'filename=".."': "attachment-1.bin",
            "filename*=nonsense''%ff": "ÿ",
            'filename="Invoice 1/2.pdf"': "Invoice 1_2.pdf",
            'filename="AC\\\\DC.mp3"': "AC_DC.mp3",
            "filename=/tmp/scan/a.pdf": "a.pdf",
            "filename=\n\tfolded.pdf": "folded.pdf",
            'filename="two\n\twords.pdf"': "two words.pdf",
            "filename=fallback.pdf; filename*=UTF-8''Pr%C3%BCf.pdf": "Prüf.pdf",
        }
        for parameter, name in cases.items():
            with self.subTest(parameter):
                head = f"Content-Type: application/x-y\nContent-Disposition: attachment; {parameter}\n\nx"
                self.assertEqual(read(crlf(head)).attachments[0].name, name)

    def test_made_up_names(self):
        """A file without a name gets an extension by its type."""
        for kind, name in (
            ("application/zip", "attachment-1.zip"),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "attachment-1.xlsx"),
            ("audio/wav", "attachment-1.wav"),
            ("image/jpg", "attachment-1.jpg"),
            ("image/x-foo", "attachment-1.foo"),
            ("application/x-y", "attachment-1.bin"),
            ("*/*", "attachment-1.bin"),
        ):
            with self.subTest(kind):
                self.assertEqual(read(crlf(f"Content-Type: {kind}\n\nx")).attachments[0].name, name)

    def test_type_by_name(self):
        """What is no type is told by the name."""
        (attachment,) = read(crlf("Content-Type: */*; name=a.XLSX\n\nx")).attachments
        self.assertEqual(attachment.content_type.rpartition(".")[2], "sheet")
        (attachment,) = read(crlf("Content-Disposition: inline; filename=scan.pdf\n\nx")).attachments
        self.assertEqual(attachment.content_type, "application/pdf")

    def test_either_field_names(self):
        """A name stands in either of two fields, under either of two parameters."""
        for field in (
            "Content-Type: application/pdf; filename=a.pdf",
            "Content-Type: application/pdf\nContent-Disposition: attachment; name=a.pdf",
        ):
            self.assertEqual(read(crlf(f"{field}\n\nx")).attachments[0].name, "a.pdf")

    def test_names_are_harmless(self):
        """Controls, signs that turn the text's direction, and endless names are mended."""
        (attachment,) = read(crlf("Content-Type: a/b; name*=utf-8''%E2%80%AEfdp%00.exe\n\nx")).attachments
        self.assertEqual(attachment.name, "fdp.exe")
        (attachment,) = read(crlf(f"Content-Type: a/b; name={'x' * 300}.pdf\n\nx")).attachments
        self.assertRegex(attachment.name, r"^x{196}\.pdf$")
