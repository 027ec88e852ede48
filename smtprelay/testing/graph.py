"""
A faithful fake of what Microsoft Graph has for sending mail, as a :mod:`twisted.web` resource.

It sends to whom the header of a mail names, as the real one does, and keeps each mail as it got it. It is as
strict as the real one where that is known. What goes wrong in the real world is scripted, by mailbox or by
request::

    fake = FakeGraph(reactor, lambda token: token == "secret", ["ann@example.com"])
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.mailboxes["ann@example.com"].refusal = GraphRefuses(403, "ErrorAccessDenied", "Access is denied.")
    fake.script(None, GraphLost(), GraphSilence())
    ...
    [mail] = fake.mails

Microsoft's own SDK works against it, unchanged.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.testing.graph_mail import (
    GraphMail,
    GraphRefuses,
    UploadedFile,
    file_of,
    mail_from_json,
    mail_from_mime,
    message_json,
)

#: Octets of any request, and of a mail that is sent: a larger one is answered with 200 and not sent.
MAX_REQUEST: Final = 4 * 1024 * 1024
MAX_SENT: Final = 2_240_000
#: Octets of a file that is uploaded in ranges, at least.
LEAST_SESSION: Final = 3_000_000

_RANGE: Final = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")
_FILTER: Final = re.compile(r"internetMessageId eq '(.*)'")


@frozen
class GraphLost:
    """
    Close the connection instead of answering.

    :ivar done: do what was asked before.
    """

    done: bool = True


@frozen
class GraphSilence:
    """
    Never answer.

    :ivar headers: send those of an answer, and never its body.
    """

    headers: bool = False


@frozen
class GraphAnswer:
    """Do what was asked, and answer with this JSON."""

    content: Mapping[str, Any]


GraphAct = GraphRefuses | GraphLost | GraphSilence | GraphAnswer | None


@define
class FakeMailbox:
    """
    A mailbox.

    :ivar aliases: the other addresses that it may send from.
    :ivar refusal: what every request for it is answered with.
    :ivar drafts: by their ids.
    """

    address: str
    aliases: set[str] = field(factory=set)
    refusal: GraphAct = None
    drafts: dict[str, GraphMail] = field(factory=dict)


@define
class _UploadSession:
    mailbox: str
    draft: str
    file: UploadedFile
    size: int
    content: bytearray = field(factory=bytearray)


class FakeGraph(Resource):
    """
    Graph, as one application sees it.

    :ivar knows: tells whether a token is valid.
    :ivar mailboxes: by address, in lower case.
    :ivar mails: those that were sent, in order.
    :ivar invalid: recipients that Exchange refuses.
    :ivar asked: method and path of each request, in order.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, knows: Callable[[str], bool], mailboxes: Iterable[str]) -> None:
        super().__init__()
        self.knows = knows
        self.mailboxes = {address.lower(): FakeMailbox(address) for address in mailboxes}
        self.mails: list[GraphMail] = []
        self.invalid: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self._clock = clock
        self._script: deque[GraphAct] = deque()
        self._sessions: dict[str, _UploadSession] = {}
        self._numbers = 0

    def script(self, *acts: GraphAct) -> None:
        """Have this happen to the next requests; ``None`` is as usual."""
        self._script.extend(acts)

    @property
    def drafts(self) -> list[GraphMail]:
        """All that lie in the mailboxes."""
        return [mail for mailbox in self.mailboxes.values() for mail in mailbox.drafts.values()]

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        self.asked.append((request.method.decode(), request.path.decode()))
        known = f"request-{self._number()}"
        request.setHeader("request-id", known)
        request.setHeader("x-ms-ags-diagnostic", '{"ServerInfo":{"DataCenter":"Fake"}}')
        ours = request.getHeader("client-request-id") or known
        if (request.getHeader("return-client-request-id") or "").lower() == "true":
            request.setHeader("client-request-id", ours)
        act = self._script.popleft() if self._script else self._by_mailbox(request)
        if act == GraphSilence(headers=False):
            return NOT_DONE_YET
        if act == GraphLost(done=False):
            return _lost(request)
        try:
            if isinstance(act, GraphRefuses):
                raise act
            status, answer = self._answer(request)
        except GraphRefuses as refusal:
            status, answer = refusal.status, refusal.answer(known, ours, self._clock.seconds())
            for name, value in refusal.headers.items():
                request.setHeader(name, value)
        if isinstance(act, GraphLost):
            return _lost(request)
        request.setResponseCode(status)
        return _written(request, act.content if isinstance(act, GraphAnswer) else answer, act)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _by_mailbox(self, request: Request) -> GraphAct:
        _, _, name = request.path.partition(b"/users/")
        mailbox = self.mailboxes.get(unquote(name.partition(b"/")[0].decode()).lower())
        return None if mailbox is None else mailbox.refusal

    def _answer(self, request: Request) -> tuple[int, Any]:
        content = request.content.read() if request.content else b""
        if len(content) > MAX_REQUEST:
            raise GraphRefuses(413, "RequestEntityTooLarge", "The request content is too large.")
        path = request.path.decode().split("/")[1:]
        if path[0] == "upload":
            return self._upload(request, unquote(path[1]), content)
        scheme, _, token = (request.getHeader("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not self.knows(token):
            raise GraphRefuses(
                401,
                "InvalidAuthenticationToken",
                "Access token validation failure.",
                headers={"WWW-Authenticate": 'Bearer realm="", authorization_uri="https://login.example"'},
            )
        if path[:2] != ["v1.0", "users"] or len(path) < 4:  # noqa: PLR2004 -- a mailbox, and something of it
            raise GraphRefuses(400, "BadRequest", "Resource not found for the segment.")
        mailbox = self.mailboxes.get(unquote(path[2]).lower())
        if mailbox is None:
            raise GraphRefuses(
                404, "ErrorInvalidUser", f"The requested user '{unquote(path[2])}' is invalid."
            )
        way = [request.method.decode(), *("" if n == 1 else part for n, part in enumerate(path[3:]))]
        handler = self._WAYS.get(" ".join(filter(None, way)))
        if handler is None:
            raise GraphRefuses(400, "BadRequest", "Resource not found for the segment.")
        return handler(self, mailbox, unquote(path[4]) if len(path) > 4 else "", request, content)  # noqa: PLR2004

    def _mail(self, mailbox: FakeMailbox, request: Request, content: bytes) -> GraphMail:
        kind = (request.getHeader("Content-Type") or "").partition(";")[0].strip().lower()
        if kind == "text/plain":
            mail = mail_from_mime(mailbox.address, content)
        else:
            # The SDK begins the names of an action's parameters with a capital.
            given = json.loads(content)
            mail = mail_from_json(mailbox.address, given.get("message") or given.get("Message") or given)
        request_id = request.getHeader("client-request-id") or ""
        return evolve(mail, id=f"AAMk{self._number()}=", request_id=request_id, time=self._clock.seconds())

    def _send_mail(self, mailbox: FakeMailbox, _: str, request: Request, content: bytes) -> tuple[int, Any]:
        mail = self._mail(mailbox, request, content)
        if len(mail.raw) > MAX_SENT:
            return 200, None
        self._send(mailbox, mail)
        return 202, None

    def _send(self, mailbox: FakeMailbox, mail: GraphMail) -> None:
        known = {mailbox.address.lower(), *(alias.lower() for alias in mailbox.aliases)}
        if mail.author.lower() not in known:
            text = "does not have the right to send mail on behalf of the specified sending account."
            raise GraphRefuses(403, "ErrorSendAsDenied", f"The user account which was used {text}")
        if not mail.recipients:
            text = "A message can't be sent because it contains no recipients."
            raise GraphRefuses(400, "ErrorInvalidRecipients", text)
        if self.invalid.intersection(mail.recipients):
            raise GraphRefuses(400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
        self.mails.append(mail)

    def _create(self, mailbox: FakeMailbox, _: str, request: Request, content: bytes) -> tuple[int, Any]:
        mail = self._mail(mailbox, request, content)
        mailbox.drafts[mail.id] = mail
        return 201, message_json(mail)

    def _find(self, mailbox: FakeMailbox, _: str, request: Request, __: bytes) -> tuple[int, Any]:
        found = _FILTER.fullmatch((request.args or {}).get(b"$filter", [b""])[0].decode())
        if found is None:
            raise GraphRefuses(400, "ErrorInvalidUrlQueryFilter", "The query filter contains invalid nodes.")
        wanted = found[1].replace("''", "'")
        sent = [(mail, False) for mail in self.mails if mail.mailbox == mailbox.address]
        drafts = [(mail, True) for mail in mailbox.drafts.values()]
        value = [
            message_json(mail, is_draft=is_draft)
            for mail, is_draft in (*drafts, *sent)
            if mail.message_id == wanted
        ]
        return 200, {"value": value}

    def _draft(self, mailbox: FakeMailbox, known: str) -> GraphMail:
        if known not in mailbox.drafts:
            text = "The specified object was not found in the store."
            raise GraphRefuses(404, "ErrorItemNotFound", text)
        return mailbox.drafts[known]

    def _delete(self, mailbox: FakeMailbox, known: str, *_: Any) -> tuple[int, Any]:
        self._draft(mailbox, known)
        del mailbox.drafts[known]
        return 204, None

    def _attach(self, mailbox: FakeMailbox, known: str, _: Request, content: bytes) -> tuple[int, Any]:
        mail, file = self._draft(mailbox, known), file_of(json.loads(content))
        if len(file.content) >= LEAST_SESSION:
            raise GraphRefuses(413, "RequestEntityTooLarge", "The maximum request length supported is 4MB.")
        mailbox.drafts[known] = evolve(mail, files=(*mail.files, file))
        return 201, {"id": f"AAMkFile{self._number()}=", "name": file.name}

    def _begin_upload(
        self, mailbox: FakeMailbox, known: str, request: Request, content: bytes
    ) -> tuple[int, Any]:
        self._draft(mailbox, known)
        item = json.loads(content)["AttachmentItem"]
        if item["size"] < LEAST_SESSION:
            code = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"
            raise GraphRefuses(400, code, "Attachment size must be greater than the minimum size.")
        name = f"session{self._number()}"
        self._sessions[name] = _UploadSession(mailbox.address.lower(), known, file_of(item), item["size"])
        host = request.getHeader("Host") or "127.0.0.1"
        scheme = "https" if request.isSecure() else "http"
        return 201, {
            "uploadUrl": f"{scheme}://{host}/upload/{name}?authtoken=secret-of-{name}",
            "expirationDateTime": "2036-01-01T00:00:00Z",
            "nextExpectedRanges": ["0-"],
        }

    def _upload(self, request: Request, name: str, content: bytes) -> tuple[int, Any]:
        session = self._sessions.get(name)
        if session is None or (request.args or {}).get(b"authtoken") != [f"secret-of-{name}".encode()]:
            raise GraphRefuses(404, "ErrorItemNotFound", "The upload session was not found.")
        if request.getHeader("Authorization"):
            raise GraphRefuses(401, "InvalidAuthenticationToken", "The upload URL takes no token.")
        if request.method == b"DELETE":
            del self._sessions[name]
            return 204, None
        if request.method == b"PUT":
            return self._put(request, session, name, content)
        return 200, {"nextExpectedRanges": [f"{len(session.content)}"]}

    def _put(self, request: Request, session: _UploadSession, name: str, content: bytes) -> tuple[int, Any]:
        found = _RANGE.fullmatch(request.getHeader("Content-Range") or "")
        first, last, size = map(int, found.groups()) if found else (-1, -1, -1)
        if (first, size) != (len(session.content), session.size) or last - first + 1 != len(content):
            raise GraphRefuses(416, "InvalidContentRange", "The Content-Range header is not valid.")
        session.content += content
        if len(session.content) < size:
            return 200, {
                "ExpirationDateTime": "2036-01-01T00:00:00Z",
                "nextExpectedRanges": [f"{len(session.content)}"],
            }
        mailbox = self.mailboxes[session.mailbox]
        mail = self._draft(mailbox, session.draft)
        file = evolve(session.file, content=bytes(session.content))
        mailbox.drafts[session.draft] = evolve(mail, files=(*mail.files, file))
        del self._sessions[name]
        request.setHeader("Location", f"{request.path.decode()}/attachment")
        return 201, None

    def _send_draft(self, mailbox: FakeMailbox, known: str, request: Request, _: bytes) -> tuple[int, Any]:
        mail = self._draft(mailbox, known)
        self._send(mailbox, evolve(mail, request_id=request.getHeader("client-request-id") or ""))
        del mailbox.drafts[known]
        return 202, None

    _WAYS: Final[Mapping[str, Callable[..., tuple[int, Any]]]] = {
        "POST sendMail": _send_mail,
        "POST messages": _create,
        "GET messages": _find,
        "DELETE messages": _delete,
        "POST messages attachments": _attach,
        "POST messages attachments createUploadSession": _begin_upload,
        "POST messages send": _send_draft,
    }


def _lost(request: Request) -> int:
    request.loseConnection()
    return NOT_DONE_YET


def _written(request: Request, answer: Any, act: GraphAct) -> bytes | int:
    body = b"" if answer is None else json.dumps(answer).encode()
    if body:
        request.setHeader("Content-Type", "application/json")
    if not isinstance(act, GraphSilence):
        return body
    request.setHeader("Content-Length", str(len(body) + 2))
    request.write(body or b"x")
    return NOT_DONE_YET
