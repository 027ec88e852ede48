"""
A faithful fake of Resend's API for single mails, as a :mod:`twisted.web` resource.

It takes the documented fields and no others, remembers the idempotency key of each mail for 24 hours, and is
as strict as the real one where that is known. What goes wrong in the real world is scripted::

    fake = FakeResend(reactor, ["re_secret"], ["mail.example.com"])
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.script(ResendRefuses(429, "rate_limit_exceeded", "Too many requests."))
    ...
    [mail] = fake.mails

Resend's own SDK works against it, unchanged.
"""

import base64
import binascii
import json
import mimetypes
import re
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

MAX_RECIPIENTS: Final = 50
MAX_SIZE: Final = 40_000_000
MAX_CONTENT_ID: Final = 127
#: Seconds for which a key is remembered.
REMEMBERED: Final = 86_400.0

_MAILBOX: Final = re.compile(
    r"""(?:[^<>()\[\]:;@\\,"\x00-\x1f]+<)?([^\s<>@,;"]+@(?:[a-z0-9-]+\.)+[a-z0-9-]+)>?""", re.IGNORECASE
)
_FORMAT: Final = (
    "The email address needs to follow the `email@example.com` or `Name <email@example.com>` format."
)
_FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("from", "subject", "text", "html", "scheduled_at"), str),
    **dict.fromkeys(("to", "cc", "bcc", "reply_to", "attachments", "tags"), list),
    "headers": dict,
}
_FILE_FIELDS: Final = frozenset({"filename", "content", "path", "content_type", "content_id"})


@frozen
class ResendRefuses(Exception):  # noqa: N818 -- what it does
    """Refuse the request so."""

    status: int
    name: str
    message: str = "as scripted"
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class ResendLostConnection:
    """Take the mail, and close the connection instead of answering."""


@frozen
class ResendMail:
    """
    A mail that was accepted, at ``time``.

    :ivar key: its idempotency key, ``""`` if it had none.
    :ivar sent: ``False`` if Resend loses it without a word: a file without a name, or with another type than
        its name's.
    """

    id: str
    key: str
    request: Mapping[str, Any] = field(repr=False)
    time: float
    sent: bool = True

    @property
    def recipients(self) -> Sequence[str]:
        """The addresses that it goes to."""
        people = [each for kind in ("to", "cc", "bcc") for each in self.request.get(kind, ())]
        return [match[1] for match in map(_MAILBOX.fullmatch, people) if match]


