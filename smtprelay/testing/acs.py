"""
A faithful fake of Azure Communication Services Email, as a :mod:`twisted.web` resource.

It is as strict as the real one where that is known, and stricter where it is not:
signatures over the raw request target, the schema to the letter, operations that
are remembered, quotas. What goes wrong in the real world is scripted::

    fake = FakeAcs(reactor, keys=[key])
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.script(Answers(429, "TooManyRequests"), None, LostConnection(accepting=True))
    ...
    [mail] = fake.mails
    mail.request["content"]["subject"]

Microsoft's own SDK works against it: over plain HTTP with a key, by TLS with a token.
"""

import base64
import hashlib
import hmac
import json
import math
import re
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.model.route import Window
from smtprelay.testing.acs_schema import SchemaError, addresses_of, check_files, check_send, obeyed

API_VERSIONS: Final = frozenset({"2023-03-31", "2024-07-01-preview", "2025-01-15-preview", "2025-09-01"})
MAX_SIZE: Final = 10_000_000
MAX_SKEW: Final = 900.0

_TARGET: Final = re.compile(
    r"//?emails(?P<send>:send)?(/operations/(?P<id>[^/?]+))?(\?api-version=(?P<version>[^&]*))?"
)
_AUTHORIZATION: Final = re.compile(
    r"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=(?P<signature>.+)"
)


# --- what a test may ask for -----------------------------------------------------------------


@frozen
class Answers:
    """Answer so, whatever was asked; ``body`` instead of the usual error object."""

    status: int
    code: str = "Scripted"
    message: str = "as scripted"
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None


@frozen
class LostConnection:
    """Close the connection instead of answering; with ``accepting``, take the mail before."""

    accepting: bool = False


@frozen
class NoAnswer:
    """Never answer; with ``accepting``, take the mail before."""

    accepting: bool = False


@frozen
class GarbledAnswer:
    """Send these bytes, which are no HTTP, and close; the mail is not taken."""

    garbage: bytes = b"\x15\x03\x01\x00\x02\x02\x28 what?\r\n\r\n"


@frozen
class EndedOperation:
    """Take the mail; its operation ends with ``status`` after ``steps``, as polls see them."""

    status: str = "Failed"
    code: str = "EmailDropped"
    message: str = "The email was dropped."
    steps: Sequence[str] = ("NotStarted", "Running")


Act = Answers | LostConnection | NoAnswer | GarbledAnswer | EndedOperation


# --- what a test may look at -----------------------------------------------------------------


@define
class Operation:
    """
    A send request that was accepted.

    :ivar request: the decoded JSON.
    :ivar time: when it was accepted first, seconds of the clock.
    :ivar size: of the request, bytes.
    :ivar posts: how often it was posted, the first time included.
    """

    id: str
    request: dict[str, Any] = field(repr=False)
    time: float
    digest: bytes = field(repr=False)
    ends: EndedOperation
    size: int = 0
    posts: int = 1
    polls: int = 0

    @property
    def delivered(self) -> int:
        """How often the mail went out: 1, or 0 if it ends otherwise than ``Succeeded``."""
        return int(self.ends.status == "Succeeded")

    @property
    def status(self) -> str:
        """What the next poll says."""
        steps = self.ends.steps
        return steps[self.polls] if self.polls < len(steps) else self.ends.status


@frozen
class RecordedRequest:
    """One request: its raw target, and the status it was answered with; 0 for no answer."""

    method: str
    target: str
    status: int


