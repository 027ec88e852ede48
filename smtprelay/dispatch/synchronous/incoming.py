"""
Receives messages of synchronous listeners and answers with the provider's result; nothing is spooled.

Each message is delivered while its client waits for the reply to the end of data. When the listener's
deadline comes before the result, the client gets 451 and will try again; a request that has begun is
finished, so such a mail may arrive twice.
"""

import errno
from collections.abc import Coroutine
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from smtprelay.dispatch.synchronous import reply as answer
from smtprelay.dispatch.synchronous.body_buffer import BodyBuffer
from smtprelay.dispatch.synchronous.delivery import SynchronousDelivery
from smtprelay.dispatch.synchronous.partial import NotKept, PartialSuccess
from smtprelay.dispatch.synchronous.permits import TimeLimit
from smtprelay.interfaces import DeferToThread, Events, Incoming, Planner, Receive, fit
from smtprelay.model.attempt import NewMessage
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Draft, Refused, Reply
from smtprelay.model.outcome import Delivered, Results
from smtprelay.model.shape import shape_of
from smtprelay.net.buffer_budget import Budget

#: Nothing is begun so shortly before the deadline, seconds: its result would hardly come in time, and the
#: client would send again what has arrived. Of a short deadline it is a quarter.
_RESERVE: Final = 5.0

#: How long a bounce may wait for a slot, seconds.
_BOUNCE_PATIENCE: Final = 60.0

_FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@define(eq=False)
class SynchronousDeliveries:
    """
    The synchronous deliveries of all listeners, by one configuration.

    :param defer_to_thread: for the bodies that are too large for the memory.
    :param budget: of memory.
    """

    delivery: SynchronousDelivery
    partial_success: PartialSuccess
    clock: IReactorTime = field(kw_only=True)
    events: Events = field(kw_only=True)
    defer_to_thread: DeferToThread = field(kw_only=True)
    budget: Budget = field(factory=Budget, kw_only=True)
    _running: dict[Deferred[Any], TimeLimit] = field(factory=dict, init=False)
    _receiving: "set[SynchronousIncoming]" = field(factory=set, init=False)
    _closing: float | None = field(default=None, init=False)
    _stopped: Deferred[None] | None = field(default=None, init=False)

    def within(self, seconds: float) -> Receive:
        """Return what receives the messages of a listener that answers ``seconds`` after the end of data."""

        def receive(draft: Draft, plan: Planner) -> Incoming:
            incoming = SynchronousIncoming(draft, plan, self, seconds)
            self._receiving.add(incoming)
            return incoming

        return receive

    @property
    def is_idle(self) -> bool:
        """Whether no message is received or delivered."""
        return not self._running and not self._receiving

    def received(self, incoming: "SynchronousIncoming") -> None:
        """Note that a message is received, or given up."""
        self._receiving.discard(incoming)

    def stop(self, bound: float) -> Deferred[None]:
        """
        Fire when what is under way has ended, or after ``bound`` seconds; then it is given up.

        What comes in meanwhile is still delivered, if it can be within that time.
        """
        self._closing = self.clock.seconds() + bound
        stopped = self._stopped = Deferred()
        self._check_stopped()
        return stopped.addTimeout(bound, self.clock, self._give_up)

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed."""
        if self._closing is not None:
            self._closing += seconds

    def allowed(self, seconds: float) -> float:
        """Return how many of ``seconds`` a delivery that begins now may take."""
        if self._closing is None:
            return seconds
        return max(0.0, min(seconds, self._closing - self.clock.seconds()))

    def begin(self, work: "Coroutine[Deferred[Any], Any, None]", patience: TimeLimit) -> None:
        """Run ``work`` and count it as under way until it ends; it raises only ``CancelledError``."""
        running = Deferred.fromCoroutine(work)
        self._running[running] = patience
        running.addErrback(self._broken).addBoth(self._ended, running)

    def send(self, message: NewMessage) -> None:
        """Deliver a message of our own, once; no client waits."""
        patience = TimeLimit(self.clock, self.allowed(_BOUNCE_PATIENCE))
        self.begin(self._send(message, patience), patience)

    async def _send(self, message: NewMessage, patience: TimeLimit) -> None:
        body = MemoryBody(message.body)
        for n, planned in enumerate(message.planned, start=1):
            results, _ = await self.delivery.deliver(
                planned.delivery(message.draft, n, shape_of(message.body)), body, patience
            )
            if _refused(results):
                text = f"{message.draft.id}: the bounce is lost: {answer.words(results)}"
                self.events("relay.warning", text=text)

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.events("session.failed", listener="", client="", exc=failure.getTraceback())

    def _ended(self, _: object, running: Deferred[Any]) -> None:
        del self._running[running]
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._stopped is not None and not self._running:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)

    def _give_up(self, _failure: Failure | None, _seconds: float) -> None:
        for running, patience in list(self._running.items()):
            patience.end()
            running.cancel()


class SynchronousIncoming:
    """
    Receives one message; ``finish`` delivers it and answers ``250 2.0.0 Ok: <id> delivered as <…>``.

    A delivery that has begun is finished even if the client disconnects.
    """

    def __init__(
        self, draft: Draft, plan: Planner, synchronous: SynchronousDeliveries, seconds: float
    ) -> None:
        self.id = draft.id
        self._draft = draft
        self._plan = plan
        self._synchronous = synchronous
        self._seconds = seconds
        self._body = BodyBuffer(
            synchronous.defer_to_thread, synchronous.budget, counts_content=draft.counts_content
        )
        self._reply: Deferred[Reply] = Deferred()
        self._deadline: IDelayedCall | None = None

    def write(self, chunk: bytes) -> "Deferred[None] | None":
        return self._body.write(chunk)

    def abort(self) -> None:
        self._body.close()
        self._synchronous.received(self)

    async def finish(self) -> Reply:
        """Deliver the message and return the provider's reply; the deadline runs from here."""
        clock = self._synchronous.clock
        seconds = self._synchronous.allowed(self._seconds)
        patience = TimeLimit(clock, seconds - min(_RESERVE, seconds / 4))
        self._deadline = clock.callLater(seconds, self._answer, answer.LATE)
        self._synchronous.begin(self._conclude(patience), patience)
        self._synchronous.received(self)
        return await self._reply

    async def _conclude(self, patience: TimeLimit) -> None:
        try:
            await self._deliver(patience)
        except Refused as refused:
            self._answer(refused.reply)
        except NotKept as exc:
            self._answer(evolve(answer.NOT_STORED, text=f"{answer.NOT_STORED.text}: {exc}"))
        except CancelledError:
            self._answer(answer.STOPPING)
            raise
        except Exception as exc:  # noqa: BLE001 -- a bug here or in an extension; the client must have an answer
            client = self._draft.client
            self._synchronous.events(
                "session.failed", listener=client.listener, client=client.address, exc=exc
            )
            self._answer(answer.BROKEN)
        finally:
            self._body.close()

    async def _deliver(self, patience: TimeLimit) -> None:
        delivery = await self._planned()
        results, last = await self._synchronous.delivery.deliver(delivery, self._body, patience)
        if self._reply.called:
            self._tell_late(results)
        elif _refused(results) and _delivered(results):
            await self._share(delivery, results, last)
        else:
            self._answer(answer.reply(self.id, results))
            if not _refused(results):
                self._send(await self._synchronous.partial_success.confirm(delivery, results, self._body))

    async def _planned(self) -> Delivery:
        """Return the one delivery that the message is; raises :class:`Refused`."""
        try:
            await self._body.complete()
        except OSError as exc:
            self._synchronous.events("spool.failed", operation="buffer", reason=str(exc), message=self.id)
            full = exc.errno in _FULL_DISK
            raise Refused(answer.FULL if full else answer.NOT_STORED) from exc
        shape = self._body.shape
        planned = await fit.planned(self._plan, self._body.head, shape, self._draft.envelope, self._body)
        if len(planned) != 1:
            raise Refused(answer.SEVERAL)
        return planned[0].delivery(self._draft, 1, shape)

    async def _share(self, delivery: Delivery, results: Results, last: Delivery) -> None:
        """Answer 250 when the recipients who do not have the mail are provided for."""
        # Of those who have it no deadline makes it undone.
        self._forget_deadline()
        partial_success = self._synchronous.partial_success
        if not await partial_success.keep(self._draft, delivery, results, self._body, last):
            self._send(await partial_success.bounce(delivery, results, self._body))
        self._answer(answer.partly(self.id, results))

    def _send(self, bounce: NewMessage | None) -> None:
        if bounce is not None:
            self._synchronous.send(bounce)

    def _answer(self, reply: Reply) -> None:
        """Answer once; after the deadline the client has its answer."""
        self._forget_deadline()
        if not self._reply.called:
            self._reply.callback(reply)

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _tell_late(self, results: Results) -> None:
        if _delivered(results):
            text = f"{self.id}: delivered after its client had been told to try again; it may arrive twice"
            self._synchronous.events("relay.warning", text=text)


def _delivered(results: Results) -> bool:
    return any(isinstance(outcome, Delivered) for outcome in results.values())


def _refused(results: Results) -> bool:
    return not all(isinstance(outcome, Delivered) for outcome in results.values())
