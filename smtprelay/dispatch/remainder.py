"""
The recipients that a provider did not take, in a message that it took for others.

Their client must hear 250, or it would send the mail to those again who have it. So we are responsible for
the rest: it enters the spool, if there is one, where it is tried again and ends as all mail does. Without
one the sender gets a bounce, and that is the end of it.
"""

from collections.abc import Mapping

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.answer import final
from smtprelay.dispatch.postmaster import Postmaster
from smtprelay.dispatch.report import notified
from smtprelay.interfaces import Body, Events, Spool
from smtprelay.message import (
    Claim,
    Delivered,
    Delivery,
    Draft,
    Failed,
    Outcome,
    Planned,
    Results,
    Route,
    Uncertain,
)
from smtprelay.queue import NewMessage


class NotKept(Exception):  # noqa: N818 -- a plain fact, for the one caller
    """The rest has no place."""


@frozen(kw_only=True)
class Remainder:
    """
    Takes over what is left of a message.

    :ivar spool: ``None`` where all listeners are synchronous.
    :ivar routes: by name.
    """

    spool: Spool | None
    routes: Mapping[str, Route]
    postmaster: Postmaster
    clock: IReactorTime
    events: Events

    async def keep(self, draft: Draft, delivery: Delivery, results: Results, body: Body) -> bool:
        """
        Put the rest into the spool; ``False`` if there is none, and nothing was done.

        It keeps its id. What is final is reported to the sender as the route says; what the route wants to be
        held is tried once more there, and then held.

        :raises NotKept: the spool does not take it.
        """
        if self.spool is None:
            return False
        route = self.routes[delivery.route]
        ended = {address: outcome for address, outcome in results.items() if _ends(route, outcome)}
        bounce = await self._bounce(delivery, ended, body)
        if bounce is not None:
            await self._accept(self.spool, bounce)
            self._tell(delivery, bounce)
        rest = tuple(each for each in delivery.envelope.recipients if each.address not in ended)
        if rest:
            await self._queue(
                self.spool, evolve(draft, envelope=draft.envelope.narrowed(rest)), delivery, body
            )
        return True

    async def report(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Return the bounce that tells of the rest, where nobody will try again.

        ``None`` if nobody is to be told.
        """
        bounce = await self._bounce(delivery, results, body)
        if bounce is not None:
            self._tell(delivery, bounce)
        return bounce

    async def confirm(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """
        Tell a sender who wants to know it that everybody has the mail.

        Returns the report for which there is no spool, ``None`` if there is nothing to do.
        """
        told = await self.report(delivery, results, body)
        if told is None or self.spool is None:
            return told
        try:
            await self._accept(self.spool, told)
        except NotKept:
            return told
        return None

    async def _bounce(self, delivery: Delivery, results: Results, body: Body) -> NewMessage | None:
        """Return a bounce, or ``None`` if there is to be none, or none could be made."""
        discarded = self.routes[delivery.route].on_failed == "discard"
        ended = {
            address: outcome if isinstance(outcome, Delivered) else final(outcome)
            for address, outcome in results.items()
            if not (discarded and isinstance(outcome, Failed))
        }
        claim = Claim(delivery=delivery, node="", attempt=0)  # before any attempt that the spool counts
        try:
            return await self.postmaster.bounce(claim, ended, body, self.clock.seconds())
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- the log tells of the failure all the same
            text = f"{delivery.id}: no report to its sender could be made: {type(exc).__name__}: {exc}"
            self.events("relay.warning", text=text)
            return None

    async def _accept(self, spool: Spool, bounce: NewMessage) -> None:
        try:
            await spool.accept(bounce.draft, bounce.body, bounce.planned)
        except Exception as exc:
            raise NotKept(f"{type(exc).__name__}: {exc}") from exc

    async def _queue(self, spool: Spool, draft: Draft, delivery: Delivery, body: Body) -> None:
        planned = Planned(
            route=delivery.route,
            provider=delivery.provider,
            lane=delivery.lane,
            recipients=draft.envelope.recipients,
        )
        incoming = spool.incoming(draft, lambda _headers, _size: [planned])
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

    def _tell(self, delivery: Delivery, bounce: NewMessage) -> None:
        notified(self.events, delivery, bounce)


def _ends(route: Route, outcome: Outcome) -> bool:
    """Tell whether a recipient is at his end, so that nothing may be sent to him again."""
    if isinstance(outcome, Failed):
        return route.on_failed != "hold"
    return isinstance(outcome, Delivered) or (isinstance(outcome, Uncertain) and route.on_uncertain == "hold")
