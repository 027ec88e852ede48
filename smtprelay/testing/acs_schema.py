"""
What the send request of Azure Communication Services may look like, strictly.

The real service refuses more than its reference says, and a relay that is sloppy
finds out in production. So the fake takes nothing that the schema does not name.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_RECIPIENTS: Final = 50

_ADDRESS: Final = re.compile(r"[^@\s<>,;]+@[^@\s<>,;.]+(\.[^@\s<>,;.]+)*")
_CONTENT_TYPE: Final = re.compile(r"[\w.+-]+/[\w.+-]+(;.*)?")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")

Check = Callable[[Any, str], None]


class SchemaError(ValueError):
    """A request is not as the reference says. ``code`` is the service's error code."""

    def __init__(self, message: str, code: str = "BadRequest") -> None:
        super().__init__(message)
        self.code = code


def check_send(request: object) -> None:
    """Raise :class:`SchemaError` unless ``request``, decoded from JSON, is a good send request."""
    _REQUEST(request, "request")
    assert isinstance(request, dict)
    content, recipients = request["content"], request["recipients"]
    if not (content.get("plainText") or content.get("html")):
        raise SchemaError("content: plainText or html is required")
    if not recipients["to"]:
        raise SchemaError("recipients.to: at least one recipient is required")
    count = sum(len(recipients.get(kind, ())) for kind in ("to", "cc", "bcc"))
    if count > MAX_RECIPIENTS:
        raise SchemaError(f"recipients: {count}, at most {MAX_RECIPIENTS} are allowed", "TooManyRecipients")
    ids = [part["contentId"] for part in request.get("attachments", ()) if part.get("contentId")]
    if len(ids) != len(set(ids)):
        raise SchemaError("attachments: duplicate contentId")


def _string(value: object, where: str) -> None:
    if not isinstance(value, str):
        raise SchemaError(f"{where}: a string is required")


def _boolean(value: object, where: str) -> None:
    if not isinstance(value, bool):
        raise SchemaError(f"{where}: a boolean is required")


def _filled(value: object, where: str) -> None:
    if not isinstance(value, str) or not value:
        raise SchemaError(f"{where}: a string that is not empty is required")


def _address(value: object, where: str) -> None:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise SchemaError(f"{where}: Invalid format for email address", "InvalidEmailAddress")


def _content_type(value: object, where: str) -> None:
    if not isinstance(value, str) or not _CONTENT_TYPE.fullmatch(value):
        raise SchemaError(f"{where}: no content type")


def _base64(value: object, where: str) -> None:
    _string(value, where)
    try:
        base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raise SchemaError(f"{where}: no base64") from None


def _headers(value: object, where: str) -> None:
    if not isinstance(value, dict):
        raise SchemaError(f"{where}: an object is required")
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise SchemaError(f"{where}: {name!r} is no header name")
        if not isinstance(text, str) or not text.isprintable():
            raise SchemaError(f"{where}.{name}: no header value")


def _array(item: Check) -> Check:
    def check(value: object, where: str) -> None:
        if not isinstance(value, list):
            raise SchemaError(f"{where}: an array is required")
        for number, element in enumerate(value):
            item(element, f"{where}[{number}]")

    return check


def _object(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    fields = {**required, **optional}

    def check(value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise SchemaError(f"{where}: an object is required")
        for name in required:
            if name not in value:
                raise SchemaError(f"{where}.{name}: is required")
        for name, element in value.items():
            if name not in fields:
                raise SchemaError(f"{where}.{name}: is not known")
            fields[name](element, f"{where}.{name}")

    return check


_MAILBOXES: Final = _array(_object({"address": _address}, {"displayName": _string}))
_REQUEST: Final = _object(
    {
        "senderAddress": _address,
        "content": _object({"subject": _filled}, {"plainText": _string, "html": _string}),
        "recipients": _object({"to": _MAILBOXES}, {"cc": _MAILBOXES, "bcc": _MAILBOXES}),
    },
    {
        "replyTo": _MAILBOXES,
        "headers": _headers,
        "attachments": _array(
            _object(
                {"name": _filled, "contentType": _content_type, "contentInBase64": _base64},
                {"contentId": _string},
            )
        ),
        "userEngagementTrackingDisabled": _boolean,
    },
)
