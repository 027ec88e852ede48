"""A relay waits for a database that is not there yet, and for nothing else."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.spool import DatabaseRetry
from smtprelay.spool.engines.transaction import SpoolAway, SpoolFault
from tests.recording import Recording


class PatienceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = Recording()
        self.shown: list[str] = []
        self.patience = DatabaseRetry(None, self.clock, self.events, self, None)
        self.answers: list[object] = []

    async def show(self, _config: object, _sources: object, _parts: object) -> None:
        """Note what its sites show."""
        self.shown.append(self.patience.complaint)

    async def attempt(self) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def begin(self, *answers: object) -> Deferred[object]:
        """Begin to try, with what comes of it each time."""
        self.answers += answers
        return Deferred.fromCoroutine(self.patience.until_there(self.attempt))

    def test_there_at_once(self) -> None:
        """Nothing is said, and nobody waits."""
        self.assertEqual(self.successResultOf(self.begin("spool")), "spool")
        self.assertEqual((self.events.heard, self.shown), ([], []))

    def test_away(self) -> None:
        """It is tried again ever more seldom, up to a bound; meanwhile everybody can see why."""
        trying = self.begin(*[SpoolAway("no route")] * 7, "spool")
        self.assertEqual(self.shown, ["no route"])
        self.clock.pump([1, 2, 4, 8, 15])
        self.assertEqual(self.patience.complaint, "no route")
        self.clock.advance(14.9)
        self.assertNoResult(trying)
        self.clock.pump([0.1, 15])
        self.assertEqual(self.successResultOf(trying), "spool")
        self.assertEqual(self.patience.complaint, "")
        waits = [fields["seconds"] for fields in self.events.of("spool.unavailable")]
        self.assertEqual(waits, [1, 2, 4, 8, 15, 15, 15])

    def test_what_does_not_pass(self) -> None:
        """An error that time does not mend is told at once."""
        self.failureResultOf(self.begin(SpoolFault("a newer version wrote it")), SpoolFault)
        self.assertEqual(self.events.heard, [])

    def test_given_up(self) -> None:
        """Who is stopped meanwhile tries no more."""
        trying = self.begin(SpoolAway("no route"), "spool")
        trying.addErrback(lambda _: succeed(None))
        trying.cancel()
        self.clock.advance(60.0)
        self.assertEqual(self.answers, ["spool"])
