"""
A faithful fake of Mailgun's API for mail in MIME, as a :mod:`twisted.web` resource.

It reads a form as RFC 7578 has it, keeps each mail octet for octet, and is as strict as the real one where
that is known. What goes wrong in the real world is scripted::

    fake = FakeMailgun(reactor, "secret", ["mg.example.com"])
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.script(MailgunRefuses(420, "recipient limit exceeded, try again after …"))
    ...
    [mail] = fake.mails

Mailgun's own SDK works against it, unchanged.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

MAX_RECIPIENTS: Final = 1000
MAX_SIZE: Final = 25 * 1024 * 1024
MAX_OPTIONS: Final = 16 * 1024

_PATH: Final = re.compile(rb"/v3/([^/]+)/messages\.mime")
_DOMAIN: Final = re.compile(rb"/v4/domains/([^/]+)")
_ADDRESS: Final = re.compile(
    r"(?:[^<>,@]*<)?([!#-'*+/-9=?A-Z^-~-]+(?:\.[!#-'*+/-9=?A-Z^-~-]+)*@[\w.-]+\.\w+)>?"
)
_NAME: Final = re.compile(rb'form-data;.*?\bname="([^"]*)"', re.IGNORECASE)
_FILE: Final = re.compile(rb'\bfilename="', re.IGNORECASE)
_COMMAND: Final = re.compile(r"^(X-Mailgun-[\w-]+):[ \t]*(.*?)\r?$", re.MULTILINE | re.IGNORECASE)


@frozen
class MailgunRefuses(Exception):  # noqa: N818 -- what it does
    """Refuse the request so; ``body`` instead of the usual JSON with the message."""

    status: int
    message: str = "as scripted"
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | None = None


@frozen
class MailgunLostConnection:
    """Take the mail, and close the connection instead of answering."""


@frozen
class MailgunMail:
    """
    A mail that was accepted, at ``time``.

    :ivar options: the fields ``o:…``, ``v:…`` and ``h:…`` of the form, and ``X-Mailgun-…`` of the mail.
    """

    id: str
    domain: str
    recipients: Sequence[str]
    time: float
    raw: bytes = field(repr=False)
    options: Mapping[str, str] = field(factory=dict)


class FakeMailgun(Resource):
    """
    The API of one region.

    :ivar key: the account's API key.
    :ivar sending_key: a key that may send, and nothing else.
    :ivar domains: those that may send.
    :ivar records: by domain, the records for sending that ``GET /v4/domains/NAME`` lists.
    :ivar authorized: the only recipients that a domain for tests sends to; ``None``: it is no such domain.
    :ivar asked: how often a key was shown.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, key: str, domains: Iterable[str]) -> None:
        super().__init__()
        self.key = key
        self.sending_key = ""
        self.domains = set(domains)
        self.records: dict[str, Sequence[Mapping[str, str]]] = {}
        self.authorized: set[str] | None = None
        self.mails: list[MailgunMail] = []
        self.asked = 0
        self._clock = clock
        self._script: deque[MailgunRefuses | MailgunLostConnection | None] = deque()

    def script(self, *acts: MailgunRefuses | MailgunLostConnection | None) -> None:
        """Have this happen to the next forms that are good; ``None`` is as usual."""
        self._script.extend(acts)

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        try:
            answer = self._answer(request)
        except MailgunRefuses as refusal:
            request.setResponseCode(refusal.status)
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
            if refusal.body is not None:
                return refusal.body
            answer = {"message": refusal.message}
        if answer is None:
            request.loseConnection()
            return NOT_DONE_YET
        request.setHeader("Content-Type", "application/json")
        return json.dumps(answer).encode()

    def _answer(self, request: Request) -> Mapping[str, Any] | None:
        asked = _DOMAIN.fullmatch(request.path)
        if asked is not None and request.method == b"GET":
            return self._domain(request, asked[1].decode())
        path = _PATH.fullmatch(request.path)
        if path is None or request.method != b"POST":
            raise MailgunRefuses(200, body=b"Mailgun Magnificent API")
        self.asked += 1
        keys = [_basic(each) for each in (self.key, self.sending_key) if each]
        if request.getHeader("Authorization") not in keys:
            raise MailgunRefuses(401, body=b"Forbidden")
        domain = path[1].decode()
        if domain not in self.domains:
            raise MailgunRefuses(404, f"Domain not found: {domain}")
        recipients, raw, options = self._form(request)
        act = self._script.popleft() if self._script else None
        if isinstance(act, MailgunRefuses):
            raise act
        number, now = len(self.mails) + 1, self._clock.seconds()
        mail = MailgunMail(f"<{now:.0f}.{number}@{domain}>", domain, recipients, now, raw, options)
        self.mails.append(mail)
        return None if act is not None else {"id": mail.id, "message": "Queued. Thank you."}

    def _domain(self, request: Request, name: str) -> Mapping[str, Any]:
        if request.getHeader("Authorization") != _basic(self.key):
            raise MailgunRefuses(401, "Invalid private key")
        if name not in self.domains and name not in self.records:
            raise MailgunRefuses(404, "Domain not found")
        domain = {"name": name, "state": "active" if name in self.domains else "unverified"}
        return {"domain": domain, "sending_dns_records": self.records.get(name, ())}

    def _form(self, request: Request) -> tuple[Sequence[str], bytes, Mapping[str, str]]:
        content = request.content.read() if request.content else b""
        parts = _parts(request.getHeader("Content-Type") or "", content)
        recipients = _addresses([value.decode() for name, _, value in parts if name == "to"])
        files = [(is_file, value) for name, is_file, value in parts if name == "message"]
        options = {name: value.decode() for name, _, value in parts if name[:2] in {"o:", "v:", "h:"}}
        if not files:
            raise MailgunRefuses(400, "message parameter is missing")
        [(is_file, raw)] = files
        if not is_file:
            raise MailgunRefuses(400, "'message' parameter is not a file")
        if sum(map(len, options.values())) > MAX_OPTIONS:
            raise MailgunRefuses(400, "Send options are limited to 16 kB total")
        if len(raw) > MAX_SIZE:
            raise MailgunRefuses(413, "Request Entity Too Large")
        head = raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        if not re.search(r"^From:.*@", head, re.MULTILINE | re.IGNORECASE):
            raise MailgunRefuses(400, "from parameter is missing")
        if self.authorized is not None and not self.authorized.issuperset(recipients):
            text = "Sandbox subdomains are for test purposes only. Please add it to authorized recipients."
            raise MailgunRefuses(403, f"Domain is not allowed to send: {text}")
        return recipients, raw, {**options, **dict(_COMMAND.findall(head))}


