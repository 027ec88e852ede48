"""
The plan by which a stored mail becomes what leaves, and the stream that carries it out.

A plan is small: which octets stay, which are left out, what is put between, and what is encoded. It is the
same for every attempt; so is what comes of it, however the mail is cut into pieces. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import Factory, asdict, define, evolve, frozen

from smtprelay.mime.outgoing.encoders import ENCODERS, Encoder, encoded_size
from smtprelay.model.shape import count_eight_bit

#: Steps: a number of octets of the mail stay, or are left out, or a number of ``inserted`` are put in. Each
#: other step is one of :data:`smtprelay.mime.outgoing.encoders.ENCODERS`.
KEEP: Final = "keep"
DROP: Final = "drop"
INSERT: Final = "insert"

Step = tuple[str, int]


@frozen(kw_only=True)
class Plan:
    """
    How a mail is finished.

    :ivar size: octets of the finished mail.
    :ivar eight_bit: how many of them are not ASCII.
    :ivar refusal: why it cannot be finished for that hop, or ``""``; ``code`` is the status code then.
    """

    steps: Sequence[Step] = ()
    inserted: bytes = b""
    size: int = 0
    eight_bit: int = 0
    refusal: str = ""
    code: str = ""

    @property
    def untouched(self) -> bool:
        """Whether the mail leaves as it is stored."""
        return all(kind == KEEP for kind, _ in self.steps)

    def preceded_by(self, fields: bytes) -> "Plan":
        """Return the plan by which ``fields``, which are ASCII, stand before the mail."""
        steps = ((INSERT, len(fields)), *self.steps)
        return evolve(self, steps=steps, inserted=fields + self.inserted, size=self.size + len(fields))

    def facts(self) -> Mapping[str, Any]:
        """Return all but ``inserted`` as JSON can carry it."""
        return asdict(self, recurse=False, filter=lambda attribute, _: attribute.name != "inserted")


def plan_of(facts: Mapping[str, Any], inserted: bytes) -> Plan:
    """Return the plan that :meth:`Plan.facts` described."""
    steps = tuple((str(kind), int(length)) for kind, length in facts["steps"])
    return Plan(**{**facts, "steps": steps}, inserted=inserted)


@define
class PlanDraft:
    """A plan while it is made, from the beginning of the mail to its end."""

    octets: bytes
    _steps: list[list[Any]] = Factory(list)
    _inserted: list[bytes] = Factory(list)
    _at: int = 0
    _size: int = 0
    _eight_bit: int = 0

    def keep(self, until: int) -> None:
        """Keep what comes before ``until``."""
        self._size += until - self._at
        self._eight_bit += count_eight_bit(self.octets[self._at : until])
        self._step(KEEP, until)

    def drop(self, until: int) -> None:
        """Leave out what comes before ``until``."""
        self._step(DROP, until)

    def insert(self, octets: bytes) -> None:
        """Put something in."""
        if octets:
            self._inserted.append(octets)
            self._size += len(octets)
            self._eight_bit += count_eight_bit(octets)
            self._steps.append([INSERT, len(octets)])

    def encode(self, kind: str, until: int) -> None:
        """Encode what comes before ``until``."""
        self._size += encoded_size(kind, self.octets[self._at : until])
        self._step(kind, until)

    def plan(self) -> Plan:
        """Return the plan; what is left of the mail is kept."""
        self.keep(len(self.octets))
        steps = tuple((kind, length) for kind, length in self._steps)
        inserted = b"".join(self._inserted)
        return Plan(steps=steps, inserted=inserted, size=self._size, eight_bit=self._eight_bit)

    def _step(self, kind: str, until: int) -> None:
        length, self._at = until - self._at, until
        if length and self._steps and self._steps[-1][0] == kind and kind in (KEEP, DROP):
            self._steps[-1][1] += length
        elif length:
            self._steps.append([kind, length])


class Finishing:
    """Carries out a plan on the pieces of a mail, in their order."""

    def __init__(self, plan: Plan) -> None:
        self._steps = iter(plan.steps)
        self._inserted = memoryview(plan.inserted)
        self._kind, self._left = KEEP, 0
        self._encoder: Encoder | None = None

    def feed(self, piece: bytes) -> bytes:
        """Return what leaves after the next piece."""
        pieces: list[bytes | memoryview] = []
        at = 0
        while at < len(piece):
            if not self._left and not self._next(pieces):
                break
            taken = piece if len(piece) <= self._left and not at else piece[at : at + self._left]
            at += len(taken)
            self._left -= len(taken)
            if self._encoder is not None:
                pieces.append(self._encoder.feed(taken))
            elif self._kind == KEEP:
                pieces.append(taken)
        return b"".join(pieces)

    def end(self) -> bytes:
        """Return what leaves after the last piece."""
        pieces: list[bytes | memoryview] = []
        while self._next(pieces):
            pass
        return b"".join(pieces)

    def _next(self, pieces: list[bytes | memoryview]) -> bool:
        """Go on to the next step that takes octets of the mail; ``False`` if there is none."""
        if self._encoder is not None:
            pieces.append(self._encoder.end())
            self._encoder = None
        for kind, length in self._steps:
            if kind == INSERT:
                pieces.append(self._inserted[:length])
                self._inserted = self._inserted[length:]
                continue
            self._kind, self._left = kind, length
            self._encoder = ENCODERS[kind]() if kind in ENCODERS else None
            return True
        return False
