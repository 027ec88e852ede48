"""``smtprelay reload``."""

from typing import Any

from tests.cli.fakes import CommandCase, FakeRelay, Ran

PATH = "/api/v1/reload"


class ReloadTests(CommandCase):
    def reload(self, status: int, answer: dict[str, Any]) -> Ran:
        self.relay = FakeRelay(self, {f"POST {PATH}": (status, answer)})
        return self.run_command("reload", "--endpoint", self.relay.endpoint)

    def test_changes(self) -> None:
        """One line for each setting that has changed, and for each that only a restart changes."""
        text = "providers.out.rate: 30/min → 40/min"
        ran = self.reload(200, {"changes": [{"text": text}], "restart": ["spool.path"]})
        self.assertEqual(ran, Ran(0, f"{text}\nspool.path: changes when the relay is restarted\n", ""))
        self.assertTrue(self.relay.asked[0].body["who"])
        ran = self.reload(200, {"changes": [], "restart": []})
        self.assertEqual(ran, Ran(0, "nothing has changed\n", ""))

    def test_errors(self) -> None:
        """A configuration that cannot be used is said, with the status 78."""
        ran = self.reload(422, {"error": "relay.yaml:1:1: error: wrong"})
        self.assertEqual(ran, Ran(78, "", "smtprelay: relay.yaml:1:1: error: wrong\n"))
