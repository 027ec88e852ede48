"""What the configuration says of a provider arrives at the provider."""

from tempfile import TemporaryDirectory

from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from smtprelay.net.outbound import HttpProxy, Outbound
from smtprelay.providers.acs.kind import ACS_LIMITS
from smtprelay.providers.acs.provider import Acs
from smtprelay.providers.capture.provider import Capture
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.service.build.providers import build_providers
from smtprelay.service.build.webhook import build_webhook
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.mime import InlineMimeWorker
from tests.config.loading import load_text
from tests.providers.aws_peers import environment
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

    def test_how_requests_leave(self):
        """Providers with an API and webhooks get their proxy, or the environment's, and certificates."""
        given = []
        context = MemoryHttp(Resource()).context(open_http=lambda *_, outbound, **__: given.append(outbound))
        acs = f'type: acs, connection_string: "endpoint=https://x.test/;accesskey={_KEY}", sender: a@x.org'
        with TemporaryDirectory() as folder, environment({}):
            made = make_certificate(folder)
            hook = f'{{url: "https://hook.example.com/", ca: {made.ca}'
            shown = f"client_certificate: {made.certificate}, client_key: {made.key}"
            config = load_text(
                f"{_HEAD}providers:\n  p: {{{acs}, proxy: off, {shown}}}\n"
                "  q: {type: ses, region: eu-west-1, no_proxy: [b]}\n"
                f"routes: [{{via: [p, q], on_failed: webhook, webhook: {hook}}}}}]\n"
                f"webhook: {hook}, proxy: http://e:1}}\n",
                {"HTTPS_PROXY": "http://d:1", "NO_PROXY": "a"},
            ).config
            build_providers(config, context)
            build_webhook(config, context)
        default, own = HttpProxy(host="d", port=1), HttpProxy(host="e", port=1)
        pair = (str(made.certificate), str(made.key))
        self.assertEqual(
            given,
            [
                Outbound(no_proxy=("a",), client_certificate=pair),
                Outbound(proxy=default, no_proxy=("b",)),
                Outbound(proxy=default, no_proxy=("a",), ca=str(made.ca)),
                Outbound(proxy=own, no_proxy=("a",), ca=str(made.ca)),
            ],
        )

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
