"""
The mail that the demo's provider has accepted: the page shows what the recipients got.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from attrs import frozen

from smtprelay.web.api_router import ApiRoute, as_it_is
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, STRINGS, checked

#: For the mail's own document: no script, no form, nothing from the network, no origin.
MAIL_POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

# Elements for which a browser connects before it applies the policy. In HTML nothing may be between "<"
# and the name, so this finds them all.
_CONNECTING = re.compile(r"<(?=(?:link|i?frame|frameset|fencedframe|portal|object|embed)\b)", re.IGNORECASE)

_CID = re.compile(r"cid:([^\"'\s)>]+)", re.IGNORECASE)

#: The most characters of a text that are shown, and octets of the images in it.
LONGEST_TEXT = 256 * 1024
MOST_IMAGES = 4 * 1024 * 1024


@frozen
class CapturedAttachment:
    """
    An attachment or inline image.

    :ivar type: its media type, as the provider got it.
    :ivar content_id: without angle brackets; ``""`` if the HTML does not refer to it.
    """

    name: str
    type: str
    content: bytes
    content_id: str = ""


@frozen(kw_only=True)
class CapturedMessage:
    """
    A mail as the provider has it.

    :ivar id: the provider's.
    :ivar message: the id in the client's 250; ``""`` if it is not known.
    :ivar received: when the provider accepted it, seconds since the epoch.
    :ivar size: of the message as the relay stored it, bytes; 0 if it is not known.
    """

    id: str
    message: str = ""
    received: float
    sender: str
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    subject: str = ""
    headers: Sequence[tuple[str, str]] = ()
    text: str = ""
    html: str | None = None
    attachments: Sequence[CapturedAttachment] = ()
    size: int = 0

    @property
    def recipients(self) -> Sequence[str]:
        """All recipients."""
        return (*self.to, *self.cc, *self.bcc)


class CapturedMail(Protocol):
    """The mail that a provider has accepted and still has."""

    def list(self) -> Sequence[CapturedMessage]:
        """Return the mails, newest first."""

    def get(self, id: str) -> CapturedMessage | None:  # noqa: A002
        """Return the mail with this ``id`` or ``message``, or ``None``."""

    def delete(self, ids: Iterable[str]) -> int:
        """Remove the mails with these ids of the provider; return how many were removed."""


def captured_mail_routes(captured: CapturedMail) -> Sequence[ApiRoute]:
    """Return the routes under ``/api/v1/captured`` that show ``captured``."""

    def found(request: ApiRequest) -> CapturedMessage:
        mail = captured.get(request.path["id"])
        if mail is None:
            raise ApiProblem(404, f"no captured mail has the id {request.path['id']!r}")
        return mail

    async def listing(_request: ApiRequest) -> ApiResponse:
        return json_answer({"mails": [_line(mail) for mail in captured.list()]})

    async def one(request: ApiRequest) -> ApiResponse:
        return json_answer(_whole(found(request)))

    async def html(request: ApiRequest) -> ApiResponse:
        return _document(found(request))

    async def attachment(request: ApiRequest) -> ApiResponse:
        return _download(found(request), request.path["n"])

    async def delete(request: ApiRequest) -> ApiResponse:
        wanted = checked(request.json(), {"ids": STRINGS, "everything": FLAG})
        if bool(wanted.get("ids")) == bool(wanted.get("everything")):
            raise ApiProblem(400, "give the ids of captured mails, or everything: true")
        ids = [mail.id for mail in captured.list()] if wanted.get("everything") else wanted["ids"]
        return json_answer({"count": captured.delete(ids)})

    return (
        ApiRoute("GET", "/api/v1/captured", listing, masking=as_it_is),
        ApiRoute("POST", "/api/v1/captured/delete", delete, "operator"),
        ApiRoute("GET", "/api/v1/captured/{id}", one, "operator", masking=as_it_is),
        ApiRoute("GET", "/api/v1/captured/{id}/html", html, "operator", masking=as_it_is),
        ApiRoute("GET", "/api/v1/captured/{id}/attachments/{n}", attachment, "operator", masking=as_it_is),
    )


def _line(mail: CapturedMessage) -> dict[str, Any]:
    return {
        "id": mail.id,
        "message": mail.message,
        "received": mail.received,
        "sender": mail.sender,
        "reply_to": [value for name, value in mail.headers if name.lower() == "reply-to"],
        "recipients": list(mail.recipients),
        "subject": mail.subject,
        "size": mail.size,
        "attachments": len(mail.attachments),
    }


def _whole(mail: CapturedMessage) -> dict[str, Any]:
    return {
        **_line(mail),
        "to": list(mail.to),
        "cc": list(mail.cc),
        "bcc": list(mail.bcc),
        "headers": [list(header) for header in mail.headers],
        "text": _shown(mail.text),
        "html": None if mail.html is None else _shown(mail.html),
        "attachments": [
            {"name": part.name, "type": part.type, "size": len(part.content), "content_id": part.content_id}
            for part in mail.attachments
        ],
    }


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _document(mail: CapturedMessage) -> ApiResponse:
    if mail.html is None:
        raise ApiProblem(404, "this mail has no HTML")
    images = {part.content_id: part for part in mail.attachments if part.content_id}
    room = MOST_IMAGES

    def inline(found: re.Match[str]) -> str:
        nonlocal room
        image = images.get(found[1])
        if image is None or not re.fullmatch(r"image/[\w.+-]+", image.type) or len(image.content) > room:
            return found[0]
        room -= len(image.content)
        return f"data:{image.type};base64,{base64.b64encode(image.content).decode()}"

    harmless = _CONNECTING.sub("<no-", _shown(mail.html))
    return ApiResponse(
        body=_CID.sub(inline, harmless).encode("utf-8", "replace"),
        type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": MAIL_POLICY},
    )


def _download(mail: CapturedMessage, number: str) -> ApiResponse:
    if not number.isascii() or not number.isdigit() or int(number[:6]) >= len(mail.attachments):
        raise ApiProblem(404, f"this mail has no attachment {number}")
    part = mail.attachments[int(number[:6])]
    # RFC 6266: the name in UTF-8, percent-encoded, so that it cannot leave its parameter.
    disposition = f"attachment; filename*=UTF-8''{quote(part.name or 'attachment', safe='')}"
    return ApiResponse(
        body=part.content, type="application/octet-stream", headers={"Content-Disposition": disposition}
    )
