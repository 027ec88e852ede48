"""
Password hashes as they are in the configuration: ``$scrypt$ln=15,r=8,p=1$<salt>$<hash>``.

This is the form that passlib and others write, Base64 with or without padding, so that hashes can be brought
along. The costs are bounded: a line in a file must not be able to take the machine's memory. Pure; a
verification takes 50 ms and more, so it belongs in a thread.
"""

import re
from base64 import b64decode, b64encode
from hashlib import scrypt
from hmac import compare_digest
from typing import Final, Protocol

from attrs import evolve, field, frozen

_FORM: Final = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)={0,2}\$([A-Za-z0-9+/]+)={0,2}"
)
_BEGINNING: Final = re.compile(r"\$scrypt\$ln=[\w,=+/$]*", re.ASCII)
_CUT: Final = (
    "cut off, or not whole: write all that smtprelay hash-password printed"
    " (behind the costs, a salt of 22 characters, $, and a hash of 43)"
)
_MOST_MEMORY: Final = 256 * 1024 * 1024
_SALT_LENGTH: Final = 8
#: What is written without padding must be as long as one of these, or it may be the beginning of a hash.
_WHOLE: Final = frozenset({32, 64})
_PADDED_LENGTH: Final = 16


class UserSecret(Protocol):
    """What the password of a user is checked with."""

    @property
    def cost(self) -> int:
        """What a verification costs; comparable with others of its kind."""

    def derive(self, password: bytes) -> bytes:
        """Return what is compared, of another password; it costs as much."""

    def verify(self, password: bytes, *costliest: "UserSecret") -> bool:
        """
        Say whether ``password`` is the one, in a time that does not depend on it.

        :param costliest: of each kind: as much work is done as all of them take, so that no user is seen to
            be cheaper.
        """


@frozen(kw_only=True)
class PasswordHash:
    """
    One salted scrypt hash (RFC 7914).

    :ivar ln: the base-2 logarithm of the cost N. ``r`` and ``p`` are the RFC's.
    """

    ln: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    @property
    def cost(self) -> int:
        """What a verification costs, in arbitrary units that can be compared."""
        return self.r * self.p << self.ln

    def verify(self, password: bytes, *costliest: UserSecret) -> bool:
        """Say whether ``password`` has this hash; see :meth:`UserSecret.verify`."""
        fits = compare_digest(self.derive(password), self.digest)
        for each in costliest:
            if isinstance(each, PasswordHash):
                self._work(password, each)
            else:
                each.derive(password)
        return fits

    def _work(self, password: bytes, costliest: "PasswordHash") -> None:
        """Do what ``costliest`` takes more than this one."""
        left = costliest.cost - self.cost
        # A sum of powers of two, each at most once.
        for less in (evolve(costliest, ln=ln) for ln in range(costliest.ln - 1, 0, -1)):
            if less.cost <= left:
                less.derive(password)
                left -= less.cost

    def derive(self, password: bytes) -> bytes:
        """Return the digest of another password with this salt and these costs."""
        return _scrypt(password, self.salt, ln=self.ln, r=self.r, p=self.p, length=len(self.digest))

    def __str__(self) -> str:
        costs = f"ln={self.ln},r={self.r},p={self.p}"
        return f"$scrypt${costs}${_text(self.salt)}${_text(self.digest)}"


def hash_password(password: bytes, salt: bytes, ln: int = 15, r: int = 8, p: int = 1) -> str:
    """Return the line for the configuration. ``salt``: 16 random bytes."""
    digest = _scrypt(password, salt, ln=ln, r=r, p=p, length=32)
    return str(PasswordHash(ln=ln, r=r, p=p, salt=salt, digest=digest))


def parse_hash(text: str) -> PasswordHash:
    """Read such a line, or raise :exc:`ValueError`, which does not repeat it."""
    match = _FORM.fullmatch(text)
    if match is None and _BEGINNING.fullmatch(text):
        raise ValueError(_CUT)
    if match is None:
        raise ValueError('not a password hash: expected what "smtprelay hash-password" prints ($scrypt$ln=…)')
    ln, r, p = (int(number) for number in match.group(1, 2, 3))
    if not (ln and r and p) or _memory(ln, r, p) > _MOST_MEMORY:
        raise ValueError(f"scrypt with ln={ln},r={r},p={p} is outside of what is supported")
    try:
        salt, digest = (_bytes(part) for part in match.group(4, 5))
    except ValueError:
        raise ValueError(_CUT) from None
    padded = text.endswith("=") and len(digest) >= _PADDED_LENGTH
    if len(salt) < _SALT_LENGTH or not (padded or len(digest) in _WHOLE):
        raise ValueError(_CUT)
    return PasswordHash(ln=ln, r=r, p=p, salt=salt, digest=digest)


def _memory(ln: int, r: int, p: int) -> int:
    return 128 * r * ((1 << ln) + p + 2)


def _scrypt(password: bytes, salt: bytes, *, ln: int, r: int, p: int, length: int) -> bytes:
    # OpenSSL refuses the usual costs unless the memory limit is raised.
    return scrypt(password, salt=salt, n=1 << ln, r=r, p=p, dklen=length, maxmem=2 * _memory(ln, r, p))


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
