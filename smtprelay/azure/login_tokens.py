"""
Tokens for the logins of clients: asked for when one logs in, kept until they end, and shared with providers.

Many may guess at Entra's door through us, and Entra counts that against the tenant. So each tenant is asked
only so often with secrets that were never right; those that were are not held up by that.
"""

import hmac
import secrets
from collections import OrderedDict, deque
from collections.abc import Awaitable
from typing import Final, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.errors import refuses_login
from smtprelay.azure.token_request import TokenRequest
from smtprelay.azure.tokens import EntraTokens
from smtprelay.http.client import NotSent
from smtprelay.http.oauth import NoTokenError
from smtprelay.http.renewed import Credential
from smtprelay.model.message import SessionLogin
from smtprelay.model.outcome import Throttled

K = TypeVar("K")
V = TypeVar("V")

#: Refusals of one tenant within :data:`WINDOW` seconds after which it is not asked for a while; so many
#: requests for it may be under way. Those with a secret that was right before do not count.
REFUSALS: Final = 10
WINDOW: Final = 60.0
#: Seconds for which a login that was refused is not asked for again: a device repeats an old secret.
REPEATED: Final = 60.0
#: A token that ends within so many seconds is not used any more.
MARGIN: Final = 60.0
#: One that was obtained less than so many seconds ago is not obtained anew because it is refused.
RECENT: Final = 10.0
#: Maximum number of logins that are remembered, and of tenants.
REMEMBERED: Final = 10_000

_Key = tuple[str, str, str, bytes]


@define(eq=False)
class _Tenant:
    """:ivar refused: when its last logins were refused."""

    refused: deque[float] = field(factory=lambda: deque(maxlen=REFUSALS))
    turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(REFUSALS))


@frozen
class _KeptToken:
    token: Credential[str]
    at: float


class LoginTokens:
    """
    The tokens of all logins.

    They are kept by a keyed digest of the secret, and the secret is not. One that was obtained may be used
    for as long as it is valid, also when Entra would not take the secret any more.

    :param clock: its seconds are those since the epoch.
    """

    def __init__(self, tokens: EntraTokens, clock: IReactorTime) -> None:
        self._tokens = tokens
        self._clock = clock
        self._digest_key = secrets.token_bytes(32)
        self._obtained: OrderedDict[_Key, _KeptToken] = OrderedDict()
        self._refused: OrderedDict[_Key, tuple[float, NoTokenError]] = OrderedDict()
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._waiting: dict[_Key, list[Deferred[str]]] = {}

    async def current(self, login: SessionLogin, request: TokenRequest) -> str:
        """
        Return a token of ``login``.

        :raises NoTokenError: Entra refuses, or its tenant is not asked now.
        :raises NotSent: Entra does not answer.
        """
        key, now = self._key(login, request), self._clock.seconds()
        found = self._obtained.get(key)
        if found is not None and _ends(found) > now + MARGIN:
            return found.token.value
        until, refusal = self._refused.get(key, (now, None))
        if refusal is not None and now < until:
            raise refusal
        return await self._ask(key, login, request)

    async def again(self, login: SessionLogin, request: TokenRequest) -> str:
        """Return a new token after one was refused, unless that is quite new; raises as :meth:`current`."""
        key = self._key(login, request)
        found = self._obtained.get(key)
        if found is not None and self._clock.seconds() < found.at + RECENT:
            return found.token.value
        return await self._ask(key, login, request)

    def _key(self, login: SessionLogin, request: TokenRequest) -> _Key:
        digest = hmac.digest(self._digest_key, login.secret.encode(), "sha256")
        return f"{request.authority}/{login.tenant}", login.client_id, request.scope, digest

    def _ask(self, key: _Key, login: SessionLogin, request: TokenRequest) -> Awaitable[str]:
        """Fires with a new token; who asks for the same one meanwhile shares the request."""
        waiter: Deferred[str] = Deferred()
        waiting = self._waiting.setdefault(key, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            Deferred.fromCoroutine(self._obtain(key, login, request)).addBoth(self._end, key)
        return waiter

    def _end(self, result: str | Failure, key: _Key) -> None:
        for waiter in self._waiting.pop(key):
            waiter.callback(result)

    async def _obtain(self, key: _Key, login: SessionLogin, request: TokenRequest) -> str:
        application = EntraApplication(
            tenant=login.tenant,
            client_id=login.client_id,
            authority=request.authority,
            read_secret=lambda: login.secret,
        )
        tenant = self._tenant(key[0])
        in_turn = key not in self._obtained
        if in_turn:
            await self._take_turn(tenant, request.timeout)
        try:
            token = await self._tokens.obtain(
                application, request.scope, outbound=request.outbound, timeout=request.timeout
            )
        except NoTokenError as error:
            if refuses_login(error):
                self._note_refusal(tenant, key, error)
            raise
        finally:
            if in_turn:
                tenant.turns.release()
        _keep(self._obtained, key, _KeptToken(token, self._clock.seconds()))
        return token.value

    async def _take_turn(self, tenant: _Tenant, patience: float) -> None:
        """Wait until the tenant may be asked; raises :class:`NoTokenError` if it may not for a while."""
        await tenant.turns.acquire().addTimeout(patience, self._clock, _too_late)
        now = self._clock.seconds()
        if len(tenant.refused) == REFUSALS and tenant.refused[0] + WINDOW > now:
            tenant.turns.release()
            text = "no token: too many logins of this tenant were refused in the last minute"
            raise NoTokenError(Throttled(text, tenant.refused[0] + WINDOW - now))

    def _note_refusal(self, tenant: _Tenant, key: _Key, error: NoTokenError) -> None:
        now = self._clock.seconds()
        tenant.refused.append(now)
        self._obtained.pop(key, None)
        _keep(self._refused, key, (now + REPEATED, error))

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name) or _Tenant()
        _keep(self._tenants, name, tenant)
        return tenant


def _too_late(_result: object, seconds: float) -> None:
    raise NotSent(f"no token: {seconds:g} s passed while others of the tenant were asked for")


def _ends(obtained: _KeptToken) -> float:
    return float("inf") if obtained.token.expires is None else obtained.token.expires


def _keep(remembered: OrderedDict[K, V], key: K, value: V) -> None:
    """Remember ``value``, and the newest others."""
    remembered[key] = value
    remembered.move_to_end(key)
    if len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
