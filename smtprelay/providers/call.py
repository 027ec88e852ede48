"""
One request of a provider with an HTTP API: timed, with credentials that may be replaced while the relay runs.

What an operator has just corrected must work at once: after a 401 the secrets are read again, and if they
have changed the request is repeated. After a request without an answer the next one reads them, too: the
endpoint may be among them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Generic, Self, TypeVar

from twisted.internet.interfaces import IReactorTime

from smtprelay.http.client import Http, NoAnswerError, Response
from smtprelay.http.credentials import CredentialSource, call_with
from smtprelay.http.outcomes import ErrorTable, retry_after
from smtprelay.http.upload import RequestBody
from smtprelay.interfaces import Events
from smtprelay.model.outcome import Outcome

C = TypeVar("C")

_UNAUTHORIZED: Final = 401
#: Maximum length of an answer in a reason.
_REPEATED: Final = 200


class Caller(Generic[C]):
    """
    Sends the requests of one provider.

    :ivar name: the provider's.
    """

    def __init__(
        self, name: str, http: Http, source: CredentialSource[C], *, clock: IReactorTime, events: Events
    ) -> None:
        self.name = name
        self.read = source.again
        self._http = http
        self._source = source
        self._clock = clock
        self._events = events

    def using(self, source: CredentialSource[C]) -> Self:
        """Return one with other credentials, over the same connections."""
        return type(self)(self.name, self._http, source, clock=self._clock, events=self._events)

    @property
    def credentials(self) -> C | None:
        """Those that were used last."""
        return self._source.known

    def seconds(self) -> float:
        """Return the time since the epoch."""
        return self._clock.seconds()

    async def call(
        self,
        send: Callable[[C], Awaitable[Response]],
        is_expired: Callable[[Response], bool] = lambda answer: answer.status == _UNAUTHORIZED,
    ) -> Response:
        """Return the answer to ``send``, as :func:`call_with` does."""
        return await call_with(self._source, send, is_expired)

    async def request(
        self,
        operation: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | RequestBody = b"",
    ) -> Response:
        """
        Send one request by :meth:`Http.request`, and tell how long it took.

        :param operation: what it is for, in the event ``provider.request``.
        """
        began = self.seconds()
        code: int | str = "no answer"
        try:
            answer = await self._http.request(method, url, headers, body)
            code = answer.status
        finally:
            seconds = self.seconds() - began
            self._events(
                "provider.request", provider=self.name, operation=operation, code=code, seconds=seconds
            )
        return answer

    async def outcome(
        self,
        send: Callable[[C], Awaitable[Response]],
        succeeded: Callable[[Response], Outcome | None],
        errors: ErrorTable,
    ) -> Outcome:
        """Return what :meth:`call` means for the mail; ``succeeded`` gives ``None`` for a refusal."""
        try:
            answer = await self.call(send)
        except NoAnswerError as error:
            return error.outcome
        return succeeded(answer) or self.refused(answer, errors)

    def refused(
        self,
        answer: Response,
        errors: ErrorTable,
        code: str = "",
        message: str = "",
        *,
        lane: str = "",
        sender: str = "",
    ) -> Outcome:
        """
        Return what an answer that is no success means.

        :param message: in the provider's words; else its body is repeated.
        :param lane: that of :meth:`ErrorTable.outcome`.
        :param sender: the same, for an error that is about the sender.
        """
        said = message or answer.body[:_REPEATED].decode("utf-8", "replace")
        wait = retry_after(answer.header("Retry-After"), self.seconds())
        lane = sender if errors.of_sender else lane
        return errors.outcome(answer.status, code, said, retry_after=wait, lane=lane)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()
