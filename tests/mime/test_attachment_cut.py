import base64
import email
from email.message import EmailMessage
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.attachment_cut import CutAttachment, cut_attachments


def cut(mail: bytes, most: int) -> tuple[list[CutAttachment], bytes]:
    facts, rest = cut_attachments(mail, {"most": most})
    return [CutAttachment(**part) for part in facts["parts"]], rest


def content(mail: bytes, part: CutAttachment) -> bytes:
    octets = mail[part.begin : part.end]
    return base64.b64decode(octets) if part.is_base64 else octets


def mail_of(*files: tuple[str, bytes], **more: Any) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"] = "Files"
    mail["From"] = "ann@example.com"
    mail.set_content("the text\n")
    for name, octets in files:
        mail.add_attachment(octets, maintype="application", subtype="pdf", filename=name, **more)
    return mail


def octets_of(mail: EmailMessage) -> bytes:
    return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class CutTests(SynchronousTestCase):
    def test_largest_first(self) -> None:
        """The largest are cut out until the rest is small enough; the rest is the mail without them."""
        small, large, medium = b"s" * 3_000, b"L" * 90_000, b"m" * 40_000
        mail = octets_of(mail_of(("small.pdf", small), ("large.pdf", large), ("medium.pdf", medium)))
        parts, rest = cut(mail, 100_000)
        self.assertEqual(
            [(p.name, p.kind, p.size, p.inline) for p in parts],
            [("large.pdf", "application/pdf", 90_000, False)],
        )
        self.assertEqual(content(mail, parts[0]), large)
        left = [part for part in email.message_from_bytes(rest).walk() if not part.is_multipart()]
        self.assertEqual([part.get_filename() for part in left], [None, "small.pdf", "medium.pdf"])
        self.assertEqual([part.get_payload(decode=True) for part in left[1:]], [small, medium])
        parts, rest = cut(mail, 10_000)
        self.assertEqual([part.name for part in parts], ["large.pdf", "medium.pdf"])
        self.assertLess(len(rest), 10_000)

    def test_all_parts(self) -> None:
        """A multipart that loses all of its parts has an empty text instead."""
        mail = (
            b"From: a@x\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
            b"--B\r\nContent-Type: image/png\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(b"x" * 9000) + b"\r\n--B--\r\n"
        )
        [part], rest = cut(mail, 1000)
        self.assertEqual((part.name, content(mail, part)), ("attachment-1.png", b"x" * 9000))
        [only] = email.message_from_bytes(rest).get_payload()
        self.assertEqual((only.get_content_type(), only.get_payload()), ("text/plain", ""))

    def test_mail_that_is_a_file(self) -> None:
        """Of a mail that is nothing but a file the header stays."""
        mail = (
            b"From: a@x\r\nSubject: Scan\r\nContent-Type: application/pdf; name=scan.pdf\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(b"x" * 9000)
        )
        [part], rest = cut(mail, 1000)
        self.assertEqual((part.name, content(mail, part)), ("scan.pdf", b"x" * 9000))
        self.assertEqual(rest, b"From: a@x\r\nSubject: Scan\r\n\r\n")

    def test_inline(self) -> None:
        """What a text shows by its id is inline, and keeps the id."""
        mail = mail_of()
        mail.add_alternative("<img src=cid:logo>", subtype="html")
        html: Any = mail.get_payload()[1]
        html.add_related(b"p" * 5000, maintype="image", subtype="png", cid="<logo>", filename="logo.png")
        [part], _ = cut(octets_of(mail), 2000)
        self.assertEqual((part.inline, part.content_id, part.name), (True, "logo", "logo.png"))

    def test_attached_mail(self) -> None:
        """A mail within the mail is a file of its own octets."""
        inner = b"Subject: inner\r\n\r\n" + b"text\r\n" * 2000
        mail = (
            b"From: a@x\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nhello\r\n--B\r\n"
            b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--B--\r\n"
        )
        [part], rest = cut(mail, 1000)
        self.assertEqual(
            (part.name, part.kind, content(mail, part)), ("attachment-1.eml", "message/rfc822", inner)
        )
        self.assertTrue(rest.endswith(b"--B\r\n\r\nhello\r\n--B--\r\n"), rest)

    def test_not_to_be_cut(self) -> None:
        """A large text, what is signed, broken base64 and too many parts stay; nothing comes back."""
        file = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        whole = file + base64.encodebytes(b"x" * 9000)
        head = b"From: a@x\r\nContent-Type: multipart/%b; boundary=B\r\n\r\n"
        for mail in (
            b"From: a@x\r\n\r\n" + b"text\r\n" * 1000,
            head % b"signed" + b"--B\r\n" + whole + b"\r\n--B\r\n\r\nsignature\r\n--B--\r\n",
            head % b"mixed" + b"--B\r\n" + file + b"x!" * 3000 + b"\r\n--B--\r\n",
            head % b"mixed" + b"--B\r\n\r\nx\r\n" * 1200,
        ):
            self.assertEqual(cut(mail, 1000), ([], b""), mail[:100])
