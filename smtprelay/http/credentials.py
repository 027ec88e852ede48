"""
Where the requests of a provider get their credentials: from secrets that are read, and read again.

Those that expire are in :mod:`smtprelay.http.renewed`.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.interfaces import DeferToThread
from smtprelay.model.outcome import Blocked, Outcome

C = TypeVar("C")
D = TypeVar("D")
C_co = TypeVar("C_co", covariant=True)

_UNAUTHORIZED: Final = 401


class NoCredentialsError(NoAnswerError):
    """The credentials cannot be had, are refused or make no sense, so nothing was sent."""

    @property
    def outcome(self) -> Outcome:
        """The lane waits for its operator."""
        return Blocked(str(self))


def api_key(secret: str) -> str:
    """Return an API key as a header can carry it; raises ``ValueError`` for what is none."""
    key = secret.strip()
    if not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("the API key is no word of ASCII characters")
    return key


class CredentialSource(Protocol[C_co]):
    """Gives the requests of a provider their credentials."""

    @property
    def known(self) -> C_co | None:
        """Those that were given last."""

    async def current(self) -> C_co:
        """Return the credentials; raises :class:`NoAnswerError` if there are none."""

    async def again(self) -> C_co:
        """Return them after they were refused: others, if there are any; raises :class:`NoAnswerError`."""

    def doubt(self) -> None:
        """Take note that a request got no answer."""


class MappedSource(CredentialSource[D], Generic[C, D]):
    """
    What is made of each of the credentials of ``source``.

    :param make: the same credentials make the same.
    """

    def __init__(self, source: CredentialSource[C], make: Callable[[C], D]) -> None:
        self._source = source
        self._make = make

    @property
    def known(self) -> D | None:
        """That of those that were given last."""
        known = self._source.known
        return None if known is None else self._make(known)

    async def current(self) -> D:
        """Return what is made of the current ones."""
        return self._make(await self._source.current())

    async def again(self) -> D:
        """Return what is made of others."""
        return self._make(await self._source.again())

    def doubt(self) -> None:
        """Doubt those of the source."""
        self._source.doubt()


async def call_with(
    source: CredentialSource[C],
    send: Callable[[C], Awaitable[Response]],
    is_expired: Callable[[Response], bool] = lambda answer: answer.status == _UNAUTHORIZED,
) -> Response:
    """
    Return the answer to ``send``, which gets the credentials; after a 401 once more, with new ones.

    :param is_expired: whether new credentials may help, for an API that says that otherwise.
    :raises NoAnswerError: its ``outcome`` is what that means for the mail.
    """
    used = await source.current()
    try:
        answer = await send(used)
    except NoAnswerError:
        source.doubt()
        raise
    if is_expired(answer):
        fresh = await source.again()
        if fresh != used:
            answer = await send(fresh)
    return answer


class StoredCredentials(CredentialSource[C]):
    """
    Credentials in secrets of the configuration: read first, after a refusal, and after no answer.

    :param read: called in a thread. Raises ``ValueError`` or ``OSError``.
    """

    def __init__(self, read: Callable[[], C], defer_to_thread: DeferToThread) -> None:
        self._known: C | None = None
        self._stale = False
        self._read = read
        self._defer_to_thread = defer_to_thread

    @property
    def known(self) -> C | None:
        """Those that were read last."""
        return self._known

    async def current(self) -> C:
        """Return what was read, after no answer what is there now: the endpoint may be among it."""
        return await self.again() if self._known is None or self._stale else self._known

    async def again(self) -> C:
        """Read the secrets; raises :class:`NoCredentialsError`."""
        try:
            self._known = await self._defer_to_thread(self._read)
        except (ValueError, OSError) as exc:
            raise NoCredentialsError(str(exc)) from exc
        self._stale = False
        return self._known

    def doubt(self) -> None:
        """Read them anew for the next request."""
        self._stale = True
