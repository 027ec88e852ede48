"""
The exchanges of AUTH (RFC 4954, RFC 4422): from what the client sends to a login that checkers can judge.

A mechanism is an object for one exchange. Each step tells what comes next: a challenge, the user whose
verifier it must know first, or the login. Pure.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from attrs import field, frozen

from smtprelay.model.message import Refused, Reply
from smtprelay.smtp import reply


@frozen
class ClaimedLogin:
    """
    A login as the client claims it; not checked yet.

    :ivar proves: tells whether ``password`` is a proof that fits a verifier; ``None``: it is the password.
    """

    mechanism: str
    username: str
    password: bytes = field(repr=False)
    proves: Callable[[bytes], bool] | None = None


@frozen
class VerifierRequest:
    """A mechanism must know the verifier of a user; ``then`` takes it, and tells what comes next."""

    username: str
    then: "Callable[[bytes], Step]"


#: What comes next for a mechanism, whose challenges are ``bytes``; and in its exchange.
Step = bytes | VerifierRequest | ClaimedLogin
Result = Reply | VerifierRequest | ClaimedLogin


class Mechanism(Protocol):
    """One exchange; its methods may raise :class:`Refused`."""

    def start(self) -> Step:
        """Tell what comes first, if the client has sent nothing with the command."""

    def step(self, response: bytes) -> Step:
        """Take a response."""


#: Of a name what is no text becomes surrogates, which are not printable.
_TEXT: Final = ("utf-8", "surrogateescape")


class _Plain:
    def start(self) -> Step:
        return b""

    def step(self, response: bytes) -> Step:
        parts = response.split(b"\0")
        if len(parts) != 3:  # noqa: PLR2004 -- authzid NUL authcid NUL passwd
            raise Refused(reply.LOGIN_FAILED)
        # First the authorization identity: no user may act for another, and devices write anything there.
        return ClaimedLogin("PLAIN", parts[1].decode(*_TEXT), parts[2])


class _Login:
    _username: bytes | None = None

    def start(self) -> Step:
        return b"Username:"

    def step(self, response: bytes) -> Step:
        if self._username is not None:
            return ClaimedLogin("LOGIN", self._username.decode(*_TEXT), response)
        self._username = response
        return b"Password:"


MECHANISMS: Final[Mapping[str, Callable[[], Mechanism]]] = {"PLAIN": _Plain, "LOGIN": _Login}


class SaslExchange:
    """
    One AUTH command and the lines that belong to it.

    :param argument: what follows AUTH: the mechanism and perhaps an initial response.
    :param offered: the mechanisms that may be used.
    :ivar claimed: the name that was claimed, as far as it can be read; for the record.
    :raises Refused: if the mechanism is not one of them.
    """

    __slots__ = ("_initial", "_steps", "claimed", "mechanism")

    def __init__(self, argument: str, offered: tuple[str, ...]) -> None:
        mechanism, *initial = argument.split(maxsplit=1) or [""]
        self._initial = initial[0] if initial else ""
        self.mechanism = mechanism.upper()
        self.claimed = ""
        if not mechanism:
            raise Refused(reply.SYNTAX)
        if self.mechanism not in offered or self.mechanism not in MECHANISMS:
            raise Refused(reply.UNKNOWN_MECHANISM)
        self._steps = MECHANISMS[self.mechanism]()

    def start(self) -> Result:
        """Return what comes first: the first challenge, or what follows from the initial response."""
        first = self._steps.start()
        return self.respond(self._initial) if self._initial else self._answer(first)

    def respond(self, line: str) -> Result:
        """
        Take a response in base64, padded or not; return what comes next.

        :raises Refused: when the client cancels, sends no base64, or no login.
        """
        if line == "*":
            raise Refused(reply.LOGIN_CANCELLED)
        return self._answer(self._steps.step(_decoded(line)))

    def resume(self, request: VerifierRequest, verifier: bytes) -> Result:
        """Take the verifier that was asked for; as :meth:`respond`."""
        return self._answer(request.then(verifier))

    def _answer(self, step: Step) -> Result:
        if isinstance(step, bytes):
            return reply.challenge(base64.b64encode(step).decode("ascii"))
        # A name with a NUL in it is a whole login of PLAIN in the wrong place: behind the NUL is a password.
        self.claimed = "" if "\0" in step.username else step.username
        # The name goes into logs and headers.
        if not step.username or not step.username.isprintable():
            raise Refused(reply.LOGIN_FAILED)
        return step


def _decoded(line: str) -> bytes:
    text = line.strip().rstrip("=")  # alone it is an empty initial response (RFC 4954 §4)
    try:
        return binascii.a2b_base64((text + "=" * (-len(text) % 4)).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Refused(reply.NOT_BASE64) from error
