from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import SMALL, codes, problems_of, with_provider


class ReachTests(SynchronousTestCase):
    def test_expiry(self) -> None:
        """From thirty days before a secret expires on, each start warns of it."""
        today = datetime.now(UTC).date()
        for days, expected in {-1: "expired on", 0: "expires on", 29: "expires on", 32: None}.items():
            day = today + timedelta(days=days)
            secret = f"{{env: C, expires: {day}}}"
            text = with_provider(f"type: acs, connection_string: {secret}, sender: a@b")
            problems = problems_of(text, {"C": "endpoint=https://x.example;accesskey=a2V5"})
            where = "providers.more.connection_string"
            wanted = [f"{where}: the secret {expected} {day}"] if expected else []
            self.assertEqual([problem.text for problem in problems], wanted)
            self.assertEqual(codes(problems), ["CFG-EXPIRES?"] * len(wanted))

    def test_access_keys(self) -> None:
        """A key that is no base64, or an endpoint that is more than a host, is an error and not repeated."""
        code = {"must be https": "CFG-CLEAR-TEXT"}
        string, parts = "connection_string: {env: C}", "endpoint: '%s', access_keys: [{env: K}]"
        host, more, http = "https://x.example", "https://x.example/not_a_key", "http://x.example"
        for settings, place, key, where, told in (
            (string, host, "not_a_key", "connection_string", "no base64"),
            (string, more, "a2V5", "connection_string", "more than a host"),
            (string, http, "a2V5", "connection_string", "must be https"),
            (parts % host, host, "not_a_key", "access_keys[0]", "no base64"),
            (parts % host, host, "endpoint=https://x.example;accesskey=a2V5", "access_keys[0]", "no base64"),
            (parts % more, host, "a2V5", "endpoint", "more than a host"),
        ):
            environ = {"C": f"endpoint={place};accesskey={key}", "K": key}
            [problem] = problems_of(with_provider(f"type: acs, sender: a@b, {settings}"), environ)
            self.assertEqual((problem.code, problem.severity), (code.get(told, "CFG-SECRET"), "error"))
            self.assertIn(told, problem.text)
            self.assertTrue(problem.text.startswith(f"providers.more.{where}: "), problem.text)
            self.assertNotIn("not_a_key", problem.text)
            self.assertNotIn("a2V5", problem.text)

    def test_endpoints(self) -> None:
        """An endpoint that Twisted does not know is told at its place."""
        [problem] = problems_of(SMALL.replace("tcp:2525", "tpc:2525"))
        self.assertEqual((problem.code, problem.line, problem.column), ("CFG-ENDPOINT", 1, 35))
