"""What the configuration says of a provider arrives at the provider."""

from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.kind import ACS_LIMITS
from smtprelay.providers.acs.provider import Acs
from smtprelay.providers.capture.provider import Capture
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.service.build.providers import build_providers
from smtprelay.testing.mime import InlineMimeWorker
from tests.config.loading import load_text
from tests.recording import Recording

_HEAD = 'listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]\nspool: {engine: memory}\n'
_KEY = "AAECAwQF"


def _config(providers: str, routes: str = "routes: [{via: [p]}]\n"):
    return load_text(f"{_HEAD}{routes}providers:\n{providers}").config


class BuildTests(SynchronousTestCase):
    def build(self, providers: str):
        context = ProviderContext(
            reactor=reactor,
            events=Recording(),
            defer_to_thread=lambda *_: None,
            defer_to_own_thread=lambda *_: None,
            mime=InlineMimeWorker(),
            hostname="relay.example.com",
        )
        return build_providers(_config(providers), context)["p"]

    def test_each_type_is_built(self):
        """Every type that the configuration takes has a provider, under its name."""
        acs = f'type: acs, connection_string: "endpoint=https://x.test/;accesskey={_KEY}", sender: a@x.org'
        for settings, kind in (
            (acs, Acs),
            ("type: smarthost, host: mail.example.com, tls: none", OutgoingProvider),
            (f"type: capture, path: {self.mktemp()}", Capture),
        ):
            provider = self.build(f"  p: {{{settings}}}\n")
            self.assertIsInstance(provider, kind)
            self.assertEqual("p", provider.name)

    def test_limits_are_those_documented_unless_given(self):
        """An operator with a raised quota says so; the rest stays as documented."""
        provider = self.build(
            f'  p: {{type: acs, connection_string: "endpoint=https://x.test/;accesskey={_KEY}",'
            " sender: a@x.org, limits: {request: 30MB}}\n"
        )
        self.assertEqual(provider.limits, evolve(ACS_LIMITS, size=100_000_000, request=30_000_000))

    def test_blind_recipients_together(self):
        """The one in whose name they get the mail is a recipient, too; there is room for one less."""
        common = f'type: acs, connection_string: "endpoint=https://x.test/;accesskey={_KEY}", sender: a@x.org'
        for more, recipients in (("", 50), (", blind: together, blind_to: list@x.org", 49)):
            provider = self.build(f"  p: {{{common}{more}}}\n")
            self.assertEqual(provider.limits.recipients, recipients)
