"""
What becomes of mail whose client closes, resets or half-closes right behind its dot: it is kept whole, or one
event says what came of it.
"""

import contextlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.certificates import make_certificate
from tests.net.test_transports import outstanding
from tests.process.program import PATIENCE, eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

CAPTURE = "out: {type: capture, path: captured}"
MEGABYTE = 1_000_000
SIZES = (5 * MEGABYTE, 20 * MEGABYTE)

#: Ends a connection behind the last octet.
End = Callable[[socket.socket], object]


def close(client: socket.socket) -> None:
    """Close without having read anything: that is a reset, and what is not sent yet is forgotten."""
    client.close()


def reset(client: socket.socket) -> None:
    """Close with a reset instead of an orderly end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def reset_when_all_has_arrived(client: socket.socket) -> None:
    """Reset when the relay's kernel has acknowledged every octet."""
    end = time.monotonic() + PATIENCE
    while outstanding(client):
        if time.monotonic() > end:
            raise AssertionError("the relay does not read")
        time.sleep(0.001)
    reset(client)


def half_close(client: socket.socket) -> bytes:
    """Say no more, and hear everything that is answered until the relay closes, too."""
    client.shutdown(socket.SHUT_WR)
    return hear(client)


def hear(client: socket.socket) -> bytes:
    heard = b""
    with client, contextlib.suppress(ConnectionResetError):
        while octets := client.recv(1 << 16):
            heard += octets
    return heard


