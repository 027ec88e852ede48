"""
Clients that do not speak SMTP here, recognised by their first octets or by OpenSSL's error.

A browser tricked into posting to this port, or a device set to the wrong kind of encryption, would fail
silently: the log says what to set. Pure.
"""

from typing import Final

from smtprelay.smtp.line_buffer import LineBuffer

_TLS: Final = b"\x16\x03"  # a handshake record, RFC 8446 §5.1
_HTTP: Final = tuple(
    f"{verb} ".encode("ascii")
    for verb in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI")
)

SPEAKS_TLS: Final = (
    "the client speaks TLS at once: use a listener with implicit TLS, "
    "or set the device to STARTTLS or to no encryption"
)
SPEAKS_HTTP: Final = "the client speaks HTTP: this is a port for mail"


def recognised(first: LineBuffer) -> str:
    """Return what begins so, as a sentence, or ``""`` if it may yet be SMTP."""
    if first.startswith(_TLS):
        return SPEAKS_TLS
    return SPEAKS_HTTP if any(map(first.startswith, _HTTP)) else ""


#: What OpenSSL says of a handshake that failed, in words that tell what to do.
_HANDSHAKES: Final = {
    "wrong version number": "the client does not speak TLS: set the device to implicit TLS (SMTPS)",
    # So OpenSSL 3.2 and 3.3 call the same.
    "packet length too long": "the client does not speak TLS: set the device to implicit TLS (SMTPS)",
    "http request": SPEAKS_HTTP,
    "unsupported protocol": "the client's TLS is older than 1.0, or than @SECLEVEL in tls.ciphers allows",
    "no shared cipher": "the client has none of tls.ciphers; RSA key exchange also needs an RSA certificate",
    "no suitable signature algorithm": "the client has too weak signatures for @SECLEVEL in tls.ciphers",
    "certificate verify failed": "the client's certificate is by no authority in tls.client_ca, "
    "or has expired, or is not for clients; the client may also send none",
    "alert unknown ca": "the client does not trust our certificate",
    "alert bad certificate": "the client does not like our certificate",
    "alert certificate unknown": "the client does not like our certificate",
    "alert certificate expired": "the client finds that our certificate has expired",
}


#: The same where something is not taken that would be in another profile.
_MODERN: Final = {
    "unsupported protocol": "the client's TLS is older than 1.2: tls.profile: legacy takes 1.0 and 1.1",
    "no shared cipher": "the client has none of our ciphers: tls.profile: legacy also takes RSA key exchange "
    "(with an RSA certificate), tls.ciphers those that it names",
    "no suitable signature algorithm": "the client knows only old signatures: tls.profile: legacy takes them",
}


def failed_handshake(words: str, profile: str) -> str:
    """Return why TLS failed with a listener's ``profile``, as a sentence; ``words`` are OpenSSL's."""
    known = _HANDSHAKES if profile == "legacy" else {**_HANDSHAKES, **_MODERN}
    reason = next((sentence for key, sentence in known.items() if key in words), "")
    return f"TLS failed: {reason or words}"
