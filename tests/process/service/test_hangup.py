"""
SIGHUP, which whoever rotates logs sends: the relay lives on, and writes where the name of its log leads now.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.postgres import new_spool_url
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.service.supervised import SupervisedRelay
from tests.process.service.test_shutdown import CAPTURE, TWISTD
from tests.process.service.test_workers import POSTGRES
from tests.process.stage import Stage

LOGGING = "logging: {file: relay.log}\n"

#: Sends itself a SIGHUP when it begins to import the relay.
EARLY = """\
import os, signal, sys
class Early:
    def find_spec(self, name, *_):
        if name == "smtprelay.service":
            os.kill(os.getpid(), signal.SIGHUP)
sys.meta_path.insert(0, Early())
"""


class HangupCase(Stage):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.folder / "relay.log"

    def logged(self, file: Path | None = None) -> list[dict[str, Any]]:
        """Return the events in a log, that of now if no other is said."""
        try:
            return [json.loads(line) for line in (file or self.log).read_text().splitlines()]
        except (FileNotFoundError, json.JSONDecodeError):
            return []

    def told(self, name: str, file: Path | None = None) -> list[dict[str, Any]]:
        return [each for each in self.logged(file) if each["event"] == name]

    async def ready(self, relay: RelayProcess) -> RelayProcess:
        """Wait until a relay says in its log that it is ready."""
        ready, *_ = await eventually(lambda: self.told("relay.ready"), "that it is ready")
        where = dict(each.split(" on ") for each in ready["listeners"].split(", "))
        relay.smtp = int(where["lan"].rpartition(":")[2])
        return relay

    def rotate(self) -> Path:
        """Rename the log and make a new one, as logrotate with ``create`` does; return the old one."""
        old = self.log.rename(self.folder / "relay.log.1")
        self.log.touch(0o640)
        return old

    async def rotated(self, relay: RelayProcess, pid: int, workers: int = 0) -> Path:
        """Rotate the log, send SIGHUP to ``pid``, and a mail; return the old log."""
        await self.ready(relay)
        await relay.send(message("before"), "user@example.com")
        await eventually(lambda: self.told("message.delivered"), "the mail before")
        before = self.logged()
        old = self.rotate()
        os.kill(pid, signal.SIGHUP)
        await eventually(lambda: len(self.told("log.reopened")) == 1 + workers, "the new file")
        await relay.send(message("after"), "user@example.com")
        await eventually(lambda: self.told("message.delivered"), "the mail after")
        self.assertEqual(self.logged(old), before)
        self.assertEqual({each["file"] for each in self.told("log.reopened")}, {str(self.log)})
        self.assertEqual({each["level"] for each in self.told("log.reopened")}, {"info"})
        self.assertEqual(self.log.stat().st_mode & 0o777, 0o640)
        return old


class HangupTests(HangupCase, TestCase):
    def relay(self, more: str = LOGGING) -> RelayProcess:
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE))
        relay.config.write_text(relay.config.read_text() + more)
        return relay

    async def test_run(self) -> None:
        """The old file gets nothing more; the relay goes on and ends as always."""
        relay = self.relay()
        relay.launch()
        await self.rotated(relay, await self.pid(relay))
        self.assertEqual(await relay.stop(), 0)
        self.assertEqual(len(self.told("relay.stop")), 1)

    async def pid(self, relay: RelayProcess) -> int:
        return relay.life.transport.pid

    async def test_twistd(self) -> None:
        """``twistd -n smtprelay``, too."""
        relay = self.relay()
        relay.life = self.ending_program(self.twistd(relay, "-n"))
        await self.rotated(relay, await self.pid(relay))
        # twistd ends by the signal that it was sent.
        self.assertEqual(await relay.stop(), -signal.SIGTERM)
        self.assertEqual(len(self.told("relay.stop")), 1)

    async def test_a_daemon(self) -> None:
        """And ``twistd smtprelay`` in the background, with a log file of twistd's own."""
        relay = self.relay()
        relay.life = self.ending_program(self.twistd(relay, "--pidfile", "pid", "--logfile", "twistd.log"))
        self.assertEqual(await relay.life.ends(), 0)
        pid = int((self.folder / "pid").read_text())
        self.addCleanup(self.end, pid)
        await self.rotated(relay, pid)
        os.kill(pid, signal.SIGTERM)
        await eventually(lambda: not (self.folder / "pid").exists(), "its end")

    async def test_a_daemon_without_a_log(self) -> None:
        """In the background nobody would read why it cannot start: that is told before."""
        relay = self.relay("")
        relay.life = self.ending_program(self.twistd(relay, "--pidfile", "pid"))
        self.assertEqual(await relay.life.ends(), 78)
        self.assertIn(b"set logging.file, or start twistd with -n", relay.life.err)
        self.assertFalse((self.folder / "pid").exists())

    def twistd(self, relay: RelayProcess, *options: str) -> Program:
        arguments = ["-c", TWISTD, *options, "smtprelay", "-c", str(relay.config)]
        return Program.forked(arguments, self.folder)

    def end(self, pid: int) -> None:
        if (self.folder / "pid").exists():
            os.kill(pid, signal.SIGKILL)

    async def test_without_a_file(self) -> None:
        """It says that the log goes on where it went."""
        relay = await self.relay("").start()
        relay.life.signal(signal.SIGHUP)
        await relay.life.says('"event":"log.reopened".*the standard output')
        self.assertTrue((await relay.send(message("after"), "user@example.com")).startswith("250"))
        self.assertEqual(await relay.stop(), 0)

    async def test_a_file_that_cannot_be_opened(self) -> None:
        """The log goes on in the old file, with a warning; the next SIGHUP tries again."""
        relay = self.relay()
        relay.launch()
        await self.ready(relay)
        old = self.log.rename(self.folder / "relay.log.1")
        self.log.mkdir()
        relay.life.signal(signal.SIGHUP)
        [warning] = await eventually(lambda: self.told("relay.warning", old)[-1:], "the warning")
        self.assertIn("relay.log", warning["msg"])
        self.log.rmdir()
        relay.life.signal(signal.SIGHUP)
        await eventually(lambda: self.told("log.reopened"), "the new file")
        self.assertEqual(await relay.stop(), 0)

    async def test_while_it_is_imported(self) -> None:
        """One that has only begun is not ended by it, however it is started."""
        relay = self.relay("")
        by_run = f"from smtprelay.cli import main; main(['run', '-c', {str(relay.config)!r}])"
        for begin, arguments in ((by_run, ()), (TWISTD, ("-n", "smtprelay", "-c", str(relay.config)))):
            relay.life = self.ending_program(Program.python(["-c", EARLY + begin, *arguments], self.folder))
            await relay.ready(relay.life)
            await relay.stop()
        begin = "import runpy; runpy.run_module('smtprelay.entry', run_name='__main__')"
        worker = self.ending_program(Program.python(["-c", EARLY + begin], self.folder))
        self.assertEqual(await worker.ends(), 2, worker.err)
        self.assertIn(b"usage: smtprelay worker", worker.err)

    async def test_while_it_ends(self) -> None:
        """A relay that stops is not kept from it, nor ended before its time."""
        acs = await self.fake_acs()
        await acs.delay(3.0)
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await relay.send(message("on its way"), "user@example.com")
        await eventually(acs.arrivals, "the request")
        relay.life.signal(signal.SIGTERM)
        await relay.life.says('"event":"relay.stop"')
        relay.life.signal(signal.SIGHUP)
        self.assertEqual(await relay.life.ends(), 0)
        self.assertIn(b'"event":"message.delivered"', relay.life.out)