def read_and_close(client: socket.socket) -> None:
    """Close in order: what was answered so far is read, the rest is not waited for."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        client.close()


def subject(path: Path) -> str:
    """Return the subject of the mail in a file, of which only the beginning is read: most is content."""
    with path.open("rb") as file:
        return str(message_from_bytes(file.read(4096))["Subject"])


class ClosingCase(Stage):
    """Has a relay with a listener, and clients that block."""

    listener = ""
    more = ""
    sizes = SIZES
    wrapping: Sequence[str] = ()

    async def begun(self) -> RelayProcess:
        certificate = make_certificate(self.folder)
        self.trusted = ssl.create_default_context(cafile=str(certificate.ca))
        tls = f"certificate: {certificate.certificate}, key: {certificate.key}"
        listener = self.listener.format(tls=tls)
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE, listener=listener))
        relay.config.write_text(relay.config.read_text() + self.more)
        return await relay.start(*self.wrapping)

    def connected(self, relay: RelayProcess) -> socket.socket:
        return socket.create_connection(("127.0.0.1", relay.smtp), timeout=PATIENCE)

    def sent(self, relay: RelayProcess, octets: bytes, end: End) -> Any:
        """Send everything at once, reading nothing, and then ``end``."""
        client = self.connected(relay)
        client.sendall(octets)
        return end(client)

    def sent_when_asked_to(self, relay: RelayProcess, octets: bytes, end: End) -> Any:
        """Send the content when the relay has said 354, read nothing more, and then ``end``."""
        client = self.connected(relay)
        begin = octets.index(b"DATA\r\n") + 6
        client.sendall(octets[:begin])
        heard = b""
        while b"354" not in heard:
            heard += client.recv(4096)
        client.sendall(octets[begin:])
        return end(client)

    def mail(self, name: str, size: int) -> bytes:
        lines = (b"x" * 78 + b"\r\n") * (size // 80)
        return (
            b"EHLO c.test\r\nMAIL FROM:<app@example.org>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"
            b"Subject: " + name.encode() + b"\r\n\r\n" + lines + b".\r\nQUIT\r\n"
        )

    def events(self, relay: RelayProcess, name: str) -> list[Mapping[str, Any]]:
        told = re.findall(rb"^.*\"event\":\"" + name.encode() + rb"\".*$", relay.life.out, re.MULTILINE)
        return [json.loads(line) for line in told]

    def arrived(self) -> list[tuple[str, int]]:
        """Return subject and size of the mail that the provider has."""
        return sorted((subject(path), path.stat().st_size) for path in self.folder.glob("captured/new/*"))

    async def outcome(self, relay: RelayProcess, name: str) -> int:
        """Wait until a mail is here or told as aborted, one of them; return how often it is here."""

        def known() -> bool:
            return len(self.arrived()) + len(self.events(relay, "message.aborted")) >= self.expected

        self.expected += 1
        await eventually(known, name)
        return sum(each == name for each, _ in self.arrived())

    async def story(self, *ends: tuple[End, bool]) -> list[Any]:
        """
        Send a mail of each size with each end, and see that those which must be kept are.

        Whoever waits for 354 and then closes has sent everything. Return what ``ends`` returned.
        """
        relay = await self.begun()
        self.expected = 0
        returned = []
        targets = [(self.sent_when_asked_to, close, True), *((self.sent, *end) for end in ends)]
        for send, end, must_be_kept in targets:
            for size in self.sizes:
                name = f"{end.__name__}/{send.__name__} {size}"
                returned.append(await deferToThread(send, relay, self.mail(name, size), end))
                count = await self.outcome(relay, name)
                if must_be_kept:
                    self.assertEqual(count, 1, (name, self.events(relay, "message.aborted")))
        self.assertEqual(await relay.stop(), 0)
        whole = self.arrived()
        self.assertEqual(len(whole), len({name for name, _ in whole}))
        for name, size in whole:
            self.assertGreater(size, int(name.split()[1]) // 80 * 80)
        aborted = self.events(relay, "message.aborted")
        self.assertEqual(len(whole) + len(aborted), len(returned))
        for told in aborted:
            self.assertEqual(
                (told["level"], told["listener"], told["client"], told["sender"], told["user"]),
                ("warn", "lan", "127.0.0.1", "app@example.org", ""),
            )
            self.assertTrue(told["reason"])
            self.assertGreater(told["size"], 0)
        return returned


class PlainTests(ClosingCase, TestCase):
    async def test_whatever_comes_next(self) -> None:
        """What has arrived whole is kept, of both sizes; what a reset has cut off is told, once each."""
        answers = await self.story(
            (close, False), (reset, False), (reset_when_all_has_arrived, True), (read_and_close, False),
            (half_close, True),
        )  # fmt: skip
        for heard in answers[-2:]:
            lines = heard.decode().splitlines()
            self.assertRegex(lines[-2], r"^250 2\.0\.0 Ok: queued as ")
            self.assertRegex(lines[-1], "^221 ")

    async def test_a_script_with_netcat(self) -> None:
        """Without QUIT, too, a client that half-closes hears its 250, then the end."""
        relay = await self.begun()
        octets = self.mail("nc -N", 1000).removesuffix(b"QUIT\r\n")
        heard = await deferToThread(self.sent, relay, octets, half_close)
        self.assertRegex(heard.decode().splitlines()[-1], r"^250 2\.0\.0 Ok: queued as ")
        heard = await deferToThread(self.sent, relay, octets.removesuffix(b".\r\n"), half_close)
        self.assertRegex(heard.decode().splitlines()[-1], "^421 4.4.2 The message has no end")
        [told] = self.events(relay, "message.aborted")
        # The last line end may be the beginning of the end.
        self.assertEqual(told["size"], len(octets) - octets.index(b"Subject") - len(b"\r\n.\r\n"))
        heard = await deferToThread(self.sent, relay, b"NOOP\r\nNOO", half_close)
        self.assertRegex(heard.decode().splitlines()[-1], "^250 ")

    async def test_several_in_one_go(self) -> None:
        """All that was sent ahead is kept, though nobody reads an answer any more."""
        relay = await self.begun()
        octets = b"".join(self.mail(f"{n}", MEGABYTE).removesuffix(b"QUIT\r\n") for n in range(4))
        await deferToThread(self.sent, relay, octets, reset_when_all_has_arrived)
        await eventually(lambda: len(self.arrived()) == 4, "all four")
        self.assertEqual(self.events(relay, "message.aborted"), [])


class Proxied(ClosingCase):
    """Its listener wants a PROXY header."""

    async def begun(self) -> RelayProcess:
        relay = await super().begun()
        await relay.stop()
        text = relay.config.read_text()
        relay.config.write_text(text.replace('endpoint: "tcp:0', 'endpoint: "haproxy:tcp:0', 1))
        return await relay.start()


class ProxyTests(Proxied, TestCase):
    async def test_half_close(self) -> None:
        """Behind a PROXY header the answer is heard, too; within one there is nothing to be answered."""
        relay = await self.begun()
        header = b"PROXY TCP4 127.0.0.1 127.0.0.1 4321 25\r\n"
        octets = header + self.mail("behind", 1000)
        heard = await deferToThread(self.sent, relay, octets, half_close)
        self.assertRegex(heard.decode().splitlines()[-2], r"^250 2\.0\.0 Ok: queued as ")
        heard = await deferToThread(self.sent, relay, header[:9], half_close)
        self.assertEqual(heard, b"")
        self.assertEqual(self.events(relay, "message.aborted"), [])


class SynchronousTests(ClosingCase, TestCase):
    listener = ", delivery: synchronous"

    async def test_whatever_comes_next(self) -> None:
        """A client that does not wait for the verdict gets its mail delivered all the same."""
        answers = await self.story((close, False), (reset_when_all_has_arrived, True), (half_close, True))
        self.assertIn(b"delivered as", answers[-1])


class ImplicitTlsTests(ClosingCase, TestCase):
    listener = ", tls: {{mode: implicit, {tls}}}"
    wrapping = ("--linger", "0.5")

    def connected(self, relay: RelayProcess) -> socket.socket:
        plain = super().connected(relay)
        return self.trusted.wrap_socket(plain, server_hostname="localhost")

    async def test_whatever_comes_next(self) -> None:
        """Within TLS it is the same, but for the answer behind a half-close, which TLS does not know."""
        await self.story(
            (close, False), (reset, False), (reset_when_all_has_arrived, True), (read_and_close, False),
            (half_close, True),
        )  # fmt: skip


class StartTlsTests(ImplicitTlsTests):
    sizes = SIZES[:1]
    listener = ", tls: {{mode: starttls, {tls}}}"

    def connected(self, relay: RelayProcess) -> socket.socket:
        plain = ClosingCase.connected(self, relay)
        plain.recv(1000)
        plain.sendall(b"STARTTLS\r\n")
        plain.recv(1000)
        return self.trusted.wrap_socket(plain, server_hostname="localhost")
