"""
The checker ``entra``: applications of Microsoft Entra, whose secret Entra itself checks.
"""

from typing import Any, Final

from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtprelay.azure.errors import ENTRA_ERRORS, refuses_login
from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.azure.token_request import TokenRequest
from smtprelay.http.client import NoAnswerError
from smtprelay.http.oauth import NoTokenError
from smtprelay.model.message import Refused, Reply, SessionLogin
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.checkers.entra_name import parse_application
from smtprelay.policy.settings import Identity

#: Octets of a password; no secret is as long.
_MOST: Final = 1024
#: Characters of a reason in a reply.
REPEATED: Final = 200


@frozen
class EntraPasswords:
    """
    Asks Entra whether a secret is that of an application: by a token, which its mail may use then.

    :ivar request: how a token is asked for.
    """

    tokens: LoginTokens
    request: TokenRequest

    async def authenticate(self, tenant: str, client_id: str, password: bytes) -> SessionLogin:
        """
        Return the login.

        :raises Refused: with 535 if Entra refuses it, with 454 if that cannot be said now.
        :raises UnauthorizedLogin: the password is no secret.
        """
        try:
            secret = password.decode()
        except UnicodeDecodeError:
            secret = ""
        if not secret.strip() or len(password) > _MOST:
            raise UnauthorizedLogin("no secret of an application")
        login = SessionLogin(tenant=tenant, client_id=client_id, secret=secret)
        try:
            await self.tokens.current(login, self.request)
        except NoAnswerError as error:
            raise Refused(_reply(error)) from error
        return login


@implementer(ICredentialsChecker)
@frozen
class EntraLogins:
    """
    Takes every application whose secret Entra takes.

    :ivar delimiter: what stands between tenant and client id.
    :ivar tenants: whose applications are taken; empty: anybody's.
    """

    authenticator: EntraPasswords
    delimiter: str
    tenants: frozenset[str] = frozenset()
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        Fire with an :class:`Identity`, whose name has the ids as UUIDs.

        Fails with :exc:`UnknownUser` for another kind of name, and as the authenticator does.
        """
        return Deferred.fromCoroutine(self._authenticate(credentials.username, credentials.password))

    async def _authenticate(self, username: bytes, password: bytes) -> Identity:
        ids = parse_application(username.decode("utf-8", "replace"), self.delimiter)
        if ids is None:
            raise UnknownUser
        if self.tenants and ids[0] not in self.tenants:
            raise UnknownUser(rule="entra-tenant")
        login = await self.authenticator.authenticate(*ids, password)
        return Identity(name=self.delimiter.join(ids), login=login)


def _reply(error: NoAnswerError) -> Reply:
    """Return what a client is told that gets no token."""
    if isinstance(error, NoTokenError) and refuses_login(error):
        advice = ENTRA_ERRORS.advice.get(error.code, "")
        text = f"Entra refuses this login: {error.code}{f' ({advice})' if advice else ''}"
        return Reply(code=535, enhanced="5.7.8", text=text, rule="entra-refused")
    text = f"Entra cannot check this login now: {str(error)[:REPEATED]}"
    return Reply(code=454, enhanced="4.7.0", text=text, rule="entra-unavailable")
