"""No counter ever goes back while workers come and go."""

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.gather import Gathering
from smtprelay.telemetry.aggregate import Gathered
from smtprelay.web.messages import ApiResponse
from tests.telemetry.test_aggregate import OPENED, exposition


class Asked:
    """A worker whose answers come when a test says so."""

    def __init__(self, number: int) -> None:
        self.number, self.pid, self.ready = number, 100 + number, True
        self.asked: list[Deferred[ApiResponse]] = []

    async def ask(self, *_: object, **__: object) -> ApiResponse:
        answer: Deferred[ApiResponse] = Deferred()
        self.asked.append(answer)
        return await answer

    def tell(self, sessions: int) -> None:
        """Answer the oldest question: so many sessions there were."""
        self.asked.pop(0).callback(ApiResponse(body=exposition(*[OPENED] * sessions).encode()))

    def refuse(self) -> None:
        """Fail to answer the oldest question."""
        self.asked.pop(0).errback(ConnectionError("gone"))


class GatheringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one, self.two = Asked(1), Asked(2)
        self.gathered = Gathered(CollectorRegistry())
        self.registry = CollectorRegistry()
        self.registry.register(self.gathered)
        workers: Any = [self.one, self.two]
        self.gathering = Gathering(Clock(), workers, self.gathered)

    def gather(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.gathering.gather())

    def sessions(self) -> float | None:
        """Return what Prometheus is told."""
        labels = {"listener": "lan", "result": "accepted"}
        return self.registry.get_sample_value("smtprelay_smtp_connections_total", labels)

    def restart(self, worker: Asked) -> None:
        """Let a worker die, and another process have its number."""
        self.gathered.depart(worker.number)
        worker.pid += 1

    def test_an_answer_is_taken_when_it_comes(self) -> None:
        """Nobody waits for a worker that does not answer, and none that does is forgotten for it."""
        gathering = self.gather()
        self.one.tell(3)
        self.assertEqual(self.sessions(), 3)
        self.two.refuse()
        self.successResultOf(gathering)
        self.assertEqual(self.sessions(), 3)

    def test_an_answer_that_comes_after_the_next_one_began(self) -> None:
        """What a worker had told before it died is counted once, whatever else was slow to answer then."""
        self.gather()
        self.one.tell(5)
        self.restart(self.one)
        self.gather()
        self.one.tell(1)
        self.assertEqual(self.sessions(), 6)
        self.two.tell(0)
        self.assertEqual(self.sessions(), 6)

    def test_the_answer_of_one_that_died(self) -> None:
        """It is not the next one's."""
        self.gather()
        self.one.tell(5)
        self.gather()
        self.restart(self.one)
        self.one.tell(7)
        self.assertEqual(self.sessions(), 5)

    def test_deaths(self) -> None:
        """Over many lives the count only grows."""
        seen: list[float] = []
        for life in range(4):
            for count in (1, 4):
                self.gather()
                self.one.tell(count)
                self.two.tell(4 * life + count)
                seen.append(self.sessions() or 0)
            self.restart(self.one)
            seen.append(self.sessions() or 0)
        self.assertEqual(seen, sorted(seen))
