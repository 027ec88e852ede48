"""
The users of the configuration, by password.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from smtprelay.interfaces import DeferToThread
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.password_hash import PasswordHash, parse_hash
from smtprelay.policy.settings import Identity, User

#: Seconds for which a password that was verified, right or wrong, needs no second verification.
CACHED: Final = 60.0
#: Maximum number that are kept, of the right ones and of the wrong ones each.
CACHE_SIZE: Final = 1000

# Verified instead of the hash of a user who does not exist, for the time that it takes.
_NOBODY: Final = PasswordHash(ln=15, r=8, p=1, salt=bytes(16), digest=bytes(32))


@frozen
class _Verified:
    """A password that was verified: its keyed digest, and until when it counts."""

    digest: bytes
    until: float


@implementer(ICredentialsChecker)
class Users:
    """
    Knows the users of the configuration.

    A name without a user is none of its own. Verified passwords are remembered for :data:`CACHED`
    seconds, as digests under a secret key; and so are wrong ones, whoever they are for, so that a device
    that repeats an old one costs nothing.

    :raises ValueError: a password hash cannot be read.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Iterable[User], defer_to_thread: DeferToThread, clock: IReactorTime) -> None:
        self._defer_to_thread = defer_to_thread
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._users = {user.name: user for user in users}
        self._hashes = {
            user.name: parse_hash(user.password_hash) for user in self._users.values() if user.password_hash
        }
        self._costliest = max(self._hashes.values(), key=lambda each: each.cost, default=_NOBODY)
        self._cache: OrderedDict[str, _Verified] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """Fire with the :class:`Identity`; fail with :exc:`UnknownUser` or :exc:`UnauthorizedLogin`."""
        return Deferred.fromCoroutine(self._authenticate(credentials.username, credentials.password))

    async def _authenticate(self, username: bytes, password: bytes) -> Identity:
        name = username.decode("utf-8", "replace")
        user = self._users.get(name)
        if user is None:
            raise UnknownUser(partial(self._fits, name, None, password))
        digest = hmac.digest(self._key, password, "sha256")
        if not self._is_cached(name, digest) and not await self._verify(name, password, digest):
            raise UnauthorizedLogin("wrong user name or password")
        return Identity(name=name, rights=user.rights)

    async def _fits(self, name: str, known: PasswordHash | None, password: bytes) -> bool:
        """Return whether a password is right; an unknown name takes the same time."""
        # The length keeps ("ab", "c") apart from ("a", "bc").
        login = hmac.digest(self._key, f"{len(name)}:{name}".encode() + password, "sha256")
        if self._clock.seconds() < self._wrong.get(login, 0.0):
            return False
        verify = (known or self._costliest).verify
        fits = await self._defer_to_thread(verify, password, self._costliest)
        if known is not None and fits:
            return True
        self._wrong[login] = self._clock.seconds() + CACHED
        self._wrong.move_to_end(login)
        if len(self._wrong) > CACHE_SIZE:
            self._wrong.popitem(last=False)
        return False

    async def _verify(self, name: str, password: bytes, digest: bytes) -> bool:
        fits = await self._fits(name, self._hashes.get(name), password)
        if fits:
            self._cache[name] = _Verified(digest, self._clock.seconds() + CACHED)
            self._cache.move_to_end(name)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return fits

    def _is_cached(self, name: str, digest: bytes) -> bool:
        known = self._cache.get(name)
        return (
            known is not None
            and self._clock.seconds() < known.until
            and hmac.compare_digest(known.digest, digest)
        )
