"""
The recipients that a provider did not take, in a message that it took for others.

Their client must hear 250, or it would send the mail to those again who have it. So we are responsible for
the rest: the message enters the spool, if there is one, with the attempt that was made, is tried again and
ends as all mail does. Without a spool the sender gets a bounce, and that is the end of it.
"""

from collections.abc import Callable, Mapping

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch import events as report
from smtprelay.dispatch.decision import Decision, DecisionInput, settle
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.failover import next_place
from smtprelay.dispatch.synchronous.reply import ProvidersBusy, final
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Body, Events, Provider
from smtprelay.interfaces.spool import WorkQueue
from smtprelay.model.attempt import Claim, NewMessage, Settlement
from smtprelay.model.fit import with_sizes
from smtprelay.model.message import Delivery, Draft, Planned
from smtprelay.model.outcome import Deferred, Delivered, Failed, Outcome, Results
from smtprelay.model.route import Route


class NotKept(Exception):  # noqa: N818 -- a plain fact, for the one caller
    """The rest has no place."""


@frozen(kw_only=True)
class PartialSuccess:
    """
    Takes over what is left of a message.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar routes: by name.
    :ivar providers: by name; for the next one of the route, with ``stopped``: see :func:`next_place`.
    :ivar chance: gives a number from 0 to 1, for the jitter.
    """

    spool: WorkQueue | None
    routes: Mapping[str, Route]
    providers: Mapping[str, Provider]
    stopped: Callable[[str, str], bool]
    reporter: DsnReporter
    notifier: WebhookNotifier | None
    clock: IReactorTime
    events: Events
    chance: Callable[[], float]

    async def keep(
        self, draft: Draft, delivery: Delivery, results: Results, body: Body, last: Delivery
    ) -> bool:
        """
        Put the message into the spool, with what became of it so far; ``False`` if there is none.

        It keeps its id. It goes on as if the spool had made the attempt: what is open waits for its next
        try, what is final is reported as the route says, what the route wants to be held is held.

        :param last: the delivery as it was when it was tried last: what is in doubt is asked about there.
        :raises NotKept: the spool does not take it.
        """
        if self.spool is None:
            return False
        now = self.clock.seconds()
        claim = Claim(delivery=delivery, node="", attempt=1, age=now - delivery.received)
        settlement = await self._settlement(claim, results, body)
        if settlement.uncertain:
            settlement = evolve(settlement, provider=last.provider, lane=last.lane)
        await self._accept(self.spool, draft, delivery, body, settlement)
        self._tell(delivery, settlement)
        return True

    async def _settlement(self, claim: Claim, results: Results, body: Body) -> Settlement:
        delivery, route = claim.delivery, self.routes[claim.delivery.route]
        said = {address: _as_said(outcome) for address, outcome in results.items()}

        def ask(sizes: Mapping[str, int]) -> Decision:
            case = DecisionInput(
                claim=claim,
                route=route,
                now=self.clock.seconds(),
                chance=self.chance(),
                elsewhere=lambda: next_place(delivery, route.via, self.providers, self.stopped, sizes),
            )
            return settle(case, said)

        verdict = await with_sizes(ask, delivery.envelope, body)
        bounce = await self._bounce(claim, verdict.report, body) if verdict.report else None
        event = await self._event(claim, verdict, body) if verdict.announced else None
        return evolve(verdict.settlement, bounce=bounce, event=event)

    async def report(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Return the bounce that tells of the rest, where nobody will try again.

        ``None`` if nobody is to be told.
        """
        discarded = self.routes[delivery.route].on_failed == "discard"
        ended = {
            address: outcome if isinstance(outcome, Delivered) else final(outcome)
            for address, outcome in results.items()
            if not (discarded and isinstance(outcome, Failed))
        }
        # Before any attempt that a spool counts.
        notice = await self._bounce(Claim(delivery=delivery, node="", attempt=0), ended, body)
        if notice is not None:
            report.ours(self.events, delivery, bounce=notice)
        return notice

    async def confirm(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Tell a sender who wants to know it that everybody has the mail.

        Returns the report for which there is no spool, ``None`` if there is nothing to do.
        """
        told = await self.report(delivery, results, body)
        if told is None or self.spool is None:
            return told
        try:
            await self.spool.accept(told.draft, told.body, told.planned)
        except Exception:  # noqa: BLE001 -- it has another way
            return told
        return None

    async def _bounce(self, claim: Claim, ended: Results, body: Body) -> NewMessage | None:
        """Return the report to the sender, or ``None`` if there is to be none, or none could be made."""
        try:
            return await self.reporter.bounce(claim, ended, body, self.clock.seconds())
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- the log tells of the failure all the same
            self._not_made(claim.delivery, "report to its sender", exc)
            return None

    async def _event(self, claim: Claim, verdict: Decision, body: Body) -> NewMessage | None:
        try:
            if self.notifier is None:
                raise LookupError("the configuration has no webhook")  # noqa: TRY301 -- told like others
            return await self.notifier.announce(claim, verdict.announced, body, self.clock.seconds())
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- so
            self._not_made(claim.delivery, "event", exc)
            return None

    def _not_made(self, delivery: Delivery, what: str, exc: Exception) -> None:
        text = f"{delivery.id}: no {what} could be made: {type(exc).__name__}: {exc}"
        self.events("relay.warning", text=text)

    async def _accept(
        self, spool: WorkQueue, draft: Draft, delivery: Delivery, body: Body, settlement: Settlement
    ) -> None:
        planned = Planned(
            route=delivery.route,
            provider=delivery.provider,
            lane=delivery.lane,
            recipients=delivery.envelope.recipients,
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

    def _tell(self, delivery: Delivery, settlement: Settlement) -> None:
        report.ours(self.events, delivery, bounce=settlement.bounce, event=settlement.event)
        if settlement.state == "held":
            report.held(self.events, delivery, settlement.reason, self.clock.seconds(), 0.0)


def _as_said(outcome: Outcome) -> Outcome:
    """One that found no slot is deferred like another: nobody has refused the mail."""
    return Deferred(outcome.why) if isinstance(outcome, ProvidersBusy) else outcome
