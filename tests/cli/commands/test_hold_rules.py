import time

from tests.cli.fakes import CommandCase, FakeRelay, Ran


class HoldRulesTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        rule = {
            "id": 3,
            "sender": "",
            "recipient": "*@gmail.com",
            "provider": "",
            "route": "",
            "reason": "incident",
            "who": "anna",
            "made": 1.0,
            "until": 1_800_000_000.0,
            "count": 7,
        }
        self.relay = FakeRelay(
            self,
            {
                "POST /api/v1/hold-rules": (200, {"hold_rule": rule}),
                "GET /api/v1/hold-rules": (200, {"hold_rules": [rule]}),
                "POST /api/v1/hold-rules/3/remove": (200, {"hold_rule": rule}),
            },
        )

    def rules(self, *argv: str) -> Ran:
        return self.run_command("--endpoint", self.relay.endpoint, "hold-rules", *argv)

    def test_a_rule(self) -> None:
        """The patterns become a rule that ends in its time."""
        ran = self.rules("add", "--to", "*@gmail.com", "--for", "2h", "--reason", "incident")
        body = self.relay.asked[0].body
        self.assertAlmostEqual(body.pop("until"), time.time() + 7200, places=-2)
        self.assertTrue(body.pop("who"))
        self.assertEqual(body, {"recipient": "*@gmail.com", "why": "incident"})
        self.assertIn("hold rule 3: mail to *@gmail.com is held until 2027-", ran.out)

    def test_what_a_rule_cannot_say(self) -> None:
        """Ids and other filters are refused, and a rule needs a pattern and its time."""
        for argv in (
            ("A", "--from", "a", "--for", "1h"),
            ("--for", "1h"),
            ("--subject", "x", "--from", "a", "--for", "1h"),
            ("--from", "a"),
        ):
            self.assertEqual(self.rules("add", *argv).status, 2, argv)
        self.assertEqual(self.relay.asked, [])

    def test_the_rules(self) -> None:
        """Each is a line: what it holds, until when, how much, who made it and why."""
        _, line = self.rules("list").out.splitlines()
        for words in ("to *@gmail.com", "7", "anna", "incident"):
            self.assertIn(words, line)
        self.assertEqual(self.rules("list", "-o", "ids").out, "3\n")

    def test_a_rule_is_removed(self) -> None:
        """By its number."""
        ran = self.rules("remove", "3")
        self.assertEqual(ran.out, "removed hold rule 3: its mail is released\n")
        self.assertEqual(self.rules("remove", "x").status, 2)
