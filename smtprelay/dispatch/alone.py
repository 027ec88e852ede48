"""
Admission without a spool: by a gate and a breaker of this process.
"""

from collections.abc import Collection

from attrs import frozen

from smtprelay.dispatch import admission
from smtprelay.dispatch.admission import Turned
from smtprelay.dispatch.breaker import Breaker
from smtprelay.dispatch.gate import Gate, Patience
from smtprelay.dispatch.gate import Slot as GateSlot
from smtprelay.message import Blocked, Delivery, Outcome


@frozen
class Alone:
    """See :class:`smtprelay.dispatch.admission.Admission`."""

    gate: Gate
    breaker: Breaker

    def stopped(self, provider: str, lane: str) -> bool:
        """See :meth:`smtprelay.dispatch.admission.Admission.stopped`."""
        return bool(self.breaker.reason(provider, lane))

    def stepped(self, seconds: float) -> None:
        """See :meth:`smtprelay.dispatch.admission.Admission.stepped`."""
        self.breaker.stepped(seconds)

    async def enter(self, delivery: Delivery, attempt: int, patience: Patience) -> "AloneSlot | Turned":  # noqa: ARG002 -- the seam's
        """See :meth:`smtprelay.dispatch.admission.Admission.enter`."""
        provider, lane = delivery.provider, delivery.lane
        reason = self.breaker.reason(provider, lane)
        if reason:
            return Turned(Blocked(reason))
        slot = await self.gate.enter(provider, lane, patience.left)
        if slot is None:
            return admission.busy(provider)
        entered = False
        try:
            # It may have been stopped while we waited, or may want a probe.
            reason = await self.breaker.admit(provider, lane)
            entered = not reason and patience.left > 0
        finally:
            if not entered:
                slot.release()
        if entered:
            return AloneSlot(slot, self.breaker, delivery)
        return Turned(Blocked(reason)) if reason else admission.too_late(provider)


class AloneSlot:
    """See :class:`smtprelay.dispatch.admission.Slot`."""

    def __init__(self, slot: GateSlot, breaker: Breaker, delivery: Delivery) -> None:
        self._slot = slot
        self._breaker = breaker
        self._delivery = delivery

    @property
    def released(self) -> bool:
        """See :attr:`smtprelay.dispatch.admission.Slot.released`."""
        return self._slot.released

    def release(self) -> None:
        """See :meth:`smtprelay.dispatch.admission.Slot.release`."""
        self._slot.release()

    def learn(self, outcomes: Collection[Outcome]) -> None:
        """See :meth:`smtprelay.dispatch.admission.Slot.learn`."""
        # Before who waits for the slot is let in.
        self._breaker.learn(self._delivery, outcomes)
        self._slot.release()

    def end(self) -> None:
        """See :meth:`smtprelay.dispatch.admission.Slot.end`."""
        self._slot.release()
