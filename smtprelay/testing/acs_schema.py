"""
What the send request of Azure Communication Services may look like, strictly.

The real service refuses more than its reference says, and a relay that is sloppy
finds out in production. So the fake takes nothing that the schema does not name, no
type of file that is not documented, and nothing beyond limits that no honest mail comes near.
Its sentences are those of the service, as its users report them.
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

MAX_RECIPIENTS: Final = 50
MAX_REPLIES: Final = 10
MAX_HEADERS: Final = 50
MAX_HEADER_NAME: Final = 76
MAX_HEADER: Final = 2000
MAX_SUBJECT: Final = 998
MAX_NAME: Final = 256
MAX_FILE_NAME: Final = 255
MAX_CONTENT_ID: Final = 256

#: A header that orders the service to leave out a file that it does not take.
SUPPRESS_INVALID: Final = "x-ms-acsemail-suppress-invalid-attachment"

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?=.{{3,254}}\Z)(?=[^@]{{1,64}}@){_ATOM}(\.{_ATOM})*@({_LABEL}\.)+(?![0-9]+\Z){_LABEL}"
)
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
_CONTENT_ID: Final = re.compile(r"[!-;=?-~]+")
_FILE_NAME: Final = re.compile(r'[^\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff]+')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

#: What the service writes itself, and what would tell of those whom the mail does not name.
_FORBIDDEN_HEADERS: Final = re.compile(
    r"(from|sender|to|cc|bcc|reply-to|subject|date|mime-version|return-path|received|dkim-signature"
    r"|(x-)?(bcc|original-recipient|(apparently|delivered|envelope|forwarded|original|rcpt)-to)|content-.*|arc-.*|resent-.*)",
    re.IGNORECASE,
)

#: The documented types of files, with the extensions that belong to them.
_TYPES: Final = {
    "application/epub+zip": "epub",
    "application/gzip": "gz",
    "application/json": "json",
    "application/msword": "doc",
    "application/ogg": "ogx",
    "application/onenote": "one",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-excel.sheet.binary.macroEnabled.12": "xlsb",
    "application/vnd.ms-excel.sheet.macroEnabled.12": "xlsm",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-outlook": "rpmsg",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-powerpoint.presentation.macroEnabled.12": "pptm",
    "application/vnd.ms-powerpoint.slideshow.macroEnabled.12": "ppsm",
    "application/vnd.ms-publisher": "pub",
    "application/vnd.ms-word.document.macroEnabled.12": "docm",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow": "ppsx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.visio": "vsd",
    "application/x-7z-compressed": "7z",
    "application/x-rar-compressed": "rar",
    "application/x-tar": "tar",
    "application/xml": "xml",
    "application/zip": "zip",
    "audio/aac": "aac",
    "audio/midi": "mid midi",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-ms-wma": "wma",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/jpeg": "jpg jpeg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/plain": "txt",
    "text/xml": "xml",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/ogg": "ogv",
    "video/webm": "webm",
    "video/x-ms-wmv": "wmv",
    "video/x-msvideo": "avi",
}
_EXTENSIONS: Final = frozenset(" ".join(_TYPES.values()).split())
#: Not in the list, but what programs send that know no better.
_ANY: Final = "application/octet-stream"

SchemaCheck = Callable[[Any, str], None]


class SchemaError(ValueError):
    """
    A request is not as the reference says.

    :ivar code: the service's error code.
    :ivar addresses: the addresses that are to blame, by their place in the request.
    """

    def __init__(
        self, message: str, code: str = "BadRequest", addresses: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.addresses = addresses or {}

    def naming(self, how: str) -> Mapping[str, object]:
        """
        Return what of an error object tells who is at fault.

        :param how: the first of them in the ``"message"``, by his ``"place"`` there, or as the ``"target"``;
            all of them in ``"details"``; or ``"nothing"``.
        """
        if not self.addresses or how == "nothing":
            return {}
        place, address = next(iter(self.addresses.items()))
        if how == "message":
            return {"message": f"{self}: '{address}'."}
        if how == "place":
            return {"message": str(_wrong(place))}
        if how == "target":
            return {"target": place}
        details = [{"code": self.code, "message": f"{each} is invalid"} for each in self.addresses.values()]
        return {"details": details}


def check_send(request: object) -> None:
    """Raise :class:`SchemaError` unless ``request``, decoded from JSON, is a good send request."""
    _REQUEST(request, "")
    assert isinstance(request, dict)
    content, recipients = request["content"], request["recipients"]
    if not (content.get("plainText") or content.get("html")):
        raise _wrong("content")
    if not recipients["to"]:
        raise _wrong("recipients.to")
    count = sum(len(recipients.get(kind, ())) for kind in ("to", "cc", "bcc"))
    if count > MAX_RECIPIENTS:
        raise SchemaError(f"recipients: {count}, at most {MAX_RECIPIENTS} are allowed", "TooManyRecipients")
    if len(request.get("replyTo", ())) > MAX_REPLIES:
        raise _wrong("replyTo")
    bad = {place: address for place, address in addresses_of(request) if not _ADDRESS.fullmatch(address)}
    if "senderAddress" in bad:
        raise _wrong("senderAddress")
    if bad:
        raise SchemaError("Invalid format for email address", "InvalidEmailAddress", bad)
    parts = request.get("attachments", ())
    ids = [part["contentId"].lower() for part in parts if part.get("contentId")]
    if len(ids) != len(set(ids)):
        raise SchemaError("attachments: duplicate contentId")
    check_files(request, ())


def obeyed(request: Any, refuses_files: Collection[str]) -> Any:
    """
    Return a decoded request as the service goes on with it: without invalid files, if that is ordered.

    :param refuses_files: extensions that it does not take, beside those of :func:`check_send`.
    """
    headers = request.get("headers") if isinstance(request, dict) else None
    if not isinstance(headers, dict) or headers.get(SUPPRESS_INVALID) != "true":
        return request
    rest = {name: text for name, text in headers.items() if name != SUPPRESS_INVALID}
    files = [part for part in request.get("attachments", ()) if not _is_wrong_type(part, refuses_files)]
    return {**request, "headers": rest, "attachments": files}


def check_files(request: Mapping[str, Any], refuses_files: Collection[str]) -> None:
    """Raise :class:`SchemaError` for a file of a type that is not taken."""
    for number, part in enumerate(request.get("attachments", ())):
        if _is_wrong_type(part, refuses_files):
            raise _wrong(f"attachments[{number}].contentType")


def _is_wrong_type(part: Mapping[str, Any], refuses_files: Collection[str]) -> bool:
    extension = part["name"].rpartition(".")[2].lower()
    known = extension in _EXTENSIONS and extension not in _TYPES.get(part["contentType"], "").split()
    return known or extension in refuses_files


def addresses_of(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the place and the text of each address of a request."""
    yield "senderAddress", request["senderAddress"]
    lists = {f"recipients.{kind}": people for kind, people in request["recipients"].items()}
    for name, people in {**lists, "replyTo": request.get("replyTo", ())}.items():
        for number, who in enumerate(people):
            yield f"{name}[{number}].address", who["address"]


