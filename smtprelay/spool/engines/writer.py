"""
Group commit: everything that waits goes into one synced transaction.

A sync costs the same for one message and for a hundred. The writer therefore takes all operations that have
come while it was busy, runs them in one transaction, and only after the commit tells each caller. Under load
the groups grow by themselves; a single operation is committed at once.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import Deferred, execute, fail
from twisted.python.failure import Failure

from smtprelay.interfaces import Events
from smtprelay.spool.engines.engine import Engine
from smtprelay.spool.engines.transaction import Connection, RetryTransaction, SpoolFault, Transaction

T = TypeVar("T")
A = TypeVar("A")
Operation = Callable[[Transaction], T]
_Request = tuple[Operation[Any], Deferred[Any]]

#: Operations in one transaction; more would only make the first of them wait.
LARGEST_GROUP: Final = 500

#: How long the thread may take to let go of a database that it was still opening, seconds.
_ABANDONED: Final = 6.0

#: How often a transaction is run that other nodes are in the way of.
_MOST_TIMES: Final = 10


@frozen
class GroupedOperation(Generic[T, A]):
    """
    An operation that is done for a whole group at once.

    ``function`` takes the arguments of all such operations of a group, and returns a result for each of
    them. They come before the group's other operations: what has ended makes room for what begins.
    """

    function: Callable[[Transaction, Sequence[A]], Sequence[T]]
    argument: A

    def __call__(self, tx: Transaction) -> T:
        """Run the function for this one argument."""
        return self.function(tx, [self.argument])[0]


class Writer(Protocol):
    """Runs operations, each exactly once or not at all."""

    def do(self, operation: Operation[T]) -> Deferred[T]:
        """
        Run ``operation``; the Deferred fires with its result after the commit.

        It fails with what the operation raised, or :class:`SpoolFault`; nothing of it has
        happened then. An operation may be run again when its group was rolled
        back, so it must change nothing but the transaction.
        """

    def close(self) -> Deferred[None]:
        """Run what waits, then let go of the database."""


def do_nothing(_: Transaction) -> None:
    """Change nothing: whoever waits for it waits until all that was asked for before is done."""


class InlineWriter:
    """Runs each operation at once, on the caller's thread. For databases in memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: The one connection, for reading too.
        self.connection = engine.connect()

    def do(self, operation: Operation[T]) -> Deferred[T]:
        """Run ``operation`` at once; the Deferred has fired already."""
        return execute(self.run, operation)

    def run(self, operation: Operation[T]) -> T:
        """Run ``operation`` and commit; return its result, or raise what it raised or :class:`SpoolFault`."""
        return cast(T, _in_transaction(self._engine, self.connection, [operation])[0])

    def close(self) -> Deferred[None]:
        """Run what waits, then let go of the database."""
        return execute(self._engine.disconnect, self.connection)


