"""Relays whose clients wait for the provider's result, over real sockets."""

import os
import socket
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.model.queue import Selection
from smtprelay.service import Relay, StartFailed
from smtprelay.testing.smtp import Pause, SmtpSink
from tests.listed import listed
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.recording import Recording

STATELESS = """\
hostname: relay.test
control_socket: control.sock
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1", delivery: synchronous, reply_deadline: 30s}}]
providers: {{out: {{type: smarthost, host: 127.0.0.1, port: {port}, tls: none}}}}
http: [{{endpoint: "tcp:0:interface=127.0.0.1", serve: [health, metrics]}}]
"""
BESIDE_A_SPOOL = (
    STATELESS.replace("listeners: [", 'listeners: [{{name: queue, endpoint: "tcp:0:interface=127.0.0.1"}}, ')
    + "spool: {{path: spool}}\n"
    + "routes: [{{name: all, via: [out], retry: {{first: 100ms, jitter: 0}}}}]\n"
)

MAIL = (
    b"From: app@example.org\r\nDate: Mon, 30 Nov 2026 09:44:25 +0100\r\nMessage-ID: <1@app.example.org>\r\n"
    b"Subject: test\r\n\r\nHello\r\n"
)


class Page(Protocol):
    """One GET, and all that is answered until the connection ends."""

    def __init__(self) -> None:
        self.content = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.content += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.content)


async def get(endpoint: object, path: str) -> str:
    page = await endpoint.connect(Factory.forProtocol(Page))
    page.transport.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    return (await page.ended).decode()


