"""
The two calls of Azure Communication Services, signed with a key that works, or with a token of Entra.

A key that is refused is not the mail's fault: the other key is tried, before :mod:`smtprelay.providers.call`
reads the secrets again.
"""

import re
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache, partial
from typing import Final
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from smtprelay.http.client import Response
from smtprelay.http.outcomes import json_object
from smtprelay.providers.acs.errors import ApiError, refusal_of
from smtprelay.providers.acs.signature import USUAL_PORTS, Credentials, content_hash, signed_headers
from smtprelay.providers.call import Caller

API_VERSION: Final = "2025-09-01"
SEND: Final = f"/emails:send?api-version={API_VERSION}"
_UNAUTHORIZED: Final = 401
_TOLERATED: Final = 300.0
_URL: Final = re.compile(r"https?://[!-.0-~]+/[!-~]*")


class AcsApi:
    """
    Signed calls to one resource.
    """

    def __init__(self, caller: Caller[Credentials]) -> None:
        self.name = caller.name
        self.close = caller.close
        self._caller = caller
        self._preferred = 0

    async def send(self, body: bytes, digest: str, operation_id: str) -> Response:
        """
        Ask to send the mail in ``body``, whose :func:`content_hash` is ``digest``.

        :raises NoAnswerError: its ``outcome`` is what that means for the mail; the same for :meth:`status`.
        """
        headers = {"Content-Type": "application/json", "Operation-Id": operation_id}
        return await self._caller.call(
            partial(self._by_any_key, _Call("send", "POST", SEND, headers, body, digest))
        )

    async def status(self, target: str) -> Response:
        """Ask what became of the operation at ``target``, of :meth:`target_of` or :func:`operation_url`."""
        return await self._caller.call(partial(self._by_any_key, _Call("status", "GET", target)))

    def target_of(self, answer: Response, operation_id: str) -> str:
        """
        Return where to ask for the operation that ``answer`` accepted.

        It is what ``Operation-Location`` says, byte for byte, if that leads to our own
        endpoint: signed requests go nowhere else.
        """
        location = answer.header("Operation-Location")
        known = self._caller.credentials
        if known is None or origin(location) != known.endpoint:
            return operation_url(operation_id)
        return "/" + location.split("/", 3)[3]

    async def _by_any_key(self, call: "_Call", credentials: Credentials) -> Response:
        """Return the answer to the token, or to the first key that is not refused, or the last refusal."""
        if credentials.token:
            return await self._request(credentials, {"Authorization": f"Bearer {credentials.token}"}, call)
        count = len(credentials.keys)
        for number in range(self._preferred, self._preferred + count):
            signed = self._signed(credentials, credentials.keys[number % count], call)
            answer = await self._request(credentials, signed, call)
            if answer.status != _UNAUTHORIZED:
                self._preferred = number % count
                break
        return answer

    def _signed(self, credentials: Credentials, key: str, call: "_Call") -> Mapping[str, str]:
        date = _http_date(int(self._caller.seconds()))
        return signed_headers(
            key, call.method, call.target, host=credentials.host, date=date, digest=call.digest
        )

    async def _request(
        self, credentials: Credentials, authorization: Mapping[str, str], call: "_Call"
    ) -> Response:
        url, headers = credentials.endpoint + call.target, {**call.headers, **authorization}
        return await self._caller.request(call.operation, call.method, url, headers, call.body)


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
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets that do not close
        return ""
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(USUAL_PORTS[parts.scheme])}"


def refusal(answer: Response, now: float) -> ApiError:
    """
    Return what an error answer says of itself.

    A 401 whose ``Date`` differs from our clock is explained: a signature is valid for minutes only.
    """
    error = json_object(answer.body).get("error")
    api_error = refusal_of(
        error if isinstance(error, dict) else {},
        code=answer.header("x-ms-error-code"),
        message=answer.body[:200].decode("utf-8", "replace"),
    )
    if answer.status == _UNAUTHORIZED and abs(skew := _skew(answer, now)) > _TOLERATED:
        clock = f" (this machine's clock is {skew:.0f} s ahead of the service's)"
        return evolve(api_error, message=f"{api_error.message}{clock}")
    return api_error


def _skew(answer: Response, now: float) -> float:
    try:
        return now - parsedate_to_datetime(answer.header("Date")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
