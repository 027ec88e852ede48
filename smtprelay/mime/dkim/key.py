"""
The keys that sign: RSA (RFC 6376 §3.3) and Ed25519 (RFC 8463). Pure, but for the making of a new key.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

#: Signatures of shorter keys are not valid (RFC 8301 §3.2); from this length on they are recommended.
LEAST_BITS: Final = 1024
GOOD_BITS: Final = 2048

_EXPONENT: Final = 65537


@frozen
class SigningKey:
    """
    A private key.

    :ivar kind: ``rsa`` or ``ed25519``, as in the record.
    :ivar public: the public key, as in the record.
    :ivar bits: its length.
    :ivar sign: returns the signature of the octets that a signature covers.
    """

    kind: str
    public: bytes
    bits: int
    sign: Callable[[bytes], bytes]

    @property
    def algorithm(self) -> str:
        """The value of ``a=``."""
        return f"{self.kind}-sha256"


def parse_key(text: str) -> SigningKey:
    """
    Return the private key in PEM form (PKCS #8 or PKCS #1).

    An RSA key takes some milliseconds, because it is checked. Raises ``ValueError`` with a clause for people.
    """
    octets = text.strip().encode()
    if not octets.startswith(b"-----BEGIN "):
        raise ValueError("it is no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
    if octets.startswith(b"-----BEGIN PUBLIC KEY"):
        raise ValueError("it is the public key: the private one is needed")
    try:
        key = serialization.load_pem_private_key(octets, None)
    except TypeError:
        raise ValueError("it is encrypted with a passphrase: store it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is damaged: it cannot be read as a private key in PEM form") from None
    if isinstance(key, Ed25519PrivateKey):
        return _ed25519(key)
    if isinstance(key, RSAPrivateKey):
        return _rsa(key)
    raise ValueError("it is of a kind that DKIM does not have: RSA or Ed25519 is needed")


def new_key(kind: str) -> str:
    """Make a private key, ``rsa`` with 2048 bits or ``ed25519``, and return it in PEM form."""
    return (
        _MAKERS[kind]()
        .private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        .decode("ascii")
    )


_MAKERS: Final[Mapping[str, Callable[[], RSAPrivateKey | Ed25519PrivateKey]]] = {
    "rsa": lambda: generate_private_key(_EXPONENT, GOOD_BITS),
    "ed25519": Ed25519PrivateKey.generate,
}
KINDS: Final = tuple(_MAKERS)


def _rsa(key: RSAPrivateKey) -> SigningKey:
    if key.key_size < LEAST_BITS:
        raise ValueError(f"it has {key.key_size} bits: {LEAST_BITS} are the least, {GOOD_BITS} are usual")
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(
        "rsa", public, key.key_size, lambda octets: key.sign(octets, padding.PKCS1v15(), hashes.SHA256())
    )


def _ed25519(key: Ed25519PrivateKey) -> SigningKey:
    public = key.public_key().public_bytes_raw()
    # RFC 8463 §3: the hash is signed, as for RSA.
    return SigningKey("ed25519", public, 256, lambda octets: key.sign(hashlib.sha256(octets).digest()))
