"""
What only both ends of a TLS connection have in common (RFC 5056): a login that is bound to it cannot be
passed on by somebody in the middle.
"""

from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from OpenSSL import SSL

_LABEL: Final = b"EXPORTER-Channel-Binding"
_LENGTH: Final = 32


def channel_bindings(connection: SSL.Connection) -> Mapping[str, bytes]:
    """
    Return the bindings of a server's connection, by their names.

    ``tls-exporter`` (RFC 9266) only with TLS 1.3, for in older versions it is not always unique;
    ``tls-server-end-point`` (RFC 5929 §4) if the certificate's signature has a hash.
    """
    found = {}
    if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
        found["tls-exporter"] = connection.export_keying_material(_LABEL, _LENGTH, b"")
    certificate = connection.get_certificate()
    leaf = None if certificate is None else certificate.to_cryptography()
    algorithm = None if leaf is None else leaf.signature_hash_algorithm
    if leaf is not None and algorithm is not None:
        weak = isinstance(algorithm, MD5 | SHA1)
        found["tls-server-end-point"] = leaf.fingerprint(SHA256() if weak else algorithm)
    return found
