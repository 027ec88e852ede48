import json
import time
from typing import Any

from smtprelay.cli.exit_codes import USAGE
from tests.cli.fakes import CommandCase, FakeRelay, Ran, data_of


class RefusedTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.row: dict[str, Any] = {
            "listener": "lan",
            "client": "10.0.3.7",
            "user": "joe",
            "rule": "sender",
            "reply": "553 5.7.1",
            "domain": "x.test",
            "count": 12,
            "first": time.time() - 3600,
            "last": time.time() - 120,
            "command": "MAIL FROM:<a@x.test>",
            "text": "joe may not send as <a@x.test>",
            "setting": "listeners[lan].allow_senders: add a@x.test",
            "advice": "",
        }
        self.answer = {"refused": [self.row]}
        self.relay = FakeRelay(
            self,
            {
                "GET /api/v1/refused": (200, self.answer),
                "POST /api/v1/refused/clear": (200, {"count": 2}),
            },
        )

    def refused(self, *argv: str) -> Ran:
        return self.run_command("--endpoint", self.relay.endpoint, "refused", *argv)

    def test_what_is_shown(self) -> None:
        """Who, how often and when; the reply and its rule; the command; the setting that lets it in."""
        out = self.refused().out
        for words in (
            "10.0.3.7 as joe at lan, from x.test: 12 times, ",
            "(2m ago)",
            "refused   553 5.7.1 joe may not send as <a@x.test>  [sender]",
            "command   MAIL FROM:<a@x.test>",
            "setting   listeners[lan].allow_senders: add a@x.test",
        ):
            self.assertIn(words, out)

    def test_an_advice(self) -> None:
        """Where no setting helps there is what the client must do."""
        self.row |= {"setting": "", "advice": "no setting helps: the client must speak SMTP"}
        self.assertIn("advice    no setting helps", self.refused().out)
        self.row |= {"setting": "x.y: set 1", "advice": "or have the client log in", "user": "", "count": 1}
        out = self.refused().out
        self.assertIn("    setting   x.y: set 1\n    or        have the client log in\n", out)
        self.assertNotIn("times", out)
        self.row |= {"advice": "have the client log in"}
        self.assertIn("    advice    have the client log in\n    or        x.y: set 1\n", self.refused().out)
        self.row |= {"advice": ""}
        self.assertIn("    setting   x.y: set 1\n", self.refused().out)

    def test_strangers_text(self) -> None:
        """A terminal is not obeyed."""
        self.row |= {"command": "EHLO \x1b[2J", "user": "\x1b]0;x"}
        self.assertNotIn("\x1b", self.refused().out)

    def test_filters(self) -> None:
        """They are asked for as the API knows them."""
        self.refused("--client", "10.*", "--rule", "sender", "--user", "joe", "--since", "1h", "--limit", "5")
        [asked] = self.relay.asked
        since = float(asked.query.pop("since")[0])
        self.assertAlmostEqual(since, time.time() - 3600, places=-2)
        self.assertEqual(
            asked.query, {"client": ["10.*"], "rule": ["sender"], "user": ["joe"], "limit": ["5"]}
        )

    def test_json(self) -> None:
        """JSON is the relay's own answer, with its schema; ids are refused by name."""
        self.assertEqual(data_of(self.refused("-o", "json").out), self.answer)
        self.assertEqual(json.loads(self.refused("-o", "jsonl").out), self.row)
        ran = self.refused("-o", "ids")
        self.assertEqual((ran.status, ran.out), (USAGE, ""))
        self.assertIn("refused has no ids: give -o table, json or jsonl", ran.err)

    def test_nothing(self) -> None:
        """Nothing is said in words."""
        self.answer["refused"] = []
        self.assertEqual(self.refused().out, "Nothing was refused.\n")
        self.assertEqual(self.refused("--rule", "networ").out, "Nothing found.\n")

    def test_cleared(self) -> None:
        """Rows are cleared by the same filters, with who did it."""
        self.assertEqual(
            self.refused("--clear", "--client", "10.0.3.7").out, "2 rows of refused mail cleared\n"
        )
        [asked] = self.relay.asked
        self.assertTrue(asked.body.pop("who"))
        self.assertEqual(asked.body, {"client": "10.0.3.7", "everything": False})

    def test_everything_cleared(self) -> None:
        """Without a filter it must be asked for; a limit, which would not be heeded, is an error of usage."""
        for argv in (
            ["--clear"],
            ["--clear", "--client", ""],
            ["--clear", "--limit", "5"],
            ["--clear", "--limit", "5", "--rule", "sender"],
            ["--clear", "--all", "--rule", "sender"],
            ["--all"],
        ):
            self.assertEqual(self.refused(*argv).status, USAGE, argv)
        self.assertEqual(self.relay.asked, [])
        self.assertEqual(self.refused("--clear", "--all").status, 0)
        [asked] = self.relay.asked
        self.assertTrue(asked.body.pop("who"))
        self.assertEqual(asked.body, {"everything": True})

    def test_clients_without_an_address(self) -> None:
        """Those that were too many to be known one by one are called so."""
        self.row |= {"client": "", "user": ""}
        self.assertIn("other clients at lan", self.refused().out)
