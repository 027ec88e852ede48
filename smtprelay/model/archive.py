"""
What an archive holds: messages as they go from one spool to another, whole.

A message keeps its id and all that makes its next attempt the same operation to a provider; a spool that has
it already does not take it twice. Its body goes beside it, a long one in pieces.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from smtprelay.model.queue import FINAL, AttemptRecord
from smtprelay.model.shape import Shape

#: The route along ``bounces.via``; a name that no configured route can have.
BOUNCES: Final = "bounces (via)"

#: The longest body that comes with its message; a longer one is asked for in pieces.
SMALL: Final = 64 * 1024


@frozen(kw_only=True)
class ArchivedRecipient:
    """A recipient with its DSN parameters, its state and the provider's answer."""

    address: str
    notify: str = ""
    orcpt: str = ""
    state: str = "open"
    reason: str = ""
    provider_id: str = ""


@frozen(kw_only=True)
class ArchivedDelivery:
    """
    A delivery with its history.

    :ivar state: of :data:`smtprelay.model.queue.STATES`, never ``active``.
    :ivar noticed: whether its sender got a delay notice; ``bounced``: a bounce.
    :ivar blocked: for how long it could not go because its lane was blocked, seconds.
    :ivar hold: if it is held by a rule, the number of that.
    :ivar key_id: with ``sealed``, in base64, the credential that it is sent with; ``""`` for none.
    """

    n: int
    generation: int = 1
    route: str
    provider: str
    lane: str = ""
    state: str
    due: float | None = None
    ended: float | None = None
    attempt: int = 0
    tries: int = 0
    deferrals: int = 0
    errors: int = 0
    uncertain: bool = False
    noticed: bool = False
    bounced: bool = False
    blocked: float = 0.0
    reason: str = ""
    recipients: tuple[ArchivedRecipient, ...]
    attempts: tuple[AttemptRecord, ...] = ()
    hold: int = 0
    key_id: str = ""
    sealed: str = field(default="", repr=False)


@frozen(kw_only=True)
class ArchivedMessage:
    """
    A message with its deliveries.

    :ivar body: whether its body goes with it.
    :ivar size: of the body, bytes, also when it is gone.
    :ivar author: the address that From names; ``""`` is the sender.
    :ivar shape: what its octets are like, if that is known.
    """

    id: str
    sender: str
    parameters: Mapping[str, str] = field(factory=dict)
    client: Mapping[str, str] = field(factory=dict)
    received: float
    size: int
    subject: str = ""
    message_id: str = ""
    author: str = ""
    bounce_of: str = ""
    finished: float | None = None
    body: bool = True
    shape: Shape | None = None
    deliveries: tuple[ArchivedDelivery, ...]


@frozen(kw_only=True)
class ArchiveItem:
    """A message, its body if that is small, and why it is refused, unless it is here already."""

    archived: ArchivedMessage
    content: bytes | None = field(default=None, repr=False)
    refusal: str = ""


@frozen(kw_only=True)
class ArchivePage:
    """
    Some of the messages that are exported; ``left`` stay, because an attempt is under way.

    :ivar mark: where the next page begins; ``""`` after the last.
    """

    items: Sequence[ArchiveItem]
    mark: str
    left: Sequence[str] = ()


@frozen(kw_only=True)
class RoutingTargets:
    """Where mail can go here: the providers, and those of each route in their order."""

    routes: Mapping[str, Sequence[str]] = field(factory=dict)
    providers: Collection[str] = ()

    @classmethod
    def of(cls, config: Any) -> "RoutingTargets":
        """Return the targets of a configuration, the route of ``bounces.via`` among them."""
        routes = {route.name: route.via for route in config.routes}
        bounces = {BOUNCES: config.bounces.via} if config.bounces.via else {}
        return cls(routes=routes | bounces, providers=tuple(config.providers))


def directed(archived: ArchivedMessage, targets: RoutingTargets, route: str = "") -> ArchivedMessage:
    """
    Return ``archived`` with deliveries that can go on here: on ``route``, if they cannot on their own.

    :raises ValueError: it is not given, or there is no such route.
    """
    return evolve(archived, deliveries=tuple(_directed(each, targets, route) for each in archived.deliveries))


def archive_item(
    archived: ArchivedMessage, targets: RoutingTargets, route: str, content: bytes | None
) -> ArchiveItem:
    """Return ``archived`` with its body, as :func:`directed` has it, or the reason why it cannot go on."""
    try:
        return ArchiveItem(archived=directed(archived, targets, route), content=content)
    except ValueError as error:
        return ArchiveItem(archived=archived, content=content, refusal=str(error))


def _directed(delivery: ArchivedDelivery, targets: RoutingTargets, route: str) -> ArchivedDelivery:
    if delivery.state in FINAL:
        return delivery
    wrong = ""
    if delivery.route not in targets.routes:
        wrong = f"there is no route {delivery.route!r} here" if delivery.route else "it names no route"
    elif delivery.provider not in targets.providers:
        wrong = f"there is no provider {delivery.provider!r} here"
    if not wrong:
        return delivery
    if not route:
        raise ValueError(f"delivery {delivery.n}: {wrong}: --route NAME says which one it takes")
    check_route(targets, route)
    # Uncertain stays uncertain: another provider knows nothing of it, and so ``on_uncertain`` decides.
    return evolve(delivery, route=route, provider=targets.routes[route][0], lane="", tries=0, blocked=0.0)


def check_route(targets: RoutingTargets, route: str) -> None:
    """Raise ``ValueError`` if ``route`` is given and does not exist."""
    if route and route not in targets.routes:
        raise ValueError(f"there is no route {route!r}: there are {', '.join(targets.routes) or 'none'}")
