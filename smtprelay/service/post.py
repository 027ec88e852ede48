"""
The route of the mail that the relay writes itself: bounces.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.config.model import Config
from smtprelay.dispatch.bounce import BounceSettings
from smtprelay.interfaces import Provider
from smtprelay.message import Client, Draft, Envelope, Planned, Refused
from smtprelay.policy.route import Router
from smtprelay.queue import NewMessage

#: The listener that bounces seem to come from, for the routes to match on and the history to show.
OURSELVES = Client(address="127.0.0.1", listener="bounces", protocol="LOCAL")


@frozen
class Post:
    """Makes a message of ours out of an envelope and a body: the dispatcher's way to write to somebody."""

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
        return NewMessage(draft=draft, body=body, planned=self._planned(envelope, len(body)))

    def _planned(self, envelope: Envelope, size: int) -> Sequence[Planned]:
        first = self._config.routes[0]
        via = self._config.bounces.via
        if not via:
            try:
                return self._router.plan(OURSELVES, envelope)([], size)
            except Refused:
                via = first.via
        lane = self._providers[via[0]].lane(envelope)
        return [Planned(route=first.name, provider=via[0], lane=lane, recipients=envelope.recipients)]


def bounce_settings(config: Config) -> BounceSettings:
    """Return how bounces are written."""
    bounces = config.bounces
    return BounceSettings(
        sender=bounces.from_ or f"MAILER-DAEMON@{config.hostname}",
        hostname=config.hostname,
        to=bounces.to,
        copy=bounces.copy or "",
    )
