"""
No statement on a mail's way, and none for a person who looks, reads a table from end to end.

How long a statement takes depends on the machine; how it goes about it does not. So the database is asked for
its plan of each statement that the operations execute.
"""

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model import outcome
from smtprelay.model.archive import ArchiveItem
from smtprelay.model.attempt import Block, Claim, Feedback, NewMessage, Permit, Settlement
from smtprelay.model.filters import FILTERS
from smtprelay.model.message import Client, Delivery, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Delivered, Failed, Outcome
from smtprelay.model.queue import STATES, SUSPENDED, DueSelection, Edit, Selection
from smtprelay.model.queue_admin import HoldRule, Prepared
from smtprelay.model.route import RateLimit, Window
from smtprelay.model.shape import Shape
from smtprelay.spool.engines.memory import InlineReader
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.sqlite import SqliteEngine
from smtprelay.spool.engines.transaction import Cursor, SpoolNode, Transaction
from smtprelay.spool.location import now
from smtprelay.spool.maintenance import retention
from smtprelay.spool.operations import claim, dsn_accept, export, import_, permits, recover, settle
from smtprelay.spool.operations.accept import Arrival, accept, forget_chunks, store_chunk
from smtprelay.spool.operations.edit import EDIT_ACTIONS
from smtprelay.spool.spool import QueueSpool
from smtprelay.spool.tables.lanes import LaneTable
from tests.recording import Recording

RATE_LIMITS = {
    "main": RateLimit(concurrency=2, windows=(Window(count=9, seconds=60),)),
    "other": RateLimit(concurrency=3, per_lane=1),
}

#: Lanes and interrupted uploads are few, and these questions are about all of them.
ABOUT_ALL = (
    "SELECT coalesce(sum(queued)",
    "SELECT provider, key, queued + deferred",
    "FROM lane GROUP BY provider",
    "SELECT provider, count(*) FROM lane WHERE",
    "FROM lane WHERE \n    key <> ''",
    "FROM upload WHERE node",
    "FROM hold",
    "UPDATE hold",
    "FROM permit WHERE node",
    "FROM upload u LEFT JOIN node",
    "DELETE FROM node",
    # A row for each provider that a node cannot reach; the list has a thousand rows at most.
    "FROM unreachable",
    "FROM refusal",
)


#: What reads all there is: one row of constants, a page, an index of just what is asked for.
HARMLESS = (
    "CONSTANT ROW",
    "SCAN v",
    "SCAN page_of_",
    "SCAN d USING INDEX delivery_failed",
    "COVERING INDEX delivery_hold",
    "SCAN lane USING INDEX lane_blocked",
)


