"""Values and a whole dispatch station for its tests: a spool in memory, scripted providers, a clock."""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.dsn.render import BounceSettings
from smtprelay.dispatch.dsn.reporter import DsnReporter, Post
from smtprelay.dispatch.end_reports import EndReports
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Body
from smtprelay.model.attempt import Claim, NewMessage
from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Recipient
from smtprelay.model.queue import Detail, Selection, Summary
from smtprelay.model.route import Limits, RateLimit, Route
from smtprelay.model.shape import Shape
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.testing.provider import ScriptedProvider
from tests.listed import listed
from tests.recording import Recording

#: A moment that is no round number, so that confusing times with durations shows.
MORNING = 1_795_172_400.0

MAIL = b"From: scan@example.com\r\nSubject: Scan\r\n\r\nHello\r\n"

BOUNCES = BounceSettings(sender="MAILER-DAEMON@example.com", hostname="relay.example.com")


def recipients(*addresses: str, notify: str = "") -> tuple[Recipient, ...]:
    return tuple(Recipient(address=address, notify=notify) for address in addresses)


def make_delivery(*addresses: str, **changes: Any) -> Delivery:
    envelope = Envelope(sender="scan@example.com", recipients=recipients(*(addresses or ("a@x.org",))))
    usual = {
        "message": "M1",
        "n": 1,
        "generation": 1,
        "route": "default",
        "provider": "one",
        "lane": "",
        "envelope": envelope,
        "size": 100,
        "received": MORNING - 60,
    }
    return Delivery(**{**usual, **changes})


def make_claim(*addresses: str, delivery: Delivery | None = None, **changes: Any) -> Claim:
    usual = {"delivery": delivery or make_delivery(*addresses), "node": "here", "attempt": 1}
    return Claim(**{**usual, **changes})


def make_context(events: Recording, **more: Any) -> DispatchContext:
    """Return a context of ``more``: the spool, the providers, the routes, the clock, perhaps the lanes."""
    return DispatchContext(**{"lanes": LaneStates(events), "events": events, "jitter": lambda: 0.5, **more})


def make_end_reports(
    context: DispatchContext,
    post: Post,
    bounces: BounceSettings = BOUNCES,
    notifier: WebhookNotifier | None = None,
) -> EndReports:
    reporter = DsnReporter(bounces, post, context.clock)
    return EndReports(reporter=reporter, notifier=notifier, clock=context.clock, events=context.events)


class Measured(ScriptedProvider):
    """Takes requests of 100 octets; only measuring tells how large one becomes."""

    def __init__(self, name: str, size: int | Exception) -> None:
        super().__init__(name, limits=Limits(request=100))
        self.size = size
        self.measured: list[bytes] = []

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        return 0, 9 * shape.size

    async def measure(self, envelope: Envelope, body: Body) -> int:
        self.measured.append(await body.whole())
        if isinstance(self.size, Exception):
            raise self.size
        return self.size


class Stage:
    """
    A dispatcher with all that it needs.

    :ivar posted: the bodies of the bounces that were made.
    """

    def __init__(
        self,
        providers: Iterable[ScriptedProvider],
        routes: Iterable[Route],
        rate_limit: RateLimit | None = None,
        bounces: BounceSettings = BOUNCES,
        events: Recording | None = None,
        *,
        notifier: WebhookNotifier | None = None,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(MORNING)
        self.events = events or Recording()
        self.providers = {provider.name: provider for provider in providers}
        self.routes = {route.name: route for route in routes}
        rate_limits = dict.fromkeys(self.providers, rate_limit or RateLimit())
        self.spool = open_memory(SpoolOptions(rate_limits=rate_limits, events=self.events), clock=self.clock)
        self.posted: list[NewMessage] = []
        self._messages = 0
        self._bounces = bounces
        self._notifier = notifier
        self.dispatcher = self._make()

    def start(self) -> "Stage":
        self.dispatcher.start()
        return self

    def restart(self) -> None:
        """Begin anew with the spool that a relay left behind when it died."""
        self.dispatcher.pause()
        for call in self.clock.getDelayedCalls():
            call.cancel()
        done(self.spool.recover())
        self.dispatcher = self._make()
        self.start()

    def _make(self) -> Dispatcher:
        self.context = context = make_context(
            self.events,
            spool=self.spool,
            providers=self.providers,
            routes=self.routes,
            clock=self.clock,
        )
        end_reports = make_end_reports(context, self._post, self._bounces, self._notifier)
        dispatcher = Dispatcher(context, end_reports)
        self.reporter = end_reports.reporter
        self.operator = OperatorActions(context, end_reports.reporter, dispatcher)
        return dispatcher

    def accept(
        self,
        *addresses: str,
        sender: str = "scan@example.com",
        provider: str = "one",
        route: str = "default",
        lane: str = "",
        bounce_of: str = "",
        body: bytes = MAIL,
        split: bool = False,
        notify: str = "",
        parameters: dict[str, str] | None = None,
    ) -> str:
        """Put a mail into the spool, with ``split`` as a delivery for each recipient; return its id."""
        self._messages += 1
        message = f"M{self._messages}"
        to = recipients(*(addresses or ("a@x.org",)), notify=notify)
        draft = Draft(
            id=message,
            envelope=Envelope(sender=sender, recipients=to, parameters=parameters or {}),
            client=Client(address="127.0.0.1"),
            received=self.clock.seconds(),
            bounce_of=bounce_of,
        )
        planned = [
            Planned(route=route, provider=provider, lane=lane, recipients=group)
            for group in ([(each,) for each in to] if split else [to])
        ]
        done(self.spool.accept(draft, body, planned))
        return message

    def detail(self, message: str) -> Detail:
        """Return the first delivery of a message."""
        return done(self.spool.admin.show(message))[0]

    def summary(self, message: str) -> Summary:
        return self.detail(message).summary

    def waiting(self) -> Sequence[Summary]:
        return done(listed(self.spool, Selection()))

    def _post(self, envelope: Envelope, body: bytes, bounce_of: str) -> NewMessage:
        new = NewMessage(
            draft=Draft(
                id=f"B{len(self.posted) + 1}",
                envelope=envelope,
                client=Client(address="127.0.0.1"),
                received=self.clock.seconds(),
                bounce_of=bounce_of,
            ),
            body=body,
            planned=(Planned(route="default", provider="one", lane="", recipients=envelope.recipients),),
        )
        self.posted.append(new)
        return new


def done(work: Any) -> Any:
    """Return the result of a coroutine that does not wait for anything."""
    return SynchronousTestCase().successResultOf(Deferred.fromCoroutine(work))


class DispatcherTestCase(SynchronousTestCase):
    """Each test ends by stopping the dispatcher, which must leave no timer behind."""

    def stage(self, *providers: ScriptedProvider, route: Any = None, **more: Any) -> Stage:
        providers = providers or (ScriptedProvider("one"),)
        via = tuple(provider.name for provider in providers)
        usual = Route(name="default", via=via)
        self.staged = Stage(providers, [evolve(usual, **(route or {}))], **more)
        self.addCleanup(self.stop)
        return self.staged.start()

    def stop(self) -> None:
        stopped = self.staged.dispatcher.stop(0)
        self.staged.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.staged.clock.getDelayedCalls(), [])
