"""Nothing of planted addresses and subjects is in what a relay with ``privacy`` tells, from its start on."""

import json
import tarfile
from pathlib import Path

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SmtpSink
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

#: Neither these words nor an address with them may be found.
PLANTED = ("planted", "geheim")
SENDER = "planted.sender@x.example"
MAIL = (
    b"From: planted.author@x.example\r\nTo: planted.header@x.example\r\n"
    b"Subject: geheim\r\nMessage-ID: <planted.id@x.example>\r\n\r\nhello\r\n"
)
SETTINGS = """\
privacy: {subjects: false, addresses: %s}
logging: {level: debug, format: json}
"""
BOUNCES = "bounces: {copy: planted.copy@x.example, from:"
RULE = "via: [out], rewrite: {recipients: {planted.old@x.example: planted.new@x.example}},"


class PrivateTests(Stage, TestCase):
    async def test_everywhere(self) -> None:
        """Log, lists, history, metrics, page, exports of finished mail; a bounce and its copy are mail."""
        for addresses in ("domain", "hash"):
            place = self.folder / addresses
            place.mkdir()
            await self.told_by(place, addresses)

    async def told_by(self, place: Path, addresses: str) -> None:
        sink = SmtpSink()
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        senders = f', allow_senders: ["{SENDER}"]'
        relay = self.ending(RelayProcess.of(place, provider, listener=senders))
        text = relay.config.read_text().replace("bounces: {from:", BOUNCES).replace("via: [out],", RULE)
        text = text.replace("serve: [health, metrics]", "serve: [health, metrics, dashboard, api]")
        relay.config.write_text(text + SETTINGS % addresses)
        await relay.start()
        await relay.send(MAIL, "planted.old@x.example", sender=SENDER)
        await eventually(lambda: len(sink.messages) == 1, "a mail")
        sink.script("RCPT", "550 5.1.1 <planted.two@x.example> is nobody")
        await relay.send(MAIL, "planted.two@x.example", sender=SENDER)
        await eventually(lambda: "planted.copy@x.example" in sink.messages[-1].recipients, "a bounce, copied")
        self.assertIn(b"planted.two@x.example", sink.messages[-1].body)
        sink.always("RCPT", "451 4.2.1 planted.three@x.example: later")
        await relay.send(MAIL, "planted.three@x.example", sender=SENDER)
        await relay.send(MAIL, "planted.four@x.example", sender="planted.other@x.example")
        await relay.life.says("planted.three|451 4.2.1")
        found = {
            "list": await relay.cli("queue", "list"),
            "status": await relay.cli("status"),
            "history": await relay.cli("history"),
            "refused": await relay.cli("refused"),
            "providers": await relay.cli("providers", "list"),
            "metrics": await self.http(f"{relay.http}/metrics"),
            "page": await self.http(f"{relay.http}/api/v1/queue?state=any"),
        }
        self.assertEqual(len(found["list"]["deliveries"]), 1)
        self.assertGreaterEqual(len(found["history"]["deliveries"]), 2)
        await relay.cli(
            "queue", "export", "--state", "delivered", "--state", "failed", str(place / "out.tar")
        )
        with tarfile.open(place / "out.tar") as archive:
            # The content of a mail that failed is the mail itself.
            members = [each for each in archive if not each.name.endswith(".eml")]
            self.assertGreaterEqual(len(members), 3)
            found["export"] = [archive.extractfile(each).read().decode() for each in members]
        await relay.stop()
        found["log"] = relay.life.out.decode()
        self.assertIn("config.effective", found["log"])
        for where, told in found.items():
            for word in PLANTED:
                self.assertNotIn(
                    word, told if isinstance(told, str) else json.dumps(told), (where, addresses)
                )

    async def http(self, url: str) -> str:
        """Return what is there."""
        answer = await treq.get(url, persistent=False, reactor=reactor)
        self.assertEqual(answer.code, 200)
        text: str = await answer.text()
        return text