class FakeResend(Resource):
    """
    The API.

    :ivar keys: API keys that may send.
    :ivar sending_keys: those of them that may do nothing else.
    :ivar domains: verified domains; ``pending``: those that are not yet.
    :ivar mails: what was accepted, each key once.
    :ivar refuses: well-formed addresses that it takes for no address.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, keys: Iterable[str], domains: Iterable[str]) -> None:
        super().__init__()
        self.keys = set(keys)
        self.sending_keys: set[str] = set()
        self.domains = set(domains)
        self.pending: set[str] = set()
        self.refuses: set[str] = set()
        self.mails: list[ResendMail] = []
        self._clock = clock
        self._script: deque[ResendRefuses | ResendLostConnection | None] = deque()

    def script(self, *acts: ResendRefuses | ResendLostConnection | None) -> None:
        """Have this happen to the next requests that are good; ``None`` is as usual."""
        self._script.extend(acts)

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        request.setHeader("Content-Type", "application/json")
        request.setHeader("ratelimit-limit", "5")
        try:
            answer = self._answer(request)
        except ResendRefuses as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
            answer = {"statusCode": refusal.status, "name": refusal.name, "message": refusal.message}
        if answer is None:
            request.loseConnection()
            return NOT_DONE_YET
        return json.dumps(answer).encode()

    def _answer(self, request: Request) -> Mapping[str, Any] | None:
        authorization = request.getHeader("Authorization") or ""
        self._check_key(authorization)
        if request.path == b"/domains" and request.method == b"GET":
            return self._listed(authorization)
        if request.path != b"/emails":
            raise ResendRefuses(404, "not_found", "The requested endpoint does not exist.")
        if request.method != b"POST":
            raise ResendRefuses(405, "method_not_allowed", "Method is not allowed for the requested path.")
        content = request.content.read() if request.content else b""
        if len(content) > MAX_SIZE:
            raise ResendRefuses(413, "validation_error", "Email size exceeds the maximum of 40MB.")
        try:
            mail = json.loads(content)
        except ValueError:
            raise ResendRefuses(422, "validation_error", "The request body is no JSON.") from None
        self._check(mail)
        act = self._script.popleft() if self._script else None
        if isinstance(act, ResendRefuses):
            raise act
        accepted = self._accepted(mail, request.getHeader("Idempotency-Key") or "")
        return None if act is not None else {"id": accepted.id}

    def _listed(self, authorization: str) -> Mapping[str, Any]:
        if authorization.removeprefix("Bearer ") in self.sending_keys:
            text = "This API key is restricted to only send emails"
            raise ResendRefuses(401, "restricted_api_key", text)
        states = {**dict.fromkeys(self.domains, "verified"), **dict.fromkeys(self.pending, "pending")}
        data = [{"id": name, "name": name, "status": state} for name, state in sorted(states.items())]
        return {"object": "list", "has_more": False, "data": data}

    def _accepted(self, mail: Mapping[str, Any], key: str) -> ResendMail:
        if len(key) > 256:  # noqa: PLR2004 -- it is in the text
            text = "Idempotency keys, if present, must have between 1 and 256 characters."
            raise ResendRefuses(400, "invalid_idempotency_key", text)
        now = self._clock.seconds()
        for known in self.mails:
            if key and known.key == key and now - known.time < REMEMBERED:
                if known.request != mail:
                    text = "Same idempotency key used with a different request payload."
                    raise ResendRefuses(409, "invalid_idempotent_request", text)
                return known
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{len(self.mails)} {key}")
        accepted = ResendMail(str(name), key, mail, now, all(map(_is_sent, mail.get("attachments", ()))))
        self.mails.append(accepted)
        return accepted

    def _check_key(self, authorization: str) -> None:
        if not authorization:
            raise ResendRefuses(401, "missing_api_key", "Missing API Key")
        if not authorization.startswith("Bearer re_"):
            raise ResendRefuses(400, "validation_error", "API key is invalid")
        if authorization.removeprefix("Bearer ") not in self.keys:
            raise ResendRefuses(401, "validation_error", "API key is invalid")

    def _check(self, mail: Any) -> None:
        for name in ("from", "to", "subject"):
            if not isinstance(mail, dict) or name not in mail:
                raise ResendRefuses(422, "missing_required_field", f"Missing `{name}` field.")
        for name, value in mail.items():
            if not isinstance(value, _FIELDS.get(name, ())):
                raise ResendRefuses(422, "validation_error", f"Invalid `{name}` field.")
        if not (mail.get("text") or mail.get("html")):
            raise ResendRefuses(422, "missing_required_field", "Missing `html` or `text` field.")
        for name in ("to", "cc", "bcc", "reply_to"):
            self._check_people(name, mail.get(name, ["a@b.example"]))
        _check_headers(mail.get("headers", {}))
        for each in mail.get("attachments", ()):
            _check_file(each)
        [sender] = self._check_people("from", [mail["from"]])
        domain = sender.rpartition("@")[2].lower()
        if domain not in self.domains:
            text = f"The {domain} domain is not verified. Please, add and verify your domain."
            raise ResendRefuses(403, "validation_error", text)

    def _check_people(self, name: str, people: Sequence[Any]) -> Sequence[str]:
        matches = [_MAILBOX.fullmatch(each) if isinstance(each, str) else None for each in people]
        addresses = [match[1] for match in matches if match and match[1] not in self.refuses]
        if len(addresses) != len(people):
            raise ResendRefuses(422, "validation_error", f"Invalid `{name}` field. {_FORMAT}")
        if not 1 <= len(people) <= MAX_RECIPIENTS:
            raise ResendRefuses(422, "validation_error", f"The `{name}` field takes 1 to {MAX_RECIPIENTS}.")
        return addresses


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if not (isinstance(value, str) and value.isprintable() and re.fullmatch("[!-9;-~]+", name)):
            raise ResendRefuses(422, "validation_error", "Invalid `headers` field.")


def _check_file(file: Mapping[str, Any]) -> None:
    problems = [*_problems(file)]
    if problems:
        raise ResendRefuses(422, "invalid_attachment", problems[0])


def _problems(file: Mapping[str, Any]) -> Iterator[str]:
    if set(file) - _FILE_FIELDS:
        yield "Attachment has a field that is not known."
    if not (file.get("content") or file.get("path")):
        yield "Attachment must have either a `content` or `path`."
    if len(file.get("content_id", "")) > MAX_CONTENT_ID:
        yield "The `content_id` must be less than 128 characters."
    content = file.get("content", "")
    try:
        bytes(content) if isinstance(content, list) else base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        yield "The `content` is no base64."


def _is_sent(file: Mapping[str, Any]) -> bool:
    """Return whether the mail with this file is sent; else it stays queued for ever."""
    name, given = file.get("filename") or "", file.get("content_type")
    usual = mimetypes.guess_type(name)[0]
    return bool(name) and (given is None or usual is None or usual == given)
