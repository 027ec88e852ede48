"""What becomes of a bounce at a service that knows neither the null sender nor multipart/report."""

import base64

from smtprelay.dispatch.dsn.original_part import Original, header_of, whole_message
from smtprelay.dispatch.dsn.render import BounceSettings, render
from smtprelay.dispatch.dsn.report import Report, ReportedRecipient
from smtprelay.dispatch.dsn.status_part import status_lines
from smtprelay.dispatch.dsn.text_part import text_lines
from smtprelay.model.message import Recipient
from tests.providers.acs_wiring import NOW, Case, delivery, joined_acs

ORIGINAL = b"From: ann@mail.example.com\r\nSubject: Invoice\r\n\r\nPay me\r\n"


def bounce(original: Original, sender: str) -> bytes:
    """Return a bounce to Bob, from ``sender``."""
    refused = ReportedRecipient(
        recipient=Recipient(address="eve@x.org"), why="550 no such user", code="5.1.1"
    )
    report = Report(
        message="M1",
        reference="M1.1.1",
        to="bob@example.net",
        provider="acs",
        received=NOW,
        written=NOW,
        recipients=[refused],
        original=original,
    )
    settings = BounceSettings(sender=sender, hostname="relay.example.com")
    return render(
        report, settings, text_lines(report, settings.hostname), status_lines(report, settings.hostname)
    )


class BounceTests(Case):
    def sent(self, original: Original, sender: str = "MAILER-DAEMON@mail.example.com") -> dict:
        """Send a bounce and return the request that the service got."""
        joined = joined_acs()
        joined.start(delivery(sender=""), bounce(original, sender))
        [request] = joined.sent()
        return request

    def attached(self, request: dict) -> list[tuple[str, str, bytes]]:
        """Return name, type and content of each attachment."""
        return [
            (each["name"], each["contentType"], base64.b64decode(each["contentInBase64"]))
            for each in request["attachments"]
        ]

    def test_the_whole_story_is_there_to_read(self):
        """The letter is the text; the report and the header come as texts that anybody can open."""
        request = self.sent(header_of(ORIGINAL))
        self.assertEqual(request["content"]["subject"], "Undelivered Mail Returned to Sender")
        self.assertIn("Reason (acs): 550 no such user", request["content"]["plainText"])
        self.assertEqual(request["headers"]["Auto-Submitted"], "auto-replied")
        (name, kind, written), (other, other_kind, header) = self.attached(request)
        self.assertEqual((name, kind), ("attachment-1.txt", "text/plain"))
        self.assertIn(b"Final-Recipient: rfc822; eve@x.org\r\nAction: failed\r\n", written)
        self.assertEqual((other, other_kind), ("attachment-2.txt", "text/plain"))
        self.assertEqual(header, b"From: ann@mail.example.com\r\nSubject: Invoice\r\n")

    def test_the_mail_comes_back_as_a_mail(self):
        """A whole message is a file that programs open by its name, byte for byte, international or not."""
        for mail in (ORIGINAL, ORIGINAL.replace(b"Pay", "Zähl".encode())):
            _, (name, kind, content) = self.attached(self.sent(whole_message(mail)))
            self.assertEqual((name, kind, content), ("Invoice.eml", "application/octet-stream", mail))
        international = ORIGINAL.replace(b"Invoice", "Gebühr".encode())
        _, (name, kind, content) = self.attached(self.sent(whole_message(international)))
        self.assertEqual((name, kind, content), ("Gebühr.eml", "application/octet-stream", international))

    def test_who_it_is_from(self):
        """From bounces.from where the service may send as its domain, else from the usual address."""
        self.assertEqual(self.sent(header_of(b""))["senderAddress"], "MAILER-DAEMON@mail.example.com")
        other = self.sent(header_of(b""), "MAILER-DAEMON@elsewhere.org")
        self.assertEqual(other["senderAddress"], "DoNotReply@mail.example.com")
        self.assertEqual([each["address"] for each in other["replyTo"]], ["MAILER-DAEMON@elsewhere.org"])
