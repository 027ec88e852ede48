"""
Promises 1 and 2 under ``kill -9``, in the short form; ``make crash`` runs the long one.
"""

import contextlib  # as a name of this module, trial would take suppress for its own
import random

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import TestCase

from tests.postgres import new_spool_url
from tests.process.crash.storm import Kill, Storm
from tests.process.relay_process import RelayProcess, message, on_postgres
from tests.process.spool_tables import SpoolTables
from tests.process.stage import Stage
from tests.process.wrapped_relay import POINTS, POSTGRES_POINTS


class CrashTests(Stage, TestCase):
    async def test_nothing_is_lost_and_nothing_comes_twice(self) -> None:
        """Killed at each commit point and at three more moments: all that got its 250 arrives once."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded"))
        await self.weather(Storm(relay, acs, mails=120, clients=30), POINTS)

    async def test_so_it_is_on_postgresql(self) -> None:
        """So too where the spool is on a server, which may have committed without having said so."""
        acs, url = await self.fake_acs(), new_spool_url()
        spool = on_postgres(self.folder, url)
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, accept_on="succeeded", spool=spool))
        storm = Storm(relay, acs, mails=120, clients=30, tables=SpoolTables.of_database(url))
        await self.weather(storm, POSTGRES_POINTS)

    async def weather(self, storm: Storm, points: tuple[str, ...]) -> None:
        kills = [Kill(point) for point in points]
        kills += [Kill(after=random.uniform(0.02, 0.4)) for _ in range(3)]
        random.shuffle(kills)
        tally = await storm.rage(kills)
        told = f"{tally}\n{kills}"
        self.assertEqual((tally.lost, tally.duplicated, tally.excused, tally.spoilt), ([], [], [], []), told)
        self.assertEqual(tally.left_over, 0, told)
        self.assertGreaterEqual(tally.accepted, 120, told)
        self.assertEqual(set(tally.reached), {*points, "any moment"}, told)

    async def test_a_mail_that_kills_the_relay_is_held(self) -> None:
        """After two deaths at the same mail the relay lives, has put it aside and says so; others go on."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs))
        await relay.start("--die", "claimed:1")
        with contextlib.suppress(ConnectionLost):
            await relay.send(message("poison"), "user@example.com")
        await relay.life.ends()
        await relay.launch("--die", "claimed:1").ends()
        await relay.start("--die", "claimed:2")
        await relay.life.says(r'"message\.held"')
        [held] = await relay.queued()
        self.assertEqual((held["state"], held["uncertain"], held["attempts"]), ("held", True, 2))
        self.assertIn("crash_loop", held["reason"])
        self.assertEqual([held["id"]], (await relay.status())["stats"]["crash_loops"])
        reply = await relay.send(message("sound"), "other@example.com")
        self.assertTrue(reply.startswith("250 "), reply)
        await relay.life.says(r'"message\.delivered"')
