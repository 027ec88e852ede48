"""
What a user's password is checked with: its hash, one that serves SCRAM too, or the password itself.

``$scram-sha-256$i=15000$<seed>$<verifier>`` is what serves SCRAM. The salt that clients are told is made from
the seed, which stays secret, for from the seed of the first such user comes also what names are told that
nobody has: always the same, after a restart and on each relay with this configuration. Pure; most of it takes
milliseconds, so it belongs in a thread.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from typing import Final

from attrs import field, frozen

from smtprelay.model import scram
from smtprelay.policy.password_hash import PasswordHash, UserSecret, parse_hash

_FORM: Final = re.compile(r"\$scram-sha-256\$i=(\d{4,7})\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{86})")
_BEGINNING: Final = "$scram-sha-256$"
_FEWEST, _MOST = 4096, 1_000_000


@frozen(kw_only=True)
class ScramHash:
    """The keys of SCRAM-SHA-256; ``seed`` is random, ``verifier`` both keys."""

    iterations: int
    seed: bytes = field(repr=False)
    verifier: bytes = field(repr=False)

    @property
    def cost(self) -> int:
        """What a verification costs."""
        return self.iterations

    @property
    def salt(self) -> bytes:
        """What a client is told."""
        return salt_of(self.seed, b"")

    def derive(self, password: bytes) -> bytes:
        """Return the verifier of another password with this salt and cost."""
        return scram.keys_of(scram.salted(password, self.salt, self.iterations))

    def verify(self, password: bytes, *costliest: UserSecret) -> bool:
        """Say whether ``password`` has this verifier; see :meth:`UserSecret.verify`."""
        fits = hmac.compare_digest(self.derive(password), self.verifier)
        for each in costliest:
            if not isinstance(each, ScramHash):
                each.derive(password)
            elif each.iterations > self.iterations:
                pbkdf2_hmac("sha256", password, each.salt, each.iterations - self.iterations)
        return fits

    def __str__(self) -> str:
        return f"{_BEGINNING}i={self.iterations}${_text(self.seed)}${_text(self.verifier)}"


@frozen
class ClearPassword:
    """A password in clear text; ``reveal`` returns it as it is now."""

    reveal: Callable[[], str] = field(repr=False)

    @property
    def cost(self) -> int:
        """Nothing."""
        return 0

    def derive(self, password: bytes) -> bytes:
        """Return what is compared."""
        return password

    def verify(self, password: bytes, *costliest: UserSecret) -> bool:
        """Say whether ``password`` is this one; see :meth:`UserSecret.verify`. It may read a file."""
        fits = hmac.compare_digest(password, self.reveal().encode())
        for each in costliest:
            each.derive(password)
        return fits


def salt_of(seed: bytes, username: bytes) -> bytes:
    """Return the salt of a user by a secret."""
    return hmac.digest(seed, b"salt:" + username, "sha256")[: scram.SALT_LENGTH]


def hash_for_scram(password: bytes, seed: bytes, iterations: int = scram.ITERATIONS) -> str:
    """Return the line for the configuration. ``seed``: 16 random bytes."""
    verifier = scram.keys_of(scram.salted(password, salt_of(seed, b""), iterations))
    return str(ScramHash(iterations=iterations, seed=seed, verifier=verifier))


def parse_user_hash(text: str) -> PasswordHash | ScramHash:
    """Read a line of ``smtprelay hash-password``, or raise :exc:`ValueError`, which does not repeat it."""
    if not text.startswith(_BEGINNING):
        return parse_hash(text)
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("cut off, or not whole: write all that smtprelay hash-password --scram printed")
    iterations = int(match[1])
    if not _FEWEST <= iterations <= _MOST:
        raise ValueError(f"i={iterations} is outside of what is supported ({_FEWEST} to {_MOST})")
    seed, verifier = (b64decode(part + "=" * (-len(part) % 4)) for part in match.group(2, 3))
    return ScramHash(iterations=iterations, seed=seed, verifier=verifier)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii").rstrip("=")
