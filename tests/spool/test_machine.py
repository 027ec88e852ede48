"""
Whatever is done to a spool, in whatever order, its counts are those of its rows.

Hypothesis plays clients, providers, an operator, a clock that also goes back and crashes; after each step
the tables are counted anew.
"""

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.attempt import Block, Claim, Feedback, NewMessage, Permit, Settlement
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.queue import STATES as ALL_STATES
from smtprelay.model.queue import DueSelection, Edit, Selection
from smtprelay.model.queue_admin import HoldRule, Prepared
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.maintenance.check import check
from smtprelay.spool.operations.edit import EDIT_ACTIONS
from tests.dispatch.stage import done
from tests.recording import Recording

RATE_LIMITS = {
    "a": RateLimit(concurrency=2),
    "b": RateLimit(concurrency=3, per_lane=1, windows=(Window(count=4, seconds=60),)),
}
PLACES = st.sampled_from([("a", ""), ("b", ""), ("b", "box"), ("b", "bin"), ("gone", "")])
PEOPLE = st.lists(st.sampled_from(["x@e.org", "y@e.org", "z@e.org"]), min_size=1, max_size=3, unique=True)
ANSWERS = (
    Delivered("1"),
    Deferred("busy"),
    Deferred("not you", again=True),
    Throttled("429"),
    Failed("no"),
    Blocked("401"),
    Uncertain("?"),
)
OUTCOMES = st.sampled_from(ANSWERS)
STATES = {"delivered": "delivered", "failed": "failed"}


