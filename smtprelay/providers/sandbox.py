"""
A sandbox around a provider: only mail to those who are allowed gets to it.

It stands before each provider, so nothing leaves by another way: neither what waits, nor what is rerouted or
imported, nor the relay's own reports.
"""

from attrs import evolve

from smtprelay.interfaces import Attempt, Provider
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Results, Throttled
from smtprelay.model.patterns import Patterns
from smtprelay.providers.wrapper import ProviderWrapper


class SandboxProvider(ProviderWrapper):
    """
    A :class:`smtprelay.interfaces.Provider` that gives ``provider`` the mail of those who are ``allowed``.

    :param sandbox: gets the mail to all others.
    """

    def __init__(self, provider: Provider, sandbox: Provider, allowed: Patterns) -> None:
        super().__init__(provider)
        self.idempotent = provider.idempotent and sandbox.idempotent
        self._sandbox = sandbox
        self._allowed = allowed

    async def deliver(self, attempt: Attempt) -> Results:
        """Deliver, to each provider what is for it."""
        outside, inside = self._divided(attempt.delivery)
        results: dict[str, Outcome] = {}
        if inside is not None:
            kept = await self._sandbox.deliver(evolve(attempt, delivery=inside, release_slot=_keep_slot))
            results.update({address: self._of_sandbox(outcome) for address, outcome in kept.items()})
        if outside is not None:
            results.update(await self._provider.deliver(evolve(attempt, delivery=outside)))
        return results

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Ask each provider for what is its own; ``None`` if one of them cannot tell."""
        outside, inside = self._divided(delivery)
        kept = {} if inside is None else await self._sandbox.resolve(inside)
        sent = {} if outside is None else await self._provider.resolve(outside)
        if kept is None or sent is None:
            return None
        return {**{address: self._of_sandbox(outcome) for address, outcome in kept.items()}, **sent}

    def _divided(self, delivery: Delivery) -> tuple[Delivery | None, Delivery | None]:
        """Return what may leave and what stays, each ``None`` if there is nothing of it."""
        envelope = delivery.envelope
        parts = [
            tuple(each for each in envelope.recipients if self._allowed.match(each.address) == allowed)
            for allowed in (True, False)
        ]
        outside, inside = (
            evolve(delivery, envelope=envelope.narrowed(part)) if part else None for part in parts
        )
        return outside, inside

    def _of_sandbox(self, outcome: Outcome) -> Outcome:
        """Return an outcome of the other provider: it stops no lane of this one."""
        where = f"in the sandbox, by {self._sandbox.name}"
        if isinstance(outcome, Delivered):
            return evolve(outcome, why=f"{where} {outcome.why}".rstrip(), by=self._sandbox.name)
        if isinstance(outcome, Blocked | Throttled):
            return Deferred(f"{where}: {outcome.why}", closed=outcome.closed)
        return outcome


def _keep_slot() -> None:
    """Keep the slot: the mail may have to go to the other provider, too."""