class ThreadWriter:
    """
    Runs operations on a thread of its own, in groups.

    A connection that broke is closed, and another one is opened for the next group; while that
    fails, so does each group.

    :param reactor: what is asked of us within one of its iterations is handed to the thread at the
        iteration's end, all at once: each time the thread is woken costs more than an operation does.
    """

    def __init__(self, engine: Engine, reactor: Any, events: Events, name: str) -> None:
        self._engine = engine
        self._reactor = reactor
        self._events = events
        self._requests: list[_Request] = []
        self._waiting: SimpleQueue[list[_Request] | None] = SimpleQueue()
        self._connection: Connection | None = None
        self._closing = False
        self._closed: Deferred[None] = Deferred()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> Deferred[None]:
        """Open the connection; fires when it is open, or fails with what prevents it."""
        opened: Deferred[None] = Deferred()
        self._waiting.put([(do_nothing, opened)])
        self._thread.start()
        return opened

    def do(self, operation: Operation[T]) -> Deferred[T]:
        """Run ``operation`` on the thread, in a group; when it is closed, nothing more is done."""
        if self._closing:
            return fail(SpoolFault("the spool is closed"))
        done: Deferred[T] = Deferred()
        if not self._requests:
            self._reactor.callLater(0, self._hand_over)
        self._requests.append((operation, done))
        return done

    def close(self) -> Deferred[None]:
        """Run what waits, then let go of the database."""
        self._closing = True
        self._hand_over()
        self._waiting.put(None)
        return self._closed

    def abandon(self) -> Deferred[None]:
        """Close what could not be opened, or not in time; waits a while for a database that hangs."""
        return self.close().addTimeout(_ABANDONED, self._reactor, onTimeoutCancel=lambda *_: None)

    def refuse_waiting(self, why: str) -> None:
        """Fail what has come since the group that is being committed; the engine may ask for it meanwhile."""
        while not self._waiting.empty():
            requests = self._waiting.get()
            if requests is None:
                self._waiting.put(None)
                return
            for _, done in requests:
                self._reactor.callFromThread(done.errback, SpoolFault(why))

    def _hand_over(self) -> None:
        for start in range(0, len(self._requests), LARGEST_GROUP):
            self._waiting.put(self._requests[start : start + LARGEST_GROUP])
        self._requests = []

    def _run(self) -> None:
        while group := self._next_group():
            started = time.monotonic()
            results = self._commit([operation for operation, _ in group])
            seconds = time.monotonic() - started
            self._reactor.callFromThread(self._tell, [done for _, done in group], results, seconds)
        if self._connection is not None:
            self._engine.disconnect(self._connection)
        self._reactor.callFromThread(self._closed.callback, None)

    def _commit(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        try:
            connection = self._connection = self._connection or self._engine.connect()
        except Exception:  # noqa: BLE001 -- whoever waits gets it as a failure
            return [Failure()] * len(operations)
        results = run_group(self._engine, connection, operations)
        faults = [each.value for each in results if isinstance(each, Failure)]
        if any(isinstance(each, SpoolFault) and each.broken for each in faults):
            self._connection = None
            self._engine.disconnect(connection)
        return results

    def _next_group(self) -> list[_Request]:
        """Wait for something to do and return all there is; nothing means the end."""
        group: list[_Request] = []
        while not group or (len(group) < LARGEST_GROUP and not self._waiting.empty()):
            requests = self._waiting.get()
            if requests is None:
                if group:
                    self._waiting.put(None)
                break
            group += requests
        return group

    def _tell(self, waiting: Sequence[Deferred[Any]], results: Sequence[Any], seconds: float) -> None:
        self._events("spool.commit", operations=len(waiting), seconds=seconds)
        for done, result in zip(waiting, results, strict=True):
            if isinstance(result, Failure):
                done.errback(result)
            else:
                done.callback(result)


def run_group(engine: Engine, connection: Connection, operations: Sequence[Operation[Any]]) -> list[Any]:
    """
    Run ``operations`` in one transaction; return a result or a :class:`Failure` for each.

    When one of them raises, the transaction is rolled back and each is run in one of its
    own, so that only the one at fault fails. When the database fails, all fail.
    """
    try:
        return _in_transaction(engine, connection, operations)
    except SpoolFault:
        return [Failure()] * len(operations)
    except Exception:  # noqa: BLE001 -- each caller gets its own
        if len(operations) == 1:
            return [Failure()]
    return [run_group(engine, connection, [operation])[0] for operation in operations]


def _in_transaction(
    engine: Engine, connection: Connection, operations: Sequence[Operation[Any]]
) -> list[Any]:
    """Run them all, again and again while another node is in the way."""
    for _ in range(_MOST_TIMES):
        with suppress(RetryTransaction), engine.transaction(connection) as transaction:
            return _results(transaction, operations)
    raise SpoolFault("other nodes were in the way all the time")


def _results(transaction: Transaction, operations: Sequence[Operation[Any]]) -> list[Any]:
    arguments: dict[Callable[..., Any], list[Any]] = {}
    for operation in operations:
        if isinstance(operation, GroupedOperation):
            arguments.setdefault(operation.function, []).append(operation.argument)
    grouped = {function: iter(function(transaction, given)) for function, given in arguments.items()}
    return [
        next(grouped[each.function]) if isinstance(each, GroupedOperation) else each(transaction)
        for each in operations
    ]
