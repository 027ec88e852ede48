from typing import Any

from tests.cli.fakes import CommandCase, FakeRelay, Ran, data_of

PATH = "/api/v1/drain"


def state(**changes: Any) -> dict[str, Any]:
    return {"draining": True, "sessions": 0, "attempts": 0, "waiting": 0, "shared": False, **changes}


class DrainTests(CommandCase):
    def drain(self, answer: dict[str, Any], *argv: str, then: dict[str, Any] | None = None) -> Ran:
        self.relay = FakeRelay(self, {f"POST {PATH}": (200, answer), f"GET {PATH}": (200, then or answer)})
        return self.run_command("drain", "--endpoint", self.relay.endpoint, *argv)

    def test_said(self) -> None:
        """One sentence says what is under way and what becomes of what waits."""
        cases = {
            "drained: nothing is under way": state(),
            "draining: 1 session and 2 attempts under way": state(sessions=1, attempts=2),
            "drained: nothing is under way; 2 deliveries in the spool of this node,"
            " where they stay until drain --undo": state(waiting=2),
            "draining: 1 attempt under way; 1 delivery in the spool for the other nodes": state(
                attempts=1, waiting=1, shared=True
            ),
        }
        for sentence, given in cases.items():
            self.assertEqual(self.drain(given), Ran(0, f"{sentence}\n", ""))
            self.assertIs(self.relay.asked[0].body["undo"], False)
            self.assertTrue(self.relay.asked[0].body["who"])

    def test_wait(self) -> None:
        """It asks until nothing is under way; what waits in the spool is not waited for."""
        ran = self.drain(state(attempts=1), "--wait", then=state(waiting=3, shared=True))
        self.assertIn("drained: nothing is under way; 3 deliveries", ran.out)
        self.assertEqual([asked.method for asked in self.relay.asked], ["POST", "GET"])

    def test_wait_in_vain(self) -> None:
        """After the timeout the status is 75, and the sentence says what is still there."""
        ran = self.drain(state(attempts=1), "--wait", "--timeout", "0")
        self.assertEqual(ran, Ran(75, "", "smtprelay: after 0s still draining: 1 attempt under way\n"))

    def test_timeouts(self) -> None:
        """A timeout is a duration or a number of seconds; what is none is told what one looks like."""
        for timeout in ("0", "0s", "0m", "0.0"):
            self.assertEqual(self.drain(state(attempts=1), "--wait", "--timeout", timeout).status, 75)
        for command in (("drain",), ("send", "--to", "a@b.c"), ("healthcheck",)):
            for timeout in ("x", "-1", "nan"):
                ran = self.run_command(*command, "--timeout", timeout)
                self.assertEqual((ran.status, ran.out), (2, ""))
                self.assertIn(f'"{timeout}" is not a duration: expected one such as 30s, 5m,', ran.err)

    def test_undone_meanwhile(self) -> None:
        """Who waits is told when somebody else has ended it."""
        ran = self.drain(state(attempts=1), "--wait", then=state(draining=False))
        self.assertEqual(
            ran,
            Ran(
                75,
                "",
                "smtprelay: the drain was undone by another command: smtprelay drain starts it again\n",
            ),
        )

    def test_undo(self) -> None:
        """It takes mail again."""
        ran = self.drain(state(draining=False, sessions=3), "--undo")
        self.assertEqual(ran, Ran(0, "not draining: mail is accepted and delivered\n", ""))
        self.assertIs(self.relay.asked[0].body["undo"], True)

    def test_json(self) -> None:
        """JSON is the relay's own answer."""
        self.assertEqual(data_of(self.drain(state(), "-o", "json").out), state())
