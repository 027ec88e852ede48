"""
Delivery by Microsoft Graph with the login of the client that sent a mail: each as the application of its own.
"""

from collections.abc import Callable

from attrs import evolve, frozen

from smtprelay.azure.login_tokens import LoginTokens
from smtprelay.azure.token_request import TokenRequest
from smtprelay.http.client import OutcomeError
from smtprelay.http.credentials import CredentialSource, NoCredentialsError
from smtprelay.interfaces import Attempt
from smtprelay.model.message import Envelope, SessionLogin
from smtprelay.model.outcome import Blocked, Outcome, Results, Throttled
from smtprelay.providers.graph.provider import Graph
from smtprelay.providers.wrapper import ProviderWrapper


@frozen
class LoginToken(CredentialSource[str]):
    """
    The token of one login, which is that of others with the same, and of the checker that let it in.

    :ivar lane: what a refusal stops, and no other.
    """

    tokens: LoginTokens
    request: TokenRequest
    login: SessionLogin
    lane: str

    @property
    def known(self) -> str | None:
        """Nothing: nobody asks."""
        return None

    async def current(self) -> str:
        """Return the token; raises :class:`NoAnswerError`."""
        try:
            return await self.tokens.current(self.login, self.request)
        except OutcomeError as error:
            raise self._of_lane(error) from error

    async def again(self) -> str:
        """Return a new one, as :meth:`current`."""
        try:
            return await self.tokens.again(self.login, self.request)
        except OutcomeError as error:
            raise self._of_lane(error) from error

    def doubt(self) -> None:
        """Do nothing: a lost answer says nothing of a login."""

    def _of_lane(self, error: OutcomeError) -> OutcomeError:
        outcome = error.outcome
        if isinstance(outcome, Blocked | Throttled):
            return OutcomeError(evolve(outcome, lane=self.lane))
        return error


class NoLogin(CredentialSource[str]):
    """What there is without a mail."""

    @property
    def known(self) -> str | None:
        """Nothing."""
        return None

    async def current(self) -> str:
        """Raise :class:`NoCredentialsError`."""
        raise NoCredentialsError("only a mail has a login")

    async def again(self) -> str:
        """Raise :class:`NoCredentialsError`."""
        return await self.current()

    def doubt(self) -> None:
        """Do nothing."""


class LoginGraph(ProviderWrapper):
    """
    A :class:`smtprelay.interfaces.Provider` that sends each mail with the login of its client.

    :param made: returns the provider that asks with some credentials, over the same connections.
    """

    uses_login = True

    def __init__(
        self, made: Callable[[CredentialSource[str]], Graph], tokens: LoginTokens, request: TokenRequest
    ) -> None:
        graph = made(NoLogin())
        super().__init__(graph)
        self.uses_login = True
        self.next_hop = graph.next_hop
        self._made = made
        self._tokens = tokens
        self._request = request

    def lane(self, envelope: Envelope, author: str, login: str) -> str:  # noqa: ARG002 -- the seam's signature
        """Return the lane of the login."""
        return login

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the mail as the application that its client logged in as."""
        lane = attempt.delivery.lane
        if attempt.credential is None:
            return attempt.results(Blocked("the mail came without a login of its client", lane))
        source = LoginToken(self._tokens, self._request, attempt.credential, lane)
        return await self._made(source).deliver(attempt)

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Return ``None``: only a mail has a login."""
        return None
