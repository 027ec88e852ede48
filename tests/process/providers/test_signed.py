"""
What another mail server gets of a relay that signs: by its configuration, with its threads and its worker.
"""

import dkim
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SmtpSink
from tests.mime.dkim.keys import PEMS, RECORDS
from tests.process.program import eventually
from tests.process.providers.test_outgoing import SEVEN_BIT
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

SHORT = b"From: app@example.com\r\nSubject: x\r\n\r\nhi\r\n"
ENTRY = "  - {{domain: example.com, selector: {0}, key: {{file: {0}.pem}}}}\n"
MAIL = "From: app@example.com\r\nSubject: Grüße\r\n\r\n{}"


def verified_by_rsa(mail: bytes) -> bool:
    """Return whether the only signature is valid."""
    return bool(dkim.verify(mail, minkey=512, dnsfunc=lambda *_, **__: RECORDS["rsa"].encode()))


def verified(mail: bytes) -> list[bool]:
    """Return of each key whether its signature is valid, by dkimpy."""
    signed = dkim.DKIM(mail, minkey=512)
    return [
        signed.verify(idx=number, dnsfunc=lambda *_, kind=kind, **__: RECORDS[kind].encode())
        for number, kind in enumerate(PEMS)
    ]


class SignedTests(Stage, TestCase):
    async def test_signed(self) -> None:
        """Each key signs what a server without 8BITMIME gets, of a short mail and of a large one."""
        for kind, pem in PEMS.items():
            (self.folder / f"{kind}.pem").write_text(pem)
        sink = SmtpSink(keywords=SEVEN_BIT)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        relay = self.ending(RelayProcess.of(self.folder, provider))
        with relay.config.open("a") as file:
            file.write("dkim:\n" + "".join(map(ENTRY.format, PEMS)))
        await relay.start()
        for number, lines in enumerate((1, 60_000), start=1):
            mail = MAIL.format("Die  Grüße kommen\t heute an. \r\n" * lines)
            self.assertIn("250 2.0.0", await relay.send(mail.encode(), "user@example.com"))
            await eventually(lambda number=number: len(sink.messages) == number, "the mail")
            self.assertTrue(sink.messages[-1].body.isascii())
            self.assertEqual(verified(sink.messages[-1].body), [True, True])

    async def test_unusable_key(self) -> None:
        """
        While a key is damaged its mail waits, without an end, and that is told of everywhere; then it leaves.

        A key whose file is gone signs on: what was read last counts.
        """
        sink = SmtpSink()
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        relay = self.ending(RelayProcess.of(self.folder, provider))
        text = relay.config.read_text().replace(
            "retry: {first: 200ms", "expire: 1s, retry: {first: 200ms, max: 300ms"
        )
        relay.config.write_text(text + "dkim:\n" + ENTRY.format("rsa"))
        key = self.folder / "rsa.pem"
        key.write_text(PEMS["rsa"])
        await relay.start()
        await relay.send(SHORT, "user@example.com")
        await eventually(lambda: len(sink.messages) == 1, "the first mail")
        key.unlink()
        await relay.send(SHORT, "user@example.com")
        await eventually(lambda: len(sink.messages) == 2, "a mail by the key that is known")
        key.write_text("-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n")
        await relay.send(SHORT, "user@example.com")
        await relay.life.says(r"no mail of example\.com can be signed by rsa: it is damaged")
        failed = 'smtprelay_dkim_signatures_total{domain="example.com",result="failed",selector="rsa"}'

        async def is_old() -> bool:
            return await relay.metric(failed) > 6  # more than its route's time has passed

        await eventually(is_old, "several attempts")
        [line] = [each for each in (await relay.status())["attention"] if each["kind"] == "dkim"]
        self.assertIn("mail of example.com waits, it cannot be signed by rsa: it is damaged", line["text"])
        [waiting] = await relay.queued()
        self.assertIn(waiting["state"], ("deferred", "active", "queued"))
        self.assertEqual(len(sink.messages), 2)
        key.write_text(PEMS["rsa"])
        await eventually(lambda: len(sink.messages) == 3, "the mail that waited")
        self.assertEqual((await relay.status())["attention"], [])
        self.assertEqual([verified_by_rsa(each.body) for each in sink.messages], [True] * 3)
