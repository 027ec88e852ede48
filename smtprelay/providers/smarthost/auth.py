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


def _xoauth2(user: bytes, token: bytes) -> AuthCommand:
    """Return what Microsoft and Google document; a refusal is a challenge first, with its reason in JSON."""
    line = b64encode(b"user=%b\1auth=Bearer %b\1\1" % (user, token))
    return AuthCommand(b"AUTH XOAUTH2 " + line + b"\r\n", (lambda _: b"",))


#: By their names; all but the last in the order of preference.
MECHANISMS: Final = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5, "XOAUTH2": _xoauth2}
#: What ``auto`` may become, with TLS and without, where the password should not be readable.
_WITH_PASSWORD: Final = ("PLAIN", "LOGIN", "CRAM-MD5")
_IN_CLEAR_TEXT: Final = ("CRAM-MD5", "PLAIN", "LOGIN")


def mechanisms(wanted: str, *, encrypted: bool) -> Sequence[str]:
    """Return the mechanisms for the word of the setting, the best one first."""
    if wanted != "auto":
        return (wanted.upper(),)
    return _WITH_PASSWORD if encrypted else _IN_CLEAR_TEXT


def choose_login(
    offered: Collection[str], wanted: Sequence[str], user: str, secret: str
) -> AuthCommand | None:
    """Return the login by the first mechanism ``wanted`` that is ``offered``; ``None``: there is none."""
    for name in wanted:
        if name in offered:
            return MECHANISMS[name](user.encode("utf-8"), secret.encode("utf-8"))
    return None
