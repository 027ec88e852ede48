"""
How the real process ends: in order at the first signal, at once at the second.
"""

import signal
import sqlite3

import treq
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SILENCE, SmtpSink
from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

CAPTURE = "out: {type: capture, path: captured}"

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"

AT_ONCE = "while stopping: ended at once, with what was under way\n"


class ShutdownCase(Stage):
    async def stopping(self) -> RelayProcess:
        """Return a relay that has been told to stop while a provider has not answered."""
        relay = await self.busy()
        await self.tell_to_stop(relay)
        return relay

    async def busy(self, *wrapping: str) -> RelayProcess:
        """Return a relay that waits for its provider, long."""
        acs = await self.fake_acs()
        await acs.delay(60.0)
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start(*wrapping)
        await relay.send(message("on its way"), "user@example.com")
        await eventually(acs.arrivals, "the request")
        return relay

    async def tell_to_stop(self, relay: RelayProcess) -> None:
        relay.life.signal(signal.SIGTERM)
        await relay.life.says('"event":"relay.stop"')


class SocketTests(ShutdownCase, TestCase):
    async def test_a_socket_without_its_file(self) -> None:
        """The relay ends in order, too, when somebody has removed the file of its control socket."""
        relay = await self.ending(RelayProcess.of(self.folder, CAPTURE)).start()
        (self.folder / "spool" / "control.sock").unlink()
        self.assertEqual(await relay.stop(), 0)


class SecondSignalTests(ShutdownCase, TestCase):
    async def test_two_at_once(self) -> None:
        """
        Two within a moment are one, as ``timeout`` sends them: the relay ends in order, without a word.

        The moment is a second; on a machine that is busy signals may be further apart.
        """
        for again in ("", '"event":"relay.stop"'):
            relay = self.ending(RelayProcess.of(self.folder, CAPTURE))
            await relay.start("--one-signal", "3600")
            await relay.send(message("first"), "user@example.com")
            talk = await relay.greet()
            relay.life.signal(signal.SIGTERM)
            await relay.life.says(again)
            self.assertEqual(await relay.stop(), 0)
            self.assertEqual((relay.life.err, relay.life.out.count(b'"event":"twisted"')), (b"", 0))
            await talk.gone

    async def test_run(self) -> None:
        """While attempts are awaited a second SIGTERM ends ``smtprelay run`` at once and says so."""
        relay = await self.stopping()
        self.assertEqual(await relay.life.insist(), 128 + signal.SIGTERM)
        self.assertEqual(relay.life.err.decode(), f"smtprelay: SIGTERM {AT_ONCE}")

    async def test_what_was_under_way(self) -> None:
        """After that the next start resolves what was under way, as after a crash."""
        relay = await self.stopping()
        await relay.life.insist(signal.SIGINT)
        [line] = await relay.queued()
        self.assertEqual(line["state"], "active")
        await relay.start()
        await relay.life.says('"event":"spool.recovered"')

    async def test_twistd(self) -> None:
        """``twistd -n smtprelay`` does the same."""
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE))
        arguments = ["-c", TWISTD, "-n", "smtprelay", "-c", str(relay.config)]
        await relay.ready(self.ending_program(Program.forked(arguments, self.folder)))
        talk = await relay.greet()
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await talk.say(command)
        await self.tell_to_stop(relay)
        self.assertEqual(await relay.life.insist(signal.SIGINT), 128 + signal.SIGINT)
        self.assertEqual(relay.life.err.decode(), f"smtprelay: SIGINT {AT_ONCE}")


class MeanwhileTests(ShutdownCase, TestCase):
    async def test_who_comes_meanwhile(self) -> None:
        """Until the end whoever connects hears 421 4.3.2, and an orchestrator that the relay is not ready."""
        relay = await self.stopping()
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", relay.smtp)
        talk = await endpoint.connect(Factory.forProtocol(Conversation))
        self.assertTrue((await talk.reply()).startswith("421 4.3.2 "))
        await talk.gone
        answer = await treq.get(f"{relay.http}/readyz", persistent=False, reactor=reactor)
        self.assertEqual(answer.code, 503)
        self.assertIn("[-]draining is on: the relay is stopping", await answer.text())
        answer = await treq.get(f"{relay.http}/livez", persistent=False, reactor=reactor)
        self.assertEqual(answer.code, 200)

    async def test_who_is_idle(self) -> None:
        """A session between messages hears 421 4.3.2 and is closed."""
        relay = await self.ending(RelayProcess.of(self.folder, CAPTURE)).start()
        idle = await relay.greet()
        relay.life.signal(signal.SIGTERM)
        self.assertTrue((await idle.reply()).startswith("421 4.3.2 "))
        self.assertEqual(await relay.life.ends(), 0)


class BoundTests(ShutdownCase, TestCase):
    async def test_what_takes_too_long(self) -> None:
        """An attempt that does not end in time is ended, and recorded as what it is, uncertain; 0."""
        relay = await self.busy("--attempts-bound", "0.5")
        self.assertEqual(await relay.stop(), 0)
        [line] = await relay.queued()
        self.assertEqual((line["state"], line["uncertain"]), ("deferred", True))
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_a_mail_server_that_hangs(self) -> None:
        """What hangs at the dot of a mail server is let go, and is uncertain; 0."""
        sink = SmtpSink()
        sink.always("END", SILENCE)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        host = f"type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none"
        relay = self.ending(RelayProcess.of(self.folder, f"out: {{{host}}}"))
        await relay.start("--attempts-bound", "0.5")
        await relay.send(message("on its way"), "user@example.com")
        await eventually(lambda: sink.messages, "the dot")
        self.assertEqual(await relay.stop(), 0)
        [line] = await relay.queued()
        self.assertTrue(line["uncertain"])
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_what_has_no_outcome(self) -> None:
        """One that ends without an outcome is let go: whoever is next need not wait for its lease; 0."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs))
        await relay.start("--attempts-bound", "0.5", "--stuck")
        await relay.send(message("on its way"), "user@example.com")
        self.assertEqual(await relay.stop(), 0)
        [line] = await relay.queued()
        self.assertEqual((line["state"], line["uncertain"]), ("queued", True))


class HangingStartTests(ShutdownCase, TestCase):
    async def test_a_database_that_is_locked(self) -> None:
        """SIGTERM ends a start that waits for its database; 0, and nothing on the standard error."""
        relay = await self.ending(RelayProcess.of(self.folder, CAPTURE)).start()
        await relay.stop()
        other = sqlite3.connect(self.folder / "spool" / "spool.db", isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        life = self.ending_program(relay.launch())
        lock = self.folder / "spool" / "lock"
        await eventually(lambda: str(life.transport.pid) in lock.read_text(), "the lock")
        self.assertEqual(await life.stop(), 0)
        self.assertEqual(life.err, b"")
        self.assertNotIn(b"relay.ready", life.out)
        self.assertIn(b"stopping: requested, before it was ready", life.out)
