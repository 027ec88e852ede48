"""Small mail at once, large mail in a process, in order, within bounds; nobody pays for another's mail."""

import json
import os
import signal
import traceback

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import (
    MailTooCostly,
    MimeTaskError,
    MimeWorkerTimeout,
    MimeWorkerUnavailable,
)
from smtprelay.mime.parse import TooComplexError
from smtprelay.mime.worker.inline_budget import MOST_SECONDS, SMALL_TEXT
from smtprelay.mime.worker.mime_worker import Bounds, ProcessMimeWorker
from smtprelay.mime.worker.task import name_of
from tests.mime.worker import tasks
from tests.mime.worker.fake_process import FakeBody, FakeReactor
from tests.recording import Recording

LARGE = bytes(SMALL_TEXT + 1)
BOUNDS = Bounds(cpu=(2.0, 0.0), wall=(30.0, 0.0), memory=(1000, 0))


class WorkerCase(SynchronousTestCase):
    def setUp(self):
        self.begin()

    def begin(self, *, tells: bool = True, **options):
        self.reactor = FakeReactor(tells=tells)
        self.events = Recording()
        # No task takes any time, or what comes next would wait for another turn.
        options = {"bounds": BOUNDS, "idle": 100.0, "seconds": lambda: 0.0, **options}
        self.worker = ProcessMimeWorker(self.reactor, self.events, prefixes=["tests."], **options)

    def run_on(self, *pieces, task=tasks.repeat, **parameters):
        body = pieces[0] if isinstance(pieces[0], FakeBody) else FakeBody(*pieces)
        return Deferred.fromCoroutine(self.worker.run(task, body, parameters))

    @property
    def process(self):
        return self.reactor.processes[-1]

    def ended(self):
        return self.events.of("mime.ended")


class SmallTests(WorkerCase):
    """Work in this process."""

    def test_at_once(self):
        """A small mail is worked on in the call, and no process is started for it."""
        facts, octets = self.successResultOf(self.run_on(b"abc", times=2))
        self.assertEqual((facts["size"], facts["pid"], octets), (3, os.getpid(), b"abcabc"))
        self.assertEqual(self.reactor.processes, [])

    def test_not_small(self):
        """Too large, too long a header, or too many parts: the process gets it, with all of its octets."""
        for mail in (LARGE, b"X" * 20_000, b"\r\n\r\n" + b"\r\n--x" * 100):
            done = self.run_on(mail)
            self.assertEqual(self.process.task["task"], "tests.mime.worker.tasks:repeat")
            self.process.answers({"size": 1})
            self.successResultOf(done)
            self.assertEqual(self.process.bodies[-1], mail)

    def test_large_mail_is_not_read_at_once(self):
        """The octets of a large mail are never together in this process."""
        late: Deferred[bytes] = Deferred()
        body = FakeBody(LARGE, late, LARGE, size=3 * len(LARGE))
        self.run_on(body)
        self.assertEqual(os.fstat(self.process.file).st_size, len(LARGE))
        self.assertEqual(body.read, 2)

    def test_errors(self):
        """An exception of a task is what it would be from the process."""
        done = self.run_on(b"x", task=tasks.fail, text="why")
        error = self.failureResultOf(done, MimeTaskError).value
        self.assertIn("KeyError: 'why'", str(error))
        self.assertIn("tasks.py", str(error))
        done = self.run_on(b"x", task=tasks.refuse, text="many parts")
        self.assertEqual(self.failureResultOf(done, TooComplexError).getErrorMessage(), "many parts")
        self.failureResultOf(self.run_on(b"x", task=tasks.gulp, octets=1 << 60), MailTooCostly)

    def test_no_task(self):
        """What the process would not do is not done here: it is seen with the first small mail."""
        error = self.failureResultOf(self.run_on(b"x", task=json.dumps), MimeTaskError).value
        self.assertIn("a function of json is no task", str(error))

    def test_short_traceback(self):
        """An endless recursion makes a few lines in the log, which say where it was."""
        error = self.failureResultOf(self.run_on(b"x", task=tasks.recurse), MimeTaskError).value
        told = "".join(traceback.format_exception(error))
        self.assertLess(len(told), 10_000)
        self.assertIn("in recurse", told)

    def test_many_in_one_turn(self):
        """Many that take their time are spread over turns of the reactor."""
        times = iter(range(1000))
        self.begin(seconds=lambda: next(times) * MOST_SECONDS)
        running = [self.run_on(b"x") for _ in range(5)]
        self.assertEqual([each.called for each in running], [True, False, False, False, False])
        self.reactor.advance(0)
        self.assertEqual([each.called for each in running], [True] * 5)


