"""Defaults of most providers: one lane, a request that is the mail itself, no later status query."""

from collections.abc import Sequence

from smtprelay.interfaces import Body
from smtprelay.interfaces.online import OnlineChecks, Senders
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Outcome, Results
from smtprelay.model.route import NextHop, Window
from smtprelay.model.shape import Shape


class ProviderDefaults:
    """The parts of a :class:`smtprelay.interfaces.Provider` that few of them need to write."""

    idempotent = False
    next_hop = NextHop()
    uses_login = False

    def lane(self, envelope: Envelope, author: str, login: str) -> str:  # noqa: ARG002 -- the seam's signature
        """Return the provider's own lane."""
        return ""

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the mail's own size, twice."""
        return shape.size, shape.size

    async def measure(self, envelope: Envelope, body: Body) -> int:  # noqa: ARG002 -- the seam's signature
        """Return the mail's own size."""
        return body.size

    async def resolve(self, delivery: Delivery) -> Results | None:  # noqa: ARG002 -- the seam's signature
        """Return ``None``: there is no status query."""
        return None

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Return ``None``: only a mail can test the lane."""
        return None

    async def rate(self) -> Sequence[Window] | None:
        """Return nothing: the configuration says how fast the provider may be asked."""
        return ()

    def online_checks(self, senders: Senders) -> OnlineChecks:  # noqa: ARG002 -- the seam's signature
        """Return nothing: there is only the probe."""
        return {}

    async def close(self) -> None:
        """Do nothing: there are no connections."""
