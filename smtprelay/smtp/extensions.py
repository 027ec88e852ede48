"""
What the server offers, by listener and by moment: the reply to EHLO (RFC 5321 §4.1.1.1).

One row an extension. The session obeys the same functions that are announced here,
so nothing works that was not offered. Pure.
"""

from collections.abc import Callable
from typing import Final

from smtprelay.model.message import Reply
from smtprelay.smtp.settings import ListenerSettings


def offers_tls(settings: ListenerSettings, *, secure: bool) -> bool:
    """Tell whether STARTTLS is available (RFC 3207 §4.2: never within TLS)."""
    return settings.tls is not None and not secure and not settings.tls_implicit


def offers_login(settings: ListenerSettings, *, secure: bool) -> bool:
    """Tell whether AUTH is available; without TLS only if the operator said so (RFC 4954 §4)."""
    return bool(settings.mechanisms) and (secure or settings.auth_allow_plaintext)


def _starttls(settings: ListenerSettings, secure: bool) -> str:
    return "STARTTLS" if offers_tls(settings, secure=secure) else ""


def _auth(settings: ListenerSettings, secure: bool) -> str:
    return " ".join(("AUTH", *settings.mechanisms)) if offers_login(settings, secure=secure) else ""


#: Each gives its line for a listener, with or without TLS, or ``""`` if it is not offered.
EXTENSIONS: Final[tuple[Callable[[ListenerSettings, bool], str], ...]] = (
    lambda _settings, _secure: "PIPELINING",  # RFC 2920
    lambda settings, _secure: f"SIZE {settings.size}",  # RFC 1870
    lambda _settings, _secure: "8BITMIME",  # RFC 6152
    lambda _settings, _secure: "ENHANCEDSTATUSCODES",  # RFC 2034
    lambda settings, _secure: "DSN" if settings.dsn else "",  # RFC 3461
    _starttls,
    _auth,
)


def greeting(settings: ListenerSettings, verb: str, *, secure: bool) -> Reply:
    """Return the reply to ``verb``, EHLO or HELO."""
    lines = [settings.hostname]
    if verb == "EHLO":
        lines += filter(None, (extension(settings, secure) for extension in EXTENSIONS))
    return Reply(code=250, enhanced="", text="\n".join(lines))
