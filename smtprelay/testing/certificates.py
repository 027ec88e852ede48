"""
Certificates for tests: a small authority of its own, and a server certificate that it signed.

Made anew for each use, so that no key lies in the source and none expires. They
are elliptic-curve keys: making them takes a millisecond.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtprelay.net.certificate import CertificateSource

LIFETIME: Final = dt.timedelta(days=30)

#: A certificate may also be a client's.
_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@frozen
class Certificate:
    """
    Where the PEM files lie.

    :ivar certificate: the server's certificate.
    :ivar key: its private key, not encrypted, mode 0600.
    :ivar ca: the authority's certificate, which a client must trust.
    """

    certificate: Path
    key: Path
    ca: Path

    @property
    def source(self) -> CertificateSource:
        """Certificate and key."""
        return CertificateSource(self.certificate, self.key)


_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def make_certificate(
    directory: str | os.PathLike[str],
    hostname: str = "localhost",
    *more: str,
    old: bool = False,
) -> Certificate:
    """
    Make an authority and a server certificate for ``hostname`` and ``more`` names in ``directory``.

    The directory is made if it is missing. A name may be an IP address, or that of a mailbox;
    a certificate for ``localhost`` is also good for ``127.0.0.1`` and ``::1``. With ``old``
    the keys are RSA keys, for clients that know no others.
    """
    folder = Path(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "ca.pem")
    ca_key, key = (_new_key(old=old) for _ in range(2))
    authority = _authority(ca_key)
    server = _server((hostname, *more), key, ca_key, authority.subject)
    made.ca.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def _new_key(*, old: bool) -> _PrivateKey:
    return rsa.generate_private_key(65_537, 2048) if old else ec.generate_private_key(ec.SECP256R1())


def _authority(key: _PrivateKey) -> x509.Certificate:
    name = _name("smtprelay test authority")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _server(
    hostnames: Sequence[str],
    key: _PrivateKey,
    ca_key: _PrivateKey,
    issuer: x509.Name,
) -> x509.Certificate:
    names = [name for each in hostnames for name in _names(each)]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(_name(hostnames[0]), issuer, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: _PrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back: the clocks of containers differ.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(identifier, critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _names(hostname: str) -> list[x509.GeneralName]:
    try:
        return [x509.IPAddress(ipaddress.ip_address(hostname))]
    except ValueError:
        names: list[x509.GeneralName] = [(x509.RFC822Name if "@" in hostname else x509.DNSName)(hostname)]
    if hostname == "localhost":
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return names
