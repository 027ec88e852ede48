"""
Promises 1 and 2 under ``kill -9``, in the long form of :mod:`tests.process.crash.test_crash`.

The counts are printed, and so is what the dice gave, to be thrown again with ``CRASH_SEED``.
"""

import os
import random
import signal
import sys
from collections.abc import Sequence

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.postgres import new_spool_url
from tests.process.crash.hostile_storm import HostileStorm
from tests.process.crash.storm import Kill, Storm
from tests.process.relay_process import RelayProcess, on_postgres
from tests.process.spool.test_database import DatabaseCase
from tests.process.spool_tables import SpoolTables
from tests.process.stage import Stage
from tests.process.traffic import Tally
from tests.process.wrapped_relay import POINTS, POSTGRES_POINTS

MAILS = 2000
CLIENTS = 50

#: Kills at no point in particular, and at each point, on each of the two engines.
ANYWHERE = 100
AT_EACH_POINT = 2

#: How often the relay is killed while hostile mail is worked on.
HOSTILE_LIVES = 30

#: How often the database's server is killed, and between that a node.
SERVERS = 8


class Dice:
    """Chance that can be had again; and the place where results are told."""

    timeout = 1800

    def setUp(self) -> None:
        super().setUp()
        self.seed = int(os.environ.get("CRASH_SEED", "0")) or random.randrange(1, 1 << 32)
        self.dice = random.Random(self.seed)

    def tell(self, tally: Tally) -> None:
        sys.stdout.write(f"\n{tally}\nCRASH_SEED={self.seed}\n")
        found = (tally.lost, tally.duplicated, tally.excused, tally.spoilt)
        self.assertEqual(found, ([], [], [], []), f"CRASH_SEED={self.seed}")


class StormTests(Dice, Stage, TestCase):
    async def test_a_long_storm(self) -> None:
        """After more than a hundred kills, each commit point twice, every accepted mail arrived once."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded"))
        await self.weather(Storm(relay, acs, mails=MAILS, clients=CLIENTS), POINTS)

    async def test_a_long_storm_on_postgresql(self) -> None:
        """So too where the spool is on a server."""
        acs, url = await self.fake_acs(), new_spool_url()
        spool = on_postgres(self.folder, url)
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded", spool=spool))
        tables = SpoolTables.of_database(url)
        await self.weather(Storm(relay, acs, mails=MAILS, clients=CLIENTS, tables=tables), POSTGRES_POINTS)

    async def test_hostile_mail(self) -> None:
        """
        So too while hostile mail is worked on, and the worker is killed more often than the relay.

        At the end none of it waits: it is delivered, or has failed.
        """
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded"))
        storm = HostileStorm(relay, acs, self.dice, mails=HOSTILE_LIVES * 10, clients=5)
        tally = await storm.rage([Kill(after=self.dice.uniform(0.1, 2.0)) for _ in range(HOSTILE_LIVES)])
        sys.stdout.write(f"\n{storm.hostile} hostile mails accepted, {storm.workers} workers killed")
        self.tell(tally)
        self.assertEqual(tally.left_over, 0)
        self.assertGreaterEqual(tally.accepted, HOSTILE_LIVES * 10)
        self.assertGreater(storm.hostile, HOSTILE_LIVES)
        self.assertGreater(storm.workers, HOSTILE_LIVES // 2)

    async def weather(self, storm: Storm, points: Sequence[str]) -> None:
        dice = self.dice
        kills = [Kill(point) for point in points]
        kills += [Kill(point, dice.randint(1, 3)) for point in points for _ in range(AT_EACH_POINT - 1)]
        kills += [Kill(after=dice.uniform(0.0, 0.5)) for _ in range(ANYWHERE)]
        dice.shuffle(kills)
        tally = await storm.rage(kills)
        self.tell(tally)
        self.assertEqual(tally.left_over, 0)
        self.assertGreaterEqual(tally.accepted, MAILS)
        self.assertEqual(set(tally.reached), {*points, "any moment"})


class ServerTests(Dice, DatabaseCase, TestCase):
    async def test_everything_dies(self) -> None:
        """So too with three nodes under load, of which one is killed, and their server, again and again."""
        server, acs = await self.serve(), await self.fake_acs()
        nodes = self.to_acs(acs)
        await self.start(nodes)
        for turn in range(SERVERS):
            flowing = self.flow(nodes, MAILS // SERVERS)
            await deferLater(reactor, self.dice.uniform(0.0, 0.6))
            await deferToThread(server.kill)
            await deferLater(reactor, self.dice.uniform(0.0, 2.0))
            await deferToThread(server.start)
            await deferLater(reactor, self.dice.uniform(0.0, 0.6))
            node = nodes[turn % len(nodes)]
            await node.life.stop(signal.SIGKILL)
            await node.start()
            await flowing
        tally = await self.see_to_the_end(acs, MAILS)
        self.tell(tally)
