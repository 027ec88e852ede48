"""
Who a client is, for :class:`twisted.cred.portal.Portal`.

Each checker answers with the name of a user, or fails with
:exc:`~twisted.cred.error.UnauthorizedLogin`, or with :exc:`~smtprelay.message.Refused` where it
knows the reply better. What the user may do then is decided by :mod:`smtprelay.policy.delivery`.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import evolve, frozen
from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from smtprelay.credentials import IAnonymousClient
from smtprelay.message import Client, Refused
from smtprelay.policy.passwords import PasswordHash, parse_hash
from smtprelay.policy.penalty import Failures, Penalties
from smtprelay.policy.rules import admission
from smtprelay.policy.settings import ListenerPolicy, User

#: Runs a function in a bounded pool of threads: ``defer_to_thread(function, *args)``.
DeferToThread = Callable[..., Deferred[Any]]

#: Seconds for which a verified password needs no second verification.
CACHED: Final = 60.0
#: So many of them are kept.
CACHE_SIZE: Final = 1000

# Verified instead of the hash of a user who does not exist, for the time that it takes.
_NOBODY: Final = PasswordHash(ln=15, r=8, p=1, salt=bytes(16), digest=bytes(32))


@implementer(ICredentialsChecker)
@frozen
class AnonymousByNetwork:
    """
    Admits who may send without logging in.

    The credentials of :class:`twisted.mail.smtp.ESMTP` say nothing of the client; they are
    let through, because the avatar judges the client again once it is known.
    """

    listener: ListenerPolicy
    credentialInterfaces = (IAnonymousClient, IAnonymous)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fire with :data:`ANONYMOUS`, or raise :class:`Refused` with the reply to MAIL."""
        if IAnonymousClient.providedBy(credentials):
            refusal = admission(self.listener, evolve(credentials.client, user=""))
            if refusal is not None:
                raise Refused(refusal)
        return succeed(ANONYMOUS)


@frozen
class _Known:
    """A password that was verified: its keyed digest, the hash it fits, and until when it counts."""

    digest: bytes
    password_hash: PasswordHash
    until: float


@implementer(ICredentialsChecker)
class Users:
    """
    The users of the configuration, by password.

    A wrong password and an unknown name take the same time and are answered alike.
    Verified passwords are remembered for :data:`CACHED` seconds, as digests under a
    secret key; guesses are slowed by :class:`Penalties`.

    :param key: the same for all processes of a relay; ``None``: there is one.
    :param others: see :class:`Penalties`.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        users: Iterable[User],
        defer_to_thread: DeferToThread,
        clock: IReactorTime,
        *,
        key: bytes | None = None,
        others: Failures | None = None,
    ) -> None:
        self._defer_to_thread = defer_to_thread
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._penalties = Penalties(clock, others)
        self.change(users)

    def change(self, users: Iterable[User]) -> None:
        """
        Take other users from now on; failures stay remembered, passwords do not.

        Raises :exc:`ValueError` for a password hash that cannot be read, and changes nothing.
        """
        hashes = {user.name: parse_hash(user.password_hash) for user in users if user.password_hash}
        self._hashes = hashes
        self._nobody = max(hashes.values(), key=lambda known: known.cost, default=_NOBODY)
        self._cache: OrderedDict[str, _Known] = OrderedDict()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fire with the user's name, or fail with :exc:`UnauthorizedLogin`."""
        client = getattr(credentials, "client", None) or Client(address="")
        return Deferred.fromCoroutine(
            self._authenticate(client.address, credentials.username, credentials.password)
        )

    async def _authenticate(self, client: str, username: bytes, password: bytes) -> bytes | tuple[()]:
        name = username.decode("utf-8", "replace")
        guess = self._digest(username, password)
        if self._is_cached(name, guess):
            return name.encode()
        keys = (("client", client), ("user", name))
        if seconds := self._penalties.wait(keys):
            await deferLater(self._clock, seconds)
        if not await self._verify(name, password, guess):
            self._penalties.failed(keys, guess)
            raise UnauthorizedLogin("wrong user name or password")
        return name.encode()

    async def _verify(self, name: str, password: bytes, guess: bytes) -> bool:
        known = self._hashes.get(name)
        fits = await self._defer_to_thread((known or self._nobody).verify, password)
        # The users may have changed while the thread was busy.
        if known is None or not fits or self._hashes.get(name) != known:
            return False
        self._cache[name] = _Known(guess, known, self._clock.seconds() + CACHED)
        self._cache.move_to_end(name)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return True

    def _is_cached(self, name: str, guess: bytes) -> bool:
        known = self._cache.get(name)
        return (
            known is not None
            and self._clock.seconds() < known.until
            and hmac.compare_digest(known.digest, guess)
        )

    def _digest(self, username: bytes, password: bytes) -> bytes:
        # The length keeps ("ab", "c") apart from ("a", "bc").
        return hmac.digest(self._key, b"%d:%b%b" % (len(username), username, password), "sha256")
