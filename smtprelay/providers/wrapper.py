"""
What providers around another one share: the parts that they leave to it, and their first look at a mail.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from smtprelay.interfaces import Body, MailTooCostly, MimeWorkerUnavailable, Provider
from smtprelay.interfaces.online import OnlineChecks, Senders
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Deferred, Failed, Outcome, Results
from smtprelay.model.route import Limits, Window
from smtprelay.model.shape import Shape

#: Octets in which a header has to end. No listener accepts a longer one.
MOST_HEADER: Final = 2 << 20
_END: Final = b"\r\n\r\n"


class ProviderWrapper:
    """The parts of a :class:`smtprelay.interfaces.Provider` that it leaves to ``provider``."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.idempotent = provider.idempotent
        self.uses_login = provider.uses_login
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


async def split_header(chunks: AsyncIterator[bytes]) -> tuple[bytes, bytes]:
    """
    Return the header of a mail, with the blank line, and what has come of its body.

    Without a blank line all is header; one that has more than :data:`MOST_HEADER` octets is not read on.
    """
    begun = bytearray()
    async for chunk in chunks:
        looked_at = max(0, len(begun) - len(_END) + 1)
        begun += chunk
        end = begun.find(_END, looked_at)
        if end >= 0:
            return bytes(begun[: end + len(_END)]), bytes(begun[end + len(_END) :])
        if len(begun) > MOST_HEADER:
            break
    return bytes(begun), b""


def outcome_of(error: MailTooCostly | MimeWorkerUnavailable, work: str, done: str) -> Outcome:
    """
    Return what it means for a mail that the MIME worker has not done its ``work``.

    :param work: in words: ``rewrite``; and ``done``: ``rewritten``.
    """
    if isinstance(error, MailTooCostly):
        # Other or undefined media error (RFC 3463 §3.7).
        return Failed(f"to {work} the mail takes too much work: {error}", "5.6.0")
    return Deferred(f"the mail could not be {done}: {error}")
