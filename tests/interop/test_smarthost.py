"""Other mail servers as the smarthost: each recipient has its own end, no mail is lost or doubled."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred as Waiting
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Deferred, Delivered, Failed, Results
from smtprelay.providers.smarthost.provider import Smarthost
from smtprelay.testing.smtp import SmtpSink
from tests.interop import mail_servers, postfix
from tests.interop.mail_servers import LATER, NOBODY, MailServer
from tests.interop.postfix import Postfix
from tests.ports import free_port
from tests.process.program import eventually
from tests.process.stage import Stage
from tests.providers.smarthost_wiring import Stored, delivery, settings
from tests.recording import Recording

try:
    from aiosmtpd.controller import Controller
except ImportError:
    Controller = None

MAILS = 20
ACCESS = f"""
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ {NOBODY} = 550 5.1.1 nobody }} }},
    check_recipient_access inline:{{ {{ {LATER} = 451 4.7.1 greylisted }} }},
    permit_mynetworks, reject
"""


def body(number: int) -> bytes:
    """Return a mail: some large, some with a line that is only a dot, some with octets that are not ASCII."""
    text = (b"hello\r\n.\r\n..\r\n", "Grüße\r\n".encode(), b"x" * 70 + b"\r\n")[number % 3]
    return b"Subject: n%d\r\nFrom: a@example.com\r\n\r\n" % number + text * (10_000 if number % 7 == 0 else 1)


class Handler:
    """Of aiosmtpd: takes and refuses as the others do."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Sequence[str]]] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, to: str, _options: Any) -> str:
        """Answer RCPT."""
        if to in {NOBODY, LATER}:
            return "550 5.1.1 nobody" if to == NOBODY else "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(to)
        return "250 2.1.5 ok"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        """Take a message."""
        self.taken.append((envelope.content, tuple(envelope.rcpt_tos)))
        return "250 2.0.0 Ok: queued as x"


class SmarthostTests(Stage, TestCase):
    async def sink(self) -> tuple[SmtpSink, int]:
        """Return where the servers relay to."""
        sink = SmtpSink()
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        return sink, port.getHost().port

    async def send(self, port: int) -> None:
        """Send all mail over a few connections; check each recipient's outcome."""
        made = settings(host="127.0.0.1", port=port, tls="none", connections=3)
        provider = Smarthost("host", reactor, made, Recording())
        try:
            found: list[Results] = await gatherResults(
                [Waiting.fromCoroutine(self.deliver(provider, number)) for number in range(MAILS)]
            )
        finally:
            await provider.close()
        for number, results in enumerate(found):
            self.assertEqual(len(results), 4)
            for who in ("anna", "ben"):
                self.assertIsInstance(results[f"{who}{number}@example.com"], Delivered)
            self.assertIsInstance(results[NOBODY], Failed)
            self.assertIn(f"127.0.0.1:{port} refused the recipient: 550", results[NOBODY].why)
            self.assertIsInstance(results[LATER], Deferred)
            self.assertIn(f"127.0.0.1:{port} refused the recipient: 451", results[LATER].why)

    async def deliver(self, provider: Smarthost, number: int) -> Results:
        """Deliver one mail."""
        to = (f"anna{number}@example.com", NOBODY, f"ben{number}@example.com", LATER)
        return await provider.deliver(Attempt(delivery(*to), Stored(body(number))))

    async def check(self, sink: SmtpSink) -> None:
        """Each recipient has got each mail once, and whole."""

        def taken() -> Counter[str]:
            return Counter(to for message in sink.messages for to in message.recipients)

        wanted = Counter(f"{who}{number}@example.com" for number in range(MAILS) for who in ("anna", "ben"))
        await eventually(lambda: taken().total() >= 2 * MAILS, "all mail")
        self.assertEqual(taken(), wanted)
        for message in sink.messages:
            number = int(message.body.split(b"Subject: n")[1].split()[0])
            self.assertEqual(message.body.split(b"\r\n\r\n", 1)[1], body(number).split(b"\r\n\r\n", 1)[1])

    async def test_postfix(self) -> None:
        """Postfix."""
        sink, relay = await self.sink()
        server = await Postfix.start(self.folder, relay, ACCESS)
        self.addCleanup(server.stop)
        await self.send(server.port)
        await self.check(sink)

    async def unpacked(self, package: str) -> None:
        sink, relay = await self.sink()
        server = await MailServer.start(package, self.folder, relay)
        self.addCleanup(server.stop)
        await self.send(server.port)
        await self.check(sink)

    async def test_exim(self) -> None:
        """Exim."""
        await self.unpacked("exim4-daemon-light")

    async def test_opensmtpd(self) -> None:
        """OpenSMTPD."""
        await self.unpacked("opensmtpd")

    async def test_aiosmtpd(self) -> None:
        """aiosmtpd, which offers no PIPELINING."""
        handler = Handler()
        controller = Controller(handler, hostname="127.0.0.1", port=free_port())
        controller.start()
        self.addCleanup(controller.stop)
        await self.send(controller.port)
        taken = Counter(to for _, recipients in handler.taken for to in recipients)
        self.assertEqual(set(taken.values()), {1})
        self.assertEqual(taken.total(), 2 * MAILS)
        self.assertEqual({content for content, _ in handler.taken}, {body(n) for n in range(MAILS)})

    if postfix.why_not():
        test_postfix.skip = postfix.why_not()
    if mail_servers.why_not():
        test_exim.skip = test_opensmtpd.skip = mail_servers.why_not()
    if Controller is None:
        test_aiosmtpd.skip = "AIOSMTPD IS MISSING (pip install aiosmtpd)"
