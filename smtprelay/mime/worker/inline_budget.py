"""
Work on small mail in the relay's own process: what is small, and how much of it is done in one go.
"""

from collections import deque
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.mime.content_size import is_plain
from smtprelay.mime.head import block
from smtprelay.mime.headers import SMALL_HEADER

#: Octets of a mail, and of its header, that are worked on at once at most; so parts, and addresses and
#: encoded words together. The dearest content that is known takes half a millisecond for each KiB (octets
#: that their charset does not have), or 15 microseconds for each address.
SMALL_BODY: Final = 32 << 10
SMALL_PARTS: Final = 50
SMALL_MARKS: Final = 300
#: Escape sequences; a Japanese text of 32 KiB has some hundreds.
SMALL_ESCAPES: Final = 2000
#: Octets of a mail that is one text in ASCII, whose reading is little more than copying it.
SMALL_TEXT: Final = 256 << 10

#: Seconds of work in one iteration of the reactor after which the rest waits for the next one.
MOST_SECONDS: Final = 0.005

#: Work up to this much together needs no call in the next iteration.
_SLIGHT: Final = 0.001


def is_small(octets: bytes) -> bool:
    """Tell whether work on a mail takes no noticeable time, whatever it contains."""
    if len(octets) > SMALL_BODY:
        return len(octets) <= SMALL_TEXT and _is_text(octets)
    if len(octets) > SMALL_HEADER and not _header_ends(octets):
        return False
    # Most mail has so little of what these are made of that one pass tells.
    if len(octets) - len(octets.translate(None, b"@?-\x1b")) <= SMALL_PARTS:
        return True
    # Each part begins with a line of its own, though not each such line begins a part.
    return (
        _marks(octets, len(octets)) <= SMALL_MARKS
        and octets.count(b"\n--") <= SMALL_PARTS
        and octets.count(b"\x1b") <= SMALL_ESCAPES
    )


def _is_text(octets: bytes) -> bool:
    """Tell whether a mail is one text, and each octet of it a character of ASCII."""
    end = octets.find(b"\r\n\r\n", 0, SMALL_HEADER)
    return (
        end > 0
        and _marks(octets, end) <= SMALL_MARKS
        and octets.isascii()
        and b"\x1b" not in octets
        and is_plain(block(octets))
    )


def _marks(octets: bytes, end: int) -> int:
    return octets.count(b"@", 0, end) + octets.count(b"=?", 0, end)


def _header_ends(octets: bytes) -> bool:
    return any(octets.find(end, 0, SMALL_HEADER) >= 0 for end in (b"\n\r\n", b"\n\n"))


class InlineBudget:
    """
    Spreads work over the iterations of the reactor.

    Each piece of it is short, but many may be asked for in one iteration, as when fifty claims come at once.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._spent = 0.0
        self._scheduled = False
        self._waiting: deque[Deferred[None]] = deque()

    def room(self) -> Deferred[None] | None:
        """
        Return ``None`` if there is room in this iteration, else what fires in an iteration where there is.
        """
        if self._spent < MOST_SECONDS and not self._waiting:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def spend(self, seconds: float) -> None:
        """Count work that was done."""
        self._spent += seconds
        if self._spent > _SLIGHT and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._spent, self._scheduled = 0.0, False
        while self._waiting and self._spent < MOST_SECONDS:
            self._waiting.popleft().callback(None)