class FakeAcs(Resource):
    """
    The service.

    :param clock: of signatures, quotas and the ``Date`` header; a reactor or a Clock
        at the client's time.
    :param keys: access keys in base64; may be changed later, to rotate them.
    :param steps: what polls see before ``Succeeded``.
    :param retry_after: seconds, told with 202 and with each poll that is not the last.
    :param quotas: by ``"send"`` and ``"poll"``: windows of such requests, all at once.
    :param naming: how a refusal tells which recipient is at fault: ``"nothing"``, as the service does
        mostly, ``"message"``, ``"place"``, ``"target"`` or ``"details"``.
    :param unwanted: tells of a request which property the service does not like today, or ``""``.
    :ivar takes: tells whether a token of Entra is valid, which takes the place of a signature.
    :ivar refuses: well-formed addresses that it takes for no address.
    :ivar refuses_files: extensions of files that it does not take today.
    :ivar operations: what was accepted, by operation id, in order.
    :ivar exchanges: every request, in order.
    """

    isLeaf = True

    def __init__(
        self,
        clock: IReactorTime,
        keys: Sequence[str],
        *,
        steps: Sequence[str] = ("NotStarted", "Running"),
        retry_after: int = 1,
        quotas: Mapping[str, Sequence[Window]] = MappingProxyType({}),
        naming: str = "nothing",
        unwanted: Callable[[Mapping[str, Any]], str] = lambda _: "",
    ) -> None:
        super().__init__()
        self.takes: Callable[[str], bool] = lambda _: False
        self.refuses: set[str] = set()
        self.refuses_files: set[str] = set()
        self._naming = naming
        self._unwanted = unwanted
        self.keys = list(keys)
        self.operations: dict[str, Operation] = {}
        self.exchanges: list[RecordedRequest] = []
        self._clock = clock
        self._usual = EndedOperation("Succeeded", steps=steps)
        self._retry_after = retry_after
        self._quotas = {
            kind: [_Bucket(window, clock.seconds(), window.count) for window in windows]
            for kind, windows in quotas.items()
        }
        self._scripts: dict[str, deque[Act | None]] = {"send": deque(), "poll": deque()}

    @property
    def mails(self) -> list[Operation]:
        """The operations whose mail goes out, in the order of their acceptance."""
        return [operation for operation in self.operations.values() if operation.delivered]

    def script(self, *acts: Act | None, on: str = "send") -> None:
        """
        Say what happens to the next requests of the kind ``on``, ``"send"`` or ``"poll"``.

        One act is used up by each; ``None`` is the usual. For a send, an act comes after
        the checks of signature, quota and schema; ``Answers`` needs none of them.
        """
        self._scripts[on].extend(acts)

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        kind = "send" if request.method == b"POST" else "poll"
        act = self._scripts[kind].popleft() if self._scripts[kind] else None
        try:
            if isinstance(act, Answers):
                raise _RefusedRequest(act.status, act.code, act.message, act.headers, act.body)  # noqa: TRY301
            status, headers, answer = self._judge(kind, request, act)
        except _RefusedRequest as refused:
            status, headers, answer = refused.status, refused.headers, refused.answer()
        silent = isinstance(act, LostConnection | NoAnswer | GarbledAnswer)
        target = request.uri.decode("latin-1")
        self.exchanges.append(RecordedRequest(request.method.decode(), target, 0 if silent else status))
        if silent:
            _be_silent(request, act)
            return NOT_DONE_YET
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json; charset=utf-8")
        request.setHeader("Date", formatdate(self._clock.seconds(), usegmt=True))
        for name, value in headers.items():
            request.setHeader(name, value)
        return answer

    def _judge(self, kind: str, request: Request, act: Act | None) -> tuple[int, dict[str, str], bytes]:
        assert request.content is not None
        body = request.content.read()
        target = request.uri.decode("latin-1")
        self._check_signature(request, target, body)
        found = _TARGET.fullmatch(target)
        if found is None or found["version"] not in API_VERSIONS:
            raise _RefusedRequest(
                400, "UnsupportedApiVersion", f"no such api-version, or no such path: {target}"
            )
        self._spend(kind)
        if kind == "send" and found["send"]:
            return self._send(request, body, act, found["version"])
        if request.method == b"GET" and found["id"]:
            return self._poll(found["id"])
        raise _RefusedRequest(404, "NotFound", f"no such resource: {target}")

    def _check_signature(self, request: Request, target: str, body: bytes) -> None:
        scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
        if scheme == "Bearer" and self.takes(token):
            return
        host, date, digest = (
            request.getHeader(name) or "" for name in ("host", "x-ms-date", "x-ms-content-sha256")
        )
        given = _AUTHORIZATION.fullmatch(request.getHeader("authorization") or "")
        if given is None:
            raise _denied("no HMAC-SHA256 authorization")
        if digest != base64.b64encode(hashlib.sha256(body).digest()).decode():
            raise _denied("the content hash is not that of the content")
        try:
            skew = abs(parsedate_to_datetime(date).timestamp() - self._clock.seconds())
        except ValueError:
            raise _denied("no x-ms-date") from None
        if skew > MAX_SKEW:
            raise _denied(f"time drift: {skew:.0f} s")
        to_sign = f"{request.method.decode()}\n{target}\n{date};{host};{digest}".encode()
        signatures = [hmac.digest(base64.b64decode(key), to_sign, "sha256") for key in self.keys]
        if given["signature"] not in [base64.b64encode(signature).decode() for signature in signatures]:
            raise _denied("Denied by the resource provider.")

    def _spend(self, kind: str) -> None:
        wait = max((bucket.wait(self._clock.seconds()) for bucket in self._quotas.get(kind, ())), default=0.0)
        if wait > 0:
            headers = {"Retry-After": str(math.ceil(wait))}
            raise _RefusedRequest(429, "TooManyRequests", "the quota is used up", headers)
        for bucket in self._quotas.get(kind, ()):
            bucket.tokens -= 1

    def _send(
        self, request: Request, body: bytes, act: Act | None, version: str
    ) -> tuple[int, dict[str, str], bytes]:
        if len(body) > MAX_SIZE:
            raise _RefusedRequest(413, "RequestEntityTooLarge", f"{len(body)} bytes, at most {MAX_SIZE}")
        operation_id = request.getHeader("operation-id") or str(uuid.uuid4())
        accepting = not isinstance(act, LostConnection | NoAnswer | GarbledAnswer) or getattr(
            act, "accepting", False
        )
        operation = self._accept(operation_id, body, act) if accepting else None
        scheme = "https" if request.isSecure() else "http"
        headers = {
            "Operation-Location": f"{scheme}://{request.getHeader('host')}//emails/operations/{operation_id}"
            f"?api-version={version}",
            "retry-after": str(self._retry_after),
        }
        return 202, headers, _json({"id": operation_id, "status": operation and "Running"})

    def _accept(self, operation_id: str, body: bytes, act: Act | None) -> Operation:
        try:
            uuid.UUID(operation_id)
            sent = obeyed(json.loads(body), self.refuses_files)
            self._check(sent)
        except SchemaError as exc:
            raise _RefusedRequest(400, exc.code, str(exc), error=exc.naming(self._naming)) from exc
        except (ValueError, RecursionError) as exc:
            raise _RefusedRequest(400, "BadRequest", f"no UUID, or no JSON: {exc}") from exc
        digest = hashlib.sha256(body).digest()
        known = self.operations.get(operation_id)
        if known is None:
            ends = act if isinstance(act, EndedOperation) else self._usual
            known = Operation(operation_id, sent, self._clock.seconds(), digest, ends, len(body))
            self.operations[operation_id] = known
        elif known.digest == digest:
            known.posts += 1
        else:
            raise _RefusedRequest(400, "OperationIdReused", "another request had this Operation-Id")
        return known

    def _check(self, request: Mapping[str, Any]) -> None:
        check_send(request)
        check_files(request, self.refuses_files)
        wrong = self._unwanted(request)
        if wrong:
            raise SchemaError(f"Request body validation error. See property '{wrong}'")
        bad = {place: address for place, address in addresses_of(request) if address in self.refuses}
        if bad:
            raise SchemaError("Invalid format for email address", "InvalidEmailAddress", bad)

    def _poll(self, operation_id: str) -> tuple[int, dict[str, str], bytes]:
        operation = self.operations.get(operation_id)
        if operation is None:
            raise _RefusedRequest(404, "OperationNotFound", f"no such operation: {operation_id}")
        status = operation.status
        operation.polls += 1
        answer: dict[str, object] = {"id": operation_id, "status": status, "error": None}
        if status != operation.ends.status:
            return 200, {"retry-after": str(self._retry_after)}, _json(answer)
        if status == "Failed":
            answer["error"] = {"code": operation.ends.code, "message": operation.ends.message}
        return 200, {}, _json(answer)


