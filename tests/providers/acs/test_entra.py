"""Azure Communication Services with Entra: tokens, refusals, and the settings for that."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Delivered
from smtprelay.testing.acs import Answers
from smtprelay.testing.entra import EntraRefuses
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.config.loading import load_text, problems_of, with_provider
from tests.providers.acs_entra_wiring import ENTRA, SETTINGS, EntraAcs
from tests.providers.acs_wiring import BOB, delivery


class EntraTests(SynchronousTestCase):
    def outcome(self, acs: EntraAcs, generation: int = 0) -> Any:
        result = acs.start(delivery(generation=generation))
        acs.joined.advance(1, 2, 4, 8)
        return self.successResultOf(result)[BOB]

    def test_sent(self) -> None:
        """Mail goes with one token, of the scope that has two slashes, and without a signature."""
        acs = EntraAcs()
        for generation in range(2):
            self.assertIsInstance(self.outcome(acs, generation), Delivered)
        self.assertEqual(len(acs.fake.mails), 2)
        self.assertEqual(
            acs.entra.fake.asked,
            [
                {
                    "grant_type": "client_credentials",
                    "client_id": CLIENT,
                    "scope": "https://communication.azure.com//.default",
                }
            ],
        )

    def test_clouds(self) -> None:
        """Another cloud has another Entra and scope, which may also be set."""
        for more, authority, scope in (
            ("cloud: usgov", "https://login.microsoftonline.us", "https://communication.azure.us//.default"),
            (
                "cloud: china, scope: 'https://acs.cn/.default', authority: 'https://login.test/'",
                "https://login.test",
                "https://acs.cn/.default",
            ),
        ):
            acs = EntraAcs(f"{ENTRA}, {more}")
            self.outcome(acs)
            found = acs.settings.application.authority, acs.entra.fake.asked[0]["scope"]
            self.assertEqual(found, (authority, scope))

    def test_token_refused(self) -> None:
        """After a 401 there is one new token; if that is refused, too, the lane is blocked and says why."""
        acs = EntraAcs()
        self.outcome(acs)
        acs.entra.clock.advance(120)
        acs.entra.fake.issued.clear()
        self.assertIsInstance(self.outcome(acs, 1), Delivered)
        self.assertEqual(len(acs.entra.fake.asked), 2)
        acs.entra.clock.advance(120)
        acs.fake.takes = lambda _: False
        outcome = self.outcome(acs, 2)
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("401 Denied", outcome.why)
        self.assertEqual(len(acs.entra.fake.asked), 3)

    def test_no_role(self) -> None:
        """An application without a role at the resource is told of."""
        acs = EntraAcs()
        acs.fake.script(Answers(403, "Forbidden", "The principal lacks permission."))
        outcome = self.outcome(acs)
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("with Entra the role of the application there", outcome.why)

    def test_no_token(self) -> None:
        """A wrong secret blocks with Entra's words; an outage of Entra defers, and nothing is uncertain."""
        acs = EntraAcs()
        acs.entra.fake.application(TENANT, CLIENT).secrets.clear()
        outcome = self.outcome(acs)
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("AADSTS7000215", outcome.why)
        acs = EntraAcs()
        acs.entra.fake.script(EntraRefuses(503, "server_error"))
        self.assertIsInstance(self.outcome(acs), Deferred)
        self.assertEqual(acs.fake.exchanges, [])

    def test_nothing_planted_is_found(self) -> None:
        """No event or outcome has the secret or the token, also if the service repeats it."""
        acs = EntraAcs()
        self.outcome(acs)
        [token] = acs.entra.fake.issued
        acs.fake.script(Answers(401, "Denied", "no"), Answers(401, "Denied", "no"))
        shown = repr((acs.entra.events.heard, self.outcome(acs, 1), acs.settings, acs.provider.__dict__))
        for planted in (token, SECRET):
            self.assertNotIn(planted, shown)


class SettingsTests(SynchronousTestCase):
    def told(self, more: str) -> list[str]:
        text = with_provider(f"{SETTINGS}, {more}")
        environ = {"S": SECRET, "K": "a2V5", "C": "endpoint=https://x.example;accesskey=a2V5"}
        return [f"{each.code} {each.text}" for each in problems_of(text, environ)]

    def test_ways(self) -> None:
        """A secret, a certificate, a managed identity or a workload, each with what it needs."""
        who = f"tenant: {TENANT}, client_id: {CLIENT}"
        for more in (
            ENTRA,
            f"{who}, credential: certificate, certificate: tests/__init__.py",
            "credential: managed_identity",
            f"credential: managed_identity, client_id: {CLIENT}",
            "credential: workload",
        ):
            self.assertEqual(self.told(more), [], more)

    def test_mixed(self) -> None:
        """Keys and Entra exclude each other; the error names both."""
        self.assertEqual(
            self.told(f"{ENTRA}, access_keys: [{{env: K}}]"),
            ["CFG-VALUE tenant is for Entra, access_keys for keys: leave one of them out"],
        )
        text = "type: acs, sender: a@b.example, connection_string: {env: C}, credential: workload"
        [problem] = problems_of(with_provider(text), {"C": "endpoint=https://x.example;accesskey=a2V5"})
        self.assertEqual(
            problem.text, "credential is for Entra, connection_string for keys: leave one of them out"
        )

    def test_incomplete(self) -> None:
        """What is missing or not used is named."""
        for more, told in (
            (
                "tenant: t",
                "needs tenant, client_id, client_secret: client_id and client_secret missing",
            ),
            (f"{ENTRA}, credential: workload", "client_secret is not used with credential: workload"),
            (
                "tenant: t, client_id: c, credential: certificate",
                "credential: certificate needs tenant, client_id, certificate: certificate missing",
            ),
            (
                "credential: workload, certificate_password: {env: S}",
                "certificate_password is not used with credential: workload",
            ),
            (
                "tenant: a/b, client_id: c, client_secret: {env: S}",
                "expected the id or a domain of the tenant",
            ),
            (f"{ENTRA}, cloud: china", "the service is not known in cloud china: set scope"),
            (f"{ENTRA}, authority: 'http://login.test'", "http:// is for loopback only: use https://"),
            ("credential: workload, authority: 'http://127.0.0.1'", "credential: workload needs https://"),
        ):
            found = self.told(more)
            self.assertEqual(len(found), 1, (more, found))
            self.assertIn(told, found[0])

    def test_shared(self) -> None:
        """Two resources with the same application ask for one token."""
        text = with_provider(f"{SETTINGS}, {ENTRA}")
        settings: Any = load_text(text, {"S": SECRET}).config.providers["more"]
        again: Any = load_text(text, {"S": SECRET}).config.providers["more"]
        self.assertEqual(settings.application, again.application)
