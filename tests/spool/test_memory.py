"""The spool in memory keeps the contract, without waiting for anything."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.memory import open_memory
from smtprelay.spool.terms import Terms
from tests.behaviours.spool import SpoolContract
from tests.behaviours.spool_stories import PACES
from tests.recording import Recording


class MemoryTests(SpoolContract, SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.clock.advance(1000)

    def play(self, story, paces=PACES, **opening):
        async def tell() -> None:
            spool = open_memory(Terms(paces=paces, events=Recording(), **opening), clock=self.clock)
            await story(spool)
            await spool.close()

        self.successResultOf(Deferred.fromCoroutine(tell()))
