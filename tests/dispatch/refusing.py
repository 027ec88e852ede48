"""A provider that takes or refuses a request as a whole, as the HTTP APIs do."""

from collections.abc import Callable, Collection

from smtprelay.interfaces import Attempt
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Deferred, Delivered, Failed, Results
from smtprelay.testing.provider import ScriptedProvider


class RefusingProvider(ScriptedProvider):
    """
    Refuses a request for any of ``bad``.

    :param names: tells which of the bad ones of a request it names; none: it refuses it for nobody.
    :ivar operations: what it took: the recipients, by the id of the operation.
    :ivar requests: how often it was asked.
    """

    def __init__(
        self,
        bad: Collection[str] = (),
        names: Callable[[list[str]], Collection[str]] = lambda bad: bad,
        name: str = "one",
    ) -> None:
        super().__init__(name, idempotent=True)
        self.bad = bad
        self.names = names
        self.operations: dict[str, tuple[str, ...]] = {}
        self.requests = 0

    async def deliver(self, attempt: Attempt) -> Results:
        """Take it for all, or for none."""
        self.requests += 1
        if self.answers:
            return await super().deliver(attempt)
        delivery = attempt.delivery
        addresses = delivery.envelope.addresses
        bad = [address for address in addresses if address in self.bad]
        if not bad:
            assert delivery.operation_id not in self.operations, "an operation was used twice"
            self.operations[delivery.operation_id] = addresses
            return dict.fromkeys(addresses, Delivered(delivery.operation_id))
        named = self.names(bad)
        if not named:
            return dict.fromkeys(addresses, Failed("400 invalid", "5.6.0", whole=len(addresses) > 1))
        again = Deferred("400 invalid for others", closed=True, again=True)
        return {
            address: Failed(f"400 {address} is invalid", "5.1.3") if address in named else again
            for address in addresses
        }

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Tell whether the operation was taken."""
        taken = self.operations.get(delivery.operation_id)
        if taken is None:
            return None
        assert set(taken) == set(delivery.envelope.addresses), "an operation of other recipients"
        return dict.fromkeys(taken, Delivered(delivery.operation_id))
