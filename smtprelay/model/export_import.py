"""
How messages leave a spool and come into another one.

Both go in small portions, so that neither needs more memory than a portion, nor holds up
the mail for longer. A message keeps its id and all that makes its next attempt the same operation to a
provider; whoever has it already does not take it twice.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import evolve, field, frozen

from smtprelay.model.archived_message import ArchivedDelivery, ArchivedMessage
from smtprelay.model.queue import FINAL, Selection

if TYPE_CHECKING:
    from smtprelay.model.operator_settings import AppliedSettings, OperatorSettings

#: The route along ``bounces.via``; a name that no configured route can have.
BOUNCES: Final = "bounces (via)"

#: The longest body that comes with its parcel; a longer one is asked for in pieces.
SMALL = 64 * 1024


@frozen(kw_only=True)
class ArchiveItem:
    """
    A message, and its body if that is small.

    :ivar refusal: why it cannot be taken, unless it is here already.
    """

    archived: ArchivedMessage
    content: bytes | None = field(default=None, repr=False)
    refusal: str = ""


@frozen(kw_only=True)
class ArchivePage:
    """
    Some of the messages that are exported.

    :ivar mark: where the next portion begins; ``""`` after the last.
    :ivar left: messages that stay, because an attempt is under way.
    """

    packed: Sequence[ArchiveItem]
    mark: str
    left: Sequence[str] = ()


class Archive(Protocol):
    """Export and import of one spool; what a coroutine has returned is committed and synced."""

    async def export(
        self, selection: Selection, mark: str = "", *, moving: bool = False, who: str = ""
    ) -> ArchivePage:
        """
        Return the next messages of which a delivery matches, by id, each whole.

        Without states and ids in the selection these are the ones that wait. An attempt that is under way is
        told as one whose outcome nobody knows. With ``moving`` a message with such an attempt is left
        out, and of the others everything that waits is held from now on. ``who`` is for the log.

        Raises ``LookupError`` for an id that names no message, or several.
        """

    async def piece(self, message: str, n: int) -> bytes | None:
        """Return the n-th piece of a body, from 1, at most 256 KiB; ``None`` behind the last."""

    async def exported(
        self, messages: Sequence[str], who: str, attempts: Mapping[str, int] | None = None
    ) -> Sequence[str]:
        """
        Drop ``messages``, which are safe elsewhere; return those that are dropped.

        One that has been released meanwhile stays. With ``attempts``, the exported number of each delivery's
        last one by its id, so does one that has ended since: what was exported of it is not true any more.
        """

    async def orders(self) -> "OperatorSettings":
        """Return what an operator has ordered."""

    async def apply_settings(self, given: "OperatorSettings", who: str) -> "AppliedSettings":
        """
        Put in force what comes from another spool; what is in force already stays as it is.

        Raises ``ValueError`` for what cannot be meant; nothing is in force then.
        """

    async def put(self, packed: Sequence[ArchiveItem], who: str) -> Sequence[bool | Exception]:
        """
        Take messages in: ``True``, ``False`` for one that is here already, or what prevents it, for each.

        A body that is not with it has come by :meth:`put_piece`, all of it.
        """

    async def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Take the n-th piece of a body in; ``False`` if there is such a message already."""


@frozen(kw_only=True)
class RoutingTargets:
    """Where mail can go here: the providers, and those of each route in their order."""

    routes: Mapping[str, Sequence[str]] = field(factory=dict)
    providers: Collection[str] = ()

    @classmethod
    def of(cls, config: Any) -> "RoutingTargets":
        """Return the ways of a configuration, that of ``bounces.via`` among them."""
        routes = {route.name: route.via for route in config.routes}
        return cls(
            routes=routes | ({BOUNCES: config.bounces.via} if config.bounces.via else {}),
            providers=tuple(config.providers),
        )


def directed(archived: ArchivedMessage, targets: RoutingTargets, route: str = "") -> ArchivedMessage:
    """
    Return ``archived`` with deliveries that can go on here.

    :param route: what waits for a route or a provider that does not exist here takes this one.
    :raises ValueError: there is none, and nothing else is said; or no such route.
    """
    return evolve(archived, deliveries=tuple(_directed(each, targets, route) for each in archived.deliveries))


def packed(
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
