"""
The exchanges of AUTH (RFC 4954, RFC 4422): from what the client sends to a login that checkers can judge.

A mechanism is an object for one exchange. Each step tells what comes next: a challenge, the user whose
salt it must know first, or the login. Pure.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from smtprelay.model.message import Refused, Reply
from smtprelay.smtp import reply
from smtprelay.smtp.login.challenge_response import TEXT, Cram, LoginChannel, Scram
from smtprelay.smtp.login.login_steps import ClaimedLogin, Mechanism, SaltRequest, Step

#: What comes next in an exchange.
Result = Reply | SaltRequest | ClaimedLogin


class _Plain:
    final = b""

    def __init__(self, _channel: LoginChannel) -> None: ...

    def start(self) -> Step:
        return b""

    def step(self, response: bytes) -> Step:
        parts = response.split(b"\0")
        if len(parts) != 3:  # noqa: PLR2004 -- authzid NUL authcid NUL passwd
            raise Refused(reply.LOGIN_FAILED)
        # First the authorization identity: no user may act for another, and devices write anything there.
        return ClaimedLogin("PLAIN", parts[1].decode(*TEXT), parts[2])


class _Login:
    final = b""
    _username: bytes | None = None

    def __init__(self, _channel: LoginChannel) -> None: ...

    def start(self) -> Step:
        return b"Username:"

    def step(self, response: bytes) -> Step:
        if self._username is not None:
            return ClaimedLogin("LOGIN", self._username.decode(*TEXT), response)
        self._username = response
        return b"Password:"


class _CertificateLogin:
    """The client's certificate tells who it is (RFC 4422 appendix A)."""

    final = b""

    def __init__(self, channel: LoginChannel) -> None:
        self._names = channel.names

    def start(self) -> Step:
        return b""

    def step(self, response: bytes) -> Step:
        # Which of its names the client is; it may leave that to us.
        wanted = response.decode(*TEXT)
        if wanted and wanted not in self._names:
            raise Refused(reply.NOT_CERTIFIED)
        names = (wanted,) if wanted else self._names
        return ClaimedLogin("EXTERNAL", names[0], b"", names=names)


MECHANISMS: Final[Mapping[str, Callable[[LoginChannel], Mechanism]]] = {
    "PLAIN": _Plain,
    "LOGIN": _Login,
    "CRAM-MD5": Cram,
    "SCRAM-SHA-256": Scram,
    "SCRAM-SHA-256-PLUS": partial(Scram, plus=True),
    "EXTERNAL": _CertificateLogin,
}


class SaslExchange:
    """
    One AUTH command and the lines that belong to it.

    :param argument: what follows AUTH: the mechanism and perhaps an initial response.
    :param offered: the mechanisms that may be used.
    :param channel: what they must know beside what the client sends.
    :ivar claimed: the name that was claimed, as far as it can be read; for the record.
    :raises Refused: if the mechanism is not one of them.
    """

    __slots__ = ("_initial", "_steps", "claimed", "mechanism")

    def __init__(self, argument: str, offered: tuple[str, ...], channel: LoginChannel) -> None:
        mechanism, *initial = argument.split(maxsplit=1) or [""]
        self._initial = initial[0] if initial else ""
        self.mechanism = mechanism.upper()
        self.claimed = ""
        if not mechanism:
            raise Refused(reply.SYNTAX)
        if self.mechanism not in offered or self.mechanism not in MECHANISMS:
            raise Refused(reply.UNKNOWN_MECHANISM)
        self._steps = MECHANISMS[self.mechanism](channel)

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

    def resume(self, request: SaltRequest, salt: bytes) -> Result:
        """Take the salt that was asked for; as :meth:`respond`."""
        return self._answer(request.then(salt))

    def final(self) -> Reply | None:
        """Return what the client must be told when it has logged in; ``None``: nothing but that."""
        return self._challenge(self._steps.final) if self._steps.final else None

    def _answer(self, step: Step) -> Result:
        if isinstance(step, bytes):
            return self._challenge(step)
        # A name with a NUL in it is a whole login of PLAIN in the wrong place: behind the NUL is a password.
        self.claimed = "" if "\0" in step.username else step.username
        # The name goes into logs and headers.
        if not step.username or not step.username.isprintable():
            raise Refused(reply.LOGIN_FAILED)
        return step

    @staticmethod
    def _challenge(step: bytes) -> Reply:
        return reply.challenge(base64.b64encode(step).decode("ascii"))


def _decoded(line: str) -> bytes:
    text = line.strip().rstrip("=")  # alone it is an empty initial response (RFC 4954 §4)
    try:
        return binascii.a2b_base64((text + "=" * (-len(text) % 4)).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Refused(reply.NOT_BASE64) from error
