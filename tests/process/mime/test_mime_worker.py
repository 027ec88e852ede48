"""The real worker process: its bounds are the kernel's, and nobody pays for another's mail."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from smtprelay.interfaces import (
    MailTooCostly,
    MimeTaskError,
    MimeWorkerTimeout,
    MimeWorkerUnavailable,
)
from smtprelay.mime.parse import TooComplexError, read
from smtprelay.mime.worker.inline_budget import SMALL_TEXT
from smtprelay.mime.worker.mime_worker import Bounds, ProcessMimeWorker
from smtprelay.providers.acs.request import map_mail
from tests.mime.worker import tasks
from tests.mime.worker.fake_process import FakeBody
from tests.process.program import Program, eventually
from tests.process.stage import Stage
from tests.recording import Recording

LARGE = bytes(SMALL_TEXT + 1)
MIB = 1 << 20

#: Its text goes twice, once as HTML, where each sign becomes five octets.
GROWING = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>hello\r\n--b\r\n\r\n%b"
)
PARAMETERS = {
    "recipients": ["a@x.org"],
    "envelope_sender": "",
    "sender": "s@x.org",
    "domains": [],
    "blind_to": "",
    "without": [],
    "largest": None,
    "engagement_tracking": None,
}

#: Enough for Python to start on a busy machine; what waits for less waits for the kernel.
BOUNDS = Bounds(cpu=(2.0, 0.0), wall=(30.0, 0.0), memory=(100 * MIB, 16 * MIB))


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class WorkerCase:
    timeout = 120

    def setUp(self):
        self.events = Recording()
        self.worker = self.make()

    def make(self, **options):
        options = {"bounds": BOUNDS, **options}
        worker = ProcessMimeWorker(reactor, self.events, prefixes=["tests."], **options)
        self.addCleanup(worker.stop)
        return worker

    async def run_on(self, *pieces: bytes, task: Callable[..., object] = tasks.repeat, **parameters):
        return await self.worker.run(task, FakeBody(*pieces or [LARGE]), parameters)

    def running(self, task, **parameters) -> "Deferred[object]":
        return Deferred.fromCoroutine(self.run_on(task=task, **parameters))

    async def assert_raises(self, expected, task, **parameters) -> str:
        return str(await self.assertFailure(self.running(task, **parameters), expected))

    async def pid(self) -> int:
        """Return the process id of the worker, which is started if there is none."""
        return (await self.run_on())[0]["pid"]

    async def assert_still_works(self) -> None:
        self.assertEqual((await self.run_on(times=2))[1], LARGE * 2)


class WorkTests(WorkerCase, TestCase):
    async def test_many(self):
        """Many tasks at once are done one after the other by one process, which has no Twisted."""
        sizes = range(SMALL_TEXT + 1, SMALL_TEXT + 101)
        done = await gatherResults(Deferred.fromCoroutine(self.run_on(bytes(size))) for size in sizes)
        self.assertEqual([facts["size"] for facts, _ in done], list(sizes))
        self.assertEqual(len({facts["pid"] for facts, _ in done}), 1)
        self.assertEqual({facts["twisted"] for facts, _ in done}, {False})
        self.assertNotEqual(done[0][0]["pid"], os.getpid())

    async def test_large(self):
        """A mail of 25 MiB in pieces goes there, and 12 MiB and more come back, octet for octet."""
        pieces = [bytes([number]) * (256 << 10) for number in range(100)]
        _, made = await self.run_on(*pieces)
        self.assertEqual(made, b"".join(pieces))

    async def test_memory(self):
        """A process that can read mail and has nothing to do needs at most 30 MB."""
        await self.assert_raises(MimeTaskError, read)  # which is no task, but is imported
        [started] = self.events.of("mime.started")
        status = Path(f"/proc/{started['pid']}/status").read_text()
        [resident] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        self.assertLess(resident, 30_000)

    async def test_what_a_library_prints(self):
        """Output of a task does not get between the answers, and it has no input."""
        done = await self.run_on(task=tasks.say, text="Warning: print\n" * 1000)
        self.assertEqual(done, ({"said": True, "input": ""}, b""))
        await self.assert_still_works()

    async def test_exceptions(self):
        """An exception comes with its place, a declared one as itself; the process goes on."""
        pid = await self.pid()
        self.assertIn("KeyError: 'why' (", await self.assert_raises(MimeTaskError, tasks.fail, text="why"))
        self.assertEqual(await self.assert_raises(TooComplexError, tasks.refuse, text="parts"), "parts")
        self.assertIn("RecursionError", await self.assert_raises(MimeTaskError, tasks.recurse))
        self.assertEqual(await self.pid(), pid)


class BoundTests(WorkerCase, TestCase):
    async def test_seconds(self):
        """A task that computes for ever fails when its seconds are used up, within C code, too."""
        self.worker = self.make(bounds=Bounds(cpu=(1.0, 0.0)))
        costly, waiting = self.running(tasks.burn), self.running(tasks.repeat)
        await self.assertFailure(costly, MailTooCostly)
        await waiting
        await self.assert_still_works()

    async def test_seconds_are_each_task_s_own(self):
        """What earlier tasks have used does not count."""
        self.worker = self.make(bounds=Bounds(cpu=(1.0, 0.0)))
        used = 0.0
        pids = set()
        while used < 1.2:
            facts, _ = await self.run_on(task=tasks.use, seconds=0.4)
            used = facts["used"]
            pids.add(facts["pid"])
        self.assertEqual(len(pids), 1)

    async def test_deadline(self):
        """A task that does not end although it does not compute is ended by the clock."""
        self.worker = self.make(bounds=Bounds(wall=(4.0, 0.0)))
        slow, waiting = self.running(tasks.wait), self.running(tasks.repeat)
        await self.assertFailure(slow, MimeWorkerTimeout)
        await waiting

    async def test_memory(self):
        """A task that wants more memory than it may have fails, at once, little by little, or in crumbs."""
        for task, parameters in (
            (tasks.gulp, {"octets": 1 << 30}),
            (tasks.hoard, {}),
            (tasks.crumble, {}),
        ):
            costly, waiting = self.running(task, **parameters), self.running(tasks.repeat)
            await self.assertFailure(costly, MailTooCostly)
            await waiting
        facts, made = await self.run_on(bytes(20 * MIB), times=3)
        self.assertEqual((facts["size"], len(made)), (20 * MIB, 60 * MIB))

    async def test_memory_of_a_request(self):
        """However little there is, a mail that grows is made or too costly, and never crashes the process."""
        mail = GROWING % ((b"&" * 78 + b"\r\n") * (6 * MIB // 80))
        told = set()
        for megabytes in range(30, 200, 50):
            self.worker = self.make(bounds=evolve(BOUNDS, memory=(megabytes * MIB, 0)))
            try:
                await self.run_on(mail, task=map_mail, **PARAMETERS)
                told.add("made")
            except MailTooCostly:
                told.add("too costly")
        self.assertEqual(told, {"made", "too costly"})


class EndTests(WorkerCase, TestCase):
    async def test_killed(self):
        """A process that somebody kills costs the task that it did; the others are done by the next one."""
        pid = await self.pid()
        dying, waiting = self.running(tasks.wait), self.running(tasks.repeat)
        os.kill(pid, signal.SIGKILL)
        reason = str(await self.assertFailure(dying, MimeWorkerUnavailable))
        self.assertIn("signal 9", reason)
        self.assertNotEqual((await waiting)[0]["pid"], pid)
        self.assertEqual([told["pid"] for told in self.events.of("mime.ended")], [pid])

    async def test_other_deaths(self):
        """A crash and an exit are told with the last words of the process."""
        reason = await self.assert_raises(MimeWorkerUnavailable, tasks.die, signal="SIGKILL", words="ouch")
        self.assertTrue(reason.endswith(f"signal {int(signal.SIGKILL)}: ouch"), reason)
        self.assertIn(
            "crashed", await self.assert_raises(MimeTaskError, tasks.die, signal="SIGSEGV", words="")
        )
        self.assertIn("status 3", await self.assert_raises(MimeWorkerUnavailable, tasks.leave, status=3))
        await self.assert_still_works()

    async def test_garbage(self):
        """What is no answer ends the process that says it."""
        pid = await self.pid()
        await self.assert_raises(MimeWorkerUnavailable, tasks.babble)
        await eventually(lambda: not lives(pid), "the end of the process")
        await self.assert_still_works()

    async def test_cancelled(self):
        """Who gives up a task ends the process that does it."""
        pid = await self.pid()
        running = self.running(tasks.burn)
        running.cancel()
        self.failureResultOf(running)
        await eventually(lambda: not lives(pid), "the end of the process")
        await self.assert_still_works()

    async def test_idle(self):
        """A process without work ends."""
        self.worker = self.make(idle=0.05)
        pid = await self.pid()
        await eventually(lambda: not lives(pid), "the end of the process")
        self.assertNotEqual(await self.pid(), pid)

    async def test_stop(self):
        """A process that computes is gone when the worker has stopped."""
        pid = await self.pid()
        running = self.running(tasks.burn)
        await self.worker.stop()
        self.assertFalse(lives(pid))
        await self.assertFailure(running, MimeWorkerUnavailable)

    async def test_signals_of_the_group(self):
        """Ctrl-C, and what a service manager sends to all, is for the relay to answer, not for its worker."""
        sent = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"]
        self.assertEqual(await self.run_on(task=tasks.signals, signals=sent), ({"alive": True}, b""))

    async def test_no_interpreter(self):
        """Without an interpreter there is no worker, and a reason."""
        for executable in ("", "/no/such/python", "/bin/false"):
            self.worker = self.make(executable=executable)
            await self.assert_raises(MimeWorkerUnavailable, tasks.repeat)


class HostTests(Stage, TestCase):
    """The worker of a process that ends, or that is not ours."""

    def host(self, mode: str) -> Program:
        return self.ending_program(Program.forked(["-m", "tests.process.mime.mime_host", mode], self.folder))

    async def test_the_relay_dies(self):
        """When the relay is killed its worker ends: at once, or when the seconds of its task are used up."""
        for mode in ("stay", "compute"):
            host = self.host(mode)
            pid = int((await host.says(r"^worker (\d+)"))[1])
            await host.stop(signal.SIGKILL)
            await eventually(lambda pid=pid: not lives(pid), "the end of the worker")

    async def test_no_signal_handlers_and_no_folder(self):
        """Within a reactor that hears of no ends of processes, in a folder that is gone, all is the same."""
        host = self.host("unheard")
        self.assertEqual(await host.ends(), 0)
        said = [line for line in host.out.decode().splitlines() if not line.startswith("worker")]
        self.assertEqual(said, ["done", "MailTooCostly", "done"])
