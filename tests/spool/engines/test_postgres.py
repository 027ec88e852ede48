"""The spool in PostgreSQL keeps the contract, and several nodes share it."""

import math
import os
import random
import socket
from concurrent.futures import Future, wait
from functools import cached_property, partial

import psycopg
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from smtprelay.model.attempt import Block, Busy, Permit, Settlement
from smtprelay.model.message import Planned
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.engines import postgres_connection, postgres_size
from smtprelay.spool.engines.postgres import open_postgres
from smtprelay.spool.engines.postgres_clock import DatabaseClock
from smtprelay.spool.engines.postgres_connection import PostgresConnection
from smtprelay.spool.engines.postgres_size import live_bytes
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.spool.maintenance.check import check
from smtprelay.spool.operations import permits
from smtprelay.spool.operations.accept import forget_chunks
from smtprelay.spool.operations.recover import reclaim
from smtprelay.spool.operations.settle import settle
from smtprelay.spool.operations.suspects import PATIENCE
from smtprelay.spool.receive.capacity import CapacityLimits
from smtprelay.spool.tables.schema import MIGRATIONS, POSTGRES_TYPES
from tests.behaviours.spool import SpoolContract
from tests.behaviours.spool_notice import report_on
from tests.behaviours.spool_stories import RATE_LIMITS, SpoolStories, done
from tests.behaviours.spool_suspects import ROOMY
from tests.listed import listed
from tests.postgres import empty_spool_url, new_spool_url, server_url
from tests.recording import Recording
from tests.spool import older
from tests.spool.engines.test_sqlite import ClockedReactor


class Shared(SpoolStories):
    """Opens spools in a schema of this test's own."""

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.events = Recording()

    @cached_property
    def url(self):
        return new_spool_url()

    async def open(self, rate_limits=RATE_LIMITS, *, listening=False, **opening):
        return await open_postgres(
            lambda: self.url,
            SpoolOptions(rate_limits=rate_limits, events=self.events, **opening),
            reactor=ClockedReactor(self.clock),
            clock=lambda: f"CAST({self.clock.seconds()} AS double precision)",
            listening=listening,
        )

    def play(self, story, rate_limits=RATE_LIMITS, **opening):
        async def tell() -> None:
            spool = await self.open(rate_limits, **opening)
            try:
                await story(spool)
            finally:
                await spool.close()

        return Deferred.fromCoroutine(tell())


class Emptied(Shared):
    """Opens them in a schema that earlier tests have used."""

    def setUp(self):
        super().setUp()
        self.url = empty_spool_url()


class PostgresTests(Emptied, SpoolContract, TestCase):
    """The contract."""


class OlderTests(Shared, TestCase):
    """Tables that an earlier version made."""

    def test_a_spool_of_each_older_version(self):
        """It is brought up to date when it is opened, and works; what was deleted is that."""

        async def corrected(spool, have: int) -> None:
            (claim,) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(claim, done(claim)))
            if have < older.DELETED:
                self.assertEqual(older.CORRECTED, await older.deletions(spool))
            self.assertEqual([], await spool._reader.do(check))

        async def story() -> None:
            for have in range(1, len(MIGRATIONS)):
                self.url = new_spool_url()
                with psycopg.connect(self.url, autocommit=True) as old:
                    older.fill(old.execute, POSTGRES_TYPES, have)
                await self.play(partial(corrected, have=have))

        return Deferred.fromCoroutine(story())

    def test_mail_in_the_lanes_of_an_older_version(self):
        """All of it is delivered: queued, deferred, under way, and in a blocked lane."""

        async def story(spool) -> None:
            self.assertEqual(older.DELIVERED, await older.deliver_lanes(spool, self.clock))
            self.assertEqual([], await spool._reader.do(check))

        with psycopg.connect(self.url, autocommit=True) as old:
            older.fill_lanes(old.execute, POSTGRES_TYPES)
        return self.play(story, older.RATES)