class WorkersTests(HangupCase, TestCase):
    async def test_workers(self) -> None:
        """Those of a PostgreSQL spool hear of it from their parent, none dies of it, and all write there."""
        (self.folder / "url").write_text(new_spool_url())
        relay = self.ending(SupervisedRelay.with_workers(self.folder, CAPTURE, more=POSTGRES + LOGGING))
        relay.launch()
        await eventually(lambda: len(self.told("worker.ready")) == 2, "both workers")
        await self.rotated(relay, relay.life.transport.pid, workers=2)
        self.assertEqual({each.get("worker") for each in self.told("log.reopened")}, {None, 1, 2})
        self.assertEqual(await relay.stop(), 0)
        self.assertEqual(self.told("worker.died"), [])

    async def test_a_log_that_could_not_be_written(self) -> None:
        """Each process whose lines had to wait says when its log can be written again, the parent, too."""
        self.log.symlink_to("/dev/full")
        more = "supervise: {restarts_per_hour: 3}\n" + LOGGING
        relay = self.ending(SupervisedRelay.with_workers(self.folder, CAPTURE, more=more))
        relay.launch()
        await eventually(lambda: self.worker_is_ready(relay), "the worker")
        self.log.unlink()
        relay.life.signal(signal.SIGHUP)
        await eventually(lambda: len(self.told("log.writable")) == 2, "that both can write")
        self.assertEqual({each.get("worker") for each in self.told("log.writable")}, {None, 1})
        self.assertEqual(await relay.stop(), 0)

    async def worker_is_ready(self, relay: SupervisedRelay) -> bool:
        try:
            return all(worker["ready"] for worker in await relay.workers())
        except Exception:  # noqa: BLE001 -- it does not listen yet
            return False

    async def test_a_worker_that_begins(self) -> None:
        """A supervised one that is only starting is not ended by what comes too early for it."""
        more = "supervise: {restarts_per_hour: 3}\n" + LOGGING
        relay = self.ending(SupervisedRelay.with_workers(self.folder, CAPTURE, more=more))
        relay.launch()
        await eventually(lambda: self.told("relay.start"), "the parent")
        for _ in range(50):
            relay.life.signal(signal.SIGHUP)
        await self.ready(relay)
        await eventually(lambda: [e for e in self.told("log.reopened") if e.get("worker")], "the worker")
        self.assertTrue((await relay.send(message("after"), "user@example.com")).startswith("250"))
        self.assertEqual(await relay.stop(), 0)
        self.assertEqual(self.told("worker.died"), [])
