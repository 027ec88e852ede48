from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import explain
from smtprelay.config.unavailable import ROWS
from tests.config.loading import SMALL, problems_of, with_provider


def unavailable(text: str) -> list[str]:
    """Return what is told not to be available."""
    return [problem.text for problem in problems_of(text) if problem.code == "CFG-UNAVAILABLE"]


class UnavailableTests(SynchronousTestCase):
    def test_said_plainly(self) -> None:
        """A setting that does nothing yet is an error that says so."""
        told = unavailable(SMALL.replace("name: lan", "tls: {client_ca: ca.pem}"))
        self.assertEqual(told, ["checking the certificates of clients is not available in this version"])

    def test_default_spelled_out(self) -> None:
        """A setting that is null or has a value that works is no error."""
        text = SMALL.replace("name: lan", "delivery: spool, proxy_trust: ~, auth: {mechanisms: [PLAIN]}")
        text = text.replace("path: spool", "path: spool, retention: {bodies: 0}")
        self.assertEqual(unavailable(text), [])

    def test_nothing_asked_for(self) -> None:
        """What is empty asks for nothing and is no error."""
        empty = "dkim: []\nprivacy: {subjects: true}\n"
        text = SMALL.replace("name: lan", "proxy_trust: [], limits: {messages: ~}") + empty
        self.assertEqual(problems_of(text), [])

    def test_what_is_in_it_does_not_matter(self) -> None:
        """One error for each such setting; what is written in it is not looked at."""
        text = SMALL.replace("name: lan", "name: lan, tls: {client_ca: {rat: [1], x: }}")
        told = [problem.text for problem in problems_of(text)]
        self.assertEqual(told, ["checking the certificates of clients is not available in this version"])

    def test_types_offered(self) -> None:
        """The types of providers are told where there is none, or an unknown one."""
        for settings in ("x: y", "type: nothing"):
            [text] = [p.text for p in problems_of(with_provider(settings)) if "type" in p.text]
            self.assertIn("expected acs or graph or ses or mailgun or resend or smarthost or capture", text)

    def test_explained(self) -> None:
        """``config explain`` says of such a setting that it is not available."""
        for row in ROWS:
            if not row.word and "=" not in row.setting:
                error = self.assertRaises(LookupError, explain, row.setting)
                self.assertEqual(str(error), f"{row.what} is not available in this version")

    def test_rows(self) -> None:
        """No row is there twice, so that removing one is enough."""
        self.assertEqual(len({(row.setting, row.word) for row in ROWS}), len(ROWS))
