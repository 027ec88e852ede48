"""
Whatever happens in whatever order: in the end each mail has come to an end, once.

The spool of this play answers late, as one on a disk does: operations wait, are committed together, and only
then their askers are told. Providers answer when hypothesis says so. A wake-up that is lost somewhere
in between leaves mail that nobody looks at any more, which the end of each play finds out.
"""

from collections import Counter, deque
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.operator import OperatorActions
from smtprelay.dispatch.synchronous.permits import NoPermit, SynchronousPermits, TimeLimit
from smtprelay.interfaces import Attempt
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.queue_admin import HoldRule
from smtprelay.model.route import Limits, RateLimit, Route, Window
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.engines.transaction import SpoolNode
from smtprelay.spool.engines.writer import run_group
from smtprelay.spool.maintenance.check import check
from smtprelay.spool.spool import QueueSpool
from tests.dispatch.stage import MORNING, make_context, make_delivery, make_end_reports
from tests.recording import Recording

RATE_LIMITS = {
    "one": RateLimit(concurrency=2, per_lane=1),
    "two": RateLimit(concurrency=1, windows=(Window(count=2, seconds=10),)),
}
ROUTES = {
    "both": Route(name="both", via=("one", "two"), failover_after=2, expire=None),
    "alone": Route(name="alone", via=("one",), expire=None, on_failed="hold"),
}
OUTCOMES = st.sampled_from(
    [
        *[Delivered()] * 4,
        Deferred("busy"),
        Deferred("429", 20.0),
        Throttled("429 too fast"),
        Failed("no"),
        Blocked("401"),
        Blocked("mailbox", "box"),
        Uncertain("cut"),
        KeyError("bug"),
    ]
)


NAMES = st.sampled_from(["one", "two"])


class LateWriter:
    """A writer whose thread runs when the play says so."""

    def __init__(self, engine: SqliteEngine) -> None:
        self.engine = engine
        self.connection = engine.connect()
        self.waiting: deque[tuple[Any, defer.Deferred[Any]]] = deque()

    def do(self, operation: Any) -> defer.Deferred[Any]:
        done: defer.Deferred[Any] = defer.Deferred()
        self.waiting.append((operation, done))
        return done

    def commit(self) -> None:
        group, self.waiting = list(self.waiting), deque()
        results = run_group(self.engine, self.connection, [operation for operation, _ in group])
        for (_, done), result in zip(group, results, strict=True):
            done.errback(result) if isinstance(result, Failure) else done.callback(result)

    def close(self) -> defer.Deferred[None]:
        raise AssertionError("the play ends before")


class Moody(ProviderDefaults):
    """A provider that answers when it is told to; it keeps book of what it has delivered."""

    idempotent = False

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.asked: list[tuple[Any, defer.Deferred[Any]]] = []
        self.verdicts: deque[Any] = deque()
        self.takes = False
        self.had: Counter[tuple[str, str]] = Counter()
        self.doubtful: set[tuple[str, str]] = set()

    def lane(self, envelope: Envelope, author: str, login: str) -> str:
        return "box" if envelope.sender.startswith("box") else ""

    async def deliver(self, attempt: Attempt) -> Any:
        answer: defer.Deferred[Any] = defer.Deferred()
        delivery = attempt.delivery
        self.asked.append((delivery, answer))
        if self.takes:
            attempt.release_slot()
        outcome = await answer
        people = {(delivery.message, address) for address in delivery.envelope.addresses}
        if isinstance(outcome, Uncertain | Exception):
            self.doubtful |= people
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Delivered):
            self.had.update(people)
        return attempt.results(outcome)

    async def probe(self, lane: str) -> Any:
        return self.verdicts.popleft() if self.verdicts else Delivered()


