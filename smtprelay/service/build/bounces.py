"""
The reports to senders that the relay writes itself: how they are written, and their route.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.config.model import Config
from smtprelay.dispatch.dsn.render import LARGEST_RETURN, BounceSettings
from smtprelay.interfaces import Provider, Unmeasured
from smtprelay.mime.author import author_of
from smtprelay.mime.head import head_of
from smtprelay.model import route as model_route
from smtprelay.model.archive import BOUNCES
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Client, Draft, Envelope, Planned, Refused
from smtprelay.model.shape import shape_of
from smtprelay.policy.router import RouteMatch, Router

#: Most bytes of a report without the mail that it returns.
_AROUND: Final = 128 * 1024


@frozen
class InternalMessages:
    """
    Makes messages of our own, of an envelope and a body.
    """

    _config: Config
    _router: Router
    _providers: Mapping[str, Provider]
    _new_id: Callable[[], str]
    _clock: IReactorTime

    def __call__(self, envelope: Envelope, body: bytes, bounce_of: str) -> NewMessage:
        """
        Return the message with its route: ``bounces.via`` where it is set, else by the routes.

        If no route takes it, it gets the first one: a bounce must not be lost silently.
        """
        draft = internal_draft("bounces", envelope, bounce_of, self._new_id, self._clock)
        return NewMessage(draft=draft, body=body, planned=self._planned(draft.client, envelope, body))

    def _planned(self, client: Client, envelope: Envelope, body: bytes) -> Sequence[Planned]:
        via, head = self._config.bounces.via, head_of(body)
        router = Router([RouteMatch(name=BOUNCES, via=via)], self._providers) if via else self._router
        try:
            return router.plan(client, envelope)(head, shape_of(body), {})
        except (Refused, Unmeasured):
            first = self._config.routes[0]
            name, provider = (BOUNCES, via[0]) if via else (first.name, first.via[0])
        author = author_of(head, envelope.sender)
        lane = self._providers[provider].lane(envelope, author, client.user)
        to = envelope.recipients
        return [Planned(route=name, provider=provider, lane=lane, recipients=to, author=author)]


def internal_draft(
    source: str, envelope: Envelope, about: str, new_id: Callable[[], str], clock: IReactorTime
) -> Draft:
    """
    Return the draft of a message of our own.

    :param source: stands where other mail has its listener, for the routes to match and the history to show.
    :param about: the id of the mail that it is about.
    """
    client = Client(address="127.0.0.1", listener=source, protocol="LOCAL")
    return Draft(id=new_id(), envelope=envelope, client=client, received=clock.seconds(), bounce_of=about)


def all_routes(config: Config) -> dict[str, model_route.Route]:
    """Return each route by its name, with that of ``bounces.via``."""
    routes = {route.name: route.dispatch_route for route in config.routes}
    if config.bounces.via:
        routes[BOUNCES] = model_route.Route(name=BOUNCES, via=config.bounces.via)
    return routes


def bounce_settings(
    config: Config,
    providers: Mapping[str, Provider],
    copies: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> BounceSettings:
    """Return how reports are written; ``copies`` of a provider go before those of its settings."""
    given = {name: each.failure_copies for name, each in config.providers.items() if each.failure_copies}
    bounces = config.bounces
    targets = bounces.via or tuple(providers)
    sizes = [size for name in targets if (size := providers[name].limits.size) is not None]
    return BounceSettings(
        sender=bounces.from_,
        hostname=config.hostname,
        to=bounces.to,
        copy=bounces.copy or "",
        largest=max(0, min(LARGEST_RETURN, *(size - _AROUND for size in sizes))) if sizes else LARGEST_RETURN,
        remotes={name: each.remote for name, each in config.providers.items() if each.remote},
        copies={**given, **copies},
    )
