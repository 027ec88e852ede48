"""Whether a mail is within the size limits of a provider. Pure."""

from typing import Protocol

from smtprelay.message import Limits
from smtprelay.model.shape import Shape


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
    too_large = 1
    while takes(provider, Shape(size=too_large)) is not False:
        too_large *= 2
    fits = too_large // 2
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if takes(provider, Shape(size=middle)) is False:
            too_large = middle
        else:
            fits = middle
    return fits
