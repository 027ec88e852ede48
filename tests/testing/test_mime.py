"""
The worker for tests: at once, in this process, and as strict as the real one about what can be carried.
"""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import MimeWorkerUnavailable
from smtprelay.model.memory_body import MemoryBody
from smtprelay.testing.mime import InlineMimeWorker


def measure(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    return {"size": len(octets), "pair": (1, 2)}, octets * parameters["times"]


class InlineMimeWorkerTests(SynchronousTestCase):
    def run_on(self, worker, parameters):
        return Deferred.fromCoroutine(worker.run(measure, MemoryBody(b"abc"), parameters))

    def test_runs(self):
        """The task gets the octets and the parameters; its facts come back as JSON carries them."""
        worker = InlineMimeWorker()
        done = self.successResultOf(self.run_on(worker, {"times": 2}))
        self.assertEqual(done, ({"size": 3, "pair": [1, 2]}, b"abcabc"))
        self.assertEqual((worker.tasks, worker.parameters), ([measure], [{"times": 2}]))

    def test_fails(self):
        """It raises what it is told to, once."""
        worker = InlineMimeWorker([MimeWorkerUnavailable("away"), None])
        self.failureResultOf(self.run_on(worker, {"times": 1}), MimeWorkerUnavailable)
        self.successResultOf(self.run_on(worker, {"times": 1}))

    def test_waits(self):
        """It begins when the Deferred that it was given fires."""
        turn: Deferred[None] = Deferred()
        running = self.run_on(InlineMimeWorker([turn]), {"times": 1})
        self.assertNoResult(running)
        turn.callback(None)
        self.successResultOf(running)

    def test_parameters_that_cannot_be_carried(self):
        """Octets among the parameters are an error here, too: they could not reach a process."""
        self.failureResultOf(self.run_on(InlineMimeWorker(), {"times": b"2"}), TypeError)
