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
    """A password that was verified: its keyed digest, the user that it is of, and until when it counts."""

    digest: bytes
    user: User
    until: float


@implementer(ICredentialsChecker)
class Users:
    """
    Knows the users of the configuration.

    A name without a user is none of its own. Verified passwords are remembered for :data:`CACHED`
    seconds, as digests under a secret key; and so are wrong ones, whoever they are for, so that a device
    that repeats an old one costs nothing.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Iterable[User], defer_to_thread: DeferToThread, clock: IReactorTime) -> None:
        self._defer_to_thread = defer_to_thread
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self.change(users)

    def change(self, users: Iterable[User]) -> None:
        """
        Take other users from now on; passwords that were verified are not remembered.

        Raises :exc:`ValueError` for a password hash that cannot be read, and changes nothing.
        """
        known = {user.name: user for user in users}
        hashes = {user.name: parse_hash(user.password_hash) for user in known.values() if user.password_hash}
        self._users, self._hashes = known, hashes
        self._costliest = max(hashes.values(), key=lambda each: each.cost, default=_NOBODY)
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
        if not self._is_cached(user, digest) and not await self._verify(user, password, digest):
            raise UnauthorizedLogin("wrong user name or password")
        return Identity(name=name, rights=user.rights)

    async def _fits(self, name: str, known: PasswordHash | None, password: bytes) -> bool:
        """Return whether a password is right; an unknown name takes the same time."""
        # When the users change, what is found out of the old ones is of no use.
        wrong = self._wrong
        # The length keeps ("ab", "c") apart from ("a", "bc").
        login = hmac.digest(self._key, f"{len(name)}:{name}".encode() + password, "sha256")
        if self._clock.seconds() < wrong.get(login, 0.0):
            return False
        costliest = self._costliest
        fits = await self._defer_to_thread((known or costliest).verify, password, costliest)
        if known is not None and fits:
            return True
        wrong[login] = self._clock.seconds() + CACHED
        wrong.move_to_end(login)
        if len(wrong) > CACHE_SIZE:
            wrong.popitem(last=False)
        return False

    async def _verify(self, user: User, password: bytes, digest: bytes) -> bool:
        fits = await self._fits(user.name, self._hashes.get(user.name), password)
        # The users may have changed while the thread was busy.
        if not fits or self._users.get(user.name) != user:
            return False
        self._cache[user.name] = _Verified(digest, user, self._clock.seconds() + CACHED)
        self._cache.move_to_end(user.name)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return True

    def _is_cached(self, user: User, digest: bytes) -> bool:
        known = self._cache.get(user.name)
        return (
            known is not None
            and known.user == user
            and self._clock.seconds() < known.until
            and hmac.compare_digest(known.digest, digest)
        )
