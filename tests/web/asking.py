"""What the tests of the site share: a spool and captured mail to look at, and a way to ask over HTTP."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from attrs import evolve, frozen
from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from smtprelay.model.archive import RoutingTargets
from smtprelay.model.expiry import Expiries
from smtprelay.model.queue import (
    AttemptRecord,
    Detail,
    Edit,
    LaneState,
    Node,
    QueueStats,
    RecipientState,
    Selection,
    Summary,
)
from smtprelay.model.queue_admin import Edited, Found, HoldRule
from smtprelay.smtp.refusals import Refusals
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.telemetry.metrics import Metrics
from smtprelay.web.auth import Access
from smtprelay.web.captured_mail import CapturedAttachment, CapturedMessage
from smtprelay.web.context import Draining, Operations, Reloading, Sources
from smtprelay.web.site import build_site
from tests.recording import Recording

NO_TARGETS = RoutingTargets()

NOW = 1_790_000_000.0

SUMMARY = Summary(
    id="7QK29FMD.1",
    message="7QK29FMD",
    state="deferred",
    sender="scan@example.com",
    recipients=(RecipientState(address="anna@example.com", state="open", reason="429 throttled"),),
    attempts=5,
    size=2_100_000,
    subject="Scan",
    received=NOW - 2460,
    due=NOW + 12,
    route="printers",
    provider="acs",
    lane="",
    reason="429 throttled",
)

DETAIL = Detail(
    summary=SUMMARY,
    client={"address": "10.0.3.17", "listener": "lan", "user": "printer1", "tls": "TLSv1.2"},
    message_id="<scan-1@hp.lan>",
    history=(
        AttemptRecord(
            number=1,
            provider="acs",
            node="a",
            started=NOW - 60,
            ended=NOW - 59,
            outcome="deferred",
            reason="429 throttled",
        ),
    ),
)

LANE = LaneState(
    provider="graph",
    lane="ups@example.com",
    waiting=3,
    active=0,
    due=None,
    blocked_until=NOW + 60,
    blocked_reason="the client secret has expired",
    state="blocked",
)

STATS = QueueStats(
    states={"queued": 1, "deferred": 12}, bytes=4096, free=10**9, oldest=NOW - 2460, lanes=(LANE,)
)

RULE = HoldRule(
    id=3, recipient="*@example.org", reason="incident", who="anna", made=NOW, until=NOW + 60, count=2
)

MAIL = CapturedMessage(
    id="op-1",
    message="7QK29FMD",
    received=NOW,
    sender="scan@example.com",
    to=("anna@example.com",),
    bcc=("blind@example.com",),
    subject="Scan",
    headers=(("X-Env", "test"), ("Reply-To", "app@example.org")),
    text="see the picture",
    html='<p>see <img src="cid:pic"></p><script>alert(1)</script>',
    attachments=(
        CapturedAttachment("pic.png", "image/png", b"\x89PNG", "pic"),
        CapturedAttachment('ev"il\r\nX: y/ü.html', "text/html", b"<script>alert(1)</script>"),
    ),
    size=1234,
)


#: Of the one stored message, however its id is begun.
WHOLE_ID = "7QK29FMDAAAAAAAA"


class FakeBody:
    """A stored message."""

    message = WHOLE_ID
    size = 24

    async def chunks(self):
        yield await self.whole()

    async def whole(self) -> bytes:
        return b"Subject: Scan\r\n\r\nhello\r\n"


class FakeOperator:
    """Keeps what it was asked, and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.error: Exception | None = None

    def check(self, provider: str) -> None:
        self._note("check", provider)

    async def probe(self, *asked: object, **more: object) -> None:
        self._note("probe", *asked, *more.items())

    async def suspend(self, *asked: object) -> None:
        self._note("suspend", *asked)

    async def resume(self, *asked: object) -> None:
        self._note("resume", *asked)

    def hold_rules_changed(self) -> None:
        self._note("holds")

    def _note(self, *asked: object) -> None:
        self.calls.append(asked)
        if self.error is not None:
            raise self.error


