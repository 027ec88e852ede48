"""
The message id: the one name that a mail has in the reply, the log, the CLI and the bounce.

Sixteen characters of Crockford's base32 (no I, L, O, U, so that it can be read
out on the telephone): nine of milliseconds, so that ids sort by time, and seven
at random, so that they cannot be guessed and never meet those of another node.
"""

from collections.abc import Callable
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS: Final = 35
_LENGTH: Final = 16
#: Two characters at once.
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]


def new_id(seconds: float, random_bits: Callable[[int], int]) -> str:
    """
    Return an id for a message that is received at ``seconds`` since the epoch.

    :param random_bits: gives an integer with this number of random bits, as :func:`secrets.randbits` does.
    """
    number = int(seconds * 1000) << _RANDOM_BITS | random_bits(_RANDOM_BITS)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * _LENGTH - 10, -1, -10)])


def id_maker(seconds: Callable[[], float], random_bits: Callable[[int], int]) -> Callable[[], str]:
    """Return what makes a new id at each call, for a message that is received then."""
    return lambda: new_id(seconds(), random_bits)


def canonical(text: str) -> str:
    """Return an id as a person may have written it (lower case, O for 0, dashes) in its one spelling."""
    return text.upper().replace("-", "").translate(str.maketrans("OIL", "011"))


def last_with(beginning: str) -> str:
    """Return what no id with ``beginning`` sorts after, in any database's order of digits and capitals."""
    return beginning.ljust(_LENGTH, _ALPHABET[-1])
