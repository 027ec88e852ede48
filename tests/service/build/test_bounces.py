"""Which way the relay's own mail goes, and how it is written."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dsn.render import LARGEST_RETURN
from smtprelay.model.message import Envelope, Recipient
from smtprelay.model.route import Limits
from smtprelay.policy.router import Router
from smtprelay.service.build.bounces import BOUNCES, InternalMessages, all_routes, bounce_settings
from smtprelay.service.build.listeners import route_match
from smtprelay.testing.provider import ScriptedProvider
from tests.config.loading import load_text

CONFIG = """\
hostname: relay.example.com
listeners: [{{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}}]
spool: {{engine: memory}}
providers:
  one: {{type: smarthost, host: mx.one.org}}
  two: {{type: capture, path: two}}
  three: {{type: capture, path: three}}
routes: [{{name: here, match: {{recipient: ["*@here.org"]}}, via: [three]}}, {{name: rest, via: [two]}}]
bounces: {bounces}
"""


class PostTests(SynchronousTestCase):
    def post(self, bounces: str, limits: dict[str, Limits] | None = None) -> InternalMessages:
        """Return what posts with the settings ``bounces``; ``limits`` are those of the providers."""
        self.config = load_text(CONFIG.format(bounces=bounces)).config
        limits = limits or {}
        self.providers = {
            name: ScriptedProvider(name, limits=limits.get(name)) for name in self.config.providers
        }
        router = Router([route_match(route) for route in self.config.routes], self.providers)
        return InternalMessages(self.config, router, self.providers, lambda: "B1", Clock())

    def targets(
        self, post: InternalMessages, *addresses: str, size: int = 10
    ) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return route, provider and recipients of each delivery of a bounce to ``addresses``."""
        recipients = tuple(Recipient(address=each) for each in addresses)
        new = post(Envelope(sender="", recipients=recipients), b"x" * size, "M1")
        self.assertEqual((new.draft.id, new.draft.bounce_of), ("B1", "M1"))
        return [
            (each.route, each.provider, tuple(one.address for one in each.recipients)) for each in new.planned
        ]

    def test_by_the_routes(self):
        """Without ``via`` each recipient goes as any mail to him would."""
        self.assertEqual(
            self.targets(self.post("{}"), "a@here.org", "b@x.org"),
            [("here", "three", ("a@here.org",)), ("rest", "two", ("b@x.org",))],
        )

    def test_along_via(self):
        """With ``via`` they all go its first provider, on a route that knows the others."""
        post = self.post("{via: [one, three]}")
        self.assertEqual(
            self.targets(post, "a@here.org", "b@x.org"), [(BOUNCES, "one", ("a@here.org", "b@x.org"))]
        )
        self.assertEqual(all_routes(self.config)[BOUNCES].via, ("one", "three"))
        self.assertEqual(set(all_routes(self.config)), {"here", "rest", BOUNCES})

    def test_what_the_first_does_not_take(self):
        """By its size it goes the next one, by its recipients in parts; what none takes goes the first."""
        limits = {"one": Limits(size=100), "three": Limits(size=200, recipients=1)}
        post = self.post("{via: [one, three]}", limits)
        self.assertEqual(
            self.targets(post, "a@x.org", "b@x.org", size=150),
            [(BOUNCES, "three", ("a@x.org",)), (BOUNCES, "three", ("b@x.org",))],
        )
        self.assertEqual(self.targets(post, "a@x.org", size=300), [(BOUNCES, "one", ("a@x.org",))])

    def test_a_bounce_is_not_lost_for_want_of_a_route(self):
        """It goes the first one."""
        post = self.post("{}", {"two": Limits(size=5)})
        self.assertEqual(self.targets(post, "b@x.org"), [("here", "three", ("b@x.org",))])

    def test_no_configured_route_is_meant(self):
        """The name of the route along ``via`` cannot be that of another one."""
        self.post("{via: [one]}")
        self.assertIn(" ", BOUNCES)

    def test_settings(self):
        """The sender and the hosts' names; what goes back whole fits every provider that may carry it."""
        self.post("{via: [one, two], copy: p@x.org}", {"two": Limits(size=500_000), "three": Limits(size=1)})
        settings = bounce_settings(self.config, self.providers)
        self.assertEqual(
            (settings.sender, settings.copy, settings.remotes),
            ("MAILER-DAEMON@relay.example.com", "p@x.org", {"one": "mx.one.org"}),
        )
        self.assertEqual(settings.largest, 500_000 - 128 * 1024)
        self.post("{}")
        self.assertEqual(bounce_settings(self.config, self.providers).largest, LARGEST_RETURN)
        self.post("{}", {"three": Limits(size=1)})
        self.assertEqual(bounce_settings(self.config, self.providers).largest, 0)
