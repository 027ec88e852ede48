"""
The exchanges of AUTH (RFC 4954, RFC 4616): from what the client sends to a name and a password.

A mechanism is a generator: it yields challenges, is sent responses, and returns name and password, or
``None`` if they make none. Pure.
"""

import base64
import binascii
from collections.abc import Callable, Generator, Mapping
from typing import Final

from attrs import field, frozen

from smtprelay.model.message import Refused, Reply
from smtprelay.smtp import reply


@frozen
class ClaimedLogin:
    """A login as the client claims it; not checked yet."""

    mechanism: str
    username: str
    password: bytes = field(repr=False)


Mechanism = Generator[bytes, bytes, tuple[bytes, bytes] | None]


def _plain() -> Mechanism:
    parts = (yield b"").split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 -- authzid NUL authcid NUL passwd
        return None
    # The first is the authorization identity: no user may act for another, and devices write anything there.
    return parts[1], parts[2]


def _login() -> Mechanism:
    username = yield b"Username:"
    password = yield b"Password:"
    return username, password


MECHANISMS: Final[Mapping[str, Callable[[], Mechanism]]] = {"PLAIN": _plain, "LOGIN": _login}


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

    def start(self) -> Reply | ClaimedLogin:
        """Return the first challenge, or the login if the initial response was enough."""
        first = next(self._steps)
        return self.respond(self._initial) if self._initial else _challenge(first)

    def respond(self, line: str) -> Reply | ClaimedLogin:
        """
        Take a response in base64, padded or not; return the next challenge, or the login.

        :raises Refused: when the client cancels, sends no base64, or no login.
        """
        if line == "*":
            raise Refused(reply.LOGIN_CANCELLED)
        try:
            return _challenge(self._steps.send(_decoded(line)))
        except StopIteration as end:
            return self._login(end.value)

    def _login(self, claimed: tuple[bytes, bytes] | None) -> ClaimedLogin:
        username, password = claimed or (b"", b"")
        # A name with a NUL in it is a whole login of PLAIN in the wrong place: behind the NUL is a password.
        self.claimed = "" if b"\0" in username else username.decode("utf-8", "replace")
        try:
            name = username.decode("utf-8")
        except UnicodeDecodeError:
            name = ""
        # The name goes into logs and headers.
        if not name or not name.isprintable():
            raise Refused(reply.LOGIN_FAILED)
        return ClaimedLogin(self.mechanism, name, password)


def _challenge(octets: bytes) -> Reply:
    return reply.challenge(base64.b64encode(octets).decode("ascii"))


def _decoded(line: str) -> bytes:
    text = line.strip().rstrip("=")  # alone it is an empty initial response (RFC 4954 §4)
    try:
        return binascii.a2b_base64((text + "=" * (-len(text) % 4)).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Refused(reply.NOT_BASE64) from error
