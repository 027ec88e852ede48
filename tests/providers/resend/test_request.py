"""What a mail becomes for Resend."""

import base64
from email.message import EmailMessage
from typing import Any

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Delivered, Failed
from smtprelay.model.shape import shape_of
from smtprelay.providers.json_mail import encoded_size
from smtprelay.providers.resend.request import map_mail, measure
from tests.mime.hostile import mails
from tests.providers.resend_wiring import BOB, CY, MAIL, JoinedResend

PICTURE = b'<p>see <img src="cid:one"></p>'


class Everywhere(set[str]):
    """All domains are verified."""

    def __contains__(self, _: object) -> bool:
        return True


def sent(body: bytes | EmailMessage, *recipients: str) -> dict[str, Any]:
    """Return the request that the service accepted, and sends."""
    resend = JoinedResend()
    octets = body if isinstance(body, bytes) else body.as_bytes()
    resend.deliver(*recipients or (BOB,), body=octets)
    [mail] = resend.fake.mails
    assert mail.sent
    return dict(mail.request)


class RequestTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Resend reads no quotes: a name that needs them is an encoded word; others go as they are."""
        for name, expected in (
            ("Ann Smith", "Ann Smith"),
            ("J. Smith", "J. Smith"),
            ("=?utf-8?q?J=C3=BCrgen?=", "Jürgen"),
            ('"Doe, John"', "=?utf-8?q?Doe=2C_John?="),
            ('"x@y (z) <evil@example.org>"', "=?utf-8?q?x=40y_=28z=29_=3Cevil=40example=2Eorg=3E?="),
        ):
            request = sent(MAIL.replace(b"Ann", name.encode()).replace(b"Bob", name.encode()))
            self.assertEqual(request["from"], f"{expected} <ann@mail.example.com>")
            self.assertEqual(request["to"], [f"{expected} <{BOB}>"])

    def test_content(self) -> None:
        """Subject, text, HTML and headers; what Resend requires and a mail lacks is added."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "ann@mail.example.com", BOB, "Grüße"
        mail["X-Kind"], mail["References"], mail["Reply-To"] = "alarm", "<a@b.example>", "Cy <cy@example.net>"
        mail.set_content("text\n")
        mail.add_alternative("<b>html</b>\n", subtype="html")
        request = sent(mail)
        self.assertEqual(request["subject"], "Grüße")
        self.assertEqual((request["text"].strip(), request["html"].strip()), ("text", "<b>html</b>"))
        self.assertEqual(request["reply_to"], ["Cy <cy@example.net>"])
        self.assertEqual(request["headers"], {"X-Kind": "alarm", "References": "<a@b.example>"})
        nothing = sent(b"From: ann@mail.example.com\r\nTo: bob@example.net\r\n\r\n")
        self.assertEqual((nothing["subject"], nothing["text"]), ("(no subject)", " "))

    def test_blind(self) -> None:
        """No field tells of blind recipients."""
        request = sent(b"Bcc: cy@example.net\r\nX-Bcc: cy@example.net\r\n" + MAIL, BOB, CY)
        self.assertEqual(request.pop("bcc"), [CY])
        self.assertNotIn("cy@", str(request))

    def test_files(self) -> None:
        """Files arrive byte for byte, with a name and no type; a picture in the HTML stays in its place."""
        mail = EmailMessage()
        mail["From"], mail["To"] = "ann@mail.example.com", BOB
        mail.set_content(PICTURE.decode(), subtype="html")
        mail.add_related(b"\x89PNG", "image", "png", cid="<one>", filename="p.png")
        mail.add_attachment(bytes(range(256)), "text", "csv", filename="data.txt")
        mail.add_attachment(b"", "application", "pdf", filename="empty.pdf")
        mail.add_attachment(b"x", "application", "pdf")
        request = sent(mail)
        self.assertIn("cid:one", request["html"])
        picture, data, empty, nameless = request["attachments"]
        self.assertEqual(picture["content_id"], "one")
        self.assertEqual(base64.b64decode(data.pop("content")), bytes(range(256)))
        self.assertEqual(data, {"filename": "data.txt"})
        self.assertEqual(base64.b64decode(empty["content"]), b"\n")
        self.assertTrue(nameless["filename"].endswith(".pdf"))

    def test_long_content_id(self) -> None:
        """An id that is too long for Resend is renamed, with what refers to it."""
        long = "x" * 128
        mail = EmailMessage()
        mail["From"], mail["To"] = "ann@mail.example.com", BOB
        mail.set_content(f'<img src="cid:{long}">', subtype="html")
        mail.add_related(b"\x89PNG", "image", "png", cid=f"<{long}>")
        request = sent(mail)
        self.assertEqual(request["attachments"][0]["content_id"], "part-1")
        self.assertIn('src="cid:part-1"', request["html"])

    @settings(max_examples=80, deadline=None)
    @given(mails())
    def test_any_mail(self, octets: bytes) -> None:
        """Whatever is in a mail, Resend takes and sends it, or it was too complex; its size is as told."""
        resend = JoinedResend()
        resend.fake.domains = Everywhere()
        results = resend.deliver(BOB, CY, body=octets)
        for outcome in results.values():
            self.assertIsInstance(outcome, Delivered | Failed)
            self.assertTrue(isinstance(outcome, Delivered) or outcome.code == "5.6.0", outcome)
        self.assertTrue(all(mail.sent for mail in resend.fake.mails))
        if resend.fake.mails:
            parameters = {"recipients": [BOB, CY], "envelope_sender": "a@b.example", "largest": None}
            size = measure(octets, parameters)[0]["size"]
            least, most = encoded_size(shape_of(octets), 2)
            self.assertTrue(least <= size <= most)
            facts, body = map_mail(octets, parameters)
            self.assertEqual(size, max(len(body) + len(r["recipients"].encode()) for r in facts["requests"]))
