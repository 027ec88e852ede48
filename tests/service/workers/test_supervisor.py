"""What the supervisor does when it stops."""

from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import load
from smtprelay.model.message import Client, Reply
from smtprelay.service.workers.supervisor import Supervisor
from tests.recording import Recording

CONFIG = """\
hostname: relay.test
listeners: [{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}]
providers: {out: {type: capture, path: captured}}
routes: [{name: all, via: [out]}]
spool: {path: spool}
supervise: {restarts_per_hour: 3}
"""


class Workers:
    """Processes, and the list that they have; ``order`` keeps what was asked of them."""

    def __init__(self) -> None:
        self.order: list[object] = []
        self.hangs: Deferred[None] | None = None

    def stop(self) -> Deferred[None]:
        self.order.append("stopped")
        return succeed(None)

    async def record(self, rows) -> None:
        self.order.append([row.rule for row in rows])
        if self.hangs is not None:
            await self.hangs


class StopTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "relay.yaml").write_text(CONFIG)
        self.reactor, self.events, self.workers = MemoryReactorClock(), Recording(), Workers()
        loaded = load(str(folder / "relay.yaml"), {})
        self.supervisor = Supervisor(loaded, (), self.reactor, events=[self.events])
        self.supervisor.started.callback(None)
        self.supervisor._monitor = self.workers
        self.supervisor._refusals.store = self.workers
        refusal = Reply(code=421, enhanced="4.3.2", text="later", rule="not-ready")
        self.supervisor._refusals.turned_away(Client(address="10.0.3.7", listener="lan"), refusal)

    def test_what_was_refused(self) -> None:
        """A worker writes it down before it is stopped."""
        self.successResultOf(self.supervisor.stopService())
        self.assertEqual(self.workers.order, [["not-ready"], "stopped"])

    def test_a_worker_that_does_not_answer(self) -> None:
        """It is not waited for long; that it did not write is told."""
        self.workers.hangs = Deferred()
        stopped = self.supervisor.stopService()
        self.assertNoResult(stopped)
        self.reactor.advance(2)
        self.successResultOf(stopped)
        self.assertEqual(self.workers.order[-1], "stopped")
        told = [{"operation": "refused", "reason": "no worker has answered in time"}]
        self.assertEqual(self.events.of("spool.failed"), told)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
