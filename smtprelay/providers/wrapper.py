"""A provider around another one: what both do alike."""

from collections.abc import Sequence

from smtprelay.interfaces import Body, Provider
from smtprelay.interfaces.online import OnlineChecks, Senders
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Outcome, Results
from smtprelay.model.route import Limits, Window
from smtprelay.model.shape import Shape


class ProviderWrapper:
    """The parts of a :class:`smtprelay.interfaces.Provider` that it leaves to ``provider``."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.idempotent = provider.idempotent
        self.limits: Limits = provider.limits
        self.next_hop = provider.next_hop
        self._provider = provider

    def lane(self, envelope: Envelope, author: str, login: str) -> str:
        """Return the lane that the provider says."""
        return self._provider.lane(envelope, author, login)

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the sizes that the provider says."""
        return self._provider.encoded_size(shape)

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """Have the provider measure."""
        return await self._provider.measure(envelope, body)

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Ask the provider."""
        return await self._provider.resolve(delivery)

    async def probe(self, lane: str) -> Outcome | None:
        """Have the provider try."""
        return await self._provider.probe(lane)

    async def rate(self) -> Sequence[Window] | None:
        """Ask the provider."""
        return await self._provider.rate()

    def online_checks(self, senders: Senders) -> OnlineChecks:
        """Return those of the provider."""
        return self._provider.online_checks(senders)

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()
