"""
TLS for what listens: from certificates and keys on disk to contexts for handshakes.

A client names the server that it wants (SNI, RFC 6066 §3) and gets the certificate with this name, of the
kind that it knows, where there are several; any other client gets the first one.

Certificates are renewed while the server runs, mostly without notice: so the files are checked again, at most
once a second and only when a client connects, and read again when they changed. A renewal that went wrong
does not stop a server that runs: the certificate that was good stays in use, and a warning says why.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory, IReactorTime
from zope.interface import implementer

from smtprelay.interfaces import Events
from smtprelay.net.certificate import (
    CertificateError,
    CertificateGroup,
    CertificateSource,
    PemSource,
    PemText,
    default_group,
    load_certificate,
    named_groups,
    wildcard,
)

#: Seconds that files are taken to be unchanged.
FRESH: Final = 1.0


@frozen
class TlsProfile:
    """
    What a listener takes unless its ciphers are named.

    :ivar oldest: the oldest version of TLS; ``name``: what people call it.
    :ivar ciphers: an OpenSSL cipher list; the suites of TLS 1.3 are always the same.
    :ivar suffix: what each list needs besides, for that version.
    """

    oldest: int
    name: str
    ciphers: str
    suffix: str = ""


#: Forward secrecy and AEAD only.
_STRONG: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aNULL:!eNULL"

#: ``legacy`` is for old devices: TLS 1.0, RSA key exchange and CBC, behind what is better.
#: OpenSSL takes TLS 1.0 and 1.1, and signatures by SHA-1, at its level 0 alone.
PROFILES: Final = {
    "modern": TlsProfile(SSL.TLS1_2_VERSION, "TLS 1.2", _STRONG),
    "legacy": TlsProfile(SSL.TLS1_VERSION, "TLS 1.0", f"{_STRONG}:HIGH:3DES:!PSK:!SRP", ":@SECLEVEL=0"),
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

    :param sources: the server's certificates, at least one; the first is the default.
    :param client_ca: PEM file; clients are asked for a certificate by one of its authorities, and a wrong one
        fails the handshake. ``None``: they are not asked.
    :param clock: tells when a second has passed.
    :param events: get ``relay.warning`` when changed files cannot be used.
    :param profile: one of :data:`PROFILES`.
    :param ciphers: an OpenSSL cipher list for TLS 1.2 and older; ``""`` is the profile's.
    :raises CertificateError: if the files are no good now.
    """

    def __init__(
        self,
        sources: Sequence[CertificateSource],
        clock: IReactorTime,
        events: Events,
        *,
        profile: str = "modern",
        ciphers: str = "",
        client_ca: str | None = None,
    ) -> None:
        self._places = [each for source in sources for each in (source.certificate, source.key)]
        self._sources = sources
        self._client_ca = client_ca
        if client_ca is not None:
            self._places.append(Path(client_ca))
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

    def tell(self, listener: str) -> None:
        """Report as ``relay.tls`` what is in force."""
        ciphers = " ".join(SSL.Connection(self._context, None).get_cipher_list())
        certificates = ", ".join(str(source.certificate) for source in self._sources)
        oldest = self._profile.name
        self._events(
            "relay.tls", listener=listener, certificates=certificates, oldest=oldest, ciphers=ciphers
        )

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

    def _file_states(self) -> Sequence["_FileState | str"]:
        return [_file_state(each) for each in self._places]

    def _load(self) -> SSL.Context:
        """Return the context of the default, which leaves clients to that of the server that they name."""
        certificates = [load_certificate(source) for source in self._sources]
        group, groups = default_group(certificates), named_groups(certificates)
        contexts = {each: self._make(each) for each in {group, *groups.values()}}
        default = contexts[group]

        def choose(connection: SSL.Connection) -> None:
            name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
            chosen = groups.get(name) or groups.get(wildcard(name)) or group
            connection.set_context(contexts[chosen])

        if len(contexts) > 1:
            default.set_tlsext_servername_callback(choose)
            for each in contexts.values():
                # A second ClientHello calls back, too (RFC 8446 §4.1.4); the connection has left the default.
                each.set_app_data(default)
        return default

    def _make(self, group: CertificateGroup) -> SSL.Context:
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
        for each in group:
            each.use_in(context)
        if self._client_ca is not None:
            _ask_clients(context, self._client_ca)
        return context


def _ask_clients(context: SSL.Context, authorities: str) -> None:
    """Ask for a certificate by one of the ``authorities`` in a file, at each handshake."""
    try:
        context.load_verify_locations(authorities)
        context.load_client_ca(authorities.encode())
    except SSL.Error as error:
        raise CertificateError(f"{authorities}: no certificate in PEM form in it") from error
    # A session that is resumed would show none.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_verify(SSL.VERIFY_PEER)


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