class NodesTests(Emptied, TestCase):
    """Several nodes, which is what this engine is for."""

    def with_nodes(self, story, number=2, rate_limits=RATE_LIMITS):
        """Tell ``story`` with so many spools on the same tables."""

        async def tell() -> None:
            nodes = [await self.open(rate_limits) for _ in range(number)]
            try:
                await story(*nodes)
                await self.assert_sound(nodes[0])
            finally:
                for node in nodes:
                    await node.close()

        return Deferred.fromCoroutine(tell())

    async def assert_sound(self, spool):
        """Count everything anew."""
        self.assertEqual([], await spool._reader.do(check))

    def test_only_one_node_tells_of_a_delay(self):
        """All look for what is late; whoever is first tells it."""

        async def story(*nodes):
            await self.send(nodes[0])
            self.clock.advance(11)
            pages = [await node.overdue(self.clock.seconds() - 10) for node in nodes]
            late = [page.deliveries[0].delivery for page in pages]
            told = await gatherResults(
                [
                    Deferred.fromCoroutine(node.notify(late[n], report_on(late[n].message, n)))
                    for n, node in enumerate(nodes)
                ]
            )
            self.assertEqual([False, False, True], sorted(told))
            self.assertEqual(2, len(await listed(nodes[0], Selection())))

        return self.with_nodes(story, number=3)

    def test_any_node_takes_any_mail(self):
        """What one node accepted another one claims, reads and settles."""

        async def story(one, other) -> None:
            await self.send(one, body=b"x" * 600_000)
            (claim,) = (await other.claim()).claims
            self.assertEqual(b"x" * 600_000, await other.body(claim.delivery).whole())
            self.assertTrue(await other.settle(claim, done(claim)))
            self.assertEqual((), tuple(await listed(one, Selection())))

        return self.with_nodes(story)

    def test_the_others_see_who_drains(self):
        """A node says that it takes no new work; all see it, until it says otherwise."""

        async def story(one, other) -> None:
            await one.admin.set_draining(True)
            self.assertEqual([False, True], sorted(node.draining for node in await other.admin.nodes()))
            await one.admin.set_draining(False)
            self.assertEqual([False, False], [node.draining for node in await other.admin.nodes()])

        return self.with_nodes(story)

    def test_slots_are_shared(self):
        """A provider's concurrency holds for all nodes together; a slot that one frees another may take."""

        async def story(one, other) -> None:
            for number in (1, 2, 3):
                await self.send(one, number=number)
            first, second = (await one.claim()).claims
            work = await other.claim()
            self.assertEqual(((), True), (tuple(work.claims), work.waiting))
            await one.settle(first, done(first))
            (third,) = (await other.claim()).claims
            await one.settle(second, done(second))
            await other.settle(third, done(third))

        return self.with_nodes(story)

    def test_the_pace_is_shared(self):
        """Of three in a minute each node takes what the others have left."""
        rate_limits = {"main": RateLimit(concurrency=9, windows=(Window(count=3, seconds=60),))}

        async def story(one, other) -> None:
            for number in range(1, 6):
                await self.send(one, number=number)
            mine = (await one.claim(limit=2)).claims
            work = await other.claim()
            self.assertEqual((2, 1), (len(mine), len(work.claims)))
            self.assertGreater(work.due, self.clock.seconds())
            for node, claims in ((one, mine), (other, work.claims)):
                for claim in claims:
                    await node.settle(claim, done(claim))

        return self.with_nodes(story, rate_limits=rate_limits)

    def test_a_block_is_shared(self):
        """A lane that one node stopped gives nothing to another."""

        async def story(one, other) -> None:
            await self.send(one)
            await one.block(Block(provider="main", until=self.clock.seconds() + 60, reason="401"))
            self.assertEqual((), tuple((await other.claim()).claims))
            await other.block(Block(provider="main"))
            self.assertEqual(1, len((await one.claim()).claims))

        return self.with_nodes(story)

    def test_a_dead_node_gives_back(self):
        """A claim whose lease ran out goes to another node, uncertain; the dead one cannot settle it."""

        async def story(one, other) -> None:
            await self.send(one)
            (lost,) = (await one.claim()).claims
            await self.live(other, 59)
            self.assertEqual(0, await other.maintenance.reclaim())
            self.clock.advance(2)
            self.assertEqual(1, await other.maintenance.reclaim())
            (found,) = (await other.claim()).claims
            self.assertTrue(found.uncertain)
            self.assertFalse(await one.settle(lost, done(lost)))
            self.assertTrue(await other.settle(found, done(found)))
            (detail,) = await one.admin.show(found.delivery.message)
            self.assertEqual(["uncertain", "delivered"], [each.outcome for each in detail.history])

        return self.with_nodes(story)

    def test_the_suspects_of_one_node_do_not_stop_another(self):
        """Who took them over tries them alone; the others go on as ever, also where they are all taken."""

        async def story(one, other, third) -> None:
            for number in (1, 2):
                await self.send(one, number=number)
            self.assertEqual(2, len((await one.claim()).claims))
            await self.live_together((other, third), 80)
            self.assertEqual(2, await other.maintenance.reclaim())
            (alone,) = (await other.claim()).claims
            begun: list = []
            third.listen(begun.extend)
            await self.send(third, number=3)
            self.assertEqual(1, len(begun))
            await self.send(other, number=4)
            self.assertEqual([], list((await other.claim()).claims))
            (waited,) = (await third.claim()).claims
            self.assertEqual(self.draft(number=4).id, waited.delivery.message)
            for node, claim in ((other, alone), (third, begun[0]), (third, waited)):
                self.assertTrue(await node.settle(claim, done(claim)))
            (last,) = (await third.claim()).claims
            self.assertTrue(last.uncertain)
            await third.settle(last, done(last))
            self.assertEqual([], list(await listed(one, Selection())))

        return self.with_nodes(story, number=3, rate_limits=ROOMY)

    def test_only_its_keeper_pauses_for_a_suspect(self):
        """A node that is never idle waits for an idle moment; the others do not."""

        async def story(one, other, third) -> None:
            await self.send(one, number=1)
            await one.claim()
            await self.live_together((other, third), 60)
            busy = {}
            for node, number in ((other, 2), (third, 3)):
                await self.send(node, number=number)
                busy[node] = (await node.claim()).claims
            await self.live_together(busy, 20)
            self.assertEqual(1, await other.maintenance.reclaim())
            for _ in range(3):
                for node, claims in busy.items():
                    await node.renew(claims)
                await self.live_together(busy, PATIENCE / 3)
            for number in (4, 5):
                await self.send(other, number=number)
            self.assertEqual(0, len((await other.claim()).claims))
            self.assertEqual(2, len((await third.claim()).claims))

        return self.with_nodes(story, number=3, rate_limits=ROOMY)

    def test_a_killer_among_nodes(self):
        """Whichever node works on it dies; it is held after three of them, and all else gets through."""

        async def story(*nodes) -> None:
            chance = random.Random(7)
            alive = {node: [] for node in nodes}
            for number in range(1, 9):
                await self.send(nodes[0], number=number, provider=chance.choice(["main", "other"]))
            killer, deaths = self.draft(number=5).id, 0
            for _ in range(200):
                node = chance.choice(list(alive))
                await node.maintenance.reclaim()
                alive[node] += (await node.claim(2)).claims
                for each, claims in alive.items():
                    await each.renew(claims)
                self.clock.advance(5)
                if not alive[node]:
                    continue
                claim = chance.choice(alive[node])
                if claim.delivery.message == killer:
                    deaths += 1
                    del alive[node]
                    alive[self.born[deaths - 1]] = []
                else:
                    alive[node].remove(claim)
                    self.assertTrue(await node.settle(claim, done(claim)))
            (line,) = await listed(nodes[0], Selection())
            self.assertEqual((killer, "held"), (line.message, line.state))
            self.assertLessEqual(deaths, 3)

        async def with_more(*nodes) -> None:
            self.born = nodes[3:]
            await story(*nodes[:3])

        return self.with_nodes(with_more, number=6, rate_limits=ROOMY)

    def test_a_database_that_was_away(self):
        """Nobody could renew meanwhile: nothing is taken from a node that does so soon after, all else is."""

        async def story(one, other) -> None:
            for number in (1, 2):
                await self.send(one, number=number)
            claims = (await one.claim()).claims
            self.clock.advance(90)
            self.assertEqual(0, await other.maintenance.reclaim())
            await one.renew(claims[:1])
            await self.live(other, 59)
            self.assertEqual(0, await other.maintenance.reclaim())
            self.clock.advance(1)
            self.assertEqual(1, await other.maintenance.reclaim())
            self.assertEqual([True, False], [await one.settle(each, done(each)) for each in claims])

        return self.with_nodes(story)

    async def live_together(self, nodes, seconds):
        """Let time go by, in which each of ``nodes`` has something to do now and then."""
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            for node in nodes:
                await node.renew([])

    async def live(self, node, seconds):
        """Let time go by, in which ``node`` has something to do now and then."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            if not self.clock.seconds() % 30:
                await node.renew([])

    def test_a_claim_that_is_renewed_is_kept(self):
        """A lease that is renewed does not run out."""

        async def story(one, other) -> None:
            await self.send(one)
            (claim,) = (await one.claim()).claims
            await self.live(other, 50)
            await one.renew([claim])
            await self.live(other, 50)
            self.assertEqual(0, await other.maintenance.reclaim())
            self.assertTrue(await one.settle(claim, done(claim)))

        return self.with_nodes(story)

    def test_a_claim_that_nobody_knows_of(self):
        """A claim of this node that nobody renews, for its commit was not told, comes back in the end."""

        async def story(one) -> None:
            await self.send(one)
            await one.claim()
            await self.live(one, 61)
            self.assertEqual(0, await one.maintenance.reclaim())
            await self.live(one, 60)
            self.assertEqual(1, await one.maintenance.reclaim())

        return self.with_nodes(story, 1)

    def test_pieces_of_a_dead_node(self):
        """What a dead node had received of a message goes, what a living one has stays."""

        async def story(one, other) -> None:
            for node, number in ((one, 1), (other, 2)):
                incoming = node.incoming(self.draft("a@example.com", number=number), lambda _h, _s: [])
                await incoming.write(b"x" * 600_000)
            await self.live(other, 180)
            await other.maintenance.reclaim()
            rows = await other._reader.do(lambda c: c.execute("SELECT message FROM chunk").fetchall())
            self.assertEqual({self.draft(number=2).id}, {row[0] for row in rows})

        return self.with_nodes(story)

    def test_two_ends_of_one_message(self):
        """Two nodes that end the last two deliveries of a message at the same moment close it."""

        async def story(one, other) -> None:
            draft = self.draft("a@example.com", "b@example.com")
            people = draft.envelope.recipients
            planned = [
                Planned(route="r", provider="main", lane="", recipients=people[:1]),
                Planned(route="r", provider="other", lane="", recipients=people[1:]),
            ]
            await one.accept(draft, b"x", planned)
            (mine,) = (await one.claim(limit=1)).claims
            rest = Selection(ids=(f"{draft.id}.2",))
            deletion = Edit(action="delete", who="op")
            edited = await self.in_between(
                one,
                other,
                lambda tx: settle(tx, [(mine, done(mine))]),
                lambda: other.admin.edit(rest, deletion),
            )
            self.assertEqual([f"{draft.id}.2"], edited.ids)
            sql = "SELECT count(*) FROM message WHERE finished IS NULL"
            self.assertEqual((0,), await one._reader.do(lambda c: c.execute(sql).fetchone()))

        return self.with_nodes(story)

    async def in_between(self, one, other, first, second):
        """Have ``one`` run ``first``, and before that is committed begin ``second``, which ``other`` does."""
        ended = Deferred()
        # Providers that a node needed just now it locks beforehand, and so would wait anyway.
        self.clock.advance(20)
        for node in (one, other):
            await node.renew([])

        def run(tx) -> None:
            first(tx)
            tx.finish()
            tx.execute("SELECT 1").fetchone()  # which waits until all before it has been done
            begun = Deferred.fromCoroutine(second())
            reactor.callFromThread(begun.chainDeferred, ended)
            wait([Future()], timeout=0.3)

        await one._writer.do(run)
        return await ended

    def test_who_waits_for_a_lane_has_no_delivery_yet(self):
        """Deliveries and messages are locked after the lane: two that need both do not block each other."""

        async def story(one, other) -> None:
            for number in (1, 2):
                await self.send(one, number=number)
            for claim in (await one.claim()).claims:
                failed = dict.fromkeys(claim.delivery.envelope.addresses, "failed")
                await one.settle(claim, Settlement(state="failed", outcomes={}, closed=failed))
            moved = self.draft(number=1).id
            ids = Selection(ids=(moved,))
            for step in (
                lambda: other.admin.edit(ids, Edit(action="retry", who="op")),
                lambda: other.archive.export(ids, moving=True),
                lambda: other.archive.exported([moved], "op"),
                lambda: other.maintenance.sweep(5000.0),
            ):
                self.clock.advance(20)  # what was needed just now is locked in any case
                with psycopg.connect(self.url) as third:
                    third.execute("SELECT 1 FROM lane WHERE key = '' FOR UPDATE")
                    begun = Deferred.fromCoroutine(step())
                    while not third.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                        await deferLater(reactor, 0.02)
                    third.execute("SELECT 1 FROM delivery FOR UPDATE NOWAIT")
                    third.execute("SELECT 1 FROM message FOR UPDATE NOWAIT")
                await begun
            (count,) = await one._reader.do(lambda c: c.execute("SELECT count(*) FROM message").fetchone())
            self.assertEqual(0, count)

        return self.with_nodes(story)

    def test_a_loan_that_two_nodes_take_back(self):
        """Its slot comes back once."""

        async def story(one, other) -> None:
            await one.permits.acquire("gone", "main", "")
            await self.live(other, 300)
            await one.permits.acquire("here", "main", "")
            await self.live(other, 330)
            forget = partial(permits.forget, where="lease < ?", parameters=(self.clock.seconds(),))
            await self.in_between(one, other, forget, other.maintenance.reclaim)
            self.assertIsInstance(await other.permits.acquire("another", "main", ""), Permit)
            self.assertIsInstance(await other.permits.acquire("too many", "main", ""), Busy)

        return self.with_nodes(story)

    def test_a_claim_that_its_node_and_another_give_up(self):
        """It comes back once."""

        async def story(one, other) -> None:
            await self.send(one)
            await one.claim()
            await self.live(other, 70)
            await self.in_between(other, one, reclaim, one.release)
            self.assertEqual(1, len(await listed(other, Selection(states=("queued",)))))

        return self.with_nodes(story)

    def test_many_at_once(self):
        """Three nodes accept, claim and settle two hundred mails in each other's way: each goes once."""

        async def work(node, number) -> list[str]:
            sent = []
            for n in range(70):
                await self.send(
                    node,
                    number=number * 1000 + n,
                    provider="main" if n % 2 else "other",
                    lane="" if n % 2 else f"box{n % 3}",
                )
                for claim in (await node.claim(limit=5)).claims:
                    await node.release_slot(claim)
                    if await node.settle(claim, done(claim)):
                        sent.append(claim.delivery.id)
            return sent

        async def story(*nodes) -> None:
            lists = await gatherResults(
                Deferred.fromCoroutine(work(node, number)) for number, node in enumerate(nodes, start=1)
            )
            while claims := (await nodes[0].claim()).claims:
                for claim in claims:
                    await nodes[0].settle(claim, done(claim))
                    lists.append([claim.delivery.id])
            ids = [each for some in lists for each in some]
            self.assertEqual((210, 210), (len(ids), len(set(ids))))

        return self.with_nodes(story, 3)

    def test_a_node_hears_of_mail(self):
        """What one node accepts and does not claim is told to the others."""

        async def story() -> None:
            one, other = await self.open(), await self.open(listening=True)
            told = Deferred()
            try:
                calls = []

                def take(claims) -> None:
                    calls.append(claims)
                    if len(calls) == 2:
                        told.callback(None)

                other.listen(take)
                while not calls:
                    await deferLater(reactor, 0.01)
                await self.send(one)
                await told
            finally:
                await one.close()
                await other.close()

        return Deferred.fromCoroutine(story())


