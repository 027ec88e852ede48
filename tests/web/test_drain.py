from attrs import asdict
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.web.auth import ROLE, WHO, Access
from smtprelay.web.context import Drained
from tests.web.asking import Fixture

PATH = "/api/v1/drain"


class FakeDraining:
    """Keeps how it was turned."""

    def __init__(self) -> None:
        self.turns: list[tuple[bool, str]] = []

    async def switch(self, on: bool, who: str) -> None:
        self.turns.append((on, who))

    async def state(self) -> Drained:
        on = bool(self.turns) and self.turns[-1][0]
        return Drained(draining=on, sessions=1, attempts=2, waiting=3, shared=True)


class DrainRouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.draining = FakeDraining()
        self.fixture = Fixture(draining=self.draining)

    def test_there_and_back(self) -> None:
        """It is turned on and off, for the record by whom, and told how far it is."""
        state = asdict(Drained(draining=True, sessions=1, attempts=2, waiting=3, shared=True))
        self.assertEqual(self.fixture.post(PATH, {"who": "anna"}).json, state)
        self.assertEqual(self.fixture.get(PATH).json, state)
        self.assertEqual(self.fixture.post(PATH, {"undo": True}).json, {**state, "draining": False})
        self.assertEqual(self.draining.turns, [(True, "local (anna)"), (False, "local")])

    def test_what_is_not_understood(self) -> None:
        """Anything else turns nothing."""
        for body in ({"undo": "yes"}, {"who": 1}, {"wait": True}, []):
            self.assertEqual(self.fixture.post(PATH, body).status, 400)
        self.assertEqual(self.draining.turns, [])

    def test_where_nothing_can_be_drained(self) -> None:
        """There is no such path."""
        self.assertEqual(Fixture().get(PATH).status, 404)

    def test_what_a_supervisor_passes_on(self) -> None:
        """A worker believes its supervisor who asks; any other site does not."""
        headers = {WHO: "ops", ROLE: "operator"}
        self.fixture.post(PATH, {"who": "anna"}, headers=headers)
        worker = Fixture(
            draining=self.draining, access=lambda clock: Access(clock, control=True, admitted=True)
        )
        worker.post(PATH, {"who": "anna"}, headers=headers)
        worker.post(PATH, {"who": "anna"})
        self.assertEqual([who for _, who in self.draining.turns], ["local (anna)", "ops (anna)", "anna"])