class SpoolMachine(RuleBasedStateMachine):
    """A spool in memory, and what its users remember of it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.spool = open_memory(SpoolOptions(rate_limits=RATE_LIMITS, events=Recording()), clock=self.clock)
        self.connection = self.spool._writer.writer.connection
        self.number = 0
        self.accepted: dict[str, set[str]] = {}
        self.held: list[Claim] = []
        self.over: list[Claim] = []
        self.permits: list[Permit] = []

    # --- clients

    def new(self, deliveries, sender="s@e.org"):
        self.number += 1
        planned = [
            Planned(
                route="r",
                provider=place[0],
                lane=place[1],
                recipients=tuple(Recipient(address=f"{n}{each}") for each in people),
            )
            for n, (place, people) in enumerate(deliveries)
        ]
        recipients = tuple(each for one in planned for each in one.recipients)
        draft = Draft(
            id=f"{self.number:016d}",
            envelope=Envelope(sender=sender, recipients=recipients),
            client=Client(address="127.0.0.1"),
            received=self.clock.seconds(),
        )
        return draft, planned

    def remember(self, draft):
        self.accepted[draft.id] = set(draft.envelope.addresses)

    @rule(deliveries=st.lists(st.tuples(PLACES, PEOPLE), min_size=1, max_size=2), size=st.integers(0, 3))
    def accept(self, deliveries, size):
        draft, planned = self.new(deliveries)
        done(self.spool.accept(draft, b"Subject: x\r\n\r\n" + b"x" * 200_000 * size, planned))
        self.remember(draft)

    @rule()
    def give_up_in_the_middle(self):
        draft, planned = self.new([(("a", ""), ["x@e.org"])])
        incoming = self.spool.incoming(draft, lambda *_: planned)
        incoming.write(b"\r\n\r\n" + b"x" * 600_000)
        incoming.abort()

    # --- the dispatcher

    @rule(listens=st.booleans())
    def listen(self, listens):
        self.spool.listen(self.held.extend if listens else None)

    @rule(limit=st.integers(1, 4))
    def claim(self, limit):
        work = done(self.spool.claim(limit))
        assert len(work.claims) <= limit
        self.held += work.claims

    def pick(self, data, claims):
        return claims[data.draw(st.integers(0, len(claims) - 1))]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def taken(self, data):
        done(self.spool.release_slot(self.pick(data, self.held)))

    @rule()
    def renew(self):
        done(self.spool.renew(self.held + self.over))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data):
        claim = self.pick(data, self.held)
        settlement = data.draw(self.settlements(claim))
        assert done(self.spool.settle(claim, settlement))
        if settlement.bounce is not None:
            self.remember(settlement.bounce.draft)
        self.held.remove(claim)
        self.over.append(claim)

    @st.composite
    @staticmethod
    def _settlements(draw, self, claim):
        addresses = claim.delivery.envelope.addresses
        outcomes = {address: draw(OUTCOMES) for address in addresses}
        ends = {Delivered: "delivered", Failed: draw(st.sampled_from(["failed", None]))}
        closed = {
            address: ends[type(outcome)] for address, outcome in outcomes.items() if ends.get(type(outcome))
        }
        settlement = Settlement(state="queued", outcomes=outcomes, closed=closed, reason="\ud800 said")
        if len(closed) == len(addresses):
            state = "failed" if "failed" in closed.values() else "delivered"
            return evolve(settlement, state=state, bounce=draw(st.sampled_from([None, self.bounce()])))
        provider, lane = draw(st.sampled_from([("", ""), ("a", ""), ("b", "box"), ("gone", "")]))
        return evolve(
            settlement,
            state=draw(st.sampled_from(["queued", "deferred", "held"])),
            due=self.clock.seconds() + draw(st.sampled_from([0, 30, 3600])),
            provider=provider,
            lane=lane,
            tries=draw(st.integers(0, 3)),
            uncertain=draw(st.booleans()),
            split=draw(st.sampled_from([(), addresses[:1], addresses[-2:], ("nobody@e.org",)])),
            block=draw(st.sampled_from([None, self.block_of(claim.delivery.provider, "")])),
        )

    def settlements(self, claim):
        return SpoolMachine._settlements(self, claim)

    @rule(age=st.sampled_from([0, 60, 5000]))
    def notify(self, age):
        for each in done(self.spool.overdue(self.clock.seconds() - age, limit=2)).deliveries:
            notice = self.bounce()
            assert done(self.spool.notify(each.delivery, notice))
            assert not done(self.spool.notify(each.delivery, notice))
            self.remember(notice.draft)

    def bounce(self):
        draft, planned = self.new([(("b", "box"), ["s@e.org"])], sender="")
        return NewMessage(draft=draft, body=b"Sorry", planned=planned)

    @precondition(lambda self: self.over)
    @rule(data=st.data(), state=st.sampled_from(["delivered", "queued", "held"]))
    def settle_again(self, data, state):
        claim = self.pick(data, self.over)
        closed = dict.fromkeys(claim.delivery.envelope.addresses, "delivered") if state == "delivered" else {}
        assert not done(self.spool.settle(claim, Settlement(state=state, outcomes={}, closed=closed)))

    # --- lanes

    def block_of(self, provider, lane):
        return Block(provider=provider, lane=lane, until=self.clock.seconds() + 60, reason="401")

    @rule(place=PLACES)
    def block(self, place):
        done(self.spool.block(self.block_of(*place)))

    @rule(place=PLACES, trial=st.booleans())
    def open(self, place, trial):
        done(self.spool.block(Block(provider=place[0], lane=place[1], trial=trial)))

    @rule(place=PLACES, to=PLACES, limit=st.integers(1, 3), lost=st.booleans())
    def move(self, place, to, limit, lost):
        self.step_along(place, to, limit, lost)

    def step_along(self, place, to, limit, lost):
        selection = DueSelection(
            provider=place[0],
            lane=place[1],
            routes=("r",),
            lost=("r",) if lost else (),
            until=self.clock.seconds() + 5,
            limit=limit,
        )
        change, mark = Edit(action="reroute", who="the relay", force=True), ""

        async def prepare(delivery, _edit):
            if delivery.message.endswith("3") or to == place:
                return Prepared(refusal="nowhere")
            return Prepared(provider=to[0], lane=to[1])

        for _ in range(200):
            mark = done(self.spool.admin.edit(selection, change, mark, prepare)).mark
            if not mark:
                return
        raise AssertionError("the steps of a reroute do not end")

    # --- synchronous listeners

    @rule(place=PLACES)
    def acquire(self, place):
        if place[0] in RATE_LIMITS:
            self.number += 1
            permit = done(self.spool.permits.acquire(f"permit {self.number}", *place))
            if isinstance(permit, Permit):
                self.permits.append(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), outcome=st.sampled_from([None, *ANSWERS]))
    def give_back(self, data, outcome):
        permit = self.pick(data, self.permits)
        feedback = None if outcome is None else Feedback(outcomes=(outcome,))
        if isinstance(outcome, Blocked):
            feedback = evolve(feedback, block=self.block_of(permit.provider, permit.lane))
        done(self.spool.permits.give_back(permit, feedback))
        if feedback is not None and data.draw(st.booleans()):
            self.permits.remove(permit)

    @rule()
    def reclaim(self):
        done(self.spool.maintenance.reclaim())
        rows = self.connection.execute(
            "SELECT message, n, attempt FROM delivery WHERE state = 'active'"
        ).fetchall()
        gone = [
            each for each in self.held if (each.delivery.message, each.delivery.n, each.attempt) not in rows
        ]
        self.over += gone
        self.held[:] = [each for each in self.held if each not in gone]

    # --- an operator, time, the end

    @rule(
        action=st.sampled_from(sorted(EDIT_ACTIONS)),
        states=st.sampled_from([(), ("failed",), ("held",), ("deferred",), ("queued",)]),
        place=PLACES,
        later=st.sampled_from([None, 3600]),
        force=st.booleans(),
    )
    def edit(self, action, states, place, later, force):
        if states and not set(states) & set(EDIT_ACTIONS[action].states):
            return
        selection = Selection(states=states, everything=True)
        change = Edit(
            action=action,
            who="ops",
            provider=place[0] if action == "reroute" else "",
            at=self.clock.seconds() + later if later and action == "retry" else None,
            bounce=action == "delete",
            force=force,
        )

        async def prepare(_delivery, _edit):
            bounce = self.bounce() if change.bounce else None
            if bounce is not None:
                self.remember(bounce.draft)
            return Prepared(lane=place[1], bounce=bounce)

        done(self.spool.admin.edit(selection, change, "", prepare))

    @rule(recipient=st.sampled_from(["*", "*x@e.org", "0y@*"]), seconds=st.sampled_from([5, 3600]))
    def hold(self, recipient, seconds):
        until = self.clock.seconds() + seconds
        done(self.spool.admin.hold(HoldRule(recipient=recipient, reason="", who="ops", until=until)))

    @precondition(lambda self: done(self.spool.admin.hold_rules()))
    @rule(data=st.data())
    def unhold(self, data):
        done(
            self.spool.admin.unhold(data.draw(st.sampled_from(done(self.spool.admin.hold_rules()))).id, "ops")
        )

    @rule()
    def apply_hold_rules(self):
        for _ in range(100):
            if done(self.spool.admin.apply_hold_rules()) != 0.0:
                return
        raise AssertionError("the steps of the rules do not end")

    @rule(seconds=st.sampled_from([1, 30, 3600, 90_000, -10, -5000]))
    def wait(self, seconds):
        self.clock.rightNow += seconds

    @rule()
    def crash(self):
        assert done(self.spool.recover()) == len(self.held)
        self.over += self.held
        self.held.clear()

    @rule(before=st.sampled_from([100.0, 1e9]))
    def sweep(self, before):
        gone = self.finished(before)
        done(self.spool.maintenance.sweep(before, 1000))
        for message in gone:
            del self.accepted[message]

    def finished(self, before):
        rows = self.connection.execute("SELECT id FROM message WHERE finished < ?", (before,)).fetchall()
        return [message for (message,) in rows]

    @rule(comes_back=st.booleans())
    def travel(self, comes_back):
        """Have all that is not under way leave for another spool and come back, or stop before it leaves."""
        exported, mark = [], None
        while mark != "":
            portion = done(
                self.spool.archive.export(
                    Selection(states=ALL_STATES, everything=True), mark or "", moving=True
                )
            )
            exported += [self.whole(each) for each in portion.items]
            mark = portion.mark
        if comes_back:
            ids = [each.archived.id for each in exported]
            assert list(done(self.spool.archive.exported(ids, "ops"))) == ids
            assert list(done(self.spool.archive.put(exported, "ops"))) == [True] * len(ids)
        assert set(done(self.spool.archive.put(exported, "ops"))) <= {False}

    def whole(self, exported):
        if exported.content is not None or not exported.archived.body:
            return exported
        pieces, n = [], 1
        while (piece := done(self.spool.archive.piece(exported.archived.id, n))) is not None:
            pieces.append(piece)
            n += 1
        return evolve(exported, content=b"".join(pieces))

    # --- what must hold

    @invariant()
    def the_counts_are_right(self):
        assert check(self.connection) == []

    @invariant()
    def no_bound_is_exceeded(self):
        rows = self.connection.execute("SELECT provider, key, slots FROM lane").fetchall()
        for provider, key, slots in rows:
            rate_limit = RATE_LIMITS.get(provider)
            if rate_limit is not None:
                assert slots <= (
                    rate_limit.concurrency if key == "" else rate_limit.per_lane or rate_limit.concurrency
                )

    @invariant()
    def nobody_is_forgotten(self):
        rows = self.connection.execute("SELECT message, address, state FROM recipient").fetchall()
        known: dict[str, set[str]] = {}
        for message, address, state in rows:
            assert state in ("open", "delivered", "failed", "deleted")
            known.setdefault(message, set()).add(address)
        assert known == self.accepted

    @invariant()
    def what_is_under_way_is_known(self):
        rows = self.connection.execute(
            "SELECT message, n, attempt FROM delivery WHERE state = 'active' ORDER BY message, n"
        ).fetchall()
        held = [(each.delivery.message, each.delivery.n, each.attempt) for each in self.held]
        assert rows == sorted(held)

    @invariant()
    def what_may_go_is_claimed_or_accounted_for(self):
        """A claim leaves nothing behind of which it does not say what it waits for."""
        work = done(self.spool.claim(2))
        self.held += work.claims
        rows = self.connection.execute(
            "SELECT count(*) FROM lane l WHERE provider != 'gone' AND (queued + deferred) > 0"
        ).fetchone()
        assert not rows[0] or work.waiting or work.probes or work.due is not None

    def teardown(self) -> None:
        done(self.spool.close())


class MachineTests(SynchronousTestCase):
    def test_the_counts_survive_everything(self) -> None:
        """No order of events makes a count drift, loses a recipient, or lets a claim settle twice."""
        case = SpoolMachine.TestCase()
        case.settings = settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        case.runTest()
