"""
Tokens of Entra: one for all that ask for the same service as the same application, renewed ahead.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.azure.application import BY_IDENTITY, EntraApplication
from smtprelay.azure.errors import ENTRA_ERRORS
from smtprelay.http.client import Http
from smtprelay.http.oauth import OauthTokens
from smtprelay.http.renewed import Credential, CredentialService, Renewed, TokenService, at_once
from smtprelay.interfaces import DeferToThread, Events
from smtprelay.net.outbound import DIRECT, Outbound


class EntraTokens:
    """
    All tokens of one configuration.

    :param open_http: as :func:`smtprelay.http.client.open_http`.
    :param defer_to_own_thread: runs what may hang on a thread of its own, which no stop waits for.
    """

    def __init__(
        self,
        open_http: Callable[..., Http],
        *,
        clock: IReactorTime,
        events: Events,
        defer_to_thread: DeferToThread,
        defer_to_own_thread: DeferToThread,
    ) -> None:
        self._open_http = open_http
        self._clock = clock
        self._events = events
        self._defer_to_thread = defer_to_thread
        self._defer_to_own_thread = defer_to_own_thread
        self._shared: dict[tuple[EntraApplication, str, Outbound], Renewed[str]] = {}

    def source(
        self,
        user: str,
        application: EntraApplication,
        scope: str,
        *,
        outbound: Outbound = DIRECT,
        timeout: float = 30.0,
    ) -> Renewed[str]:
        """
        Return the token of ``application`` for ``scope``; it may be that of others, too.

        :param user: who uses it first, for the log and the metrics: a provider's name.
        :param outbound: how the requests for it leave.
        :param timeout: seconds for each step of them, and that a mail waits for a token.
        """
        key = (application, scope, outbound)
        if key in self._shared:
            return self._shared[key]
        service: CredentialService[str] | TokenService[str]
        defer: Callable[[Callable[[], Any]], Deferred[Any]] = self._defer_to_own_thread
        if application.credential in BY_IDENTITY:
            service = IdentityTokens(application, scope, outbound, timeout, self._clock.seconds)
        else:
            service, defer = self._by_secret(application, scope, outbound, timeout), at_once
        renewed = self._shared[key] = Renewed(
            user,
            service,
            clock=self._clock,
            events=self._events,
            defer=defer,
            patience=timeout,
        )
        return renewed

    async def obtain(
        self,
        application: EntraApplication,
        scope: str,
        *,
        outbound: Outbound = DIRECT,
        timeout: float = 30.0,  # noqa: ASYNC109 -- of each step, and not of all
    ) -> Credential[str]:
        """Return a new token of an application with a secret, for one user; as :meth:`OauthTokens.obtain`."""
        return await self._by_secret(application, scope, outbound, timeout).obtain()

    def _by_secret(
        self, application: EntraApplication, scope: str, outbound: Outbound, timeout: float
    ) -> OauthTokens:
        return OauthTokens(
            application.token_endpoint,
            lambda: self._open_http(self._clock, concurrency=1, timeout=timeout, outbound=outbound),
            lambda: self._defer_to_thread(lambda: _fields(application, scope)),
            self._clock.seconds,
            ENTRA_ERRORS,
        )


class IdentityTokens(CredentialService[str]):
    """The tokens of an application that azure-identity speaks for; it is called in threads."""

    required_at_start = False

    def __init__(
        self,
        application: EntraApplication,
        scope: str,
        outbound: Outbound,
        timeout: float,
        seconds: Callable[[], float],
    ) -> None:
        self._asked = application, scope, outbound, timeout
        self._seconds = seconds

    def obtain(self, *, refused: bool) -> Credential[str]:  # noqa: ARG002 -- each is a new one
        """Return a new token."""
        from smtprelay.azure.identity import obtain_token  # noqa: PLC0415 -- very slow to import

        token, life = obtain_token(*self._asked)
        return Credential(token, self._seconds() + life, self._asked[0].credential)

    def revoke(self) -> None:
        """Do nothing: a token ends by itself."""


def _fields(application: EntraApplication, scope: str) -> Mapping[str, str]:
    """Return the request for a token (client credentials, RFC 6749 §4.4); it reads the secret."""
    secret = application.read_secret
    return {
        "grant_type": "client_credentials",
        "client_id": application.client_id,
        "client_secret": secret().strip() if secret is not None else "",
        "scope": scope,
    }
