import base64
import signal
import smtplib
import socket
import ssl
from email import message_from_string
from pathlib import Path
from typing import Any

import treq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.demo import DemoMail, sample_mail
from smtprelay.telemetry.log import Fanout
from smtprelay.testing.acs import EndedOperation, FakeAcs, Operation
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


class DemoMailTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fake = FakeAcs(Clock(), keys=["a2V5"])
        self.captured = DemoMail(self.fake)

    def take(self, name: str, status: str = "Succeeded") -> None:
        """Let the cloud have taken a mail."""
        self.fake.operations[name] = Operation(
            id=name, request=REQUEST, time=7.0, digest=b"", ends=EndedOperation(status), size=99
        )

    def hear(self, event: str, **fields: object) -> None:
        """Tell the captured mail as the relay does."""
        Fanout([self.captured])(event, **fields)

    def test_a_mail(self) -> None:
        """A mail is shown as the provider got it, recipients in no header too."""
        self.take("op")
        mail = self.captured.get("op")
        assert mail is not None
        self.assertEqual(mail.recipients, ("You <you@example.com>", "blind@example.com"))
        self.assertEqual((mail.bcc, mail.subject), (["blind@example.com"], "Hi"))
        self.assertEqual(mail.headers, [("X-Demo", "yes"), ("Reply-To", "answers@example.com")])
        [image] = mail.attachments
        self.assertEqual((image.name, image.content, image.content_id), ("dot.png", b"dot", "dot"))

    def test_the_relays_id(self) -> None:
        """A mail has the id of its 250, is found by it, and has the size of the message, not the request."""
        self.hear("message.queued", message="M1", size=321)
        for name in ("op-1", "op-2"):
            self.take(name)
        self.hear("message.delivered", message="M1", delivery="M1.1", provider_id="op-1, op-2")
        for name in ("op-1", "op-2"):
            mail = self.captured.get(name)
            assert mail is not None
            self.assertEqual((mail.id, mail.message, mail.size), (name, "M1", 321))
        mail = self.captured.get("M1")
        assert mail is not None
        self.assertEqual(mail.id, "op-2")

    def test_before_the_relay_says_so(self) -> None:
        """A mail that the provider has is shown at once, though its id is not known for a moment."""
        self.take("op")
        [mail] = self.captured.list()
        self.assertEqual((mail.message, mail.size), ("", 0))

    def test_deleted(self) -> None:
        """It is gone for whoever looks, and the provider still knows the operation."""
        for name in ("one", "two"):
            self.take(name)
        self.assertEqual(self.captured.delete(["one", "never"]), 1)
        self.assertEqual([mail.id for mail in self.captured.list()], ["two"])
        self.assertIsNone(self.captured.get("one"))
        self.assertIn("one", self.fake.operations)
        self.assertEqual(self.captured.delete(["one"]), 0)

    def test_order(self) -> None:
        """The newest is first, and what did not go out is not there."""
        for name, status in {"first": "Succeeded", "lost": "Failed", "last": "Succeeded"}.items():
            self.take(name, status)
        self.assertEqual([mail.id for mail in self.captured.list()], ["last", "first"])
        self.assertEqual((self.captured.get("lost"), self.captured.get("never")), (None, None))


class DemoTests(TestCase):
    """The demo as a person starts it."""

    timeout = 90

    async def _seen(self, page: str) -> list[dict[str, Any]]:
        answer = await treq.get(f"{page}api/v1/captured", timeout=20, persistent=False)
        return (await treq.json_content(answer))["mails"]

    def _encrypts(self, place: Path, port: int) -> None:
        """Use STARTTLS, with the certificate that the demo has made."""
        with smtplib.SMTP("127.0.0.1", port, "demo.localhost", timeout=30) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(place / "tls" / "ca.pem")))
            client.noop()

    async def _whole(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        ports = ["--smtp-port", "0", "--http-port", "0"]
        demo = Program.python(["-m", "smtprelay", "demo", *ports], folder)
        self.addCleanup(demo.stop)
        page = (await demo.says(r"Page +(http://127\.0\.0\.1:[0-9]+/)"))[1]
        place = Path((await demo.says(r"Ctrl-C ends it; (\S+) is removed"))[1])
        self.assertTrue(place.is_dir())
        await deferToThread(self._encrypts, place, int((await demo.says(r"SMTP +127\.0\.0\.1:([0-9]+)"))[1]))
        (sample,) = await eventually(lambda: self._seen(page), "the sample is there")
        self.assertEqual(sample["subject"], "Welcome – your relay works ✓")
        queued = (await demo.says(r"(\w{16}): queued from <demo@example.com>"))[1]
        told = await demo.says(r"\.1: delivered to .*acs")
        self.assertTrue(told)
        (sample,) = await self._seen(page)
        self.assertEqual(sample["message"], queued)
        raw = await treq.get(f"{page}api/v1/queue/{queued}/message", timeout=20, persistent=False)
        content = await raw.content()
        self.assertEqual((raw.code, len(content)), (200, sample["size"]))
        self.assertIn(b"X-Demo: yes", content)
        self.assertEqual((await demo.stop(), place.exists()), (0, False))
        self.assertNotIn(b"config.effective", demo.out)
        self.assertNotIn(b'{"', demo.out)

    def test_whole(self) -> Deferred[None]:
        """
        It listens where it says, its sample arrives at once, its source can be read, and nothing is left.

        What it says is text, although nobody reads it at a terminal.
        """
        return Deferred.fromCoroutine(self._whole())

    async def test_a_terminal_that_is_closed(self) -> None:
        """It ends in order then, too, and tells how to name the relay whose mail is to be looked at."""
        folder = Path(self.mktemp())
        folder.mkdir()
        demo = Program.forked(["-m", "smtprelay", "demo", "--smtp-port", "0", "--http-port", "0"], folder)
        self.addCleanup(demo.stop)
        place = Path((await demo.says(r"Ctrl-C ends it; (\S+) is removed"))[1])
        told = (await demo.says(r"Try +(.*) --to you@example.com"))[1]
        self.assertIn(f" -c {place}/smtprelay.yaml send --server 127.0.0.1:", told)
        self.assertEqual((await demo.stop(signal.SIGHUP), place.exists()), (0, False))

    async def test_ports_in_use(self) -> None:
        """It tells which options choose others."""
        folder = Path(self.mktemp())
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            demo = Program.forked(
                ["-m", "smtprelay", "demo", "--smtp-port", port, "--http-port", "0"], folder
            )
            self.assertEqual(await demo.ends(), 69)
        self.assertIn(b"is in use by another program", demo.err)
        self.assertIn(b"--smtp-port and --http-port choose other ports", demo.err)
