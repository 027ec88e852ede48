"""
What a mail's octets are like, counted while the mail comes in.

A provider tells from it how large its request may become, and ``mime.outgoing`` that there is nothing to do,
without reading the mail again. Pure.
"""

from typing import Final, Protocol

from attrs import define, field, frozen

#: Octets of the longest line that SMTP carries, its CRLF not counted (RFC 5321 §4.5.3.1.6).
MAX_LINE: Final = 998

_HIGH: Final = bytes(range(0x80, 0x100))


def count_eight_bit(octets: bytes) -> int:
    """Return how many octets are not ASCII."""
    return 0 if octets.isascii() else len(octets) - len(octets.translate(None, _HIGH))


@frozen(kw_only=True)
class Shape:
    """
    What was counted.

    :ivar size: octets of the stored mail.
    :ivar eight_bit: octets of 0x80 and above.
    :ivar long_lines: a line has more than :data:`MAX_LINE` octets.
    :ivar in_json: maximum octets of its content in JSON; ``None``: not counted. It is not stored.
    """

    size: int
    eight_bit: int = 0
    long_lines: bool = False
    in_json: int | None = field(default=None, eq=False)

    def resized(self, size: int) -> "Shape":
        """Return the same with another size; :func:`attrs.evolve` takes several times as long."""
        return Shape(size=size, eight_bit=self.eight_bit, long_lines=self.long_lines, in_json=self.in_json)


class ContentCounter(Protocol):
    """Counts how large the content of a mail may become."""

    def feed(self, piece: bytes) -> None:
        """Count the next piece."""

    @property
    def most(self) -> int:
        """The most octets that what was counted has in JSON, less a frame for each part."""


@define
class ShapeCounter:
    """
    Counts a :class:`Shape` from the pieces of a mail, however they are cut, by operations on whole pieces.
    """

    _size: int = 0
    _eight_bit: int = 0
    _long_lines: bool = False
    #: Octets of the line that is not at its end yet.
    _open: int = 0
    _content: ContentCounter | None = None

    def feed(self, piece: bytes) -> None:
        """Count the next piece."""
        self._size += len(piece)
        self._eight_bit += count_eight_bit(piece)
        if not self._long_lines:
            self._measure_lines(piece)
        if self._content is not None:
            self._content.feed(piece)

    def begin_content(self, counter: ContentCounter | None, start: bytes) -> None:
        """
        Have ``counter`` count, too, if there is one.

        :param start: what was fed so far.
        """
        self._content = counter
        if counter is not None:
            counter.feed(start)

    def shape(self) -> Shape:
        """Return what was counted so far."""
        return Shape(
            size=self._size,
            eight_bit=self._eight_bit,
            long_lines=self._long_lines or self._open > MAX_LINE,
            in_json=None if self._content is None else self._content.most,
        )

    def _measure_lines(self, piece: bytes) -> None:
        """Go from line end to line end in steps as long as a line may be: a few steps for many lines."""
        start, begin, rfind = -self._open, 0, piece.rfind
        last = len(piece) - MAX_LINE - 1
        while start < last:
            # The CR and the LF of the line may stand behind its octets.
            end = rfind(b"\n", begin, start + MAX_LINE + 2)
            if end < 0:
                self._long_lines = True
                return
            start = begin = end + 1
        end = rfind(b"\n", begin)
        self._open = len(piece) - (end + 1 if end >= 0 else start)


def shape_of(mail: bytes) -> Shape:
    """Return the shape of a mail that is at hand."""
    counter = ShapeCounter()
    counter.feed(mail)
    return counter.shape()