@define
class _Bucket:
    """A quota: so many tokens, refilled evenly over the window's seconds."""

    window: Window
    at: float
    tokens: float

    def wait(self, now: float) -> float:
        """Refill; return the seconds until there is a token."""
        rate = self.window.count / self.window.seconds
        self.tokens = min(self.window.count, self.tokens + (now - self.at) * rate)
        self.at = now
        # A token is one but for the rounding of the refill.
        return 0.0 if self.tokens > 1 - 1e-9 else (1 - self.tokens) / rate


class _RefusedRequest(Exception):  # noqa: N818 -- an answer, not an error
    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        error: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"x-ms-error-code": code, **(headers or {})}
        self._error = {"code": code, "message": message, "target": None, "details": None, **(error or {})}
        self._body = body

    def answer(self) -> bytes:
        return _json({"error": self._error}) if self._body is None else self._body


def _denied(message: str) -> _RefusedRequest:
    return _RefusedRequest(401, "Denied", message)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _be_silent(request: Request, act: Act | None) -> None:
    """Hang, or close the connection, without an answer."""
    transport: Any = request.transport
    if isinstance(act, GarbledAnswer):
        transport.write(act.garbage)
        transport.loseConnection()
    elif isinstance(act, LostConnection):
        transport.loseConnection()