class ProcessTests(WorkerCase):
    """Work in the process."""

    def test_started_when_needed(self):
        """One process, at the first large mail; the next one uses it."""
        for _ in range(3):
            done = self.run_on(LARGE, times=7)
            self.assertEqual(self.process.task["parameters"], {"times": 7})
            self.process.answers({"size": 5}, b"made")
            self.assertEqual(self.successResultOf(done), ({"size": 5}, b"made"))
        self.assertEqual(len(self.reactor.processes), 1)

    def test_started_ahead(self):
        """Who knows that a large mail comes has the process started; it ends if none comes."""
        self.worker.start()
        self.worker.start()
        self.assertEqual(len(self.reactor.processes), 1)
        self.reactor.advance(100)
        self.assertEqual(self.process.killed, ["KILL"])

    def test_bounds(self):
        """What a mail may cost grows with it."""
        bounds = Bounds(cpu=(1.0, 0.5), wall=(10.0, 2.0), memory=(100, 1 << 20))
        self.assertEqual((bounds.seconds(4 << 20), bounds.deadline(4 << 20)), (3.0, 18.0))
        self.assertEqual(bounds.octets(5), 105)
        self.begin(bounds=bounds)
        self.run_on(LARGE)
        self.assertEqual(self.process.task["cpu"], bounds.seconds(len(LARGE)))
        self.assertEqual(self.process.task["memory"], bounds.octets(len(LARGE)))

    def test_in_order(self):
        """One after the other, as they came; the body of one that waits is not read."""
        bodies = [FakeBody(LARGE) for _ in range(3)]
        running = [self.run_on(body, number=number) for number, body in enumerate(bodies)]
        for number, done in enumerate(running):
            self.assertEqual([body.read for body in bodies[number + 1 :]], [0] * (2 - number))
            self.assertEqual(self.process.task["parameters"], {"number": number})
            self.process.answers({"number": number})
            self.assertEqual(self.successResultOf(done)[0], {"number": number})

    def test_seconds_used_up(self):
        """The mail that uses up its seconds fails; the ones that wait go on in a new process."""
        costly, *others = [self.run_on(LARGE) for _ in range(3)]
        self.process.ends(None, int(signal.SIGXCPU))
        self.failureResultOf(costly, MailTooCostly)
        for done in others:
            self.process.answers({})
            self.successResultOf(done)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_too_slow(self):
        """No answer in time: the process is killed and told of, those that wait are served by another one."""
        slow, other = self.run_on(LARGE), self.run_on(LARGE)
        self.reactor.advance(29)
        self.assertNoResult(slow)
        self.reactor.advance(1)
        self.failureResultOf(slow, MimeWorkerTimeout)
        killed, fresh = self.reactor.processes
        self.assertEqual((killed.killed, fresh.killed), (["KILL"], []))
        killed.ends(None, int(signal.SIGKILL))
        fresh.answers({})
        self.successResultOf(other)
        [told] = self.ended()
        self.assertIn("within 30 s", told["reason"])

    def test_waiting_is_not_slow(self):
        """The time that a mail waits for its turn does not count."""
        running = [self.run_on(LARGE) for _ in range(4)]
        for done in running:
            self.reactor.advance(20)
            self.process.answers({})
            self.successResultOf(done)

    def test_slow_body(self):
        """A spool that gives no octets holds up nobody for longer than the deadline."""
        slow, other = self.run_on(FakeBody(Deferred(), size=SMALL_TEXT + 1)), self.run_on(LARGE)
        self.reactor.advance(30)
        self.failureResultOf(slow, MimeWorkerTimeout)
        self.process.answers({})
        self.successResultOf(other)

    def test_body_fails(self):
        """What reading the body raises is raised; the process, which has half of it, is another one then."""
        stuck: Deferred[bytes] = Deferred()
        done, other = self.run_on(FakeBody(b"x", stuck, size=SMALL_TEXT + 1)), self.run_on(LARGE)
        stuck.errback(LookupError("gone"))
        self.failureResultOf(done, LookupError)
        self.process.answers({})
        self.successResultOf(other)
        self.assertEqual(self.process.bodies, [LARGE])

    def test_cancel_a_running_one(self):
        """Its work is done all the same: the next one would have to wait longer for another process."""
        done, other = self.run_on(LARGE), self.run_on(LARGE)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(len(self.process.bodies), 1)
        for _ in range(2):
            self.process.answers({})
        self.successResultOf(other)
        self.assertEqual(len(self.reactor.processes), 1)

    def test_cancel_one_that_hangs(self):
        """Its process is killed soon, and at its deadline if that is sooner."""
        for waited, left in ((5, 10), (26, 4)):
            self.begin()
            done, other = self.run_on(LARGE), self.run_on(LARGE)
            self.reactor.advance(waited)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.reactor.advance(left - 1)
            self.assertEqual(self.process.killed, [])
            self.reactor.advance(1)
            self.assertEqual(self.reactor.processes[0].killed, ["KILL"])
            self.process.answers({})
            self.successResultOf(other)

    def test_cancel_many_that_hang(self):
        """However many give up, one after the other, the process has its time to answer."""
        running = [self.run_on(LARGE) for _ in range(5)]
        for done in running[:4]:
            self.reactor.advance(1)
            done.cancel()
            self.failureResultOf(done, CancelledError)
        self.assertEqual(self.process.killed, [])
        self.process.answers({})
        self.process.answers({})
        self.successResultOf(running[4])

    def test_cancel_a_waiting_one(self):
        """It is left out; the running one is not disturbed."""
        running, waiting, last = (self.run_on(LARGE) for _ in range(3))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        for done in (running, last):
            self.process.answers({})
            self.successResultOf(done)
        self.assertEqual(len(self.reactor.processes), 1)
        self.assertEqual(self.process.bodies, [LARGE, LARGE])

    def test_no_memory(self):
        """A task that gets no more memory fails for good; the process that it filled is left."""
        done, other = self.run_on(LARGE), self.run_on(LARGE)
        self.process.fails(
            {"type": "builtins:MemoryError", "line": "MemoryError", "text": "", "traceback": ""}
        )
        self.failureResultOf(done, MailTooCostly)
        self.assertEqual(self.reactor.processes[0].killed, ["KILL"])
        self.process.answers({})
        self.successResultOf(other)

    def test_exceptions(self):
        """A declared exception comes as itself; any other one in words, with its place as the cause."""
        told = {"type": name_of(TooComplexError), "text": "parts", "line": "l", "traceback": ""}
        done = self.run_on(LARGE)
        self.process.fails(told)
        self.assertEqual(self.failureResultOf(done, TooComplexError).getErrorMessage(), "parts")
        done = self.run_on(LARGE)
        self.process.fails({"type": "a:B", "text": "t", "line": "B: t (f:1 in g)", "traceback": "  File f"})
        error = self.failureResultOf(done, MimeTaskError).value
        self.assertEqual((str(error), str(error.__cause__).strip()), ("B: t (f:1 in g)", "File f"))
        self.assertEqual(len(self.reactor.processes), 1)

    def test_parameters_that_cannot_be_carried(self):
        """They are an error of who asks; the next task is not harmed."""
        self.failureResultOf(self.run_on(LARGE, octets=b"x"), TypeError)
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)

    def test_death(self):
        """A process that dies is told of, and the next task gets another one."""
        done = self.run_on(LARGE)
        self.process.ends(None, int(signal.SIGKILL))
        self.failureResultOf(done, MimeWorkerUnavailable)
        [told] = self.ended()
        self.assertIn("signal 9", told["reason"])
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)

    def test_death_between_tasks(self):
        """One that ended meanwhile is replaced when there is work; no mail pays for it."""
        self.test_started_when_needed()
        self.process.ends(None, int(signal.SIGKILL))
        self.assertEqual(len(self.ended()), 1)
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_death_while_idle(self):
        """One that ended while it was idle leaves no timer, and is replaced when work is about to come."""
        self.test_started_when_needed()
        self.process.ends(None, int(signal.SIGKILL))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.worker.start()
        self.assertEqual(len(self.reactor.processes), 2)

    def test_garbage_while_idle(self):
        """One that says what nobody asked is not asked any more, though its end is still to come."""
        self.test_started_when_needed()
        self.process.says(b"garbage and more of it")
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_does_not_start(self):
        """A process that cannot be started is not tried for each mail, and is tried again after a while."""
        self.reactor.broken = FileNotFoundError("no such interpreter")
        reason = self.failureResultOf(self.run_on(LARGE), MimeWorkerUnavailable).getErrorMessage()
        self.assertIn("no such interpreter", reason)
        self.reactor.broken = None
        self.failureResultOf(self.run_on(LARGE), MimeWorkerUnavailable)
        self.assertEqual(self.reactor.processes, [])
        self.reactor.advance(5)
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)

    def test_dies_at_its_start(self):
        """So is one that starts, and ends before it has said anything."""
        self.reactor.starts = False
        done = self.run_on(LARGE)
        self.worker_says_why(b"ModuleNotFoundError: no module")
        reason = self.failureResultOf(done, MimeWorkerUnavailable).getErrorMessage()
        self.assertIn("ModuleNotFoundError", reason)
        self.failureResultOf(self.run_on(LARGE), MimeWorkerUnavailable)
        self.assertEqual(len(self.reactor.processes), 1)
        self.reactor.advance(5)
        done = self.run_on(LARGE)
        self.process.answers({})
        self.successResultOf(done)

    def worker_says_why(self, words):
        self.process.protocol.childDataReceived(2, words)
        self.process.ends(1)

    def test_idle(self):
        """A process that had nothing to do for a while is ended, without a word; work keeps it."""
        for wait in (99, 99):
            done = self.run_on(LARGE)
            self.process.answers({})
            self.successResultOf(done)
            self.reactor.advance(wait)
        self.assertEqual(self.process.killed, [])
        self.reactor.advance(1)
        self.assertEqual(self.process.killed, ["KILL"])
        self.process.ends(None, int(signal.SIGKILL))
        self.assertEqual((self.ended(), self.reactor.getDelayedCalls()), ([], []))

    def test_idle_after_a_failure(self):
        """So is one whose last task failed."""
        done = self.run_on(LARGE)
        self.process.fails({"type": "a:B", "text": "t", "line": "l", "traceback": ""})
        self.failureResultOf(done, MimeTaskError)
        self.reactor.advance(100)
        self.assertEqual(self.process.killed, ["KILL"])

    def test_busy_is_not_idle(self):
        """A process is not ended while it works."""
        self.begin(idle=1.0)
        self.worker.start()
        done = self.run_on(LARGE)
        self.reactor.advance(20)
        self.process.answers({})
        self.successResultOf(done)