class Play(RuleBasedStateMachine):
    """A dispatcher among clients, providers, an operator, and time."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(MORNING)
        engine = SqliteEngine(
            database=":memory:", node=SpoolNode(rate_limits=RATE_LIMITS), seconds=self.clock.seconds
        )
        self.writer = LateWriter(engine)
        self.events = Recording()
        terms = SpoolOptions(rate_limits=RATE_LIMITS, events=self.events)
        self.spool = QueueSpool(self.writer, InlineReader(self.writer.connection), terms)
        self.providers = {"one": Moody("one", Limits()), "two": Moody("two", Limits(size=60))}
        self.number = 0
        lanes = LaneStates(self.events)
        context = make_context(
            self.events,
            spool=self.spool,
            providers=self.providers,
            routes=ROUTES,
            clock=self.clock,
            lanes=lanes,
        )
        end_reports = make_end_reports(context, self.post)
        self.dispatcher = Dispatcher(context, end_reports)
        self.operator = OperatorActions(context, end_reports.reporter, self.dispatcher)
        self.shared = SynchronousPermits(self.spool.permits, lanes, self.clock, self.events)
        self.slots: list[Any] = []
        self.dispatcher.start()

    def draft(self, envelope: Envelope, bounce_of: str = "") -> Draft:
        self.number += 1
        client = Client(address="127.0.0.1")
        now = self.clock.seconds()
        return Draft(
            id=f"M{self.number}", envelope=envelope, client=client, received=now, bounce_of=bounce_of
        )

    def post(self, envelope: Envelope, body: bytes, bounce_of: str) -> NewMessage:
        planned = Planned(route="both", provider="one", lane="", recipients=envelope.recipients)
        return NewMessage(draft=self.draft(envelope, bounce_of), body=b"Sorry", planned=[planned])

    @rule(
        people=st.integers(1, 3),
        route=st.sampled_from(["both", "both", "alone"]),
        sender=st.sampled_from(["box@x.org", "a@x.org"]),
        large=st.booleans(),
    )
    def accept(self, people, route, sender, large):
        recipients = tuple(Recipient(address=f"{n}@x.org") for n in range(people))
        envelope = Envelope(sender=sender, recipients=recipients)
        lane = self.providers["one"].lane(envelope, sender, "")
        planned = [Planned(route=route, provider="one", lane=lane, recipients=(each,)) for each in recipients]
        body = b"Subject: x\r\n\r\n" + b"x" * 100 * large
        defer.Deferred.fromCoroutine(self.spool.accept(self.draft(envelope), body, planned))

    @rule(sender=st.sampled_from(["box@x.org", "a@x.org"]))
    def client_comes(self, sender):
        """One who waits for the verdict: he may have a slot that the queue then waits for."""
        self.number += 1
        lane = self.providers["one"].lane(Envelope(sender=sender), sender, "")
        delivery = make_delivery(message=f"S{self.number}", provider="one", lane=lane)
        entering = defer.Deferred.fromCoroutine(self.shared.enter(delivery, 1, TimeLimit(self.clock, 20.0)))
        entering.addCallback(self.slots.append)

    @precondition(lambda self: self.slots)
    @rule(data=st.data(), outcome=OUTCOMES)
    def client_is_answered(self, data, outcome):
        slot = self.slots.pop(data.draw(st.integers(0, len(self.slots) - 1)))
        if isinstance(slot, NoPermit):
            return
        if data.draw(st.booleans()):
            self.shared.release(slot)
        if not isinstance(outcome, Exception):
            self.shared.learn(slot, (outcome,))
        self.shared.end(slot)

    @rule()
    def commit(self):
        self.writer.commit()

    @precondition(lambda self: any(each.asked for each in self.providers.values()))
    @rule(data=st.data(), outcome=OUTCOMES)
    def answer(self, data, outcome):
        asked = [(each, n) for each in self.providers.values() for n in range(len(each.asked))]
        provider, n = data.draw(st.sampled_from(asked))
        provider.asked.pop(n)[1].callback(outcome)

    @rule(name=st.sampled_from(["one", "two"]), verdict=st.sampled_from([Delivered(), Blocked("401"), None]))
    def probe_will_say(self, name, verdict):
        self.providers[name].verdicts.append(verdict)

    @rule(takes=st.booleans())
    def providers_are_polled(self, takes):
        for each in self.providers.values():
            each.takes = takes

    @rule(seconds=st.sampled_from([0.05, 1, 10, 30, 60, 900]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule(action=st.sampled_from(["retry", "hold", "release", "reroute", "delete"]), name=NAMES)
    def edit(self, action, name):
        to = name if action == "reroute" else ""
        change = Edit(action=action, who="ops", provider=to, bounce=action == "delete")
        chosen = Selection(states=("queued", "deferred", "held"), everything=True)
        self.by_hand(self.spool.admin.edit(chosen, change, "", self.operator))

    @rule(name=NAMES, what=st.sampled_from(["suspend", "resume", "probe"]))
    def lane(self, name, what):
        operator = self.operator
        works = {
            "suspend": lambda: operator.suspend(name, "ops", "x"),
            "resume": lambda: operator.resume(name, "ops"),
            "probe": lambda: operator.probe(name, "", "ops", force=True),
        }
        self.by_hand(works[what]())

    @rule(recipient=st.sampled_from(["*", "1@*"]), seconds=st.sampled_from([1, 60]))
    def hold(self, recipient, seconds):
        until = self.clock.seconds() + seconds
        self.by_hand(self.spool.admin.hold(HoldRule(recipient=recipient, reason="", who="ops", until=until)))
        self.operator.hold_rules_changed()

    def by_hand(self, work):
        """Do it whenever the spool gets to it, if it can be done then."""
        defer.Deferred.fromCoroutine(work).addErrback(lambda failure: failure.trap(ValueError, LookupError))

    # --- the end

    def teardown(self) -> None:
        """Let everything go well from now on; what is not at its end then never will be."""
        while self.writer.waiting:
            self.writer.commit()
        for each in self.providers.values():
            each.verdicts.clear()
            self.by_hand(self.operator.resume(each.name, "ops"))
        for _ in range(3000):
            if not self.go_on():
                break
        else:
            raise AssertionError("it never comes to rest")
        assert check(self.writer.connection) == []
        rows = self.writer.connection.execute(
            "SELECT message, n, state FROM delivery WHERE ended IS NULL AND state != 'held'"
        ).fetchall()
        assert rows == [], rows
        assert self.writer.connection.execute("SELECT name FROM permit").fetchall() == []
        self.nobody_got_it_twice()
        assert not self.events.of("spool.failed")

    def go_on(self) -> bool:
        if self.writer.waiting:
            self.writer.commit()
            return True
        if self.slots:
            slot = self.slots.pop()
            if not isinstance(slot, NoPermit):
                self.shared.end(slot)
            return True
        asked = [(each, each.asked.pop()) for each in self.providers.values() if each.asked]
        for _, (_, answer) in asked:
            answer.callback(Delivered())
        if asked:
            return True
        calls = list(self.clock.getDelayedCalls())
        if calls:
            self.clock.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))
        return bool(calls)

    def nobody_got_it_twice(self) -> None:
        had = sum((each.had for each in self.providers.values()), Counter())
        doubtful = set().union(*(each.doubtful for each in self.providers.values()))
        assert not {who: times for who, times in had.items() if times > 1 and who not in doubtful}


class LivenessTests(SynchronousTestCase):
    def test_every_mail_comes_to_its_end(self) -> None:
        """No order of commits, answers and times leaves mail behind or needlessly delivers it twice."""
        case = Play.TestCase()
        case.settings = settings(
            max_examples=150,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        case.runTest()
