"""
SCRAM-SHA-256 (RFC 5802, RFC 7677): from a password to the keys that a server checks proofs with. Pure.
"""

import hmac
import stringprep
import unicodedata
from base64 import b64encode
from hashlib import pbkdf2_hmac, sha256
from typing import Final

#: How often a password is hashed; RFC 7677 §4 asks for 4096 and more.
ITERATIONS: Final = 15_000
SALT_LENGTH: Final = 16

_DIGEST: Final = 32

#: What SASLprep maps to a blank, and what it forbids (RFC 4013 §2.1 and §2.3).
_BLANK: Final = stringprep.in_table_c12
_FORBIDDEN: Final = (
    *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
    *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8),
    *(stringprep.in_table_c9, stringprep.in_table_a1),
)


def prepared(password: bytes) -> bytes:
    """Return a password as SASLprep writes it (RFC 4013); one that it does not allow as it is."""
    if password.isascii():
        return password
    try:
        text = password.decode()
    except UnicodeDecodeError:
        return password
    mapped = "".join(
        " " if _BLANK(each) else each for each in text if not stringprep.in_table_b1(each) or _BLANK(each)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = any(table(each) for each in normal for table in _FORBIDDEN) or not _is_one_way(normal)
    return password if forbidden else normal.encode()


def _is_one_way(text: str) -> bool:
    """Tell whether ``text`` does not mix directions of writing (RFC 3454 §6)."""
    leftward = [stringprep.in_table_d1(each) for each in text]
    return not any(leftward) or (leftward[0] and leftward[-1] and not any(map(stringprep.in_table_d2, text)))


def salted(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Return SaltedPassword; it takes some milliseconds."""
    return pbkdf2_hmac("sha256", prepared(password), salt, iterations)


def keys_of(salted_password: bytes) -> bytes:
    """Return StoredKey and ServerKey, which are what a proof is checked with: the verifier."""
    client = hmac.digest(salted_password, b"Client Key", "sha256")
    return sha256(client).digest() + hmac.digest(salted_password, b"Server Key", "sha256")


def salt_attributes(salt: bytes, iterations: int) -> bytes:
    """Return what a client must know of a user to make a proof, as it is told that: ``s=…,i=…``."""
    return b"s=%b,i=%d" % (b64encode(salt), iterations)


def server_signature(verifier: bytes, exchange: bytes, proof: bytes) -> bytes | None:
    """
    Check a proof; return ServerSignature, by which the client sees that we know its user, or ``None``.

    :param exchange: the AuthMessage of RFC 5802 §3.
    """
    stored, server = verifier[:_DIGEST], verifier[_DIGEST:]
    signature = hmac.digest(stored, exchange, "sha256")
    if len(proof) != _DIGEST:
        return None
    client = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    fits = hmac.compare_digest(sha256(client).digest(), stored)
    return hmac.digest(server, exchange, "sha256") if fits else None
