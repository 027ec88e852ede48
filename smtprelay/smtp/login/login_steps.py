"""
What a mechanism of AUTH answers at each step. Pure.
"""

from collections.abc import Callable
from typing import Protocol

from attrs import field, frozen


@frozen
class ClaimedLogin:
    """
    A login as the client claims it; not checked yet.

    :ivar proves: tells whether ``password`` is a proof that fits a verifier; ``None``: it is the password.
    :ivar names: in the client's certificate, one of which is the user's; there is no password then.
    """

    mechanism: str
    username: str
    password: bytes = field(repr=False)
    proves: Callable[[bytes], bool] | None = None
    names: tuple[str, ...] = ()


@frozen
class SaltRequest:
    """A mechanism must know the salt of a user; ``then`` takes it, and tells what comes next."""

    username: str
    then: "Callable[[bytes], Step]"


#: What comes next for a mechanism, whose challenges are ``bytes``.
Step = bytes | SaltRequest | ClaimedLogin


class Mechanism(Protocol):
    """
    One exchange; its methods may raise :class:`smtprelay.model.message.Refused`.

    :ivar final: what the client is told when it has logged in, before it hears of that; ``b""``: nothing.
    """

    final: bytes

    def start(self) -> Step:
        """Tell what comes first, if the client has sent nothing with the command."""

    def step(self, response: bytes) -> Step:
        """Take a response."""
