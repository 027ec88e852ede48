"""
Certificates and their keys, from PEM into the contexts of TLS, and the names that are in them.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DNSName,
    DuplicateExtension,
    ExtensionNotFound,
    RFC822Name,
    SubjectAlternativeName,
    UnsupportedGeneralNameType,
    load_pem_x509_certificate,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.DOTALL)

#: Maximum number of names of one certificate that are looked for.
MOST_NAMES: Final = 100


class CertificateError(Exception):
    """A certificate or key cannot be used; the message names the file and says what is wrong."""


@frozen
class PemText:
    """
    PEM that is in no file.

    :ivar place: where it is, for people.
    :ivar read: returns it; raises ``ValueError``.
    """

    place: str
    read: Callable[[], str] = field(repr=False)

    def __str__(self) -> str:
        return self.place


PemSource = Path | PemText


@frozen
class CertificateSource:
    """
    Where a certificate and its key are.

    :ivar certificate: the certificate, then those of its chain.
    :ivar key: its private key, not encrypted; it may be in the same place.
    """

    certificate: PemSource
    key: PemSource


@frozen(eq=False)
class LoadedCertificate:
    """
    A certificate to be shown.

    :ivar names: of the servers that it is for, in lower case.
    """

    source: CertificateSource
    leaf: Certificate
    chain: Sequence[Certificate]
    key: Any = field(repr=False)
    names: frozenset[str]

    @property
    def kind(self) -> str:
        """What its key is; a context shows one certificate of each kind."""
        return type(self.key).__name__

    def use_in(self, context: SSL.Context) -> None:
        """Let ``context`` show it, beside those of other kinds; raises :exc:`CertificateError`."""
        place, key = self.source.certificate, self.source.key
        try:
            if isinstance(place, Path):
                context.use_certificate_chain_file(str(place))
            else:
                context.use_certificate(self.leaf)
                # All certificates without a chain of their own share these.
                for each in self.chain:
                    context.add_extra_chain_cert(each)
        except SSL.Error as error:
            raise CertificateError(f"{place}: OpenSSL does not take this certificate: {error}") from error
        try:
            context.use_privatekey(self.key)
            context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            raise CertificateError(f"{key}: the key does not belong to the certificate in {place}") from error


def load_certificate(source: CertificateSource) -> LoadedCertificate:
    """Read a certificate and its key; raises :exc:`CertificateError`."""
    leaf, *chain = _certificates(source.certificate)
    names = frozenset(name.lower() for name in names_in(leaf, DNSName))
    return LoadedCertificate(source, leaf, chain, _private_key(source.key), names)


def use_certificate(context: SSL.Context, certificate: PemSource, key: PemSource) -> None:
    """Let ``context`` show one certificate, as :class:`CertificateSource`; raises :exc:`CertificateError`."""
    load_certificate(CertificateSource(certificate, key)).use_in(context)


#: Certificates that one context shows, of different kinds.
CertificateGroup = tuple[LoadedCertificate, ...]


def default_group(certificates: Sequence[LoadedCertificate]) -> CertificateGroup:
    """Return the first certificate, with those of other kinds for one of its names."""
    first = certificates[0]
    return _of_each_kind(each for each in certificates if each is first or each.names & first.names)


def named_groups(certificates: Sequence[LoadedCertificate]) -> Mapping[str, CertificateGroup]:
    """Return the certificates for each name that is in one; those with the name itself before wildcards."""

    def group(name: str) -> CertificateGroup:
        words = (name, wildcard(name))
        return _of_each_kind(each for word in words for each in certificates if word in each.names)

    return {name: group(name) for each in certificates for name in each.names}


def wildcard(name: str) -> str:
    """Return the wildcard that matches ``name`` (RFC 6125 §6.4.3)."""
    return f"*.{name.partition('.')[2]}"


def _of_each_kind(certificates: Iterable[LoadedCertificate]) -> CertificateGroup:
    found: dict[str, LoadedCertificate] = {}
    for each in certificates:
        found.setdefault(each.kind, each)
    return tuple(found.values())


def peer_names(connection: SSL.Connection) -> tuple[str, ...]:
    """Return the names in the other end's certificate, of mailboxes and hosts; none if it has shown none."""
    peer = connection.get_peer_certificate()
    names = () if peer is None else names_in(peer.to_cryptography(), RFC822Name, DNSName)
    return tuple(name for name in names if name.isprintable())[:MOST_NAMES]


def names_in(certificate: Certificate, *kinds: type[Any]) -> tuple[str, ...]:
    """Return the alternative names of these ``kinds``; where there are none, the common names."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        found = [each.value for each in names if isinstance(each, kinds)]
    except (ExtensionNotFound, DuplicateExtension, UnsupportedGeneralNameType, ValueError):
        found = []
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return tuple(found or [str(each.value) for each in common])


def certificate_end(certificate: PemSource) -> datetime:
    """Return when a certificate expires. Raises as :func:`use_certificate`."""
    return _certificates(certificate)[0].not_valid_after_utc


def _read(path: PemSource) -> bytes:
    try:
        return path.read().encode() if isinstance(path, PemText) else path.read_bytes()
    except ValueError as error:
        raise CertificateError(str(error)) from error
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _certificates(path: PemSource) -> list[Certificate]:
    try:
        found = [load_pem_x509_certificate(pem) for pem in _CERTIFICATE.findall(_read(path))]
    except ValueError as error:
        raise CertificateError(f"{path}: a certificate in it cannot be read") from error
    if not found:
        raise CertificateError(f"{path}: no certificate in PEM form in it")
    return found


def _private_key(path: PemSource) -> Any:
    try:
        return load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path}: no private key in PEM form in it, or an encrypted one") from error
