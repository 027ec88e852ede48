"""
The users of the configuration, by password, by a proof that a client knows it, or by certificate.
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
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from smtprelay.interfaces import DeferToThread
from smtprelay.model import scram
from smtprelay.model.credentials import ICertificateClient, IProofClient, ISalts
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.password_hash import PasswordHash, UserSecret
from smtprelay.policy.settings import Identity, User
from smtprelay.policy.user_secret import ClearPassword, ScramHash, parse_user_hash, salt_of

#: Seconds for which a password that was verified, right or wrong, needs no second verification.
CACHED: Final = 60.0
#: Maximum number that are kept, of the right ones and of the wrong ones each.
CACHE_SIZE: Final = 1000

# Verified instead of the hash of a user who does not exist, for the time that it takes.
_NOBODY: Final = PasswordHash(ln=15, r=8, p=1, salt=bytes(16), digest=bytes(32))

#: The kinds of hashes, which cost time.
_KINDS: Final = (PasswordHash, ScramHash)


@frozen
class _Verified:
    """A password that was verified: its keyed digest, and until when it counts."""

    digest: bytes
    until: float


@implementer(ICredentialsChecker, ISalts)
class Users:
    """
    Knows the users of the configuration.

    A name without a user is none of its own. Verified passwords are remembered for :data:`CACHED`
    seconds, as digests under a secret key; and so are wrong ones, whoever they are for, so that a device
    that repeats an old one costs nothing.

    :raises ValueError: a password hash cannot be read.
    """

    credentialInterfaces = (IUsernamePassword, IProofClient, ICertificateClient)

    def __init__(self, users: Iterable[User], defer_to_thread: DeferToThread, clock: IReactorTime) -> None:
        self._defer_to_thread = defer_to_thread
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._users = {user.name: user for user in users}
        self._secrets = {user.name: found for user in self._users.values() if (found := _secret(user))}
        hashes = [[each for each in self._secrets.values() if isinstance(each, kind)] for kind in _KINDS]
        of_kinds = [max(each, key=lambda one: one.cost) for each in hashes if each]
        self._costliest: tuple[UserSecret, ...] = tuple(of_kinds) or (_NOBODY,)
        scrams = [each for each in self._secrets.values() if isinstance(each, ScramHash)]
        self._iterations = scrams[0].iterations if scrams else scram.ITERATIONS
        #: Of the salts of those who have none.
        self._seed = hmac.digest(scrams[0].seed if scrams else self._key, b"nobody", "sha256")
        self._cache: OrderedDict[str, _Verified] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """Fire with the :class:`Identity`; fail with :exc:`UnknownUser` or :exc:`UnauthorizedLogin`."""
        if ICertificateClient.providedBy(credentials):
            return maybeDeferred(self._certified, credentials.username.decode("utf-8", "replace"))
        if IProofClient.providedBy(credentials):
            return Deferred.fromCoroutine(self._check_proof(credentials))
        return Deferred.fromCoroutine(self._authenticate(credentials.username, credentials.password))

    def salt(self, username: bytes) -> bytes:
        """
        Return the salt of a user, as :class:`ISalts` wants it.

        :raises UnknownUser: with a salt that looks like another one, and is always the same.
        """
        secret = self._secrets.get(username.decode("utf-8", "replace"))
        if isinstance(secret, ScramHash):
            return scram.salt_attributes(secret.salt, secret.iterations)
        salt = scram.salt_attributes(salt_of(self._seed, username), self._iterations)
        if isinstance(secret, ClearPassword):
            return salt
        raise UnknownUser(salt=salt)

    def _certified(self, name: str) -> Identity:
        if name not in self._users:
            raise UnknownUser(rule="auth-certificate")
        return Identity(name=name, rights=self._users[name].rights)

    async def _check_proof(self, credentials: Any) -> Identity:
        name = credentials.username.decode("utf-8", "replace")
        plain = credentials.mechanism == "CRAM-MD5"
        verifier = await (self._password(name) if plain else self._scram_verifier(name))
        if name not in self._users:
            raise UnknownUser
        if not verifier or not credentials.checkPassword(verifier):
            raise UnauthorizedLogin("wrong user name or password")
        return Identity(name=name, rights=self._users[name].rights)

    async def _password(self, name: str) -> bytes:
        """Return the password of a user who has a recoverable one, or ``b""``."""
        secret = self._secrets.get(name)
        if not isinstance(secret, ClearPassword):
            return b""
        password: str = await self._defer_to_thread(secret.reveal)
        return password.encode()

    async def _scram_verifier(self, name: str) -> bytes:
        """Return what a proof of SCRAM is checked with, or ``b""``; each name takes the same time."""
        secret, salt = self._secrets.get(name), salt_of(self._seed, name.encode())
        keys: bytes = await self._defer_to_thread(_keys, secret, salt, self._iterations)
        return secret.verifier if isinstance(secret, ScramHash) else keys

    async def _authenticate(self, username: bytes, password: bytes) -> Identity:
        name = username.decode("utf-8", "replace")
        user = self._users.get(name)
        if user is None:
            raise UnknownUser(partial(self._fits, name, None, password))
        digest = hmac.digest(self._key, password, "sha256")
        if not self._is_cached(name, digest) and not await self._verify(name, password, digest):
            raise UnauthorizedLogin("wrong user name or password")
        return Identity(name=name, rights=user.rights)

    async def _fits(self, name: str, known: UserSecret | None, password: bytes) -> bool:
        """Return whether a password is right; an unknown name takes the same time."""
        # The length keeps ("ab", "c") apart from ("a", "bc").
        login = hmac.digest(self._key, f"{len(name)}:{name}".encode() + password, "sha256")
        if self._clock.seconds() < self._wrong.get(login, 0.0):
            return False
        verify = (known or self._costliest[0]).verify
        fits = await self._defer_to_thread(verify, password, *self._costliest)
        if known is not None and fits:
            return True
        self._wrong[login] = self._clock.seconds() + CACHED
        self._wrong.move_to_end(login)
        if len(self._wrong) > CACHE_SIZE:
            self._wrong.popitem(last=False)
        return False

    async def _verify(self, name: str, password: bytes, digest: bytes) -> bool:
        fits = await self._fits(name, self._secrets.get(name), password)
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


def _secret(user: User) -> UserSecret | None:
    if user.password is not None:
        return ClearPassword(user.password)
    return parse_user_hash(user.password_hash) if user.password_hash else None


def _keys(secret: UserSecret | None, salt: bytes, iterations: int) -> bytes:
    """Return the keys of SCRAM for a recoverable password, ``b""`` for none; both take the same time."""
    password = secret.reveal().encode() if isinstance(secret, ClearPassword) else b""
    salted = scram.salted(password, salt, iterations)
    return scram.keys_of(salted) if password else b""
