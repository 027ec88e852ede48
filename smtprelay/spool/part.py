"""
The parts of an open spool: what they share, and how they ask the database.

What goes to the database's threads is a function of a module with its values, or a method of the engine or
its reserve; it calls nothing of the reactor's side.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from smtprelay.interfaces.spool import LoginMissingError
from smtprelay.model.attempt import Block, Claim
from smtprelay.model.message import Delivery, SessionLogin
from smtprelay.spool.body import StoredBody
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.reader import Reader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.transaction import Connection, Transaction
from smtprelay.spool.engines.write_health import WriteHealth
from smtprelay.spool.operations.settle import set_block
from smtprelay.spool.receive.capacity import Capacity
from smtprelay.spool.seal import sealed_login

T = TypeVar("T")
P = ParamSpec("P")
Async = Coroutine[Any, Any, T]


@define(eq=False)
class SpoolContext:
    """
    What the parts of one spool share.

    :ivar unfinished: messages that never came, of which pieces could not be dropped at their time.
    :ivar take: called with what an accept has claimed; ``None``: nobody listens.
    """

    writer: WriteHealth
    reader: Reader
    options: SpoolOptions
    engine: Engine
    capacity: Capacity
    unfinished: set[str] = field(factory=set, init=False)
    take: Callable[[Sequence[Claim]], None] | None = field(default=None, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def wake(self) -> None:
        """Wake the dispatcher."""
        if self.take is not None:
            self.take(())

    async def room(self) -> None:
        """Wait until :meth:`tell_room`."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    def tell_room(self) -> None:
        """Tell who waits that a slot may have become free, or a lane was opened."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)


class SpoolPart:
    """A part of a spool, for one kind of caller."""

    def __init__(self, context: SpoolContext) -> None:
        self._context = context
        self._writer = context.writer
        self._reader = context.reader
        self._events = context.options.events


class QueuePart(SpoolPart):
    """Implements :class:`smtprelay.interfaces.spool.QueueAccess`."""

    def __init__(self, context: SpoolContext) -> None:
        super().__init__(context)
        self.clock: Any = context.engine.clock

    def body(self, delivery: Delivery) -> StoredBody:
        return StoredBody(self._reader, delivery.message, delivery.size)

    async def login(self, delivery: Delivery) -> SessionLogin:
        stored = await self._reader.do(partial(sealed_login, message=delivery.message, n=delivery.n))
        if stored is not None:
            return self._context.options.sealer.unseal(delivery.message, stored)
        if not delivery.application:
            raise LoginMissingError(f"{delivery.provider} sends with the login of the client, which had none")
        raise LoginMissingError(
            "its login is not in the spool: it is erased when a delivery ends, and never stored without"
            " spool.seal_key; have the client send the mail again"
        )

    async def block(self, block: Block) -> None:
        await self._writer.do(partial(set_block, block=block))
        self._context.tell_room()


def reads(question: Callable[Concatenate[Connection, P], T]) -> Callable[Concatenate[Any, P], Async[T]]:
    """Return the method of a part that asks ``question`` of the reader, and no more."""

    async def method(self: SpoolPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reader.do(partial(_called, question, args, kwargs))

    return method


def writes(operation: Callable[Concatenate[Transaction, P], T]) -> Callable[Concatenate[Any, P], Async[T]]:
    """Return the method of a part that has the writer do ``operation``, and no more."""

    async def method(self: SpoolPart, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.do(partial(_called, operation, args, kwargs))

    return method


def _called(function: Callable[..., T], args: Sequence[Any], kwargs: dict[str, Any], connection: Any) -> T:
    return function(connection, *args, **kwargs)
