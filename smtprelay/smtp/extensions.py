"""
What the server offers, by listener and by moment: the reply to EHLO (RFC 5321 §4.1.1.1).

The session obeys the same functions that are announced here, so nothing works that was not offered. Pure.
"""

from smtprelay.model.message import Reply
from smtprelay.smtp.proxy_client import ANNOUNCED
from smtprelay.smtp.settings import ListenerSettings


def offers_tls(settings: ListenerSettings, *, secure: bool) -> bool:
    """Tell whether STARTTLS is available (RFC 3207 §4.2: never within TLS)."""
    return settings.tls is not None and not secure and not settings.tls_implicit


def offers_login(settings: ListenerSettings, *, secure: bool) -> bool:
    """Tell whether AUTH is available; without TLS only if the operator allows it (RFC 4954 §4)."""
    return bool(settings.mechanisms) and (secure or settings.auth_allow_plaintext)


def binds(mechanism: str) -> bool:
    """Tell whether ``mechanism`` binds an exchange to its TLS connection, so that there must be one."""
    return mechanism.endswith("-PLUS")


def mechanisms(settings: ListenerSettings, *, secure: bool, certified: bool) -> tuple[str, ...]:
    """Return the mechanisms of AUTH that are available; ``certified``: the client has shown a certificate."""
    unavailable = set() if certified else {"EXTERNAL"}
    return tuple(
        each for each in settings.mechanisms if each not in unavailable and (secure or not binds(each))
    )


def greeting(settings: ListenerSettings, verb: str, *, secure: bool, certified: bool, xclient: bool) -> Reply:
    """
    Return the reply to ``verb``, EHLO or HELO.

    :param secure: within TLS.
    :param certified: the client has shown a certificate.
    :param xclient: it may use XCLIENT.
    """
    lines = [settings.hostname]
    if verb == "EHLO":
        # RFC 2920, RFC 1870, RFC 6152, RFC 6531, RFC 3030, RFC 2034.
        lines += ["PIPELINING", f"SIZE {settings.size}", "8BITMIME", "SMTPUTF8", "CHUNKING"]
        lines.append("ENHANCEDSTATUSCODES")
        lines.append(f"LIMITS RCPTMAX={settings.recipients}")  # RFC 9422
        if settings.dsn:
            lines.append("DSN")  # RFC 3461
        if offers_tls(settings, secure=secure):
            lines.append("STARTTLS")
        if xclient:
            lines.append(ANNOUNCED)
        offered = mechanisms(settings, secure=secure, certified=certified)
        if offered and offers_login(settings, secure=secure):
            lines.append(" ".join(("AUTH", *offered)))
    return Reply(code=250, enhanced="", text="\n".join(lines))
