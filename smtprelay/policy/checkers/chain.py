"""
The checkers of a listener, asked in their order, and what makes guessing slow for all of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from smtprelay.model import scram
from smtprelay.model.credentials import ICertificateClient, IProofClient, ISalts
from smtprelay.model.message import Client, Refused
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.user_secret import salt_of

_PERMANENT: Final = 500


def _nothing() -> Awaitable[object]:
    return succeed(None)


class UnknownUser(UnauthorizedLogin):
    """
    A checker does not know this name: the next one is asked.

    :param pretend: takes as long as a wrong password would; called for an unknown name, so that no client
        learns which names there are.
    :param rule: names the reason for the operator; the client gets the reply to a wrong password.
    :param salt: what a client is told that asks for the salt of this name.
    """

    def __init__(
        self,
        pretend: Callable[[], Awaitable[object]] = _nothing,
        rule: str = "auth-user",
        salt: bytes = b"",
    ) -> None:
        super().__init__("wrong user name or password")
        self.pretend = pretend
        self.rule = rule
        self.salt = salt


@implementer(ICredentialsChecker, ISalts)
class CheckerChain:
    """
    Asks one checker after the other, until one says that the name is its own.

    That one's word is the last: what it refuses, or cannot tell now, no later one takes. A checker that
    knows nothing of :exc:`UnknownUser` calls every name its own, so it comes last. A refusal is a guess for
    the throttle, but for a temporary one and for a bug: they tell nothing of the password. The name in a
    certificate is no guess.
    """

    credentialInterfaces = (IUsernamePassword, IProofClient, ICertificateClient)

    def __init__(self, checkers: Sequence[Any], throttle: LoginThrottle) -> None:
        self._checkers = checkers
        self._throttle = throttle

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """Fire with what a checker found; fail with :exc:`UnauthorizedLogin`, or as a checker does."""
        return Deferred.fromCoroutine(self._authenticate(credentials))

    async def salt(self, username: bytes) -> bytes:  # type: ignore[override]
        """Return a user's salt; where nobody has one a fake, by which no client learns that."""
        fake = b""
        for checker in filter(ISalts.providedBy, self._checkers):
            try:
                return bytes(await maybeDeferred(checker.salt, username))
            except LoginFailed as unknown:
                fake = fake or getattr(unknown, "salt", b"")
        return fake or scram.salt_attributes(salt_of(self._throttle.key, username), scram.ITERATIONS)

    async def _authenticate(self, credentials: Any) -> Any:
        if ICertificateClient.providedBy(credentials):
            return await self._ask(credentials)
        client = getattr(credentials, "client", None) or Client(address="")
        proves = IProofClient.providedBy(credentials)
        attempt = await self._throttle.begin(
            client.address,
            credentials.username,
            credentials.proof if proves else credentials.password,
            lost=getattr(credentials, "lost", None),
        )
        try:
            identity = await self._ask(credentials)
        except LoginFailed:
            self._throttle.failed(attempt)
            raise
        except Exception as error:
            if isinstance(error, Refused) and error.reply.code >= _PERMANENT:
                self._throttle.failed(attempt)
            else:
                self._throttle.undecided(attempt)
            raise
        # No later login has the same proof.
        (self._throttle.undecided if proves else self._throttle.passed)(attempt)
        return identity

    async def _ask(self, credentials: Any) -> Any:
        unknown_users: list[UnknownUser] = []
        for checker in self._checkers:
            if not any(each.providedBy(credentials) for each in checker.credentialInterfaces):
                continue
            try:
                return await maybeDeferred(checker.requestAvatarId, credentials)
            except UnknownUser as unknown:
                unknown_users.append(unknown)
        for user in unknown_users:
            await user.pretend()
        raise unknown_users[-1] if unknown_users else UnknownUser
