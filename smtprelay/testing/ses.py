"""
A faithful fake of Amazon SES, both versions of its API, as a :mod:`twisted.web` resource.

Every request must be signed by Signature Version 4, over the raw target and all of the body. It is as strict
as the real one where that is known. What goes wrong in the real world is scripted::

    fake = FakeSes(reactor, {"AKID": "secret"})
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.script(SesRefuses(429, "TooManyRequestsException", "Maximum sending rate exceeded."))
    ...
    [mail] = fake.mails

Amazon's own SDK works against it, unchanged.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

MAX_RECIPIENTS: Final = 50
MAX_SIZES: Final = {"v1": 10_000_000, "v2": 40_000_000}
MAX_SKEW: Final = 300.0

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[\w-]+)/ses/aws4_request, "
    r"SignedHeaders=(?P<signed>[\w;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_IDENTITIES: Final = b"/v2/email/identities/"
_ADDRESS: Final = re.compile(r"[!-?A-~]+@[a-z0-9.-]+\.[a-z0-9-]+", re.IGNORECASE)
_TAG: Final = re.compile(r"[\w-]{1,256}", re.ASCII)
#: Some of those that it takes once.
_ONCE: Final = frozenset(
    {"subject", "from", "sender", "reply-to", "message-id", "date", "dkim-signature", "mime-version"}
    | {"content-type", "content-transfer-encoding", "references", "in-reply-to", "list-unsubscribe"}
)
_V1_CODES: Final = {
    "BadRequestException": "InvalidParameterValue",
    "TooManyRequestsException": "Throttling",
    "AccessDeniedException": "AccessDenied",
}


@frozen
class SesRefuses(Exception):  # noqa: N818 -- what it does
    """Refuse the request so; the code is that of v2, and v1 answers with its own."""

    status: int
    code: str
    message: str = "as scripted"
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class SesLostConnection:
    """Take the mail, and close the connection instead of answering."""


@frozen
class SesMail:
    """A mail that was accepted, at ``time``."""

    id: str
    api: str
    sender: str
    recipients: Sequence[str]
    time: float
    raw: bytes = field(repr=False)
    options: Mapping[str, Any] = field(factory=dict)


@define
class SesQuota:
    """What the account may send; ``production``: to everybody."""

    per_second: float = 14.0
    per_day: float = 50_000.0
    sent: float = 0.0
    enabled: bool = True
    production: bool = True


class FakeSes(Resource):
    """
    The API of one region.

    :ivar keys: secret keys by access key.
    :ivar tokens: session tokens by access key, for those that need one.
    :ivar denied: operations that the policy does not allow: ``send``, ``account``, ``identity``.
    :ivar identities: by name, what ``GetEmailIdentity`` says of those that are verified; ``None``: each
        sender is.
    :ivar asked: the operation of each request, with its access key.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, keys: Mapping[str, str], region: str = "eu-west-1") -> None:
        super().__init__()
        self.keys = dict(keys)
        self.tokens: dict[str, str] = {}
        self.account = SesQuota()
        self.denied: set[str] = set()
        self.identities: dict[str, Mapping[str, Any]] | None = None
        self.mails: list[SesMail] = []
        self.asked: list[tuple[str, str]] = []
        self._clock = clock
        self._region = region
        self._script: deque[SesRefuses | SesLostConnection | None] = deque()

    def script(self, *acts: SesRefuses | SesLostConnection | None) -> None:
        """Have this happen to the next requests that send; ``None`` is as usual."""
        self._script.extend(acts)

    def render(self, request: Request) -> bytes | int:
        """Answer one request."""
        body = request.content.read() if request.content else b""
        api = "v2" if request.path.startswith(b"/v2/") else "v1"
        try:
            key = self._authenticated(request, body)
            act = self._answer(api, request, body, key)
        except SesRefuses as refusal:
            return _refusal(request, api, refusal)
        if act is None:
            request.loseConnection()
            return NOT_DONE_YET
        request.setHeader("Content-Type", "application/json" if api == "v2" else "text/xml")
        return act

    def _answer(self, api: str, request: Request, body: bytes, key: str) -> bytes | None:
        form = dict(parse_qsl(body.decode("ascii"))) if api == "v1" else {}
        what = (request.method, request.path) if api == "v2" else form.get("Action")
        if what in {(b"GET", b"/v2/email/account"), "GetSendQuota"}:
            self._allowed("account", key)
            return self._account(api)
        if request.method == b"GET" and request.path.startswith(_IDENTITIES):
            self._allowed("identity", key)
            return self._identity(unquote(request.path.removeprefix(_IDENTITIES).decode("ascii")))
        if what not in {(b"POST", b"/v2/email/outbound-emails"), "SendRawEmail"}:
            raise SesRefuses(404, "UnknownOperationException", str(what))
        self._allowed("send", key)
        act = self._script.popleft() if self._script else None
        if isinstance(act, SesRefuses):
            raise act
        mail = self._mail(*(_of_json(body) if api == "v2" else _of_form(form)), api)
        self.mails.append(mail)
        self.account.sent += len(mail.recipients)
        if isinstance(act, SesLostConnection):
            return None
        if api == "v2":
            return json.dumps({"MessageId": mail.id}).encode()
        return _xml("SendRawEmail", f"<MessageId>{mail.id}</MessageId>")

    def _allowed(self, operation: str, key: str) -> None:
        self.asked.append((operation, key))
        if operation in self.denied:
            raise SesRefuses(
                403, "AccessDeniedException", f"User is not authorized to perform ses:{operation}"
            )

    def _account(self, api: str) -> bytes:
        account = self.account
        quota = {
            "Max24HourSend": account.per_day,
            "MaxSendRate": account.per_second,
            "SentLast24Hours": account.sent,
        }
        if api == "v2":
            said = {"SendQuota": quota, "SendingEnabled": account.enabled}
            return json.dumps({**said, "ProductionAccessEnabled": account.production}).encode()
        return _xml("GetSendQuota", "".join(f"<{name}>{value}</{name}>" for name, value in quota.items()))

    def _identity(self, name: str) -> bytes:
        if self.identities is None or name not in self.identities:
            raise SesRefuses(404, "NotFoundException", f"Email identity {name} does not exist.")
        return json.dumps(self.identities[name]).encode()

    def _mail(
        self, sender: str, recipients: Sequence[str], data: str, options: Mapping[str, Any], api: str
    ) -> SesMail:
        if not recipients:
            raise SesRefuses(400, "BadRequestException", "Missing required destination")
        if len(recipients) > MAX_RECIPIENTS:
            raise SesRefuses(400, "MessageRejected", "Too many recipients.")
        for address in (*recipients, *([sender] if sender else [])):
            if not _ADDRESS.fullmatch(address):
                raise SesRefuses(400, "BadRequestException", f"Illegal address: {address!r}")
        domain = sender.rpartition("@")[2]
        if self.identities is not None and sender and not {sender, domain} & set(self.identities):
            failed = f"The following identities failed the check in region {self._region.upper()}: {sender}"
            raise SesRefuses(400, "MessageRejected", f"Email address is not verified. {failed}")
        if len(data) > MAX_SIZES[api]:
            raise SesRefuses(400, "BadRequestException", "Message length is more than allowed")
        try:
            raw = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise SesRefuses(400, "BadRequestException", "Data is no base64") from None
        _check_header(raw)
        number = len(self.mails) + 1
        return SesMail(
            f"0102{number:012x}-000000", api, sender, tuple(recipients), self._clock.seconds(), raw, options
        )

    def _authenticated(self, request: Request, body: bytes) -> str:
        """Return the access key of a request that is signed as Amazon documents."""
        found = _AUTHORIZATION.fullmatch(request.getHeader("Authorization") or "")
        if found is None:
            raise SesRefuses(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        key, date = found["key"], request.getHeader("X-Amz-Date") or ""
        if key not in self.keys:
            raise SesRefuses(403, "UnrecognizedClientException", "The security token is invalid.")
        names = found["signed"].split(";")
        lines = [f"{name}:{' '.join((request.getHeader(name) or '').split())}\n" for name in names]
        path, _, query = request.uri.decode("ascii").partition("?")
        # Of all services S3 alone does not encode the path of the URL once more.
        path = quote(path, safe="/~")
        digest = hashlib.sha256(body).hexdigest()
        canonical = "\n".join([request.method.decode(), path, query, "".join(lines), found["signed"], digest])
        scope = f"{found['date']}/{found['region']}/ses/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        secret = f"AWS4{self.keys[key]}".encode()
        for part in scope.split("/"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        signature = hmac.new(secret, to_sign.encode(), "sha256").hexdigest()
        good = (
            {"host", "x-amz-date"} <= {*names}
            and found["region"] == self._region
            and date.startswith(found["date"])
        )
        if not good or not hmac.compare_digest(signature, found["signature"]):
            raise SesRefuses(
                403, "InvalidSignatureException", "The request signature we calculated does not match"
            )
        if request.getHeader("X-Amz-Security-Token") != self.tokens.get(key):
            raise SesRefuses(
                403, "ExpiredTokenException", "The security token included in the request is expired"
            )
        self._check_time(date)
        return key

    def _check_time(self, date: str) -> None:
        then = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(then - self._clock.seconds()) > MAX_SKEW:
            raise SesRefuses(403, "InvalidSignatureException", f"Signature expired: {date}")


def _of_json(body: bytes) -> tuple[str, Sequence[str], str, Mapping[str, Any]]:
    request = json.loads(body)
    where = request.pop("Destination", {})
    recipients = [address for kind in ("To", "Cc", "Bcc") for address in where.get(f"{kind}Addresses", ())]
    data = request.pop("Content", {}).get("Raw", {}).get("Data", "")
    _check_tags([(tag["Name"], tag["Value"]) for tag in request.get("EmailTags", ())])
    return request.pop("FromEmailAddress", ""), recipients, data, request


def _of_form(form: dict[str, str]) -> tuple[str, Sequence[str], str, Mapping[str, Any]]:
    recipients = [form.pop(name) for name in list(form) if name.startswith("Destinations.member.")]
    return form.pop("Source", ""), recipients, form.pop("RawMessage.Data", ""), form


def _check_tags(tags: Sequence[tuple[str, str]]) -> None:
    for name, value in tags:
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            raise SesRefuses(400, "BadRequestException", f"Invalid tag {name}")


def _check_header(raw: bytes) -> None:
    head = raw.partition(b"\r\n\r\n")[0]
    names = [name.decode("latin-1").lower() for name in re.findall(rb"(?m)^([!-9;-~]+)[ \t]*:", head)]
    for name in _ONCE.intersection(names):
        if names.count(name) > 1:
            raise SesRefuses(400, "BadRequestException", f"Duplicate header '{name}'.")


def _xml(action: str, result: str) -> bytes:
    return (
        f'<{action}Response xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><{action}Result>{result}'
        f"</{action}Result><ResponseMetadata><RequestId>r1</RequestId></ResponseMetadata></{action}Response>"
    ).encode()


def _refusal(request: Request, api: str, refusal: SesRefuses) -> bytes:
    for name, value in refusal.headers.items():
        request.setHeader(name, value)
    if api == "v2":
        request.setResponseCode(refusal.status)
        request.setHeader("x-amzn-ErrorType", f"{refusal.code}:http://internal.amazon.com/coral/")
        request.setHeader("Content-Type", "application/json")
        return json.dumps({"message": refusal.message}).encode()
    # The query protocol says 400 to too many requests.
    request.setResponseCode(400 if refusal.status == 429 else refusal.status)  # noqa: PLR2004
    request.setHeader("Content-Type", "text/xml")
    code = _V1_CODES.get(refusal.code, refusal.code.removesuffix("Exception"))
    return (
        '<ErrorResponse xmlns="http://ses.amazonaws.com/doc/2010-12-01/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(refusal.message)}</Message></Error>"
        "<RequestId>r1</RequestId></ErrorResponse>"
    ).encode()
