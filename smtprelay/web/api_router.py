"""
The routes of a site: each path is answered by one ``async`` function that returns a value.

The router checks who may ask, and handles HEAD, 405, clients that disconnect, and unexpected errors.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final
from urllib.parse import unquote

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.interfaces import Events
from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.privacy import NO_MASK, PrivacyMask
from smtprelay.telemetry.log_format import flattened
from smtprelay.web.auth import Access
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse
from smtprelay.web.streaming import StreamWriter

#: The headers of every answer; an answer's own headers replace them.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store",
}

Action = Callable[[ApiRequest], Awaitable[ApiResponse]]


def as_it_is(_mask: PrivacyMask, value: Any) -> Any:
    """Return ``value``: it is the mail itself, or must be exact."""
    return value


@frozen
class ApiRoute:
    """
    A path and the action that answers it.

    :ivar path: ``{name}`` stands for one segment, which is ``name`` in :attr:`ApiRequest.path`.
    :ivar role: who may ask: ``"anyone"`` (no token, any Host), ``"visitor"`` (no token), ``"viewer"`` or
        ``"operator"``.
    :ivar masking: how the JSON of an answer is masked.
    """

    method: str
    path: str
    action: Action
    role: str = "viewer"
    masking: Callable[[PrivacyMask, Any], Any] = PrivacyMask.value
    pattern: re.Pattern[str] = field(init=False, eq=False)

    def masked(self, answer: ApiResponse, mask: PrivacyMask) -> ApiResponse:
        """Return an answer of this route without what ``mask`` hides; a ``body`` is taken as it is."""
        if not mask.hides or answer.value is None:
            return answer
        return evolve(answer, value=self.masking(mask, answer.value))

    @pattern.default
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


class ApiRouter(Resource):
    """The root resource of a site."""

    isLeaf = True

    def __init__(
        self, routes: Iterable[ApiRoute], access: Access, events: Events, mask: PrivacyMask = NO_MASK
    ) -> None:
        super().__init__()
        self._routes = tuple(routes)
        self._access = access
        self._events = events
        self._mask = mask

    def render(self, request: Request) -> int:
        """Start the action; its answer is written when it is there."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answered = Deferred.fromCoroutine(self._answer(request, gone))
        answered.addErrback(lambda failure: self._crashed(request, failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request, gone: list[object]) -> None:
        path = unquote(request.path.decode("ascii", "replace"))
        route: ApiRoute | None = None
        try:
            route, api_request = self._find(request, path)
            api_request = evolve(api_request, mask=self._mask)
            api_request = await self._access.admit(request, route.role, api_request)
            answer = await route.action(api_request)
        except ApiProblem as problem:
            answer = problem.answer
        except SpoolUnavailable as error:
            answer = ApiProblem(503, f"the spool does not answer now: {error}: try again").answer
        except Exception as error:  # noqa: BLE001 -- the client gets an answer in every case
            answer = self._unexpected(path, error)
        if route is not None:
            answer = route.masked(answer, self._mask)
        if not gone:
            await self._write(request, answer)
        self._events(
            "http.request",
            client=getattr(request.getClientAddress(), "host", "unix"),
            method=request.method.decode("ascii", "replace") if route else "other",
            path=path,
            code=answer.status,
            route=route.path if route else "other",
        )

    def _find(self, request: Request, path: str) -> tuple[ApiRoute, ApiRequest]:
        method = request.method.decode("ascii", "replace")
        matching = [(route, found) for route in self._routes if (found := route.pattern.fullmatch(path))]
        for route, found in matching:
            if route.method == ("GET" if method == "HEAD" else method):
                return route, ApiRequest.of(request, found.groupdict())
        if not matching:
            raise ApiProblem(404, f"nothing is at {path}: the API begins with /api/v1/")
        allowed = ", ".join(sorted({route.method for route, _ in matching}))
        raise ApiProblem(405, f"{path} takes {allowed} only", {"Allow": allowed})

    def _unexpected(self, path: str, error: object) -> ApiResponse:
        number = uuid.uuid4().hex[:12]
        text = f"unexpected error {number} while answering {path}"
        self._events("relay.warning", text=text, exc=flattened(error))
        return ApiProblem(500, f"unexpected error; the log has it as {number}").answer

    async def _write(self, request: Request, answer: ApiResponse) -> None:
        request.setResponseCode(answer.status)
        headers = {**HEADERS, "Content-Type": answer.type, **answer.headers}
        for name, value in headers.items():
            request.setHeader(name, value)
        body = answer.body
        length = len(body) if answer.pieces is None else answer.length
        request.setHeader("Content-Length", str(length))
        if answer.pieces is None or request.method == b"HEAD":
            request.write(body)
        elif not await StreamWriter(request).send(answer.pieces):
            return
        request.finish()

    def _crashed(self, request: Request, failure: object) -> None:
        self._unexpected(repr(request.path), failure)
        # The client must see that the rest of the answer does not come.
        request.loseConnection()