class Explaining:
    """A connection that notes the plan of each statement."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.plans: dict[str, list[str]] = {}

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        if sql not in self.plans:
            rows = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            self.plans[sql] = [row[3] for row in rows]
        return self._connection.execute(sql, parameters)

    def run(self, sql: str, parameters: Sequence[Any] = (), /) -> None:
        self.execute(sql, parameters)


class PlanTests(SynchronousTestCase):
    def setUp(self) -> None:
        engine = SqliteEngine(
            database=":memory:", node=SpoolNode(rate_limits=RATE_LIMITS), seconds=lambda: 0.0
        )
        self.connection = Explaining(engine.connect())
        self.now = 1000.0
        self.number = 0

    def run_one(self, operation: Any, *arguments: Any, **more: Any) -> Any:
        self.now += 1
        lanes = LaneTable(self.connection, {})
        lanes.begin(self.now)
        transaction = Transaction(
            self.connection, SpoolNode(rate_limits=RATE_LIMITS, name="here"), lanes, self.now
        )
        result = operation(transaction, *arguments, **more)
        transaction.finish()
        return result

    def accept(self, provider: str = "main", lane: str = "", *, claiming: bool = False) -> list[Claim]:
        self.number += 1
        recipients = (Recipient(address="a@x.org"), Recipient(address="b@x.org"))
        message = f"M{self.number}"
        self.run_one(store_chunk, message, 1, b"x")
        arrival = Arrival(
            draft=Draft(
                id=message,
                envelope=Envelope(sender="s@x.org", recipients=recipients),
                client=Client(address="127.0.0.1"),
                received=self.now,
            ),
            shape=Shape(size=2),
            subject="",
            message_id="",
            planned=[Planned(route="r", provider=provider, lane=lane, recipients=recipients)],
            chunks=1,
            rest=b"y",
        )
        return self.run_one(accept, arrival, claiming=claiming)

    def settle(self, claimed: Claim, state: str, **more: Any) -> None:
        outcomes: dict[str, Outcome] = {"a@x.org": Failed("x"), "b@x.org": outcome.Deferred("x")}
        settlement = Settlement(state=state, outcomes=outcomes)
        if state == "delivered":
            outcomes = {"a@x.org": Delivered(), "b@x.org": Delivered()}
            closed = dict.fromkeys(outcomes, "delivered")
            settlement = Settlement(state=state, outcomes=outcomes, closed=closed)
        self.assertEqual([True], self.run_one(settle.settle, [(claimed, settlement)]))

    def a_day(self) -> None:
        """Do everything once."""
        self.settle(*self.accept(claiming=True), "delivered")
        self.settle(*self.accept(claiming=True), "deferred")
        for provider, lane in (("main", ""), ("main", ""), ("other", "box"), ("other", "box"), ("main", "")):
            self.accept(provider, lane)
        claims = self.run_one(claim.claim, 4).claims
        self.run_one(claim.renew, claims)
        self.run_one(claim.release_slot, claims[0])
        self.settle(claims[0], "queued")
        self.run_one(settle.set_block, Block(provider="main", until=self.now, reason="401"))
        self.run_one(settle.set_block, Block(provider="other", lane="box", until=9e9, reason="401"))
        self.run_one(settle.set_block, Block(provider="other", until=SUSPENDED, reason="x", operator=True))
        self.run_one(claim.claim, 4)
        self.run_one(settle.set_block, Block(provider="other", operator=True))
        self.go_round()
        late = self.run_one(dsn_accept.overdue, 9e9, ("", 0), 2).deliveries[0]
        self.assertTrue(self.run_one(dsn_accept.notify, late.delivery, self.report()))
        self.run_one(settle.set_block, Block(provider="main"))
        for name in ("x", "y"):
            permit = self.run_one(permits.acquire, name, "main", "lent")
            assert isinstance(permit, Permit)
            self.run_one(permits.give_back, permit, None)
        self.run_one(permits.give_back, permit, Feedback(outcomes=(outcome.Throttled("x"),)))
        self.run_one(recover.recover)
        self.run_one(recover.reclaim)
        self.operator()
        self.run_one(store_chunk, "M99", 1, b"x")
        self.run_one(forget_chunks, "M99")
        self.travel()
        self.run_one(retention.sweep_bodies, 9e9, 10)
        while self.run_one(retention.sweep, 9e9, 10):
            pass

    def report(self) -> NewMessage:
        recipients = (Recipient(address="s@x.org"),)
        draft = Draft(
            id="N1", envelope=Envelope(sender=""), client=Client(address="127.0.0.1"), received=self.now
        )
        planned = [Planned(route="r", provider="main", lane="", recipients=recipients)]
        return NewMessage(draft=draft, body=b"Late", planned=planned)

    def travel(self) -> None:
        for selection in (Selection(everything=True, states=STATES), Selection(ids=("M3",))):
            portion = self.run_one(export.export, selection, "M2", moving=True)
            self.assertTrue(portion.items)
        self.run_one(export.drop, ["M3"])
        archived = evolve(portion.items[0].archived, id="7QK2AAAA00000000")
        self.run_one(import_.put_piece, archived.id, 1, b"xy")
        self.assertTrue(self.run_one(import_.put, ArchiveItem(archived=archived)))
        self.run_one(import_.forget_pieces, "7QK2AAAA00000001")

    def go_round(self) -> None:
        spool = QueueSpool(
            self, InlineReader(self.connection), SpoolOptions(rate_limits=RATE_LIMITS, events=Recording())
        )
        selection = DueSelection(provider="other", lane="", routes=("r", "s"), lost=("r",), until=9e9)

        async def prepare(_delivery: Delivery, _edit: Edit) -> Prepared:
            return Prepared(provider="main", lane="b")

        self.run_one(settle.set_block, Block(provider="main"))
        change = Edit(action="reroute", who="the relay", force=True)
        self.assertEqual(1, now(spool.admin.edit(selection, change, "", prepare)).count)

    def operator(self) -> None:
        spool = QueueSpool(
            self, InlineReader(self.connection), SpoolOptions(rate_limits=RATE_LIMITS, events=Recording())
        )
        for name in (each.name for each in FILTERS if each.kind == "text"):
            now(spool.admin.search(Selection(**{name: "*a*"})))
        for selection in (
            Selection(everything=True),
            Selection(provider="main"),
            Selection(sender="*@x.org"),
            Selection(recipient="a@*", states=("delivered", "failed", "held"), newest=True),
            Selection(states=("failed", "held")),
            Selection(states=("deleted",)),
            Selection(states=("delivered",), since=1.0, until=9e9, min_size=1),
            Selection(ids=("M3",)),
            Selection(ids=("M3.1", "M4")),
        ):
            mark = now(spool.admin.search(evolve(selection, limit=1))).mark
            while mark:
                mark = now(spool.admin.search(evolve(selection, limit=1), mark)).mark
            for action, act in EDIT_ACTIONS.items():
                change = Edit(action=action, who="ops", provider="other")
                if not selection.states or set(selection.states) & set(act.states):
                    now(spool.admin.edit(selection, change, "", self.prepare))
        now(spool.admin.hold(HoldRule(recipient="*@x.org", who="ops", reason="", until=self.now + 5)))
        self.accept(claiming=True)
        now(spool.admin.unhold(now(spool.admin.hold_rules())[0].id, "ops"))
        while now(spool.admin.apply_hold_rules()) is not None:
            pass
        with contextlib.suppress(LookupError):  # it was deleted
            now(spool.admin.content("M3"))
        now(spool.admin.show("M3"))
        now(spool.admin.stats())

    def do(self, operation: Any) -> Deferred[Any]:
        """Be the writer of a spool."""
        return succeed(self.run_one(operation))

    async def prepare(self, _delivery: Delivery, _edit: Edit) -> Prepared:
        return Prepared()

    def test_every_statement_goes_by_an_index(self) -> None:
        """Of all that the operations execute nothing scans, but what asks for all that is there."""
        self.a_day()
        plans = self.connection.plans
        scans = {
            sql: plan
            for sql, plan in plans.items()
            if any("SCAN" in step and not any(each in step for each in HARMLESS) for step in plan)
            and not any(each in sql for each in ABOUT_ALL)
        }
        self.assertEqual("", "\n".join(f"{sql}: {plan}" for sql, plan in scans.items()))
        self.assertGreater(len(plans), 50)

    def test_what_is_late_comes_in_order_from_the_index(self) -> None:
        """A page of what is late looks at the oldest of each state, and at no other."""
        self.a_day()
        (plan,) = [plan for sql, plan in self.connection.plans.items() if "page_of_" in sql]
        searches = [step for step in plan if "SEARCH d " in step]
        self.assertEqual(4, len(searches), plan)
        for step in searches:
            self.assertIn("USING INDEX delivery_alive (state=? AND message>?)", step)
        # Within one message its deliveries are sorted, which stops when the page is full.
        self.assertEqual([], [s for s in plan if "TEMP B-TREE FOR ORDER BY" in s])

    def test_what_is_due_comes_in_order_from_the_index(self) -> None:
        """To take the first of a hundred thousand, none of the others is looked at or sorted."""
        self.a_day()
        plans = [plan for sql, plan in self.connection.plans.items() if "d.due <= ?" in sql]
        self.assertEqual(2, len(plans))
        for plan in plans:
            self.assertIn("USING INDEX delivery_due", plan[0])
            self.assertEqual([], [step for step in plan if "TEMP B-TREE" in step])

    def test_lists_come_in_order_from_an_index(self) -> None:
        """A page of what waits, failed, was deleted or is over is found without sorting or skipping."""
        self.a_day()
        pages = {sql: plan for sql, plan in self.connection.plans.items() if "OFFSET" in sql}
        for sign, index in (
            ("d.state = 'deferred'", "INDEX delivery_alive (state=? AND message"),
            ("d.state = 'failed'", "INDEX delivery_failed (message"),
            ("d.state = 'deleted'", "INDEX delivery_deleted (message"),
            ("FROM message", "INDEX message_finished (finished"),
        ):
            plans = [plan for sql, plan in pages.items() if sign in sql]
            self.assertTrue(plans, sign)
            for plan in plans:
                self.assertEqual(1, len(plan), plan)
                self.assertIn(index, plan[0])

    def test_what_is_over_is_found_by_its_end(self) -> None:
        """However many wait, what was delivered is looked for among what is over."""
        self.a_day()
        plans = [plan for sql, plan in self.connection.plans.items() if "CROSS JOIN delivery d" in sql]
        self.assertTrue(plans)
        for plan in plans:
            self.assertIn("USING INDEX message_finished", plan[0])
