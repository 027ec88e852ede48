"""
AUTH on the client's side (RFC 4954): the mechanisms that servers still ask for; pure.

Each mechanism is the text of its first line and the functions that answer the
server's challenges, one after the other.
"""

import hmac
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from typing import Final

from attrs import field, frozen

Respond = Callable[[bytes], bytes]


@frozen
class AuthCommand:
    """
    One login, ready to be spoken.

    :ivar opening: the AUTH line.
    :ivar responses: one for each 334 that is expected, from the decoded challenge.
    """

    opening: bytes = field(repr=False)
    responses: Sequence[Respond] = field(default=(), repr=False)


def _plain(user: bytes, password: bytes) -> AuthCommand:
    return AuthCommand(b"AUTH PLAIN " + b64encode(b"\0%b\0%b" % (user, password)) + b"\r\n")


def _login(user: bytes, password: bytes) -> AuthCommand:
    return AuthCommand(b"AUTH LOGIN\r\n", (lambda _: user, lambda _: password))


def _cram_md5(user: bytes, password: bytes) -> AuthCommand:
    def respond(challenge: bytes) -> bytes:
        return b"%b %b" % (user, hmac.new(password, challenge, "md5").hexdigest().encode("ascii"))

    return AuthCommand(b"AUTH CRAM-MD5\r\n", (respond,))


#: In the order of preference.
MECHANISMS: Final = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}


def choose_login(offered: Collection[str], user: str, password: str) -> AuthCommand | None:
    """Return the login by the best mechanism that is ``offered``; ``None`` if we know none of them."""
    for name, mechanism in MECHANISMS.items():
        if name in offered:
            return mechanism(user.encode("utf-8"), password.encode("utf-8"))
    return None
