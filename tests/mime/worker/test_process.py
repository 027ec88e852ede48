"""One life of the worker: what it is told and asked, and that its end is seen in every case."""

import os
import signal
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import MailTooCostly, MimeTaskError, MimeWorkerUnavailable
from smtprelay.mime.worker import shared_file
from smtprelay.mime.worker.frames import FACTS, FAILURE, TASK, frame
from smtprelay.mime.worker.process import MimeProcess, TaskFailedError, environment
from tests.mime.worker.fake_process import FakeBody, FakeReactor


class ProcessTests(SynchronousTestCase):
    def setUp(self):
        self.begin()

    def begin(self, *, tells: bool = True):
        self.reactor = FakeReactor(tells=tells)
        self.worker = MimeProcess(self.reactor, ("tests.",))
        self.worker.start("/usr/bin/python3")
        self.process = self.reactor.processes[-1]

    def work(self, *pieces, **asked):
        self.body = FakeBody(*pieces, size=0)
        return Deferred.fromCoroutine(self.worker.work(asked, self.body.chunks()))

    def test_command(self):
        """The interpreter, which does not look where it stands, with the places where tasks may lie."""
        [(arguments, _)] = self.reactor.commands
        self.assertEqual(arguments, ["/usr/bin/python3", "-P", "-m", "smtprelay.mime.worker.child", "tests."])

    def test_a_task(self):
        """The mail is in the shared file when the task is told; so is what was made when it is answered."""
        late: Deferred[bytes] = Deferred()
        done = self.work(b"ab", late, task="x:y", cpu=1)
        self.assertEqual(self.process.sent, [])
        late.callback(b"cd")
        self.assertEqual(self.process.sent, [(TASK, b'{"task": "x:y", "cpu": 1, "size": 4}')])
        self.assertEqual(self.process.bodies, [b"abcd"])
        self.assertNoResult(done)
        self.process.answers({"size": 4}, b"123")
        self.assertEqual(self.successResultOf(done), ({"size": 4}, b"123"))
        self.assertFalse(self.worker.over)

    def test_the_file_is_given_back(self):
        """Between tasks the file keeps little, and with the process it is gone."""
        for _ in range(2):
            done = self.work(b"x" * 1000)
            self.process.answers({}, b"y" * 9_000_000)
            self.assertEqual(len(self.successResultOf(done)[1]), 9_000_000)
            self.assertEqual(os.fstat(self.process.file).st_size, shared_file.KEPT)
        self.process.ends()
        self.assertRaises(OSError, os.fstat, self.process.file)

    def test_end_while_the_mail_is_read(self):
        """A process that ends before it has the mail gets no more of it."""
        late: Deferred[bytes] = Deferred()
        done = self.work(b"ab", late)
        self.process.ends(1)
        late.callback(b"cd")
        self.failureResultOf(done, MimeWorkerUnavailable)

    def test_failure(self):
        """What is told of an exception in the process is what is raised here; it goes on living."""
        done = self.work(b"x")
        self.process.fails({"type": "a:B", "line": "B: text", "text": "text"})
        self.assertEqual(self.failureResultOf(done, TaskFailedError).value.failure["type"], "a:B")
        self.assertFalse(self.worker.over)

    def test_garbage(self):
        """What is no frame, or out of turn, ends it: nothing that it says can be believed any more."""
        for garbage in (b"hello, world", frame(TASK, b"{}")):
            self.begin()
            done = self.work(b"x")
            self.process.says(garbage)
            reason = self.failureResultOf(done, MimeWorkerUnavailable).getErrorMessage()
            self.assertTrue(reason.startswith("the MIME worker: "), reason)
            self.assertEqual(self.process.killed, ["KILL"])
            self.assertTrue(self.worker.over)

    def test_out_of_turn(self):
        """What was said while nothing was asked does not become the answer to what is asked next."""
        self.process.says(frame(FAILURE, b"{}") + frame(FACTS, b"{}"))
        self.failureResultOf(self.work(b"x"), MimeWorkerUnavailable)
        self.assertTrue(self.worker.over)

    def test_seconds_used_up(self):
        """The kernel ends it when its seconds are used up: that is for the mail."""
        done = self.work(b"x")
        self.process.ends(None, int(signal.SIGXCPU))
        self.failureResultOf(done, MailTooCostly)

    def test_other_ends(self):
        """Any other end says nothing of the mail, but how it ended, and the process's last words."""
        for end, told in (
            ((None, int(signal.SIGKILL)), "killed by signal 9: last words"),
            ((3, None), "exit status 3: last words"),
            ((0, None), "exit status 0: last words"),
        ):
            self.begin()
            done = self.work(b"x")
            self.worker.childDataReceived(2, b"x" * 10_000 + b"\n  last ")
            self.worker.childDataReceived(2, b"words\n")
            self.process.ends(*end)
            reason = self.failureResultOf(done, MimeWorkerUnavailable).getErrorMessage()
            self.assertIn(told.partition(":")[0], reason)
            self.assertTrue(reason.endswith(" last words"), reason)
            self.assertLess(len(reason), 1000)
            self.successResultOf(self.worker.ended)

    def test_crashes(self):
        """A process that crashes has met an error in its task: a mail that causes it again is held."""
        for crash in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
            self.begin()
            done = self.work(b"x")
            self.process.ends(None, int(crash))
            told = self.failureResultOf(done, MimeTaskError).getErrorMessage()
            self.assertEqual(told, f"the MIME worker crashed: killed by signal {int(crash)}")

    def test_end_between_tasks(self):
        """A process that has ended takes no task."""
        self.process.ends(1)
        self.failureResultOf(self.work(b"x"), MimeWorkerUnavailable)

    def test_answer_before_the_end(self):
        """An answer that was written before the end counts."""
        done = self.work(b"x")
        self.process.answers({"done": True})
        self.process.ends(1)
        self.assertEqual(self.successResultOf(done), ({"done": True}, b""))

    def test_nobody_tells(self):
        """Where the reactor hears of no ends, the closed pipes are the end, and how is asked."""
        self.begin(tells=False)
        done = self.work(b"x")
        self.process.ends(None, int(signal.SIGXCPU))
        self.failureResultOf(done, MailTooCostly)
        self.assertEqual(self.process.asked, 1)

    def test_late_status(self):
        """It may take a moment until it can be known how it ended."""
        done = self.work(b"x")
        self.worker.childConnectionLost(1)
        self.assertNoResult(done)
        self.assertNoResult(self.worker.ended)
        self.worker.processExited(type("Reason", (), {"value": type("Ended", (), {"signal": 24})})())
        self.reactor.advance(0.1)
        self.failureResultOf(done, MailTooCostly)

    def test_status_never_known(self):
        """If it cannot be known how it ended, that is no reason to wait for ever."""
        self.begin(tells=False)
        done = self.work(b"x")
        self.worker.childConnectionLost(1)
        self.reactor.pump([0.02] * 200)
        self.failureResultOf(done, MimeWorkerUnavailable)
        self.successResultOf(self.worker.ended)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closed_pipe(self):
        """A process that closes a pipe is ended, for it cannot be asked any more."""
        for pipe in (0, 1):
            self.begin()
            self.worker.childConnectionLost(pipe)
            self.assertEqual(self.process.killed, ["KILL"])

    def test_task_for_closed_pipes(self):
        """A task for a process whose pipes have just closed fails when its end is seen, and not before."""
        self.process.closed = True
        done = self.work(b"x")
        self.assertNoResult(done)
        self.process.ends(1)
        self.failureResultOf(done, MimeWorkerUnavailable)

    def test_closed_errors(self):
        """Its standard error may be closed: it is not needed."""
        self.worker.childConnectionLost(2)
        self.assertEqual(self.process.killed, [])

    def test_kill(self):
        """Killing it ends what it does; twice, and when it has ended, is once."""
        done = self.work(b"x")
        self.worker.kill()
        self.worker.kill()
        self.process.ends(None, int(signal.SIGKILL))
        self.worker.kill()
        reason = self.failureResultOf(done, MimeWorkerUnavailable).getErrorMessage()
        self.assertEqual(reason, "the MIME worker was ended")


class EnvironmentTests(SynchronousTestCase):
    def test_modules(self):
        """It finds what is found here, in the same order, wherever it stands."""
        self.patch(sys, "path", ["", "lib", "/usr/lib/x"])
        paths = environment()["PYTHONPATH"].split(os.pathsep)
        here = Path.cwd()
        self.assertEqual(paths[:3], [str(here), str(here / "lib"), "/usr/lib/x"])
        self.assertTrue((Path(paths[-1]) / "smtprelay").is_dir())

    def test_secrets_stay_here(self):
        """What it needs to start is handed on, and nothing else."""
        secrets = dict.fromkeys(
            ("SMTPRELAY_KEY", "PASSWORD", "HOMEBREW_GITHUB_API_TOKEN", "PATH_SECRET"), "x"
        )
        self.patch(os, "environ", {"PATH": "/bin", "LC_ALL": "C", **secrets})
        ours = ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"]
        self.assertEqual(sorted(environment()), ["LC_ALL", *ours, "PATH", "PYTHONPATH"])