class StopTests(WorkerCase):
    """The end of the relay."""

    def test_stop(self):
        """What is being done ends at once, what waits is not begun; it fires when the process is gone."""
        running = [self.run_on(LARGE) for _ in range(3)]
        stopping = self.worker.stop()
        self.assertEqual(self.process.killed, ["KILL"])
        self.assertNoResult(stopping)
        self.process.ends(None, int(signal.SIGKILL))
        self.successResultOf(stopping)
        for done in running:
            self.failureResultOf(done, MimeWorkerUnavailable)
        self.assertEqual(len(self.reactor.processes), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_not_gone(self):
        """A process that does not end, as one that waits for a disk, does not hold up the relay."""
        done = self.run_on(LARGE)
        stopping = self.worker.stop()
        self.reactor.advance(2)
        self.successResultOf(stopping)
        self.process.ends(None, int(signal.SIGKILL))
        self.failureResultOf(done, MimeWorkerUnavailable)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_to_stop(self):
        """Without a process it is over at once; none is started afterwards, and small mail is done."""
        self.successResultOf(self.worker.stop())
        self.worker.start()
        self.failureResultOf(self.run_on(LARGE), MimeWorkerUnavailable)
        self.successResultOf(self.run_on(b"x"))
        self.assertEqual(self.reactor.processes, [])

    def test_stop_while_idle(self):
        """The timer of an idle process goes with it."""
        self.worker.start()
        self.worker.stop()
        self.process.ends(None, int(signal.SIGKILL))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
