"""
The requests and answers of the API as plain values.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from attrs import evolve, field, frozen
from twisted.web.server import Request

from smtprelay.model.privacy import NO_MASK, PrivacyMask

#: The longest body of a request that is read, bytes.
MAX_BODY = 1024 * 1024


@frozen(kw_only=True)
class ApiResponse:
    """
    An HTTP answer.

    :ivar value: instead of a ``body``: what becomes JSON when the answer leaves.
    :ivar pieces: instead of a ``body`` that is too long for memory.
    :ivar length: of all pieces together, bytes.
    :ivar headers: in addition to the content type and the headers of all answers.
    """

    status: int = 200
    _body: bytes = field(default=b"", alias="body")
    value: Any = None
    pieces: AsyncIterator[bytes] | None = None
    length: int = 0
    type: str = "application/json"
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def body(self) -> bytes:
        """The octets; JSON is made by each call."""
        return self._body if self.value is None else json.dumps(self.value).encode()


def json_answer(value: Any, status: int = 200) -> ApiResponse:
    """Return ``value``, which is not ``None``, as JSON."""
    return ApiResponse(status=status, value=value)


def text_answer(text: str, status: int = 200) -> ApiResponse:
    """Return plain text."""
    return ApiResponse(status=status, body=text.encode(), type="text/plain; charset=utf-8")


class ApiProblem(Exception):  # noqa: N818 -- an answer, as Refused is
    """Raised to answer with ``status`` and ``{"error": sentence}``."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.answer = evolve(json_answer({"error": sentence}, status), headers=headers or {})


@frozen(kw_only=True)
class ApiRequest:
    """
    One request.

    :ivar path: the values of the ``{names}`` in the path of the route.
    :ivar query: all values of each parameter.
    :ivar body: at most :data:`MAX_BODY`.
    :ivar who: the name of the token, or ``"control"`` or ``"local"``; for the record.
    :ivar role: ``""``, ``"viewer"`` or ``"operator"``.
    :ivar secure: it came over TLS.
    :ivar mask: hides what the answer may not show; the router applies it to each ``value``.
    """

    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    accept: str = ""
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    who: str = ""
    role: str = ""
    secure: bool = False
    mask: PrivacyMask = NO_MASK

    @classmethod
    def of(cls, request: Request, path: Mapping[str, str]) -> "ApiRequest":
        """Read ``request``, except who it is from."""
        _, _, query = request.uri.partition(b"?")
        return cls(
            path=path,
            query=parse_qs(query.decode("ascii", "replace"), keep_blank_values=True),
            accept=request.getHeader("accept") or "",
            content_type=request.getHeader("content-type") or "",
            body=request.content.read() if request.content else b"",
            secure=request.isSecure(),
        )

    def signed(self, claimed: str) -> str:
        """Return the name for the record: the client's own over the control socket, else the token's."""
        if self.who == "control":
            return claimed or self.who
        return f"{self.who} ({claimed})" if claimed else self.who

    def json(self) -> dict[str, Any]:
        """Return the body, which must be a JSON object. Raises :class:`ApiProblem`."""
        if self.content_type.partition(";")[0].strip().lower() != "application/json":
            raise ApiProblem(415, "the body must be JSON: send Content-Type: application/json")
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ApiProblem(400, f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ApiProblem(400, "the body must be a JSON object")
        return value
