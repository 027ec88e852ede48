"""The messages that tell how a delivery ended: the report to its sender, the event for its webhook."""

from collections.abc import Awaitable

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.decision import Decision
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Body, Events
from smtprelay.model.attempt import Claim, NewMessage
from smtprelay.model.outcome import Results


@frozen(kw_only=True)
class EndReports:
    """
    Makes both, for those that a decision names.

    :ivar notifier: ``None``: the configuration has no webhook.
    """

    reporter: DsnReporter
    notifier: WebhookNotifier | None
    clock: IReactorTime
    events: Events

    async def added(self, claim: Claim, decision: Decision, body: Body) -> Decision:
        """Return ``decision`` with the messages in its settlement: they are accepted with it."""
        bounce = await self.bounce(claim, decision.reported, body) if decision.reported else None
        event = await self._event(claim, decision, body) if decision.webhook_results else None
        return evolve(decision, settlement=evolve(decision.settlement, bounce=bounce, event=event))

    async def bounce(self, claim: Claim, reported: Results, body: Body) -> NewMessage | None:
        """Return the report to the sender; ``None`` if there is to be none, or it cannot be made."""
        made = self.reporter.bounce(claim, reported, body, self.clock.seconds())
        return await self._made(claim, "report to its sender", made)

    async def _event(self, claim: Claim, decision: Decision, body: Body) -> NewMessage | None:
        if self.notifier is None:
            self._warn(claim, "event", "the configuration has no webhook")
            return None
        made = self.notifier.notify(claim, decision.webhook_results, body, self.clock.seconds())
        return await self._made(claim, "event", made)

    async def _made(self, claim: Claim, what: str, made: Awaitable[NewMessage | None]) -> NewMessage | None:
        try:
            return await made
        except CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 -- the outcome is known, and is recorded without its message
            self._warn(claim, what, f"{type(exc).__name__}: {exc}")
            return None

    def _warn(self, claim: Claim, what: str, why: str) -> None:
        self.events("relay.warning", text=f"{claim.delivery.id}: no {what} could be made: {why}")
