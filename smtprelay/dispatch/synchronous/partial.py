"""
Partial success of a synchronous delivery.

The provider took the message for some recipients only. The client must get a 250, or it would send the mail
again to those who have it. So the relay is responsible for the rest: with a spool, the message is queued with
the attempt that was made, and is retried. Without a spool the sender gets a bounce.
"""

from collections.abc import Mapping
from functools import partial

from attrs import evolve, frozen

from smtprelay.dispatch import events as delivery_events
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.decision import Decision, DecisionInput, settle
from smtprelay.dispatch.end_reports import EndReports
from smtprelay.dispatch.failover import Failover
from smtprelay.dispatch.synchronous.permits import SynchronousPermits
from smtprelay.dispatch.synchronous.reply import ProvidersBusy, final
from smtprelay.interfaces import Body
from smtprelay.interfaces.fit import with_sizes
from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, NewMessage, Settlement
from smtprelay.model.message import Delivery, Draft, Planned
from smtprelay.model.outcome import Deferred, Delivered, Failed, Results


class NotKept(Exception):  # noqa: N818 -- a plain fact, for the one caller
    """The spool did not accept the message."""


@frozen(kw_only=True)
class PartialSuccess:
    """
    Takes over what is left of a message.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar permits: knows which lanes are stopped.
    """

    spool: Spool | None
    context: DispatchContext
    permits: SynchronousPermits
    end_reports: EndReports

    async def keep(
        self, draft: Draft, delivery: Delivery, results: Results, body: Body, last: Delivery
    ) -> bool:
        """
        Put the message into the spool, with what became of it so far; ``False`` if there is none.

        It keeps its id. It continues as if the spool had made the attempt: what is open waits for its next
        try, what is final is reported as the route says, what the route wants to be held is held.

        :param last: the delivery as it was when it was tried last: what is in doubt is asked about there.
        :raises NotKept: the spool does not take it.
        """
        if self.spool is None:
            return False
        now = self.context.clock.seconds()
        claim = Claim(delivery=delivery, node="", attempt=1, age=now - delivery.received)
        settlement = await self._settlement(claim, results, body)
        if settlement.uncertain:
            settlement = evolve(settlement, provider=last.provider, lane=last.lane)
        await self._accept(self.spool, draft, delivery, body, settlement)
        delivery_events.tell_end(self.context.events, delivery, settlement, self.context.clock.seconds(), 0.0)
        return True

    async def _settlement(self, claim: Claim, results: Results, body: Body) -> Settlement:
        delivery, context = claim.delivery, self.context
        route = context.routes[delivery.route]
        failover = Failover(delivery, route.via, context.providers)
        # A delivery that found no slot is deferred: no provider has refused the mail.
        tried = {
            address: Deferred(outcome.why) if isinstance(outcome, ProvidersBusy) else outcome
            for address, outcome in results.items()
        }

        def ask(sizes: Mapping[str, int]) -> Decision:
            case = DecisionInput(
                claim=claim,
                route=route,
                now=context.clock.seconds(),
                chance=context.jitter(),
                elsewhere=partial(failover.next_provider, self.permits.stopped, sizes),
            )
            return settle(case, tried)

        decision = await with_sizes(ask, delivery.envelope, body)
        return (await self.end_reports.added(claim, decision, body)).settlement

    async def bounce(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Return the bounce about the other recipients, if they are not tried again.

        ``None`` if nobody is to be notified.
        """
        discarded = self.context.routes[delivery.route].on_failed == "discard"
        ended = {
            address: outcome if isinstance(outcome, Delivered) else final(outcome)
            for address, outcome in results.items()
            if not (discarded and isinstance(outcome, Failed))
        }
        # Before any attempt that a spool counts.
        notice = await self.end_reports.bounce(Claim(delivery=delivery, node="", attempt=0), ended, body)
        if notice is not None:
            delivery_events.notified(self.context.events, delivery, notice)
        return notice

    async def confirm(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Return the DSN for a sender who asked to be notified of success.

        Returns the DSN for which there is no spool, ``None`` if there is nothing to do.
        """
        bounce = await self.bounce(delivery, results, body)
        if bounce is None or self.spool is None:
            return bounce
        try:
            await self.spool.accept(bounce.draft, bounce.body, bounce.planned)
        except Exception:  # noqa: BLE001 -- it has another way
            return bounce
        return None

    async def _accept(
        self, spool: Spool, draft: Draft, delivery: Delivery, body: Body, settlement: Settlement
    ) -> None:
        planned = Planned(
            route=delivery.route,
            provider=delivery.provider,
            lane=delivery.lane,
            recipients=delivery.envelope.recipients,
            author=delivery.author,
        )
        incoming = spool.incoming(draft, lambda *_: [planned], settlement)
        try:
            async for chunk in body.chunks():
                waiting = incoming.write(chunk)
                if waiting is not None:
                    await waiting
        except Exception:
            incoming.abort()
            raise
        reply = await incoming.finish()
        if reply.code != 250:  # noqa: PLR2004 -- the spool's only success
            raise NotKept(reply.text)