class SynchronousTests(TestCase):
    timeout = 60

    async def begin(self, config: str = STATELESS) -> Relay:
        """Return a relay that is ready, in a folder of its own, before a sink."""
        # Not trial's own: the path of a UNIX socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        self.sink = SmtpSink(clock=reactor)
        port = await self.sink.listen(reactor)
        self.addCleanup(port.stopListening)
        (self.folder / "relay.yaml").write_text(config.format(port=port.getHost().port))
        relay = self.relay()
        await relay.started
        return relay

    def relay(self) -> Relay:
        config = load(str(self.folder / "relay.yaml"), {}).config
        self.events = Recording()
        relay = Relay(config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(lambda: relay.stopService() if relay.running else None)
        return relay

    async def talk(self, relay: Relay, listener: str = "lan") -> Conversation:
        talk = await Conversation.open(relay.addresses[listener].port)
        await talk.say("EHLO client.test")
        self.addCleanup(talk.close)
        return talk

    async def test_without_a_spool(self) -> None:
        """The mail is at the provider when 250 comes; nothing is kept, and all but the queue works."""
        relay = await self.begin()
        reply = await (await self.talk(relay)).mail(MAIL, "a@example.com", "b@example.com")
        self.assertRegex(reply, r"^250 2\.0\.0 Ok: [0-9A-Z]{16} delivered")
        [message] = self.sink.messages
        self.assertEqual(message.recipients, ("a@example.com", "b@example.com"))
        self.assertTrue(message.body.endswith(MAIL))
        self.assertEqual((relay.spool, self.events.of("message.queued")), (None, []))
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"relay.yaml", "control.sock"})
        site = HostnameEndpoint(reactor, "127.0.0.1", relay.addresses["http1"].port)
        ready = await get(site, "/readyz?verbose")
        self.assertIn("200 OK", ready)
        self.assertNotIn("spool", ready)
        self.assertIn("200 OK", await get(site, "/startupz"))
        metrics = await get(site, "/metrics")
        self.assertIn('smtprelay_delivery_recipients_total{provider="out",result="delivered"} 2.0', metrics)
        control = UNIXClientEndpoint(reactor, str(self.folder / "control.sock"))
        status = await get(control, "/api/v1/status")
        self.assertIn('"stats": null', status.replace('":null', '": null'))

    async def test_large(self) -> None:
        """A mail that is too large for the memory goes through a file and arrives whole."""
        relay = await self.begin()
        mail = MAIL + b"0123456789abcdef" * 4 + b"\r\n"
        mail += b"".join(b"%061d\r\n" % number for number in range(60_000))
        reply = await (await self.talk(relay)).mail(mail, "a@example.com")
        self.assertEqual(reply[:3], "250", reply)
        self.assertTrue(self.sink.messages[0].body.endswith(mail))

    async def test_refused(self) -> None:
        """The provider's refusal is the client's, in its words; a temporary one may be tried again."""
        relay = await self.begin()
        talk = await self.talk(relay)
        self.sink.script("RCPT", "550 5.1.1 no such user here", "451 4.2.1 try later")
        self.assertRegex(await talk.mail(MAIL, "a@example.com"), r"^550 5\.1\.1 .*no such user here")
        self.assertRegex(await talk.mail(MAIL, "a@example.com"), r"^451 4\.3\.0 .*try later")
        self.assertEqual((await talk.mail(MAIL, "a@example.com"))[:3], "250")

    async def test_a_blocked_provider(self) -> None:
        """The client may try again, and ``status`` shows why: nothing else would."""
        relay = await self.begin()
        self.sink.always("MAIL", "530 5.7.0 Authentication required")
        reply = await (await self.talk(relay)).mail(MAIL, "a@example.com")
        self.assertEqual(reply[:3], "451", reply)
        control = UNIXClientEndpoint(reactor, str(self.folder / "control.sock"))
        status = await get(control, "/api/v1/status")
        self.assertRegex(status, r'"text": ?"out is blocked, 0 waiting: .*530 5\.7\.0 Authentication')
        self.assertRegex(await get(control, "/api/v1/providers"), r'"state": ?"blocked"')

    async def test_some_refused(self) -> None:
        """Who is refused beside others is told to the sender by a bounce, through the same provider."""
        relay = await self.begin()
        self.sink.script("RCPT", "550 5.1.1 no such user here")
        reply = await (await self.talk(relay)).mail(MAIL, "a@example.com", "b@example.com")
        self.assertRegex(reply, r"^250 2\.0\.0 .* not to 1 of 2 recipients: .*no such user here")
        await eventually(lambda: len(self.sink.messages) == 2, "the bounce")
        mail, bounce = self.sink.messages
        self.assertEqual((mail.recipients, bounce.recipients), (("b@example.com",), ("app@example.org",)))
        self.assertEqual(bounce.sender, "")
        self.assertIn(b"no such user here", bounce.body)

    async def test_beside_a_spool(self) -> None:
        """Each listener has its way; who is deferred beside others is delivered from the spool."""
        relay = await self.begin(BESIDE_A_SPOOL)
        self.assertIn("queued as", await (await self.talk(relay, "queue")).mail(MAIL, "q@example.com"))
        await eventually(lambda: len(self.sink.messages) == 1, "the mail from the queue")
        self.sink.script("RCPT", "451 4.2.1 try later")
        reply = await (await self.talk(relay)).mail(MAIL, "a@example.com", "b@example.com")
        self.assertRegex(reply, r"^250 2\.0\.0 Ok: [0-9A-Z]{16} delivered.* try later")
        await eventually(lambda: len(self.sink.messages) == 3, "the rest")
        self.assertEqual(
            [message.recipients for message in self.sink.messages[1:]],
            [("b@example.com",), ("a@example.com",)],
        )
        spool = relay.spool
        assert spool is not None

        async def settled() -> bool:
            return not await listed(spool, Selection())

        await eventually(settled, "a queue that is empty")
        [detail] = await spool.admin.show(reply.split()[3])
        self.assertEqual(
            [(each.address, each.state) for each in detail.summary.recipients],
            [("a@example.com", "delivered"), ("b@example.com", "delivered")],
        )
        self.assertEqual([each.outcome for each in detail.history], ["deferred+delivered", "delivered"])

    async def test_stopped_in_the_middle(self) -> None:
        """A relay that stops lets the provider finish, and the client hears the verdict."""
        relay = await self.begin()
        talk = await self.talk(relay)
        self.sink.script("END", Pause(0.5))
        answer = Deferred.fromCoroutine(talk.mail(MAIL, "a@example.com"))
        await eventually(lambda: any(line.startswith("DATA") for line in self.sink.lines), "DATA")
        await relay.stopService()
        self.assertRegex(await answer, r"^250 2\.0\.0")
        self.assertEqual(len(self.sink.messages), 1)

    async def test_client_gone(self) -> None:
        """A client that does not wait for the verdict changes nothing: it comes, and is told."""
        relay = await self.begin()
        talk = await self.talk(relay)
        self.sink.script("END", Pause(0.3))
        answer = Deferred.fromCoroutine(talk.mail(MAIL, "a@example.com"))
        answer.addErrback(lambda _: None)
        await eventually(lambda: any(line.startswith("DATA") for line in self.sink.lines), "DATA")
        await talk.close()
        await eventually(lambda: bool(self.events.of("message.delivered")), "the verdict")
        await eventually(lambda: bool(self.events.of("session.close")), "the end of the session")
        self.assertEqual(len(self.sink.messages), 1)

    async def test_two_with_one_control_socket(self) -> None:
        """The second one does not start, and leaves the first one its socket."""
        first = await self.begin()
        failure = await self.relay().started.addErrback(lambda failure: failure.value)
        self.assertIsInstance(failure, StartFailed)
        self.assertIn("control.sock is in use by another program", str(failure))
        control = UNIXClientEndpoint(reactor, str(self.folder / "control.sock"))
        self.assertIn("200 OK", await get(control, "/api/v1/status"))
        await first.stopService()

    async def test_after_a_kill(self) -> None:
        """What a killed relay left behind is no obstacle."""
        first = await self.begin()
        await first.stopService()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.folder / "control.sock"))
        # So would Twisted, in a container that always gives the same process id.
        (self.folder / "control.sock.lock").symlink_to(str(os.getpid()))
        second = self.relay()
        await second.started
        self.assertEqual((await (await self.talk(second)).mail(MAIL, "a@example.com"))[:3], "250")
