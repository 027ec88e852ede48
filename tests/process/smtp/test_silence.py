"""
A stop does not wait for clients that are silent, whatever they are in the middle of: it takes less than the
ten seconds after which Docker kills.
"""

import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from time import monotonic

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.policy.login_throttle import FREE
from smtprelay.service.relay import SESSIONS_BOUND
from tests.process.program import PATIENCE
from tests.process.relay_process import RelayProcess
from tests.process.smtp.test_closing import ClosingCase, Proxied, hear

#: What Docker gives a container.
DOCKER = 10.0

HELLO = ("EHLO c.test\r\n",)
MAIL = (*HELLO, "MAIL FROM:<app@example.org>\r\n")
RCPT = (*MAIL, "RCPT TO:<user@example.com>\r\n")
DATA = (*RCPT, "DATA\r\n")


class SilenceCase(ClosingCase):
    """Has clients that say something, each piece of which is answered, and then nothing more."""

    def open(self, relay: RelayProcess) -> socket.socket:
        return socket.create_connection(("127.0.0.1", relay.smtp), timeout=PATIENCE)

    def said(self, client: socket.socket, pieces: Sequence[str], rest: bytes = b"") -> socket.socket:
        """Say ``pieces``, hear an answer to each of them, and say ``rest``."""
        for piece in ("", *pieces):
            client.sendall(piece.encode())
            self.assertNotIn(client.recv(4096)[:1], (b"", b"4", b"5"), piece)
        client.sendall(rest)
        return client

    async def stopped(
        self, relay: RelayProcess, clients: Sequence[Callable[[], socket.socket]]
    ) -> list[bytes]:
        """Stop while all clients are silent; return what each of them hears then."""
        silent = [await deferToThread(client) for client in clients]
        began = monotonic()
        status = await relay.stop()
        self.assertLess(monotonic() - began, DOCKER)
        self.assertEqual(status, 0)
        return [await deferToThread(hear, client) for client in silent]


class PlainSilenceTests(SilenceCase, TestCase):
    listener = (
        ", tls: {{mode: starttls, {tls}}}, auth: {{checkers: [users], mechanisms: [PLAIN, LOGIN],"
        " allow_plaintext: true}}"
    )
    more = (
        "users:\n- {name: ann, password_hash: "
        '"$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="}\n'
    )

    async def test_between_commands(self) -> None:
        """Before a greeting, after EHLO, in the middle of AUTH, after MAIL, after RCPT: 421 at once."""
        relay = await self.begun()
        heard = await self.stopped(
            relay,
            [
                lambda: self.said(self.open(relay), ()),
                lambda: self.said(self.open(relay), (), b"EHL"),
                lambda: self.said(self.open(relay), HELLO),
                lambda: self.said(self.open(relay), (*HELLO, "AUTH LOGIN\r\n")),
                lambda: self.said(self.open(relay), (*HELLO, "AUTH PLAIN\r\n"), b"AGFubg"),
                lambda: self.said(self.open(relay), MAIL),
                lambda: self.said(self.open(relay), RCPT, b"RCPT TO:<b"),
            ],
        )
        self.assertEqual({each[:9] for each in heard}, {b"421 4.3.2"})
        self.assertEqual(self.events(relay, "message.aborted"), [])

    async def test_within_a_throttled_login(self) -> None:
        """Guessers who wait for their turn do not wait any longer: 454, then 421."""
        relay = await self.begun()

        def guess(n: int) -> bytes:
            return b"AUTH PLAIN " + b64encode(b"\0ann\0guess %d" % n) + b"\r\n"

        first = self.said(self.open(relay), HELLO)
        for n in range(FREE + 1):
            first.sendall(guess(n))
            self.assertEqual((await deferToThread(first.recv, 4096))[:3], b"535")
        heard = await self.stopped(
            relay,
            [
                lambda: first,
                *(lambda n=n: self.said(self.open(relay), HELLO, guess(n)) for n in range(8, 16)),
            ],
        )
        self.assertEqual({each.splitlines()[-1][:9] for each in heard}, {b"421 4.3.2"})
        self.assertGreater(sum(each.startswith(b"454 4.7.0") for each in heard), 4)

    async def test_within_a_message(self) -> None:
        """Before the first octet, in the header, in the text, behind a dot: 421; what came has an event."""
        relay = await self.begun()
        rests = (b"", b"Subject: x\r\n", b"Subject: x\r\n\r\n" + b"y" * 3_000_000, b"x\r\n.")
        heard = await self.stopped(
            relay, [lambda rest=rest: self.said(self.open(relay), DATA, rest) for rest in rests]
        )
        self.assertEqual({each[:9] for each in heard}, {b"421 4.4.2"})
        self.assertEqual(len(self.events(relay, "message.aborted")), len([rest for rest in rests if rest]))

    async def test_a_handshake(self) -> None:
        """After STARTTLS without a handshake, or with the beginning of one."""
        relay = await self.begun()
        starttls = (*HELLO, "STARTTLS\r\n")
        await self.stopped(
            relay,
            [lambda rest=rest: self.said(self.open(relay), starttls, rest) for rest in (b"", b"\x16\x03")],
        )

    async def test_who_is_sending(self) -> None:
        """A client that really sends has its time: its mail is taken, its 250 is heard."""
        relay = await self.begun()
        client = await deferToThread(self.said, self.open(relay), DATA, b"Subject: slow\r\n\r\n")
        silent = await deferToThread(self.said, self.open(relay), DATA, b"Subject: silent\r\n\r\n")
        relay.life.signal(15)
        await relay.life.says('"event":"relay.stop"')
        for _ in range(8):
            await deferLater(reactor, SESSIONS_BOUND / 14)
            client.sendall(b"x" * 1000)
        client.sendall(b"\r\n.\r\n")
        self.assertTrue((await deferToThread(hear, client)).startswith(b"250 2.0.0 Ok: queued as "))
        self.assertTrue((await deferToThread(hear, silent)).startswith(b"421 4.4.2 "))
        self.assertEqual(await relay.life.ends(), 0)