class TimeTests(Shared, TestCase):
    """All nodes live by the database's clock, whatever their own ones show."""

    async def open(self, rate_limits=RATE_LIMITS, *, listening=False, **opening):
        terms = SpoolOptions(rate_limits=rate_limits, events=self.events, **opening)
        return await open_postgres(lambda: self.url, terms, reactor=ClockedReactor(self.clock))

    def test_a_node_whose_clock_is_wrong(self):
        """What it says is the time is the database's time, from its start on, and stays it."""

        async def story(spool) -> None:
            sql = "SELECT extract(epoch FROM clock_timestamp())"
            for step in (0, 10**6):
                self.clock.advance(step)
                (time,) = await spool._reader.do(lambda c: c.execute(sql).fetchone())
                self.assertLess(abs(float(time) - spool.clock.seconds()), 3600)

        return self.play(story)

    def test_it_ticks_by_itself(self):
        """Between two answers of the database it goes on steadily; a small difference changes nothing."""
        reactor_time, steady = Clock(), Clock()
        clock = DatabaseClock(reactor_time, steady.seconds)
        self.assertEqual(0.0, clock.seconds())
        for now, wanted in ((5000.0, 5000.0), (5000.2, 5000.0), (4999.9, 5000.0), (4000.0, 4000.0)):
            clock.learn(now)
            self.assertEqual(wanted, clock.seconds())
        reactor_time.advance(1e6)
        steady.advance(3)
        self.assertEqual(4003.0, clock.seconds())
        rung = []
        clock.callLater(1, rung.append, 1)
        reactor_time.advance(1)
        self.assertEqual([1], rung)


