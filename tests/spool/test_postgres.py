"""The spool in PostgreSQL keeps the contract, and several nodes share it."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from smtprelay.spool.postgres import open_postgres
from tests.behaviours.spool import SpoolContract
from tests.behaviours.spool_stories import PACES, SpoolStories
from tests.postgres import new_spool_url
from tests.recording import Recording
from tests.spool.test_sqlite import ClockedReactor


class Shared(SpoolStories):
    """Opens spools in a schema of this test's own."""

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)
        self.url = new_spool_url()
        self.events = Recording()

    async def open(self, paces=PACES, *, listening=False):
        return await open_postgres(
            lambda: self.url,
            reactor=ClockedReactor(self.clock),
            paces=paces,
            events=self.events,
            seconds=lambda _: self.clock.seconds(),
            listening=listening,
        )

    def play(self, story, paces=PACES):
        async def tell() -> None:
            spool = await self.open(paces)
            try:
                await story(spool)
            finally:
                await spool.close()

        return Deferred.fromCoroutine(tell())


class PostgresTests(Shared, SpoolContract, TestCase):
    """The contract."""