def _basic(key: str) -> str:
    return f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"


def _addresses(fields: Sequence[str]) -> Sequence[str]:
    """Return the address of each mailbox, once."""
    if not fields:
        raise MailgunRefuses(400, "to parameter is missing")
    found: dict[str, None] = {}
    for mailbox in ",".join(fields).split(","):
        match = _ADDRESS.fullmatch(mailbox.strip())
        if match is None:
            text = "'to' parameter is not a valid address. please check documentation"
            raise MailgunRefuses(400, text)
        found[match[1]] = None
    if len(found) > MAX_RECIPIENTS:
        raise MailgunRefuses(400, f"Too many recipients; max is {MAX_RECIPIENTS}")
    return tuple(found)


def _parts(content_type: str, content: bytes) -> list[tuple[str, bool, bytes]]:
    """Return name, whether it is a file, and octets of each field; none if the form is none."""
    found = re.fullmatch(r'multipart/form-data; boundary="?([^"]+)"?', content_type)
    if found is None:
        return []
    limit = b"\r\n--" + found[1].encode()
    first, *pieces, last = (b"\r\n" + content).split(limit)
    if first or last.strip() != b"--":
        return []
    fields = []
    for piece in pieces:
        head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            fields.append((name[1].decode(), _FILE.search(head) is not None, value))
    return fields
