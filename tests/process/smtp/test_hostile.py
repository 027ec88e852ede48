"""
Clients that mean harm, or behave as if they did, against the real process.

What they send costs the relay no more memory than it allows, and others are served meanwhile.
"""

import random
import re
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

MB = 1_000_000

#: How much the relay may grow, in bytes.
GROWTH = 40 * MB

#: Commands that need no order, with the code of their replies.
CODES = {b"NOOP": "250", b"VRFY x": "252", b"HELP": "214", b"RSET": "250"}
#: Those of a transaction, of which there may be any number.
RECIPIENTS = {b"RCPT TO:<user@example.com>": "250", b"RCPT TO:<us..er@example.com>": "553"}

CAPTURE = "out: {type: capture, path: captured}"
ACS = "out: {type: acs, connection_string: {file: acs.key}, sender: a@b.test}"
SMALL_ACS = ACS[:-1] + ", limits: {size: 10MB}}"


class HostileCase(Stage):
    """Starts a relay and watches its memory."""

    async def relay(self, provider: str = CAPTURE) -> RelayProcess:
        (self.folder / "acs.key").write_text("endpoint=http://127.0.0.1:9;accesskey=c2VjcmV0")
        relay = await self.ending(RelayProcess.of(self.folder, provider)).start()
        # What is imported late, and what the first mail makes, is not what is watched.
        await self.serve_another(relay)
        return relay

    async def serve_another(self, relay: RelayProcess) -> None:
        """See that somebody else can hand in a mail."""
        self.assertIn("250 2.0.0 Ok", await relay.send(message("another"), "other@example.com"))

    def peak(self, relay: RelayProcess) -> int:
        """Return the most memory that the relay ever had, bytes."""
        status = Path(f"/proc/{relay.life.transport.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def assert_grew_little(self, relay: RelayProcess, before: int) -> None:
        self.assertLess(self.peak(relay) - before, GROWTH)


class CommandTests(HostileCase, TestCase):
    def commands(self, count: int) -> list[bytes]:
        return random.choices(list(CODES), k=count)

    async def check_order(self, talk, commands: list[bytes]) -> None:
        """See that the replies to ``commands`` come in their order, and that there are no more."""
        replies = [(await talk.reply())[:3] for _ in commands]
        self.assertEqual(replies, [CODES[command] for command in commands])
        self.assertTrue((await talk.say("QUIT")).startswith("221"))

    async def test_one_segment(self) -> None:
        """A whole transaction in one segment: each command has its reply, the mail is taken."""
        talk = await (await self.relay()).greet()
        talk.write(
            b"MAIL FROM:<a@b.test>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n"
            b"Subject: pipelined\r\n\r\nhello\r\n.\r\nNOOP\r\nQUIT\r\n"
        )
        replies = [(await talk.reply())[:3] for _ in range(6)]
        self.assertEqual(replies, ["250", "250", "354", "250", "250", "221"])

    async def test_hundreds_of_segments(self) -> None:
        """Commands that arrive byte by byte are the same commands."""
        talk = await (await self.relay()).greet()
        commands = self.commands(100)
        for byte in b"".join(command + b"\r\n" for command in commands):
            talk.write(bytes([byte]))
            await deferLater(reactor, 0)
        await self.check_order(talk, commands)

    async def test_twenty_thousand_at_once(self) -> None:
        """20,000 commands at once are answered, in order, while others are served."""
        relay = await self.relay()
        talk, before = await relay.greet(), self.peak(relay)
        await talk.say("MAIL FROM:<a@b.test>")
        commands = random.choices(list(RECIPIENTS), weights=[1, 25], k=20_000)
        talk.write(b"".join(command + b"\r\n" for command in commands))
        await self.serve_another(relay)
        replies = [(await talk.reply())[:3] for _ in commands]
        self.assertEqual(replies, [RECIPIENTS[command] for command in commands])
        self.assertTrue((await talk.say("QUIT")).startswith("221"))
        self.assert_grew_little(relay, before)

    async def test_a_million_without_use(self) -> None:
        """A million NOOP, or EHLO, end their session after some dozens, and cost nothing."""
        relay = await self.relay()
        for command in (b"NOOP\r\n", b"EHLO client.test\r\n"):
            talk, before = await relay.greet(), self.peak(relay)
            talk.write(command * 1_000_000)
            await self.serve_another(relay)
            with self.assertRaises(ConnectionClosed):
                for _ in range(200):
                    await talk.reply()
            self.assert_grew_little(relay, before)

    async def test_an_endless_line(self) -> None:
        """A line of 60 MB is refused once and not kept; the session goes on behind it."""
        relay = await self.relay()
        talk, before = await relay.greet(), self.peak(relay)
        talk.write(b"NOOP " + b"x" * 60 * MB + b"\r\nHELP\r\n")
        self.assertTrue((await talk.reply()).startswith("500 5.5"))
        await self.serve_another(relay)
        self.assertTrue((await talk.reply()).startswith("214"))
        self.assert_grew_little(relay, before)

    async def test_a_client_that_does_not_read(self) -> None:
        """60 MB of replies that nobody reads are not made: commands wait until the client reads."""
        relay = await self.relay()
        talk, before = await relay.greet(), self.peak(relay)
        await talk.say("MAIL FROM:<a@b.test>")
        command, code = list(RECIPIENTS.items())[1]
        refusal = await talk.say(command.decode())
        self.assertTrue(refusal.startswith(code))
        talk.transport.pauseProducing()
        talk.write((command + b"\r\n") * (60 * MB // len(refusal)))
        for _ in range(20):
            await self.serve_another(relay)
        self.assert_grew_little(relay, before)
        talk.transport.resumeProducing()
        for _ in range(1000):
            self.assertEqual(await talk.reply(), refusal)
        talk.transport.pauseProducing()
        await talk.close()
        self.assert_grew_little(relay, before)


class SizeTests(HostileCase, TestCase):
    async def test_a_large_mail(self) -> None:
        """A mail of 25 MB is stored and delivered whole, in pieces, while others are served."""
        relay = await self.relay()
        talk, before = await relay.greet(), self.peak(relay)
        line = b"0123456789" * 7 + b"\r\n"
        content = b"Subject: large\r\n\r\n" + line * (25 * MB // len(line))
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await talk.say(command)
        talk.write(content)
        await self.serve_another(relay)
        talk.write(b".\r\n")
        self.assertIn("250 2.0.0 Ok", await talk.reply())
        await eventually(lambda: self.kept(content), "the mail in the Maildir")
        self.assert_grew_little(relay, before)

    def kept(self, content: bytes) -> bool:
        """Say whether a mail that ends with ``content`` was delivered."""
        return any(path.read_bytes().endswith(content) for path in self.folder.glob("captured/new/*"))

    async def test_too_large_by_its_word(self) -> None:
        """SIZE beyond what the operator lets the provider have is refused at MAIL, with the limit."""
        talk = await (await self.relay(SMALL_ACS)).greet()
        reply = await talk.say("MAIL FROM:<a@b.test> SIZE=10000001")
        self.assertTrue(reply.startswith("552 5.3.4"), reply)
        self.assertIn("10000000", reply)
        self.assertTrue((await talk.say("MAIL FROM:<a@b.test> SIZE=10000000")).startswith("250"))

    async def test_too_large_in_fact(self) -> None:
        """A mail whose request would be too large is refused at its end; the session goes on."""
        relay = await self.relay(ACS)
        talk, before = await relay.greet(), self.peak(relay)
        reply = await talk.mail(b"Subject: large\r\n\r\n" + b"x" * 10_000_000 + b"\r\n", "user@example.com")
        self.assertTrue(reply.startswith("552 5.3.4"), reply)
        self.assertIn("10000000", reply)
        self.assertIn("250 2.0.0 Ok", await talk.mail(message("small"), "user@example.com"))
        self.assert_grew_little(relay, before)

    async def test_too_large_as_a_request(self) -> None:
        """
        Of a mail whose request is several times as large it is known before the 250: it is refused, or goes
        to the next provider, and never comes back later.
        """
        (self.folder / "acs.key").write_text("endpoint=http://127.0.0.1:9;accesskey=c2VjcmV0")
        relay = self.ending(RelayProcess.of(self.folder, f"{ACS}, local: {{type: capture, path: captured}}"))
        config = relay.config.read_text()
        one = 'routes: [{name: one, match: {recipient: ["*@one.test"]}, via: [out]}, '
        relay.config.write_text(
            config.replace("routes: [", one).replace("all, via: [out]", "all, via: [out, local]")
        )
        await relay.start()
        for line in (b"\x1b(I" + b"123456" * 12 + b"\x1b(B\r\n", b"&" * 76 + b"\r\n"):
            text = b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + line * (2 * MB // len(line))
            html = b"Content-Type: text/html\r\n\r\n<p>x</p>\r\n"
            head = b"Subject: grows\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            mail = head + b"--b\r\n" + text + b"--b\r\n" + html + b"--b--\r\n"
            reply = await relay.send(mail, "user@one.test")
            self.assertTrue(reply.startswith("552 5.3.4"), reply)
            self.assertIn("250 2.0.0 Ok", await relay.send(mail, "user@two.test"))
            await eventually(lambda mail=mail: self.kept(mail), "the mail in the Maildir")
