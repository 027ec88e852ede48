"""What stands on the other side of the policy in its tests: a store, providers, a clock."""

from collections.abc import Mapping, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smtprelay.interfaces import Body, Planner
from smtprelay.model.message import Draft, Envelope, Reply
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape
from smtprelay.policy.avatar import ListenerRules, SessionContext
from smtprelay.policy.router import RouteMatch, Router
from smtprelay.policy.sending_rate import SendingRates
from smtprelay.policy.settings import ListenerPolicy

QUEUED = Reply(code=250, enhanced="2.0.0", text="Ok: queued")
ANYONE = [RouteMatch(name="default", via=("acs",))]


@frozen(kw_only=True)
class FakeOutlet:
    """A provider's limits, and its lanes, one for each sender if asked for."""

    size: int | None = None
    request: int | None = None
    recipients: int | None = None
    least: int = 1
    most: int = 1
    measured: int = 0
    lane_by_sender: bool = False
    reads_content: bool = False
    uses_login: bool = False

    @property
    def limits(self) -> Limits:
        return Limits(size=self.size, request=self.request, recipients=self.recipients)

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        content = shape.in_json or 0 if self.reads_content else 0
        return shape.size * self.least, shape.size * self.most + content

    async def measure(self, envelope: Envelope, body: Body) -> int:
        return self.measured

    def lane(self, envelope: Envelope, author: str, login: str) -> str:
        return envelope.sender if self.lane_by_sender else ""


@define(eq=False)
class Kept:
    """One message on its way in, and how that ended (``""`` while it did not)."""

    draft: Draft
    plan: Planner
    reply: Reply | Deferred
    pressure: Deferred | None = None
    chunks: list[bytes] = field(factory=list)
    end: str = ""

    @property
    def id(self):
        return self.draft.id

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def write(self, chunk: bytes) -> Deferred | None:
        assert not self.end, "written to after its end"
        self.chunks.append(chunk)
        return self.pressure

    async def finish(self):
        assert not self.end, "ended twice"
        self.end = "finished"
        return await self.reply if isinstance(self.reply, Deferred) else self.reply

    def abort(self):
        assert not self.end, "ended twice"
        self.end = "aborted"


@define(eq=False)
class Store:
    """A :data:`smtprelay.interfaces.Receive`: everything that came in, answered with ``reply``."""

    reply: Reply | Deferred = QUEUED
    pressure: Deferred | None = None
    kept: list[Kept] = field(factory=list)

    def __call__(self, draft: Draft, plan: Planner) -> Kept:
        self.kept.append(Kept(draft, plan, self.reply, self.pressure))
        return self.kept[-1]


def make_rules(
    store: Store,
    route_matches: Sequence[RouteMatch] = ANYONE,
    outlets: "Mapping[str, FakeOutlet] | None" = None,
    **listener: object,
) -> ListenerRules:
    """Return the rules of the listener ``lan``, whose messages are called m1, m2, …"""
    ids = iter(f"m{n}" for n in range(1, 1000))
    clock = Clock()
    clock.advance(1_800_000_000)
    context = SessionContext(
        listener=ListenerPolicy(name="lan", hostname="relay.example.com", **listener),
        router=Router(route_matches, outlets or {"acs": FakeOutlet()}),
        receive=store,
        new_id=lambda: next(ids),
        clock=clock,
        rates=SendingRates(clock),
    )
    return ListenerRules(context)
