"""
The mail that the relay writes itself, the reports to senders: how it is written, and its route.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.model import route as model_route
from smtprelay.config.model import Config
from smtprelay.config.provider_settings import SmarthostSettings
from smtprelay.dispatch.dsn.render import LARGEST_RETURN, BounceSettings
from smtprelay.dispatch.dsn.delay_notice import Delays
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.interfaces import Events, Provider, Unmeasured
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.message import Client, Draft, Envelope, Planned, Refused
from smtprelay.mime.head import Head
from smtprelay.model.shape import Shape, shape_of
from smtprelay.policy.router import Router, Rule
from smtprelay.model.attempt import NewMessage
from smtprelay.service.chores import Chore
from smtprelay.model.archive import BOUNCES

#: The listener that bounces seem to come from, for the routes to match on and the history to show.
OURSELVES = Client(address="127.0.0.1", listener="bounces", protocol="LOCAL")

#: What a report says beside the mail that it returns; bytes, and plenty.
_AROUND: Final = 128 * 1024

#: So often in the time that makes mail late it is looked for; but within these bounds, seconds.
_LOOKS: Final = 10
_LOOK_EVERY: Final = (1.0, 60.0)


@frozen
class OwnMessages:
    """
    Makes a message of ours out of an envelope and a body: the dispatcher's way to write to somebody.

    :param router: along the routes of the configuration.
    """

    _config: Config
    _router: Router
    _providers: Mapping[str, Provider]
    _new_id: Callable[[], str]
    _clock: IReactorTime

    def __call__(self, envelope: Envelope, body: bytes, bounce_of: str) -> NewMessage:
        """
        Return the message with its route: ``bounces.via`` where it is set, else the routes'.

        Where no route takes it, it goes the first one: a bounce must not be lost silently.
        """
        draft = Draft(
            id=self._new_id(),
            envelope=envelope,
            client=OURSELVES,
            received=self._clock.seconds(),
            bounce_of=bounce_of,
        )
        return NewMessage(draft=draft, body=body, planned=self._planned(envelope, shape_of(body)))

    def _planned(self, envelope: Envelope, shape: Shape) -> Sequence[Planned]:
        via = self._config.bounces.via
        router = Router([Rule(name=BOUNCES, via=via)], self._providers) if via else self._router
        try:
            return router.plan(OURSELVES, envelope)(Head(b""), shape, {})
        except (Refused, Unmeasured):
            first = self._config.routes[0]
            name, provider = (BOUNCES, via[0]) if via else (first.name, first.via[0])
        lane = self._providers[provider].lane(envelope)
        return [Planned(route=name, provider=provider, lane=lane, recipients=envelope.recipients)]


def all_routes(config: Config) -> dict[str, model_route.Route]:
    """Return what dispatch must know of each route by its name, that of ``bounces.via`` among them."""
    routes = {route.name: route.rules for route in config.routes}
    if config.bounces.via:
        routes[BOUNCES] = model_route.Route(name=BOUNCES, via=config.bounces.via)
    return routes


def bounces_from(config: Config) -> str:
    """Return the address that reports come from."""
    return config.bounces.from_ or f"MAILER-DAEMON@{config.hostname}"


def bounce_settings(config: Config, providers: Mapping[str, Provider]) -> BounceSettings:
    """Return how reports are written."""
    bounces = config.bounces
    targets = bounces.via or tuple(providers)
    sizes = [size for name in targets if (size := providers[name].limits.size) is not None]
    return BounceSettings(
        sender=bounces_from(config),
        hostname=config.hostname,
        to=bounces.to,
        copy=bounces.copy or "",
        largest=max(0, min(LARGEST_RETURN, *(size - _AROUND for size in sizes))) if sizes else LARGEST_RETURN,
        remotes={name: each.host for name, each in config.providers.items() if isinstance(each, SmarthostSettings)},
    )


def build_delays(
    config: Config,
    spool: WorkQueue,
    providers: Mapping[str, Provider],
    post: OwnMessages,
    *,
    clock: IReactorTime,
    events: Events,
    running: Callable[[], bool],
) -> Sequence[Chore]:
    """Return what looks for late mail; nothing if nobody wants it."""
    after = config.bounces.delay_notice
    if after is None:
        return []
    reporter = DsnReporter(bounce_settings(config, providers), post, clock)
    shortest, longest = _LOOK_EVERY
    delays = Delays(
        spool, all_routes(config), reporter, after=after, clock=clock, events=events, running=running
    )
    return [("delays", min(longest, max(shortest, after / _LOOKS)), delays.look)]
