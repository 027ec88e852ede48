"""The route that has the configuration reloaded."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.web.context import Reloaded, ReloadFailed
from tests.web.asking import Fixture

PATH = "/api/v1/reload"


class FakeReloading:
    """Keeps who asked; ``failure`` is why it cannot."""

    failure = ""
    rejected: tuple[str, float] | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def reload(self, who: str) -> Reloaded:
        self.asked.append(who)
        if self.failure:
            raise ReloadFailed(self.failure)
        return Reloaded([{"key": "a", "before": 1, "after": 2, "text": "a: 1 → 2"}], ["spool.path"])


class ReloadRouteTests(SynchronousTestCase):
    def test_changes(self) -> None:
        """It answers what has changed, and records who asked."""
        reloading = FakeReloading()
        fixture = Fixture(reloading=reloading)
        change = {"key": "a", "before": 1, "after": 2, "text": "a: 1 → 2"}
        answer = fixture.post(PATH, {"who": "anna"})
        self.assertEqual(answer.json, {"changes": [change], "restart": ["spool.path"]})
        self.assertEqual(reloading.asked, ["local (anna)"])
        reloading.failure = "relay.yaml:1:1: wrong"
        answer = fixture.post(PATH, {})
        self.assertEqual((answer.status, answer.json), (422, {"error": "relay.yaml:1:1: wrong"}))

    def test_a_rejected_one(self) -> None:
        """The status shows it: who sent SIGHUP reads no answer."""
        reloading = FakeReloading()
        fixture = Fixture(reloading=reloading)
        reloading.rejected = ("relay.yaml:1:1: wrong", 1000.0)
        found = [line for line in fixture.get("/api/v1/status").json["attention"] if line["since"] == 1000.0]
        text = "the configuration has changed and cannot be used: relay.yaml:1:1: wrong"
        self.assertEqual([(line["kind"], line["text"]) for line in found], [("configuration", text)])

    def test_without_a_file(self) -> None:
        """A relay whose configuration comes from a program has no such path."""
        self.assertEqual(Fixture().post(PATH, {}).status, 404)
