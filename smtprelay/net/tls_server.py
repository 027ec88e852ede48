"""
TLS for what listens: from a certificate and a key on disk to contexts for handshakes.

Certificates are renewed while the server runs, mostly without notice: so the files are checked again, at most
once a second and only when a client connects, and read again when they changed. A renewal that went wrong
does not stop a server that runs: the certificate that was good stays in use, and a warning says why.
"""

import os
from pathlib import Path
from typing import Final

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory, IReactorTime
from zope.interface import implementer

from smtprelay.interfaces import Events
from smtprelay.net.certificate import CertificateError, PemSource, PemText, use_certificate

#: Seconds that files are taken to be unchanged.
FRESH: Final = 1.0


@frozen
class TlsProfile:
    """
    What a listener takes unless its ciphers are named.

    :ivar oldest: the oldest version of TLS.
    :ivar ciphers: an OpenSSL cipher list; the suites of TLS 1.3 are always the same.
    :ivar suffix: what each list needs besides, for that version.
    """

    oldest: int
    ciphers: str
    suffix: str = ""


#: Forward secrecy and AEAD only.
_STRONG: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL"

#: ``legacy`` is for old devices: TLS 1.0, RSA key exchange and CBC, behind what is better.
#: OpenSSL takes TLS 1.0 and 1.1, and signatures by SHA-1, at its level 0 alone.
PROFILES: Final = {
    "modern": TlsProfile(SSL.TLS1_2_VERSION, _STRONG),
    "legacy": TlsProfile(SSL.TLS1_VERSION, f"{_STRONG}:HIGH:3DES:!PSK:!SRP", ":@SECLEVEL=0"),
}


@frozen
class _FileState:
    """What changes when a file is replaced or written again."""

    inode: int
    modified: int
    changed: int
    size: int


@implementer(IOpenSSLContextFactory)
class ServerContext:
    """
    Makes the contexts of a server from PEM, mostly in files; for ``startTLS`` and ``TLSMemoryBIOFactory``.

    :param certificate: the server's certificate, then those of its chain.
    :param key: the private key, not encrypted; it may be the same file.
    :param clock: tells when a second has passed.
    :param events: get ``relay.warning`` when changed files cannot be used.
    :param profile: one of :data:`PROFILES`.
    :param ciphers: an OpenSSL cipher list for TLS 1.2 and older; ``""`` is the profile's.
    :raises CertificateError: if the files are no good now.
    """

    def __init__(
        self,
        certificate: str | os.PathLike[str] | PemText,
        key: str | os.PathLike[str] | PemText,
        clock: IReactorTime,
        events: Events,
        *,
        profile: str = "modern",
        ciphers: str = "",
    ) -> None:
        self._certificate, self._key = (
            each if isinstance(each, PemText) else Path(each) for each in (certificate, key)
        )
        self._clock = clock
        self._events = events
        self._profile = PROFILES[profile]
        self._ciphers = ciphers or self._profile.ciphers
        self._checked = clock.seconds()
        self._seen = self._file_states()
        self._context = self._load()
        self._trouble = ""

    def getContext(self) -> SSL.Context:  # noqa: N802 -- called by Twisted
        """Return the context for a new handshake; it never raises."""
        now = self._clock.seconds()
        if not 0 <= now - self._checked < FRESH:
            self._checked = now
            self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            states = self._file_states()
            if states != self._seen:
                self._seen = states
                self._context = self._load()
                self._trouble = ""
        except CertificateError as error:
            # The same trouble is reported once, for any number of handshakes.
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._events("relay.warning", text=f"TLS keeps the certificate it has: {error}")

    def _file_states(self) -> tuple["_FileState | str", "_FileState | str"]:
        return _file_state(self._certificate), _file_state(self._key)

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(self._profile.oldest)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        # Idle sessions are many; each would keep two buffers of 16 KiB.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        suffix = "" if "@SECLEVEL" in self._ciphers else self._profile.suffix
        try:
            context.set_cipher_list((self._ciphers + suffix).encode("ascii"))
        except (SSL.Error, UnicodeEncodeError) as error:
            raise CertificateError(f"ciphers {self._ciphers!r}: no such ciphers") from error
        use_certificate(context, self._certificate, self._key)
        return context


def _file_state(path: PemSource) -> _FileState | str:
    try:
        if isinstance(path, PemText):
            return path.read()
        status = path.stat()
    except ValueError as error:
        raise CertificateError(str(error)) from error
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    return _FileState(status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