class LesserTests(Shared, TestCase):
    """A database that has less than PostgreSQL: what is missing is done without."""

    def lacking(self, *functions):
        """Have these functions, with the types of their parameters, fail as if they did not exist."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for function in functions:
                connection.execute(
                    f"CREATE FUNCTION {function} RETURNS bigint LANGUAGE plpgsql AS"
                    " $$BEGIN RAISE 'no such function' USING ERRCODE = '42883'; END$$"
                )
            (schema,) = connection.execute("SELECT current_schema()").fetchone()
        self.url = psycopg.conninfo.make_conninfo(self.url, options=f"-csearch_path={schema},pg_catalog")

    def test_sizes_that_are_not_told(self):
        """There is no limit of bytes, no history goes for its size; the limit of messages holds."""
        self.lacking("pg_total_relation_size(text)")

        async def story(spool) -> None:
            for number in (1, 2):
                await self.send(spool, number=number, body=b"x" * 200_000)
                await spool.maintenance.check_health()
                self.assertIsNone(spool.refusal(200_000))
            self.assertIsNone((await spool.maintenance.space()).used)
            self.assertEqual(0, (await spool.admin.stats()).bytes)
            await self.send(spool, number=3)
            self.assertIsNotNone(spool.refusal())

        return self.play(story, floors=CapacityLimits(deliveries=3, bytes=300_000))

    def test_a_sample_that_cannot_be_taken(self):
        """The tables may have room within: what they take is not held against mail or history."""
        self.lacking("pg_relation_size(text)")

        async def story(spool) -> None:
            await self.send(spool, number=1, body=b"x" * 200_000)
            await spool.maintenance.check_health()
            self.assertEqual("", spool.maintenance.complaint)
            self.assertIsNone((await spool.maintenance.space()).used)
            self.assertGreater((await spool.admin.stats()).bytes, 0)

        return self.play(story, floors=CapacityLimits(bytes=210_000))

    def test_no_turns_at_the_tables(self):
        """They are made all the same."""
        self.lacking("pg_advisory_xact_lock(bigint)")

        async def story(spool) -> None:
            self.assertEqual(250, (await self.send(spool)).code)

        return self.play(story)

    def test_a_large_spool(self):
        """Of many pages a few are looked at, and tell about how much there is."""

        async def story(spool) -> None:
            draft = self.draft("a@example.com")
            people = draft.envelope.recipients * 30_000
            planned = [Planned(route="r", provider="main", lane="", recipients=people)]
            await spool.accept(draft, b"x", planned)
            exact = await spool._reader.do(live_bytes)
            self.patch(postgres_size, "_MOST", 30)
            estimated = await spool._reader.do(live_bytes)
            self.assertTrue(exact / 3 < estimated < exact * 3, (estimated, exact))
            self.assertNotEqual(estimated, exact)

        return self.play(story)


class LossTests(Shared, TestCase):
    """A connection that breaks, in the worst of moments."""

    def end_sessions(self):
        """Have the server end all other sessions, as an administrator does."""
        with psycopg.connect(server_url(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND application_name = 'smtprelay'"
            )

    def test_between_transactions(self):
        """A connection that was ended while it was idle is replaced, and nobody notices."""

        async def story(spool) -> None:
            await self.send(spool, number=1)
            self.assertEqual(1, len(await listed(spool, Selection())))
            self.end_sessions()
            reply = await self.send(spool, number=2)
            self.assertEqual(250, reply.code)
            self.end_sessions()
            self.assertEqual(2, len(await listed(spool, Selection())))

        return self.play(story)

    def broken_commits(self, before):
        """
        Have each first COMMIT of a group lose its answer; before it happened, or after.

        Returns how often that was.
        """
        count = []
        execute = PostgresConnection.execute

        def losing(connection, sql, parameters=()):
            if sql != "COMMIT" or len(count) % 2:
                if sql == "COMMIT":
                    count.append("went well")
                return execute(connection, sql, parameters)
            count.append("lost")
            if not before:
                execute(connection, sql)
                if connection._connection._pipeline is not None:  # from version 17 on
                    connection._connection._pipeline.sync()
            connection._connection.close()
            raise psycopg.OperationalError("the answer was lost")

        self.patch(PostgresConnection, "execute", losing)
        return count

    def each_once(self, spool):
        async def story() -> None:
            for number in (1, 2, 3):
                self.assertEqual(250, (await self.send(spool, number=number)).code)
            claims = (await spool.claim()).claims
            self.assertEqual(2, len(claims))
            self.assertEqual([True, True], [await spool.settle(each, done(each)) for each in claims])
            found = await listed(spool, Selection(states=("queued", "delivered", "active")))
            self.assertEqual(["delivered", "delivered", "queued"], sorted(each.state for each in found))
            self.assertEqual([], await spool._reader.do(check))

        return story()

    def test_a_message_that_came_after_all(self):
        """A message whose client was told to send it again, though it was here, keeps its body."""

        async def story(spool) -> None:
            draft, body = self.draft("a@example.com"), b"x" * 600_000
            people = draft.envelope.recipients
            planned = [Planned(route="r", provider="main", lane="", recipients=people)]
            await spool.accept(draft, body, planned)
            await spool._writer.do(partial(forget_chunks, message=draft.id))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(body, await spool.body(claim.delivery).whole())

        return self.play(story)

    def test_before_a_commit(self):
        """A group that was not committed is run again."""
        lost = []

        async def story(spool) -> None:
            lost.extend([self.broken_commits(before=True)])
            await self.each_once(spool)
            self.assertIn("lost", lost[0])

        return self.play(story)

    def test_after_a_commit(self):
        """A group that was committed is not run again, though its answer was lost."""

        async def story(spool) -> None:
            lost = self.broken_commits(before=False)
            await self.each_once(spool)
            self.assertIn("lost", lost)

        return self.play(story)

    def test_a_commit_that_comes_late(self):
        """The server goes on with what it had got before the connection broke: that is waited for."""
        execute = PostgresConnection.execute
        holder = psycopg.connect(self.url, autocommit=True)
        self.addCleanup(holder.close)
        lost = []

        def losing(connection, sql, parameters=()):
            answer = execute(connection, sql, parameters)
            if sql != "COMMIT" or lost or not holding:
                return answer
            lost.append(sql)
            line = connection._connection.pgconn
            line.flush()
            with socket.socket(fileno=os.dup(line.socket)) as same:
                same.shutdown(socket.SHUT_RDWR)
            reactor.callFromThread(reactor.callLater, 0.5, holder.execute, "COMMIT")
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        self.patch(PostgresConnection, "execute", losing)
        holding = []

        def late(tx) -> None:
            tx.execute("UPDATE lane SET served = 1 WHERE provider = 'other'")
            tx.execute("INSERT INTO upload (message, node) VALUES (?, '')", (str(len(holding)),))
            holding.append(1)

        async def story(spool) -> None:
            await self.send(spool, provider="other")
            # What was needed just now is locked at the beginning of a transaction.
            self.clock.advance(20)
            await spool.renew([])
            if holder.info.server_version < 170000:
                return  # nothing is sent before the answer to what was sent before
            holder.execute("BEGIN")
            holder.execute("SELECT 1 FROM lane FOR UPDATE")
            holding.append(1)
            await spool._writer.do(late)
            self.assertEqual(["COMMIT"], lost)
            rows = await spool._reader.do(lambda c: c.execute("SELECT message FROM upload").fetchall())
            self.assertEqual([("1",)], rows)

        return self.play(story)

    def test_a_commit_that_nobody_knows_of(self):
        """A server that says itself that it does not know is asked again."""
        execute = PostgresConnection.execute
        lost = []

        def losing(connection, sql, parameters=()):
            answer = execute(connection, sql, parameters)
            if sql != "COMMIT" or lost or not sent:
                return answer
            lost.append(sql)
            if connection._connection._pipeline is not None:
                connection._connection._pipeline.sync()
            raise psycopg.errors.lookup(code)("nobody knows")

        self.patch(PostgresConnection, "execute", losing)

        async def story(spool) -> None:
            sent.append(await self.send(spool, number=1))
            self.assertEqual(250, (await self.send(spool, number=2)).code)
            self.assertEqual(["COMMIT"], lost)
            self.assertEqual(2, len(await listed(spool, Selection())))

        async def stories() -> None:
            nonlocal code
            for each in ("40003", "57P01"):
                code = each
                self.url = new_spool_url()
                lost.clear()
                sent.clear()
                await self.play(story)

        code, sent = "", []
        return Deferred.fromCoroutine(stories())

    def test_a_server_that_turns_many_away(self):
        """While it refuses, one answer is for all that is asked in that moment; then it is asked again."""
        steady = Clock()
        asked = []

        def url():
            asked.append(1)
            return f"host={self.mktemp()} user=nobody"

        connection = PostgresConnection(url, steady=steady.seconds)
        for _ in range(9):
            self.assertRaises(SpoolFault, connection.execute, "SELECT 1")
        self.assertEqual(1, len(asked))
        steady.advance(1)
        self.assertRaises(SpoolFault, connection.execute, "SELECT 1")
        self.assertEqual(2, len(asked))

    def test_in_the_middle_of_a_transaction(self):
        """What is left of one does not go to another connection, where it would stand for itself."""
        for connection, error in (
            (PostgresConnection(lambda: self.url), psycopg.Error),
            (PostgresConnection(lambda: self.url, reading=True), SpoolFault),
        ):
            self.addCleanup(connection.close)
            connection.execute("BEGIN")
            self.end_sessions()
            self.assertRaises(error, connection.execute, "SELECT 1")

    def test_a_pool_of_sessions(self):
        """One that gives each transaction another session is refused in words, for what is set must last."""
        pool = []

        def connect(url):
            if not pool or pool[0].closed:
                pool[:] = [plain(url)]
            return pool[0]

        plain = postgres_connection.connect
        self.patch(postgres_connection, "connect", connect)
        failed = self.assertFailure(Deferred.fromCoroutine(self.open()), SpoolFault)
        return failed.addCallback(lambda fault: self.assertIn("pool_mode = session", str(fault)))

    def test_a_pool_that_is_found_out_late(self):
        """As long as another client is in our session nothing is written."""

        async def story(spool) -> None:
            sql = "SELECT set_config('smtprelay.session', 'another', false)"
            await spool._writer.do(lambda tx: tx.execute(sql).fetchone())
            spool._writer.writer._engine._checked = -math.inf
            self.assertEqual(451, (await self.send(spool)).code)
            self.assertIn("pool_mode = session", spool.maintenance.complaint)

        return self.play(story)

    def test_a_table_that_is_taken_away(self):
        """It is no mail's fault: the node says that it cannot write, until it can."""

        async def story(spool) -> None:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("ALTER TABLE message RENAME TO taken")
                self.assertEqual(451, (await self.send(spool, number=1)).code)
                self.assertIn('relation "message" does not exist', spool.maintenance.complaint)
                connection.execute("ALTER TABLE taken RENAME TO message")
            await spool.maintenance.check_health()
            self.assertEqual("", spool.maintenance.complaint)
            self.assertEqual(250, (await self.send(spool, number=2)).code)

        return self.play(story)

    def test_a_connection_string_that_is_none(self):
        """What is wrong with a connection string is told without quoting it: a password may be in it."""
        self.url = "postgresql//relay:secret@db"
        failed = self.assertFailure(Deferred.fromCoroutine(self.open()), SpoolFault)
        return failed.addCallback(
            lambda fault: (
                self.assertIn("connection string", str(fault)),
                self.assertNotIn("secret", str(fault)),
            )
        )

    def test_a_server_that_is_not_there(self):
        """Without a server the spool does not open, and says what the database library says."""
        self.url = f"host={self.mktemp()} user=nobody"
        failed = self.assertFailure(Deferred.fromCoroutine(self.open()), SpoolFault)
        return failed.addCallback(lambda fault: self.assertIn("no connection to the database", str(fault)))
