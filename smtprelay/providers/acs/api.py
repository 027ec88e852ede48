"""
The two calls of Azure Communication Services, signed with a key that works.

A key that is refused is not the mail's fault: the other key is tried, then the secrets are read again,
because they may just have been replaced. After a call without an answer the next one reads them, too.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import DeferToThread, Events
from smtprelay.providers.acs.errors import ApiError, refusal_of
from smtprelay.providers.acs.signature import USUAL_PORTS, Credentials, content_hash, signed_headers
from smtprelay.providers.http.client import Http, NoAnswerError, Response

API_VERSION: Final = "2025-09-01"
SEND: Final = f"/emails:send?api-version={API_VERSION}"
_UNAUTHORIZED: Final = 401
_TOLERATED: Final = 300.0
_URL: Final = re.compile(r"https?://[!-.0-~]+/[!-~]*")


class NoCredentialsError(Exception):
    """The secrets cannot be read or make no sense; ``str()`` says why."""


class AcsApi:
    """
    Signed calls to one resource.

    :param name: the provider's, for the events.
    :param read_credentials: reads the secrets; called in a thread, at first, after a 401 and after no answer.
        Raises ``ValueError`` or ``OSError``.
    """

    def __init__(
        self,
        name: str,
        http: Http,
        read_credentials: Callable[[], Credentials],
        *,
        clock: IReactorTime,
        events: Events,
        defer_to_thread: DeferToThread,
    ) -> None:
        self.name = name
        self._http = http
        self._read_credentials = read_credentials
        self._clock = clock
        self._events = events
        self._defer_to_thread = defer_to_thread
        self._credentials: Credentials | None = None
        self._stale = False
        self._preferred = 0

    async def send(self, body: bytes, digest: str, operation_id: str) -> Response:
        """
        Ask to send the mail in ``body``, whose :func:`content_hash` is ``digest``.

        :raises NoAnswerError: :class:`NotSent` or :class:`AnswerLost`; so :meth:`status`.
        :raises NoCredentialsError: nothing was sent.
        """
        headers = {"Content-Type": "application/json", "Operation-Id": operation_id}
        return await self._call(_Call("send", "POST", SEND, headers, body, digest))

    async def status(self, target: str) -> Response:
        """Ask what became of the operation at ``target``, of :meth:`target_of` or :func:`operation_url`."""
        return await self._call(_Call("status", "GET", target))

    def target_of(self, answer: Response, operation_id: str) -> str:
        """
        Return where to ask for the operation that ``answer`` accepted.

        It is what ``Operation-Location`` says, byte for byte, if that leads to our own
        endpoint: signed requests go nowhere else.
        """
        location = answer.header("Operation-Location")
        if self._credentials is None or origin(location) != self._credentials.endpoint:
            return operation_url(operation_id)
        return "/" + location.split("/", 3)[3]

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def _call(self, call: "_Call") -> Response:
        used = self._credentials
        if used is None or self._stale:
            used = await self._read()
        try:
            answer = await self._by_any_key(used, call)
        except NoAnswerError:
            # The endpoint may be wrong: the next call reads it again.
            self._stale = True
            raise
        if answer.status == _UNAUTHORIZED:
            fresh = await self._read()
            if fresh != used:
                answer = await self._by_any_key(fresh, call)
        return answer

    async def _read(self) -> Credentials:
        try:
            self._credentials = await self._defer_to_thread(self._read_credentials)
        except (ValueError, OSError) as exc:
            raise NoCredentialsError(f"the connection string cannot be used: {exc}") from exc
        self._stale = False
        return self._credentials

    async def _by_any_key(self, credentials: Credentials, call: "_Call") -> Response:
        """Return the answer to the first key that is not refused, or the last refusal."""
        count = len(credentials.keys)
        for number in range(self._preferred, self._preferred + count):
            answer = await self._request(credentials, credentials.keys[number % count], call)
            if answer.status != _UNAUTHORIZED:
                self._preferred = number % count
                break
        return answer

    async def _request(self, credentials: Credentials, key: str, call: "_Call") -> Response:
        began = self._clock.seconds()
        date = _http_date(int(began))
        signed = signed_headers(
            key, call.method, call.target, host=credentials.host, date=date, digest=call.digest
        )
        code: int | str = "no answer"
        try:
            answer = await self._http.request(
                call.method, credentials.endpoint + call.target, {**call.headers, **signed}, call.body
            )
            code = answer.status
        finally:
            seconds = self._clock.seconds() - began
            self._events(
                "provider.request", provider=self.name, operation=call.operation, code=code, seconds=seconds
            )
        return answer


@frozen
class _Call:
    operation: str
    method: str
    target: str
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    digest: str = content_hash(b"")


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


def operation_url(operation_id: str) -> str:
    """Return where an operation is asked for by the reference."""
    return f"/emails/operations/{operation_id}?api-version={API_VERSION}"


def origin(url: str) -> str:
    """Return scheme and host as :attr:`Credentials.endpoint` has them; ``""`` if it is no such URL."""
    if not _URL.fullmatch(url):
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(USUAL_PORTS[parts.scheme])}"


def refusal(answer: Response, now: float) -> ApiError:
    """
    Return what an error answer says of itself.

    A 401 whose ``Date`` differs from our clock is explained: a signature is valid for minutes only.
    """
    error = content(answer).get("error")
    said = refusal_of(
        error if isinstance(error, dict) else {},
        code=answer.header("x-ms-error-code"),
        message=answer.body[:200].decode("utf-8", "replace"),
    )
    if answer.status == _UNAUTHORIZED and abs(skew := _skew(answer, now)) > _TOLERATED:
        clock = f" (this machine's clock is {skew:.0f} s ahead of the service's)"
        return evolve(said, message=f"{said.message}{clock}")
    return said


def content(answer: Response) -> Mapping[str, Any]:
    """Return the JSON object in an answer; empty if there is none."""
    try:
        value = orjson.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _skew(answer: Response, now: float) -> float:
    try:
        return now - parsedate_to_datetime(answer.header("Date")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