def _wrong(where: str) -> SchemaError:
    return SchemaError(f"Request body validation error. See property '{where}'")


def _value(kind: type, is_good: Callable[[Any], object] = lambda _: True) -> SchemaCheck:
    def check(value: object, where: str) -> None:
        if not isinstance(value, kind) or not is_good(value):
            raise _wrong(where)

    return check


def _line(longest: int, least: int = 1) -> SchemaCheck:
    return _value(str, lambda text: least <= len(text) <= longest and not _CONTROL.search(text))


def _matching(pattern: re.Pattern[str], longest: int) -> SchemaCheck:
    return _value(str, lambda text: len(text) <= longest and pattern.fullmatch(text))


_string: Final = _value(str)
_text: Final = _value(str, lambda text: not _CONTROL_IN_TEXT.search(text))
_content_type: Final = _value(str, lambda text: text in _TYPES or text == _ANY)


def _base64(value: object, where: str) -> None:
    _string(value, where)
    try:
        content = base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raise SchemaError("Request body validation error. ContentBytes invalid. Should be base64.") from None
    if not content:
        raise _wrong(where)


def _are_headers(headers: Mapping[str, object]) -> bool:
    names = {name.lower() for name in headers}
    return len(headers) == len(names) <= MAX_HEADERS and all(
        _HEADER_NAME.fullmatch(name)
        and len(name) <= MAX_HEADER_NAME
        and not _FORBIDDEN_HEADERS.fullmatch(name)
        and isinstance(text, str)
        and text.strip()
        and text.isascii()
        and text.isprintable()
        and len(text) <= MAX_HEADER
        for name, text in headers.items()
    )


def _array(item: SchemaCheck) -> SchemaCheck:
    def check(value: object, where: str) -> None:
        if not isinstance(value, list):
            raise _wrong(where)
        for number, element in enumerate(value):
            item(element, f"{where}[{number}]")

    return check


def _object(required: Mapping[str, SchemaCheck], optional: Mapping[str, SchemaCheck]) -> SchemaCheck:
    fields = {**required, **optional}

    def check(value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where)
        for name in {**required, **value}:
            place = f"{where}.{name}".lstrip(".")
            if name not in value or name not in fields:
                raise _wrong(place)
            fields[name](value[name], place)

    return check


_MAILBOXES: Final = _array(_object({"address": _string}, {"displayName": _line(MAX_NAME, 0)}))
_REQUEST: Final = _object(
    {
        "senderAddress": _string,
        "content": _object({"subject": _line(MAX_SUBJECT)}, {"plainText": _text, "html": _text}),
        "recipients": _object({"to": _MAILBOXES}, {"cc": _MAILBOXES, "bcc": _MAILBOXES}),
    },
    {
        "replyTo": _MAILBOXES,
        "headers": _value(dict, _are_headers),
        "attachments": _array(
            _object(
                {
                    "name": _matching(_FILE_NAME, MAX_FILE_NAME),
                    "contentType": _content_type,
                    "contentInBase64": _base64,
                },
                {"contentId": _matching(_CONTENT_ID, MAX_CONTENT_ID)},
            )
        ),
        "userEngagementTrackingDisabled": _value(bool),
    },
)
