"""
Whether there is room for more mail.

The spool is measured about once a second, on the thread that reads it, and what comes and goes in between is
counted along: so the question may be asked for every command, however full the spool is. Only new mail is
refused; what is in the spool goes out, and makes room again.
"""

from typing import Final

from attrs import evolve, frozen

from smtprelay.interfaces import Events
from smtprelay.model.message import Reply

#: RFC 3463: X.3.1 mail system full.
FULL: Final = Reply(code=452, enhanced="4.3.1", text="The spool is full, try again later", rule="spool-full")

#: A spool that was full takes mail again when it is this part away from its limits, so that it does not flap.
EASE: Final = 0.05

#: How often a byte is written before room is made again: into the log, and from there into the database.
_WRITTEN: Final = 2

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


@frozen(kw_only=True)
class CapacityLimits:
    """
    How much the spool may take.

    :ivar bytes: of its content, what is kept as history included.
    :ivar deliveries: deliveries that are not finished, as ``smtprelay_spool_deliveries`` counts them.
    :ivar free: the part of the file system that shall stay free.
    """

    bytes: int = 10 << 30
    deliveries: int = 1_000_000
    free: float = 0.05


@frozen(kw_only=True)
class DiskSpace:
    """
    The disk under a spool, in bytes; ``None``: nobody can tell.

    :ivar used: what the spool's content takes.
    :ivar left: what it could still take: free on the file system, and spare in the spool's files.
    :ivar whole: the size of the file system.
    """

    used: int = 0
    left: int | None = None
    whole: int | None = None


class Capacity:
    """Knows whether the spool is ``full``: why, for people; ``""`` while it takes mail."""

    def __init__(self, floors: CapacityLimits, events: Events) -> None:
        self._floors = floors
        self.full = self._limit = self._starving = ""
        self._events = events
        self._deliveries, self._space = 0, DiskSpace()

    def measured(self, deliveries: int, space: DiskSpace) -> None:
        """
        Begin anew with what was found; see whether there is room, and tell if that has changed.

        :param deliveries: how many there are that are not finished.
        """
        self._deliveries, self._space = deliveries, space
        self._judge()

    def refuse_all(self, why: str) -> None:
        """Take nothing, whatever is measured, for the reason ``why``; ``""`` ends that."""
        self._starving = why
        self._judge()

    def count(self, deliveries: int, size: int = 0) -> None:
        """Count what was stored since the spool was measured; less than no deliveries have ended."""
        self._deliveries += deliveries
        if size:
            used, left, whole = self._space.used, self._space.left, self._space.whole
            left = None if left is None else left - _WRITTEN * size
            self._space = DiskSpace(used=used + size, left=left, whole=whole)

    def refusal(self, size: int = 0) -> Reply | None:
        """Return why a message of ``size`` bytes cannot be taken now, or ``None`` if it can."""
        self._judge()
        why, limit = self.full, self._limit
        if size and not why:
            why, limit = self._lack(size=size)
        if not why:
            return None
        # Not how much lies here: that is for nobody but us.
        return evolve(FULL, text=f"{FULL.text}: {limit}") if limit else FULL

    def _judge(self) -> None:
        before = self.full
        lacking = (self._starving, "") if self._starving else self._lack(ease=EASE if before else 0.0)
        self.full, self._limit = lacking
        if self.full and not before:
            self._events("spool.full", reason=self.full)
        elif before and not self.full:
            self._events("spool.accepting")

    def _lack(self, *, size: int = 0, ease: float = 0.0) -> tuple[str, str]:
        """
        Return what there is too little of for a message of ``size`` bytes, and the setting that says so.

        Both are ``""`` if there is enough of everything.

        :param ease: the part by which each limit is held tighter.
        """
        floors, space = self._floors, self._space
        if self._deliveries >= floors.deliveries * (1 - ease):
            why = f"{self._deliveries} deliveries wait, the limit is {floors.deliveries}"
            return why, f"spool.limit.deliveries is {floors.deliveries}"
        if space.used + size >= floors.bytes * (1 - ease):
            limit = _amount(floors.bytes)
            setting = f"spool.limit.bytes is {limit.replace(' ', '')}"
            return f"it holds {_amount(space.used)}, the limit is {limit}", setting
        floor = 0.0 if space.whole is None else space.whole * floors.free
        if space.left is not None and space.left - _WRITTEN * size < floor * (1 + ease):
            left = f"{_amount(space.left)} are left on its file system"
            return f"{left}, {_amount(int(floor))} shall stay free", f"spool.limit.free is {floors.free:.1%}"
        return "", ""


def _amount(size: int) -> str:
    """Return a number of bytes as people read it."""
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{max(size, 0) / (1 << 10 * power):.{1 if power else 0}f} {_UNITS[power]}"
