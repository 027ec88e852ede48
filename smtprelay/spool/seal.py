"""
Seals the logins of clients whose mail waits (AES-GCM), so that the database and its copies do not have them.

A login is bound to its message: sealed for one it cannot be unsealed for another. Of several keys the first
seals and all unseal, so that a key is replaced by a new one before it. Nothing here runs on a thread of the
database.
"""

import base64
import json
import re
import secrets
from collections.abc import Mapping
from typing import Final

from attrs import asdict, field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smtprelay.interfaces.spool import LoginMissingError
from smtprelay.model.message import SessionLogin
from smtprelay.spool.engines.transaction import Connection

_KEY: Final = re.compile(r"(?:(?P<id>[\w-]{1,40}):)?(?P<key>[A-Za-z0-9+/]{43}=)")
#: Octets before what is sealed.
_NONCE: Final = 12


def parse_seal_keys(text: str) -> Mapping[str, bytes]:
    """
    Return the keys by their ids, the one that seals first.

    :param text: a line ``id:base64`` for each, of 32 octets; a bare one has the id ``1``.
    :raises ValueError: a line is none, or an id is there twice; the text has no key.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.split(), start=1):
        found = _KEY.fullmatch(line)
        if found is None:
            raise ValueError(f"key {number} is none: expected ID:BASE64, 32 octets in base64 with any id")
        name = found["id"] or "1"
        if name in keys:
            raise ValueError(f"there are two keys with the id {name}")
        keys[name] = base64.b64decode(found["key"])
    if not keys:
        raise ValueError("there is no key")
    return keys


@frozen
class SealedLogin:
    """A login as it is stored: with which key it was sealed, and what came of that."""

    key_id: str
    octets: bytes = field(repr=False)


@frozen
class Sealer:
    """
    Seals and unseals.

    :ivar keys: of :func:`parse_seal_keys`; without any nothing is sealed.
    """

    keys: Mapping[str, bytes] = field(factory=dict, repr=False)

    def seal(self, message: str, login: SessionLogin) -> SealedLogin | None:
        """Return a login as it may be stored for a message; ``None``: there is no key."""
        key_id = next(iter(self.keys), None)
        if key_id is None:
            return None
        nonce = secrets.token_bytes(_NONCE)
        plain = json.dumps(asdict(login)).encode()
        return SealedLogin(key_id, nonce + AESGCM(self.keys[key_id]).encrypt(nonce, plain, message.encode()))

    def unseal(self, message: str, sealed: SealedLogin) -> SessionLogin:
        """Return the login again; raises :class:`LoginMissingError`."""
        key = self.keys.get(sealed.key_id)
        if key is None:
            raise LoginMissingError(
                f"its login is sealed with the key {sealed.key_id}, which spool.seal_key does not have:"
                " put that back, restart the relay, and release the mail"
            )
        nonce, octets = sealed.octets[:_NONCE], sealed.octets[_NONCE:]
        try:
            plain = AESGCM(key).decrypt(nonce, octets, message.encode())
        except (InvalidTag, ValueError):
            raise LoginMissingError(
                f"its login cannot be unsealed: the key {sealed.key_id} of spool.seal_key is not the one that"
                " sealed it; put that back, restart the relay, and release the mail"
            ) from None
        return SessionLogin(**json.loads(plain))


def sealed_login(connection: Connection, message: str, n: int) -> SealedLogin | None:
    """Return what is stored for a delivery."""
    row = connection.execute(
        "SELECT key_id, sealed FROM credential WHERE message = ? AND n = ?", (message, n)
    ).fetchone()
    return None if row is None else SealedLogin(row[0], bytes(row[1]))
