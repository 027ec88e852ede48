"""
The page: static files that live on the API.

They are read once. Anybody may load them, under a known Host: they hold nothing, and
the page has to be there to ask for a token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from smtprelay.web.context import Sources
from smtprelay.web.messages import ApiRequest, ApiResponse
from smtprelay.web.router import Endpoint

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/show.js": ("show.js", "text/javascript"),
    "/buttons.js": ("buttons.js", "text/javascript"),
    "/search.js": ("search.js", "text/javascript"),
    "/source.js": ("source.js", "text/javascript"),
    "/unread.js": ("unread.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


def page_routes(_sources: Sources) -> Sequence[Endpoint]:
    """Return the page's files."""
    return [_static(path, name, kind) for path, (name, kind) in _FILES.items()]


def _static(path: str, name: str, kind: str) -> Endpoint:
    answer = ApiResponse(
        body=(Path(__file__).parent / "static" / name).read_bytes(),
        type=f"{kind}; charset=utf-8",
        headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"},
    )

    async def send(_asked: ApiRequest) -> ApiResponse:
        return answer

    return Endpoint("GET", path, send, "visitor")