class TlsSilenceTests(SilenceCase, TestCase):
    listener = ", tls: {{mode: implicit, {tls}}}"

    def secure(self, relay: RelayProcess) -> socket.socket:
        return self.trusted.wrap_socket(self.open(relay), server_hostname="localhost")

    def begins(self, relay: RelayProcess) -> socket.socket:
        """Send half of a ClientHello."""
        hello = ssl.MemoryBIO()
        try:
            self.trusted.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
        except ssl.SSLWantReadError:
            octets = hello.read()
        client = self.open(relay)
        client.sendall(octets[: len(octets) // 2])
        return client

    async def test_each_state(self) -> None:
        """No handshake, half of one, and within TLS a client that hears its 421 and does not close."""
        relay = await self.begun()
        heard = await self.stopped(
            relay,
            [
                lambda: self.open(relay),
                lambda: self.begins(relay),
                lambda: self.said(self.secure(relay), HELLO),
                lambda: self.said(self.secure(relay), DATA, b"Subject: x\r\n"),
            ],
        )
        self.assertEqual([each[:9] for each in heard[2:]], [b"421 4.3.2", b"421 4.4.2"])


class ProxySilenceTests(SilenceCase, Proxied, TestCase):
    async def test_each_state(self) -> None:
        """No PROXY header, half of one, and a message behind one."""
        relay = await self.begun()
        header = b"PROXY TCP4 127.0.0.1 127.0.0.1 4321 25\r\n"

        def begins(octets: bytes) -> socket.socket:
            client = self.open(relay)
            client.sendall(octets)
            return client

        await self.stopped(
            relay,
            [
                lambda: self.open(relay),
                lambda: begins(header[:10]),
                lambda: self.said(begins(header), DATA, b"Subject: x\r\n"),
            ],
        )


class SynchronousSilenceTests(SilenceCase, TestCase):
    listener = ", delivery: synchronous"

    async def test_within_a_message(self) -> None:
        """It is no verdict that such a client waits for."""
        relay = await self.begun()
        heard = await self.stopped(relay, [lambda: self.said(self.open(relay), DATA, b"Subject: x\r\n")])
        self.assertEqual(heard[0][:9], b"421 4.4.2")
