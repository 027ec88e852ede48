"""
Whether a synchronous delivery may ask its provider now, and who must hear of what came of it.

There are two that know. Where there is a spool its lanes do, which the queue uses, too (``shared``): then
slots, pace and breaker are those of both. Without one this process keeps them for itself (``alone``).
"""

from collections.abc import Collection
from typing import Protocol

from attrs import frozen

from smtprelay.dispatch.answer import Busy
from smtprelay.dispatch.gate import Patience
from smtprelay.message import Delivery, Outcome


@frozen
class Turned:
    """
    Turned away: nothing was sent.

    :ivar outcome: what the client hears if nobody else takes the mail.
    :ivar final: no time is left to ask anybody else.
    """

    outcome: Outcome
    final: bool = False


class Slot(Protocol):
    """The right to one request."""

    @property
    def released(self) -> bool:
        """Whether it was given back: the provider has the body, or its answer has come."""

    def release(self) -> None:
        """Give it back, once: the provider has the body, and its verdict comes later."""

    def learn(self, outcomes: Collection[Outcome]) -> None:
        """Give it back with what the provider said; it may say more, after a question what became of it."""

    def end(self) -> None:
        """Give it back, if that was not done yet: nothing more comes of it."""


class Admission(Protocol):
    """Who admits."""

    def stopped(self, provider: str, lane: str) -> bool:
        """Tell whether nothing may go in a lane, as far as is known at once."""

    def stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the clock was put."""

    async def enter(self, delivery: Delivery, attempt: int, patience: Patience) -> Slot | Turned:
        """
        Return a slot of the delivery's lane, with a token of each window, as soon as there is one.

        Who waits longer than ``patience`` is turned away; at once where the pace makes that certain.
        """


def busy(provider: str) -> Turned:
    """Return what is said of a provider that has no slot."""
    return Turned(Busy(f"{provider} takes no more at this time, try again later"))


def too_late(provider: str) -> Turned:
    """Return what is said when a slot came when nothing may be begun any more."""
    return Turned(Busy(f"{provider} could not be asked in time, try again later"), final=True)
