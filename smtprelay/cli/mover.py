"""
Where messages are exported from and imported into: a running relay, or its spool.

Both speak of messages as the JSON values of :mod:`smtprelay.model.archive`, in portions, and of large bodies
in pieces; see :class:`smtprelay.model.export_import.Archive`.
"""

import base64
import http.client
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from smtprelay.cli import locate
from smtprelay.cli.client import ApiClient
from smtprelay.cli.exit_codes import FAILED, USAGE, CliError
from smtprelay.cli.options import CliSettings
from smtprelay.cli.source import API, in_words

if TYPE_CHECKING:
    from smtprelay.model.export_import import Archive, RoutingTargets

T = TypeVar("T")

#: Seconds for an answer: the disk may be busy.
PATIENCE = 300.0


#: What a relay reads of one request, bytes.
LARGEST = 1024 * 1024


class ExportedMessage(NamedTuple):
    """A message as JSON's values, and its body if that is at hand."""

    values: dict[str, Any]
    content: bytes | None


class MessagePage(NamedTuple):
    """Some messages, the mark where the next ones begin, and the ids of those that are under way."""

    messages: Sequence[ExportedMessage]
    mark: str
    left: Sequence[str]


class OnlineMover:
    """A running relay; as of the other one, every method raises :class:`CliError`."""

    #: What becomes of an attempt that is under way.
    under_way = "an attempt is under way. Export again for them"

    def __init__(self, client: ApiClient, who: str) -> None:
        self._client = client
        self._who = who

    def export(self, filters: Mapping[str, Any], mark: str, *, moving: bool) -> MessagePage:
        """Return the next messages; with ``moving`` what waits of them is held."""
        wanted = {"filters": dict(filters), "mark": mark, "moving": moving, "who": self._who}
        found = self._client.post(f"{API}/transfer/export", wanted)
        messages = [
            ExportedMessage(each["message"], base64.b64decode(each["content"]) if "content" in each else None)
            for each in found["messages"]
        ]
        return MessagePage(messages, found["mark"], found["left"])

    def piece(self, message: str, n: int) -> bytes | None:
        """Return a piece of a body, from 1; ``None`` behind the last."""
        code, content = self._client.request("GET", f"{API}/transfer/{message}/pieces/{n}")
        if code == http.client.OK:
            return content
        if code == http.client.NOT_FOUND:
            return None
        raise CliError(FAILED, f"the relay answered {code} when it was asked for the body of {message}")

    def exported(self, messages: Sequence[str]) -> Sequence[str]:
        """Drop what is safe elsewhere; return what was dropped."""
        wanted = {"ids": list(messages), "who": self._who}
        return list(self._client.post(f"{API}/transfer/exported", wanted)["ids"])

    def orders(self) -> dict[str, Any]:
        """Return an operator's orders, as :func:`smtprelay.model.operator_settings.written` does."""
        return dict(self._client.get(f"{API}/transfer/orders"))

    def apply_settings(self, orders: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put an operator's settings in force; return the values of :class:`.AppliedSettings`."""
        obeyed = self._client.post(f"{API}/transfer/orders", {"orders": orders, "who": self._who})
        # JSON has made texts of the numbers.
        return {**obeyed, "numbers": {int(number): here for number, here in obeyed["numbers"].items()}}

    def put(self, messages: Sequence[ExportedMessage], route: str) -> Sequence[Mapping[str, str]]:
        """Take messages in; ``done`` of each is ``imported``, ``present``, or ``refused`` with ``why``."""
        told = [
            {"message": each.values}
            | ({} if each.content is None else {"content": base64.b64encode(each.content).decode()})
            for each in messages
        ]
        wanted = {"messages": told, "route": route, "who": self._who}
        if len(messages) == 1 and len(json.dumps(wanted)) > LARGEST:
            return [
                {"done": "refused", "why": "too many recipients for a running relay: stop it for this import"}
            ]
        return list(self._client.post(f"{API}/transfer/import", wanted)["results"])

    def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Take a piece of a body in; ``False`` if the message is here already."""
        code, answer = self._client.request("POST", f"{API}/transfer/{message}/pieces/{n}", content)
        if code != http.client.OK:
            raise CliError(FAILED, f"the relay answered {code} to the body of {message}")
        return bool(json.loads(answer)["taken"])


class OfflineMover:
    """
    The spool of a relay that does not run.

    :param unfit: what it raises for a message that it cannot take; any other error would be that of all.
    :param targets: called when something is imported: only then the configuration is needed for it.
    """

    under_way = OnlineMover.under_way

    def __init__(
        self,
        spool: "Archive",
        unfit: tuple[type[Exception], ...],
        targets: "Callable[[], RoutingTargets]",
        who: str,
    ) -> None:
        self._spool = spool
        self._unfit: tuple[type[Exception], ...] = (ValueError, *unfit)
        self._targets = targets
        self._who = who

    def export(self, filters: Mapping[str, Any], mark: str, *, moving: bool) -> MessagePage:
        """Read the next messages from the spool."""
        from smtprelay.model.archive import written  # noqa: PLC0415
        from smtprelay.model.queue import Selection  # noqa: PLC0415

        portion = _now(self._spool.export(Selection(**filters), mark, moving=moving))
        messages = [ExportedMessage(written(each.archived), each.content) for each in portion.packed]
        return MessagePage(messages, portion.mark, portion.left)

    def piece(self, message: str, n: int) -> bytes | None:
        """Read a piece of a body."""
        return _now(self._spool.piece(message, n))

    def exported(self, messages: Sequence[str]) -> Sequence[str]:
        """Drop from the spool what is safe elsewhere."""
        return _now(self._spool.exported(messages, self._who))

    def orders(self) -> dict[str, Any]:
        """Read an operator's orders from the spool."""
        from smtprelay.model.operator_settings import written  # noqa: PLC0415

        return written(_now(self._spool.orders()))

    def apply_settings(self, orders: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put orders in force for when the relay runs again."""
        from attrs import asdict  # noqa: PLC0415

        from smtprelay.model.operator_settings import read  # noqa: PLC0415

        try:
            return asdict(_now(self._spool.apply_settings(read(orders, self._targets()), self._who)))
        except ValueError as error:
            raise CliError(FAILED, str(error)) from error

    def put(self, messages: Sequence[ExportedMessage], route: str) -> Sequence[Mapping[str, str]]:
        """Take messages in whose way the configuration knows."""
        from smtprelay.model.export_import import check_route  # noqa: PLC0415

        targets = self._targets()
        try:
            check_route(targets, route)
        except ValueError as error:
            raise CliError(USAGE, str(error)) from error
        return [self._put(each, targets, route) for each in messages]

    def put_piece(self, message: str, n: int, content: bytes) -> bool:
        """Write a piece of a body."""
        return _now(self._spool.put_piece(message, n, content))

    def _put(self, message: ExportedMessage, targets: "RoutingTargets", route: str) -> Mapping[str, str]:
        from smtprelay.model.archive import read  # noqa: PLC0415
        from smtprelay.model.export_import import packed  # noqa: PLC0415

        try:
            archived = read(message.values)
        except ValueError as error:
            return {"done": "refused", "why": str(error)}
        (result,) = _now(self._spool.put([packed(archived, targets, route, message.content)], self._who))
        if isinstance(result, Exception):
            if not isinstance(result, self._unfit):
                with in_words():
                    raise result
            return {"done": "refused", "why": str(result)}
        return {"done": "imported" if result else "present", "why": ""}


#: Where messages come from, or go.
Mover: TypeAlias = OnlineMover | OfflineMover


@contextmanager
def opened(settings: CliSettings, who: str, *, new: bool = False) -> Iterator[Mover]:
    """
    Give the relay that ``settings`` mean, or its spool; says on stderr if it is the spool.

    :param new: make a spool if there is none.

    Raises :class:`CliError` if there is neither.
    """
    client = locate.client(settings, os.environ, PATIENCE)
    location = locate.instead(client, settings, os.environ)
    if location is None:
        yield OnlineMover(client, who)
        return
    from smtprelay.spool.location import SqliteLocation  # noqa: PLC0415
    from smtprelay.spool.offline_archive import transfer  # noqa: PLC0415 -- only when nobody listens

    with ExitStack() as open_:
        with in_words():
            writer = open_.enter_context(location.writing(new=new))
        mover = OfflineMover(
            transfer(writer), location.unfit, lambda: locate.targets(settings, os.environ), who
        )
        if isinstance(location, SqliteLocation):
            # Unlike a database it has no relay but the one that does not run.
            mover.under_way = "the relay died during an attempt. Start it once: it finds out the outcome"
        yield mover


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives that waits for nobody."""
    from smtprelay.spool.offline import now  # noqa: PLC0415

    with in_words():
        return now(coroutine)
