"""Whether a mail is within the size limits of a provider. Pure."""

from bisect import bisect_left
from typing import Final, Protocol

from smtprelay.message import Limits
from smtprelay.model.shape import Shape

#: Octets that no mail has.
_ENDLESS: Final = 1 << 62


class Sized(Protocol):
    """What must be known of a :class:`smtprelay.interfaces.Provider`."""

    @property
    def limits(self) -> Limits:
        """What it takes in one message."""

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """See :meth:`smtprelay.interfaces.Provider.encoded_size`."""


def takes(provider: Sized, shape: Shape, measured: int | None = None) -> bool | None:
    """
    Tell whether a mail of this shape is within the size limits; ``None``: its request must be measured.

    :param measured: the octets of the request, if they are known.
    """
    limits = provider.limits
    if limits.size is not None and shape.size > limits.size:
        return False
    if limits.request is None:
        return True
    least, most = (measured, measured) if measured is not None else provider.encoded_size(shape)
    if least > limits.request:
        return False
    return True if most <= limits.request else None


def largest(provider: Sized) -> int | None:
    """Return the octets of the largest mail that may be within the limits; ``None``: there is none."""
    limits = provider.limits
    if limits.request is None:
        return limits.size
    # The least size of a request grows with the mail.
    too_large = bisect_left(
        range(_ENDLESS), True, key=lambda size: takes(provider, Shape(size=size)) is False
    )
    return too_large - 1
