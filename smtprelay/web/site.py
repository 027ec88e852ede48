"""
One HTTP endpoint of the relay, and what it serves.

The configuration names parts (``serve: [health, metrics]``); each part is a list of routes. The part
``dashboard`` is the page: static files that use the API. Anybody may load them: they contain no data, and the
page asks for a token.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from smtprelay.model.privacy import NO_MASK, PrivacyMask
from smtprelay.web.api_router import ApiRoute, ApiRouter
from smtprelay.web.api_routes import api_routes
from smtprelay.web.auth import Access
from smtprelay.web.context import Sources
from smtprelay.web.health import health_routes, metrics_routes
from smtprelay.web.messages import MAX_BODY, ApiRequest, ApiResponse

#: Returns the routes of each part.
Parts = Mapping[str, Callable[[Sources], Sequence[ApiRoute]]]

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TYPES: Final = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_FILES: Final = (
    "index.html",
    "page.js",
    "show.js",
    "buttons.js",
    "search.js",
    "source.js",
    "unread.js",
    "page.css",
)


def _static(name: str) -> ApiRoute:
    answer = ApiResponse(
        body=(Path(__file__).parent / "static" / name).read_bytes(),
        type=f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8",
        headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"},
    )

    async def send(_request: ApiRequest) -> ApiResponse:
        return answer

    return ApiRoute("GET", f"/{name.removeprefix('index.html')}", send, "visitor")


#: What ``serve`` may name.
PARTS: Final[Parts] = {
    "health": health_routes,
    "metrics": metrics_routes,
    "api": api_routes,
    "dashboard": lambda _: [_static(name) for name in _FILES],
}


class NamelessRequest(Request):
    """A request whose answer does not name the version of Twisted."""

    def render(self, resrc: IResource) -> None:
        """Answer the request under the name of the relay."""
        self.responseHeaders.setRawHeaders(b"server", [b"smtprelay"])
        super().render(resrc)


class _SiteRequest(NamelessRequest):
    _excessive = False

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        # Twisted collects the whole body before it processes the request.
        assert self.content is not None  # made by gotLength
        if self._excessive or self.content.tell() + len(data) > MAX_BODY:
            self._excessive = True
            self.channel.loseConnection()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        if not self._excessive:  # the end may have come in the same read
            super().process()


class _Site(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """Log nothing: the router reports ``http.request``, without the query."""


def build_site(
    serve: Collection[str],
    sources: Sources,
    access: Access,
    parts: Parts = PARTS,
    *,
    mask: PrivacyMask = NO_MASK,
) -> Site:
    """
    Return the factory for one endpoint.

    :param serve: names of ``parts``; any other raises ``KeyError``.
    :param mask: hides what is not shown of mail.
    """
    routes = [route for part in serve for route in parts[part](sources)]
    clock: IReactorTime = sources.clock
    site = _Site(ApiRouter(routes, access, sources.events, mask), requestFactory=_SiteRequest, reactor=clock)
    site.displayTracebacks = False
    return site
