from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.route import RateLimit, Window
from smtprelay.providers.graph.kind import GRAPH, parse_mailbox
from tests.config.loading import load_text, problems_of, with_provider

LOGIN = "tenant: contoso.com, client_id: c, client_secret: s"
LANE = (Window(count=25, seconds=10.0), Window(count=110_000_000, seconds=300.0, unit="bytes"))


def settings(text: str = "") -> Any:
    return load_text(with_provider(f"type: graph, {LOGIN}{text}")).config.providers["more"]


class SettingsTests(SynchronousTestCase):
    def told(self, text: str) -> list[str]:
        problems = problems_of(with_provider(f"type: graph, {text}"))
        return [problem.text for problem in problems if problem.severity == "error"]

    def test_login(self) -> None:
        """What an application needs must be there."""
        [text] = self.told("tenant: contoso.com")
        self.assertIn("client_id and client_secret missing", text)
        self.assertEqual(self.told(LOGIN), [])

    def test_mailbox(self) -> None:
        """It is a word or an address; a slip is told of."""
        self.assertEqual(
            [parse_mailbox(each) for each in ("envelope", "header", "a@x")], ["envelope", "header", "a@x"]
        )
        [text] = self.told(f"{LOGIN}, mailbox: enveloppe")
        self.assertIn('"enveloppe" is neither envelope, header nor a mail address', text)
        self.assertIn("envelope", text.rpartition("address")[2])

    def test_rate(self) -> None:
        """Each mailbox has a rate and slots; one that sends all mail has those of the application, too."""
        usual = settings(", rate: [100/s]")
        application = (Window(count=100, seconds=1.0),)
        self.assertEqual(
            usual.rate_limit, RateLimit(concurrency=10, per_lane=4, windows=application, lane_windows=LANE)
        )
        one = settings(", rate: [100/s], mailbox: a@x.example, lane: {concurrency: 2}")
        self.assertEqual(one.rate_limit, RateLimit(concurrency=2, windows=(*application, *LANE)))

    def test_clouds(self) -> None:
        """A cloud without upload sessions is an error; plain HTTP, too."""
        [text] = self.told(f"{LOGIN}, cloud: dod, upload_sessions: true")
        self.assertEqual(text, "cloud: dod has no upload sessions")
        self.assertEqual(self.told(f"{LOGIN}, cloud: china, upload_sessions: true"), [])
        self.assertTrue(self.told(f'{LOGIN}, endpoint: "http://graph.example"'))

    def test_domains(self) -> None:
        """Domains are compared in lower case; what stands beside them must be an address."""
        found = settings(", notify_failures: {Example.COM: it@x.example}")
        self.assertEqual(found.failure_copies, {"example.com": "it@x.example"})
        self.assertTrue(self.told(f"{LOGIN}, fallback: {{example.com: nobody}}"))

    def test_limits(self) -> None:
        """The request of the largest mail that Graph really sends, and its recipients."""
        self.assertEqual((GRAPH.limits.request, GRAPH.limits.recipients, GRAPH.raw), (2_986_000, 500, True))
