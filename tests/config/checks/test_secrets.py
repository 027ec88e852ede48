from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import SMALL, codes, problems_of, with_provider


class ReachTests(SynchronousTestCase):
    def test_expiry(self) -> None:
        """From thirty days before a secret expires on, each start warns of it."""
        today = datetime.now(UTC).date()
        cases = {-1: "expired on {}", 0: "expires on {}, today", 30: "expires on {}, in 30 days", 31: None}
        for days, expected in cases.items():
            day = today + timedelta(days=days)
            secret = f"{{env: C, expires: {day}}}"
            text = with_provider(f"type: acs, connection_string: {secret}, sender: a@b")
            problems = problems_of(text, {"C": "endpoint=https://x.example;accesskey=a2V5"})
            where = "providers.more.connection_string"
            wanted = [f"{where}: the secret {expected.format(day)}"] if expected else []
            self.assertEqual([problem.text for problem in problems], wanted)
            self.assertEqual(codes(problems), ["CFG-EXPIRES?"] * len(wanted))

    def test_endpoints(self) -> None:
        """An endpoint that Twisted does not know is told at its place."""
        [problem] = problems_of(SMALL.replace("tcp:2525", "tpc:2525"))
        self.assertEqual((problem.code, problem.line, problem.column), ("CFG-ENDPOINT", 1, 35))
