"""
Certificates and their keys, from PEM files into the contexts of TLS.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificate
from OpenSSL import SSL

_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.DOTALL)


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


def use_certificate(context: SSL.Context, certificate: PemSource, key: PemSource) -> None:
    """
    Let ``context`` show a certificate.

    :param certificate: the certificate, then those of its chain.
    :param key: its private key, not encrypted; it may be the same file.
    :raises CertificateError: they cannot be used.
    """
    leaf, *chain = _certificates(certificate)
    context.use_certificate(leaf)
    for each in chain:
        context.add_extra_chain_cert(each)
    try:
        context.use_privatekey(_private_key(key))
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise CertificateError(
            f"{key}: the key does not belong to the certificate in {certificate}"
        ) from error


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
