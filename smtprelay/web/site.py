"""
One HTTP endpoint of the relay: what it serves, put together.

The configuration names parts (``serve: [health, metrics]``); each part is a list of routes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from smtprelay.web.api import api_routes
from smtprelay.web.auth import Access
from smtprelay.web.context import Sources
from smtprelay.web.health import health_routes, metrics_routes
from smtprelay.web.messages import MAX_BODY
from smtprelay.web.page import page_routes
from smtprelay.web.router import ApiRouter, Endpoint

#: Makes the routes of each part.
Parts = Mapping[str, Callable[[Sources], Sequence[Endpoint]]]

#: What ``serve`` may name.
PARTS: Final[Parts] = {
    "health": health_routes,
    "metrics": metrics_routes,
    "api": api_routes,
    "dashboard": page_routes,
}


class NamelessRequest(Request):
    """A request whose answer does not tell which version of Twisted serves it."""

    def render(self, resrc: IResource) -> None:
        """Answer."""
        self.responseHeaders.setRawHeaders(b"server", [b"smtprelay"])
        super().render(resrc)


class _SiteRequest(NamelessRequest):
    _excessive = False

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        # Twisted collects the whole body before anybody sees the request.
        assert self.content is not None  # made by gotLength
        if self._excessive or self.content.tell() + len(data) > MAX_BODY:
            self._excessive = True
            self.channel.loseConnection()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        if not self._excessive:  # its end may have come in the same read
            super().process()


class _Site(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """Write nothing: the router tells ``http.request``, without the query and its secrets."""


def build_site(serve: Collection[str], sources: Sources, access: Access, parts: Parts = PARTS) -> Site:
    """
    Return the factory for one endpoint.

    :param serve: of ``parts``; anything else is a ``KeyError``.
    """
    routes = [route for part in serve for route in parts[part](sources)]
    clock: IReactorTime = sources.clock
    site = _Site(ApiRouter(routes, access, sources.events), requestFactory=_SiteRequest, reactor=clock)
    site.displayTracebacks = False
    return site
