"""
One attempt, from its claim to its settlement, as one straight line.

The claim's intent is durable before this begins, and this ends only when its outcome is.
"""

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from attrs import define, evolve
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from smtprelay.dispatch import decision as settle
from smtprelay.dispatch import events as report
from smtprelay.dispatch.decision import Decision, DecisionInput
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.failover import next_place, too_large
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.retry import SPOOL_AGAIN, delay
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Body, Events, Provider
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.attempt import Block, Claim, Settlement
from smtprelay.model.fit import with_sizes
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Results
from smtprelay.model.route import Route

_MIDDLE: Final = 0.5


class WatchedBody(Body):
    """
    A stored body that remembers that it could not be read, whatever the provider made of that.

    :ivar fault: what reading it raised, or ``None``.
    """

    __slots__ = ("_body", "fault", "size")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.fault: Exception | None = None
        self.size = body.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the pieces of the body."""
        chunks = self._body.chunks()
        while True:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except CancelledError:
                raise
            except Exception as exc:
                self.fault = exc
                raise
            yield chunk


@define(kw_only=True)
class Attempts:
    """
    Makes attempts. It keeps nothing between them but what ``lanes`` knows.

    :ivar settle: records an outcome, as :meth:`smtprelay.interfaces.spool.WorkQueue.settle`.
    :ivar chance: gives a number from 0 to 1, for the jitter.
    :ivar given_up: what is under way is given up. Then, and only then, is a ``CancelledError`` let through:
        the attempt stays without an outcome.
    """

    spool: WorkQueue
    settle: Callable[[Claim, Settlement], Awaitable[bool]]
    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]
    lanes: LaneStates
    reporter: DsnReporter
    notifier: WebhookNotifier | None
    clock: IReactorTime
    events: Events
    chance: Callable[[], float]
    given_up: bool = False

    async def run(self, claim: Claim, taken: Callable[[], None]) -> Settlement | None:
        """
        Carry out one attempt; return what was recorded, ``None`` if the claim was not ours any more.

        :param taken: given to the provider, see :meth:`smtprelay.interfaces.Provider.deliver`.
        """
        delivery, begun = claim.delivery, self.clock.seconds()
        self.events("attempt.started", attempt=claim.attempt, **report.about(delivery))
        body = WatchedBody(self.spool.body(delivery)) if claim.body is None else MemoryBody(claim.body)
        try:
            verdict = await self._verdict(claim, body, taken)
        except Exception as exc:
            if isinstance(exc, CancelledError) and self.given_up:
                raise
            verdict = self._unreadable(claim, {}, body.fault) if body.fault else self._crashed(claim, exc)
        ours = await self._record(claim, verdict.settlement)
        now = self.clock.seconds()
        if not ours:
            report.lost(self.events, claim, verdict)
            return None
        report.tell(self.events, claim, verdict, now, now - begun)
        return verdict.settlement

    async def _verdict(
        self, claim: Claim, body: MemoryBody | WatchedBody, taken: Callable[[], None]
    ) -> Decision:
        delivery = claim.delivery
        route = self._route(claim)
        provider = self.providers.get(delivery.provider)
        if provider is None:
            return await self._judged(settle.provider_removed, claim, route, body)
        known = await provider.resolve(delivery) if claim.uncertain else None
        if claim.uncertain and known is None and not provider.idempotent and route.on_uncertain == "hold":
            return settle.unresolved(claim)
        results = await self._send(provider, delivery, body, taken) if known is None else known
        if body.fault is not None:
            return self._unreadable(claim, results, body.fault)
        block = self.lanes.learn(delivery, results.values(), self.clock.seconds())
        verdict = settle.delivered(delivery, results)
        if verdict is None:
            if known is not None:
                results = settle.resolved(known)
            verdict = await self._judged(partial(settle.settle, results=results), claim, route, body, block)
        verdict = await self._with_bounce(claim, verdict, body) if verdict.report else verdict
        return await self._with_event(claim, verdict, body) if verdict.announced else verdict

    async def _send(
        self,
        provider: Provider,
        delivery: Delivery,
        body: MemoryBody | WatchedBody,
        taken: Callable[[], None],
    ) -> Results:
        """Mail is only sent to a provider whose limits it fits: they may have changed while it waited."""
        refusal = too_large(delivery, provider)
        if refusal is not None:
            return dict.fromkeys(delivery.envelope.addresses, refusal)
        return await provider.deliver(delivery, body, taken)

    async def _judged(
        self,
        judge: Callable[[DecisionInput], Decision],
        claim: Claim,
        route: Route,
        body: Body,
        block: Block | None = None,
    ) -> Decision:
        """Judge the outcome; the request is measured where the judgement depends on its size."""

        def ask(sizes: Mapping[str, int]) -> Decision:
            return judge(self._case(claim, route, block, sizes))

        return await with_sizes(ask, claim.delivery.envelope, body)

    def _route(self, claim: Claim) -> Route:
        """The rules of a route that is not configured any more are the usual ones, at the same provider."""
        delivery = claim.delivery
        return self.routes.get(delivery.route) or Route(name=delivery.route, via=(delivery.provider,))

    def _case(
        self,
        claim: Claim,
        route: Route,
        block: Block | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> DecisionInput:
        now = self.clock.seconds()
        elsewhere = partial(next_place, claim.delivery, route.via, self.providers)
        return DecisionInput(
            claim=claim,
            route=route,
            now=now,
            chance=self.chance(),
            elsewhere=lambda: elsewhere(partial(self.lanes.stopped, now=now), sizes),
            roomier=lambda: elsewhere(lambda *_: False, sizes),
            block=block,
        )

    def _crashed(self, claim: Claim, exc: Exception) -> Decision:
        report.crashed(self.events, claim, exc)
        return settle.crashed(self._case(claim, self._route(claim)), _in_a_line(exc))

    def _unreadable(self, claim: Claim, results: Results, fault: Exception) -> Decision:
        case = self._case(claim, self._route(claim))
        gone = isinstance(fault, LookupError)
        return settle.unreadable(case, results, _in_a_line(fault), gone=gone)

    async def _with_bounce(self, claim: Claim, verdict: Decision, body: Body) -> Decision:
        """Add the report to the sender. If it cannot be made, the delivery comes to its end all the same."""
        try:
            bounce = await self.reporter.bounce(claim, verdict.report, body, self.clock.seconds())
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- the outcome is known and must not be lost for its report
            text = f"{claim.delivery.id}: no report to its sender could be made: {_in_a_line(exc)}"
            self.events("relay.warning", text=text)
            return verdict
        return evolve(verdict, settlement=evolve(verdict.settlement, bounce=bounce))

    async def _with_event(self, claim: Claim, verdict: Decision, body: Body) -> Decision:
        """Add the event for the webhook; if it cannot be made, so."""
        try:
            if self.notifier is None:
                raise LookupError("the configuration has no webhook any more")  # noqa: TRY301 -- told like others
            now = self.clock.seconds()
            event = await self.notifier.announce(claim, verdict.announced, body, now)
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- so
            text = f"{claim.delivery.id}: no event could be made: {_in_a_line(exc)}"
            self.events("relay.warning", text=text)
            return verdict
        return evolve(verdict, settlement=evolve(verdict.settlement, event=event))

    async def _record(self, claim: Claim, settlement: Settlement) -> bool:
        """Settle, however often the spool fails: sending again is what must not happen instead."""
        failures = 0
        while True:
            try:
                ours = await self.settle(claim, settlement)
                if not ours and settlement.block is not None:
                    await self.spool.block(settlement.block)
            except Exception as exc:
                if self.given_up:
                    raise
                self.events("spool.failed", operation="settle", reason=_in_a_line(exc))
            else:
                return ours
            await deferLater(self.clock, delay(SPOOL_AGAIN, failures, _MIDDLE))
            failures += 1


def _in_a_line(exc: Exception) -> str:
    """Say what happened and where, as the end of its traceback does."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    said = "".join(traceback.format_exception_only(exc))  # even of one that cannot be printed
    return " ".join(f"{said.strip()}{where}".split())
