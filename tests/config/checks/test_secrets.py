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

    def test_the_name_of_a_file(self) -> None:
        """The name of a file in place of a secret is one error, which says what to write."""
        key = SMALL + "dkim: [{domain: example.com, selector: s, key: dkim.pem}]\n"
        [problem] = problems_of(key)
        self.assertEqual(
            problem.text,
            "dkim[0].key: a secret is expected, not the name of its file: write key: {file: dkim.pem}",
        )
        text = with_provider("type: acs, endpoint: 'https://x.org', access_keys: [k.txt], sender: a@b")
        [problem] = problems_of(text)
        self.assertIn("write {file: k.txt}", problem.text)
        hook = SMALL + "webhook: {url: 'https://x.example/hook.txt'}\n"
        self.assertEqual(codes(problems_of(hook)), ["CFG-INLINE-SECRET?"])

    def test_endpoints(self) -> None:
        """An endpoint that Twisted does not know is told at its place."""
        [problem] = problems_of(SMALL.replace("tcp:2525", "tpc:2525"))
        self.assertEqual((problem.code, problem.line, problem.column), ("CFG-ENDPOINT", 1, 35))
