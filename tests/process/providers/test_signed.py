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

ENTRY = "  - {{domain: example.com, selector: {0}, key: {{file: {0}.pem}}}}\n"
MAIL = "From: app@example.com\r\nSubject: Grüße\r\n\r\n{}"


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
        (self.folder / "rsa.pem").write_text(
            "-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n"
        )
        await relay.send(MAIL.format("hi\r\n").encode(), "user@example.com")
        await relay.life.says(r"no mail of example\.com can be signed by rsa: it is damaged")
        self.assertEqual(len(sink.messages), 2)
