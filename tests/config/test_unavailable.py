from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.unavailable import ROWS
from tests.config.loading import SMALL, problems_of, with_provider


def unavailable(text: str) -> list[str]:
    """Return what is told not to be available."""
    return [problem.text for problem in problems_of(text) if problem.code == "CFG-UNAVAILABLE"]


class UnavailableTests(SynchronousTestCase):
    def test_said_plainly(self) -> None:
        """A setting that does nothing yet is an error that says so."""
        cases = {
            with_provider("type: ses, region: eu-west-1"): "the provider type ses",
            SMALL + "routes: [{via: [local], rewrite: {from: a@b}}]\n": "rewriting",
            SMALL.replace("captured}", "captured, timeout: 9s}"): "the timeout of a folder",
            SMALL + "privacy: {subjects: False}\n": "privacy.subjects: false",
        }
        for text, what in cases.items():
            self.assertEqual(unavailable(text), [f"{what} is not available in this version"])

    def test_default_spelled_out(self) -> None:
        """A setting that is null or has a value that works is no error."""
        text = SMALL.replace("name: lan", "delivery: spool, proxy_trust: ~, auth: {mechanisms: [PLAIN]}")
        text = text.replace("path: spool", "path: spool, retention: {bodies: 0}")
        self.assertEqual(unavailable(text), [])

    def test_only_of_some_types(self) -> None:
        """A setting that works for one type of provider may do nothing for another."""
        host = "type: smarthost, host: h, timeout: 9s"
        self.assertEqual(unavailable(with_provider(host)), [])
        folder = "type: capture, path: p, timeout: 9s"
        self.assertEqual(
            unavailable(with_provider(folder)), ["the timeout of a folder is not available in this version"]
        )

    def test_values_are_checked_all_the_same(self) -> None:
        """The keys of what is not available are checked fully."""
        texts = [p.text for p in problems_of(SMALL + "sandbox: {via: locl, alow: ['*']}\n")]
        self.assertIn('unknown key "alow" - did you mean "allow"?', texts)
        self.assertIn('unknown provider "locl" - did you mean "local"?', texts)

    def test_rows(self) -> None:
        """No row is there twice, so that removing one is enough."""
        self.assertEqual(len({(row.setting, row.word) for row in ROWS}), len(ROWS))
