"""
What an operator needs of the relay beside the queue.
"""

from collections.abc import Sequence
from typing import Protocol

from smtprelay.model.message import Delivery
from smtprelay.model.queue import Edit
from smtprelay.model.queue_admin import Prepared
from smtprelay.model.refusal import RefusalFilter, RefusalRow


class Prepare(Protocol):
    """Finds out what a change needs for one delivery and the spool cannot know."""

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Return it; ``delivery`` has the recipients that the change is about."""


class RefusedMail(Protocol):
    """What clients were refused, as a spool keeps it: bounded, the oldest out, of all its nodes."""

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Add up ``rows`` with what is there."""

    async def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return the rows that are meant, the last first."""

    async def clear(self, wanted: RefusalFilter) -> int:
        """Forget the rows that are meant; return how many."""


class Operator(Prepare, Protocol):
    """
    What an operator may do beside changing the queue.

    Each of its methods raises ``LookupError`` for a provider or lane that is not there, and ``ValueError``
    with a sentence for people if it cannot be done.
    """

    def check(self, provider: str) -> None:
        """Raise if mail cannot be rerouted to ``provider``, whether or not there is mail to reroute."""

    async def probe(self, provider: str, lane: str, who: str, *, force: bool = False) -> None:
        """Try what is blocked or unreachable now; what asked us to wait only if it is forced."""

    async def suspend(self, provider: str, who: str, why: str, lasting: float | None = None) -> None:
        """
        Send nothing to ``provider`` until it is resumed; its mail goes on elsewhere or waits.

        :param lasting: after so many seconds it goes on by itself.
        """

    async def resume(self, provider: str, who: str) -> None:
        """Let a provider that was suspended run again."""

    def holds_changed(self) -> None:
        """Have the rules that hold mail carried out, soon."""