class FakeSpool:
    """A spool with one delivery; it keeps what it was asked and raises what it is told to."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.error: Exception | None = None
        self.lines = [SUMMARY]
        self.stopped = STATS.lanes
        self.unreachable = ()
        self.admin = self
        self.archive = self.maintenance = None

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error

    async def search(self, selection: Selection, mark: str = ""):
        self.calls.append((selection, mark) if mark else selection)
        self._raise()
        return Found(deliveries=self.lines)

    async def show(self, message: str):
        self.calls.append(message)
        self._raise()
        return [DETAIL]

    async def edit(self, selection: Selection, edit: Edit, mark: str = "", prepare: object = None):
        self.calls.append((selection, edit, mark) if mark else (selection, edit))
        self._raise()
        return Edited(count=1, ids=["7QK29FMD.1"], left={"under way": 2}, mark="more" if mark else "")

    async def hold(self, rule: HoldRule):
        self.calls.append(rule)
        self._raise()
        return evolve(rule, id=3)

    async def unhold(self, number: int, who: str):
        self.calls.append((number, who))
        self._raise()
        return RULE

    async def hold_rules(self):
        return [RULE]

    async def apply_hold_rules(self):
        self.calls.append("apply_hold_rules")

    async def content(self, message: str):
        self.calls.append(message)
        self._raise()
        return FakeBody()

    async def nodes(self):
        return [Node(name="a", seen=NOW, draining=False)]

    async def lanes(self, provider=""):
        self._raise()
        return self.stopped

    async def stats(self):
        self._raise()
        return evolve(STATS, lanes=self.stopped, unreachable=self.unreachable)


class FakeCapturedMail:
    """One captured mail, until it is deleted."""

    def __init__(self):
        self.mails = [MAIL]

    def list(self):
        return self.mails

    def get(self, id: str):  # noqa: A002
        return next((mail for mail in self.mails if mail.id == id), None)

    def delete(self, ids: Iterable[str]):
        before, gone = len(self.mails), set(ids)
        self.mails = [mail for mail in self.mails if mail.id not in gone]
        return before - len(self.mails)


@frozen
class Response:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class FakeRelay:
    """A relay that has ``checks``, and one listener."""

    def __init__(self, since: float, checks: Mapping[str, str | None]) -> None:
        self.metrics = Metrics()
        self.since = since
        self.checks = checks
        self.ends: Expiries = {}
        self.failing: list[str] = []
        self.trouble: LogTrouble | None = None

    def listeners(self) -> list[dict[str, str]]:
        return [{"name": "lan", "endpoint": "tcp:2525"}]

    def expiries(self) -> Expiries:
        return self.ends

    def failing_keys(self) -> list[str]:
        return self.failing

    def log_trouble(self) -> LogTrouble | None:
        return self.trouble

    async def readiness(self) -> Mapping[str, str | None]:
        return self.checks

    async def registry(self) -> CollectorRegistry:
        return self.metrics.registry


class Fixture:
    """One endpoint on a clock, with everything behind it."""

    def __init__(
        self,
        serve: Collection[str] = ("health", "metrics", "api", "dashboard"),
        *,
        access: Callable[[Clock], Access] | None = None,
        draining: Draining | None = None,
        reloading: Reloading | None = None,
        targets: RoutingTargets = NO_TARGETS,
        **changes: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.events = Recording()
        self.spool = FakeSpool()
        self.operator = FakeOperator()
        self.checks: dict[str, str | None] = {"spool": None, "listener lan": None}
        self.relay = FakeRelay(since=NOW - 100, checks=self.checks)
        sources = Sources(
            relay=self.relay,
            clock=self.clock,
            events=self.events,
            spool=self.spool,
            refusals=Refusals(self.clock, self.events),
            operations=Operations(
                lanes=self.spool.admin,
                operator=self.operator,
                draining=draining,
                reloading=reloading,
                targets=targets,
            ),
            captured=FakeCapturedMail(),
        )
        self.sources = evolve(sources, **changes)
        self.access = access(self.clock) if access else Access(self.clock, hosts=["relay.example.com"])
        self.site = build_site(serve, self.sources, self.access)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        peer: str = "127.0.0.1",
    ):
        """Send one request and return its transport; the answer is what was written to it."""
        headers = {"Host": "127.0.0.1", "Connection": "close", **(headers or {})}
        if body:
            headers["Content-Length"] = str(len(body))
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items() if value),
        ]
        transport = StringTransport(peerAddress=IPv4Address("TCP", peer, 50000))
        protocol = self.site.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)
        transport.protocol = protocol
        return transport

    def ask(self, method: str, path: str, **kwargs: Any):
        """Send one request and return the answer to it."""
        return parse(self.send(method, path, **kwargs).value())

    def get(self, path: str, **kwargs: Any):
        return self.ask("GET", path, **kwargs)

    def post(self, path: str, value: object, **kwargs: Any):
        headers = {"Content-Type": "application/json", "X-Smtprelay-CSRF": "1", **kwargs.pop("headers", {})}
        return self.ask("POST", path, headers=headers, body=json.dumps(value).encode(), **kwargs)


def parse(raw: bytes):
    """Return the one response in ``raw``."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Response(int(status.split()[1]), headers, body)
