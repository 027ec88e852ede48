import base64
from email import message_from_string
from pathlib import Path

import treq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.demo import CloudMailbox, sample_mail
from smtprelay.testing.acs import Ends, FakeAcs, Operation
from tests.process.program import Program, eventually

REQUEST = {
    "senderAddress": "demo@example.com",
    "recipients": {
        "to": [{"address": "you@example.com", "displayName": "You"}],
        "bcc": [{"address": "blind@example.com"}],
    },
    "content": {"subject": "Hi", "plainText": "text", "html": "<p>html</p>"},
    "headers": {"X-Demo": "yes"},
    "replyTo": [{"address": "answers@example.com"}],
    "attachments": [
        {
            "name": "dot.png",
            "contentType": "image/png",
            "contentInBase64": base64.b64encode(b"dot").decode(),
            "contentId": "dot",
        }
    ],
}


class SampleTests(SynchronousTestCase):
    def test_shows_everything(self) -> None:
        """The sample is a whole mail: text, HTML with an image of its own, an attachment."""
        mail = message_from_string(str(sample_mail()))
        kinds = [part.get_content_type() for part in mail.walk() if not part.is_multipart()]
        self.assertEqual(kinds, ["text/plain", "text/html", "image/png", "text/csv"])
        self.assertTrue(all(mail[name] for name in ("Date", "Message-ID", "From", "To", "Cc")))
        self.assertNotIn("blind", str(mail))


class CloudMailboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fake = FakeAcs(Clock(), keys=["a2V5"])
        self.mailbox = CloudMailbox(self.fake)

    def take(self, name: str, status: str = "Succeeded") -> None:
        """Let the cloud have taken a mail."""
        self.fake.operations[name] = Operation(
            id=name, request=REQUEST, time=7.0, digest=b"", ends=Ends(status), size=99
        )

    def test_a_mail(self) -> None:
        """A mail is shown as the provider got it, recipients in no header too."""
        self.take("op")
        mail = self.mailbox.get("op")
        assert mail is not None
        self.assertEqual(mail.recipients, ("You <you@example.com>", "blind@example.com"))
        self.assertEqual((mail.bcc, mail.subject, mail.size), (["blind@example.com"], "Hi", 99))
        self.assertEqual(mail.headers, [("X-Demo", "yes"), ("Reply-To", "answers@example.com")])
        [image] = mail.attachments
        self.assertEqual((image.name, image.content, image.content_id), ("dot.png", b"dot", "dot"))

    def test_order(self) -> None:
        """The newest is first, and what did not go out is not there."""
        for name, status in {"first": "Succeeded", "lost": "Failed", "last": "Succeeded"}.items():
            self.take(name, status)
        self.assertEqual([mail.id for mail in self.mailbox.list()], ["last", "first"])
        self.assertEqual((self.mailbox.get("lost"), self.mailbox.get("never")), (None, None))


class DemoTests(TestCase):
    """The demo as a person starts it."""

    timeout = 90

    async def _seen(self, page: str) -> list[str]:
        answer = await treq.get(f"{page}api/v1/mailbox", timeout=20, persistent=False)
        return [mail["subject"] for mail in (await treq.json_content(answer))["mails"]]

    async def _whole(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        ports = ["--smtp-port", "0", "--http-port", "0"]
        demo = Program.python(["-m", "smtprelay", "demo", *ports], folder)
        self.addCleanup(demo.stop)
        page = (await demo.says(r"Page +(http://127\.0\.0\.1:[0-9]+/)"))[1]
        place = Path((await demo.says(r"Ctrl-C ends it; (\S+) is removed"))[1])
        self.assertTrue(place.is_dir())
        subjects = await eventually(lambda: self._seen(page), "the sample is there")
        self.assertEqual(subjects, ["Welcome – your relay works ✓"])
        self.assertEqual((await demo.stop(), place.exists()), (0, False))
        self.assertNotIn(b"config.effective", demo.out)

    def test_whole(self) -> Deferred[None]:
        """It listens where it says, its sample arrives, and it leaves nothing behind."""
        return Deferred.fromCoroutine(self._whole())
