"""
A storm in which others hand in hostile mail, and the process that works on mail is killed, too.
"""

import contextlib
import os
import random
import signal
from collections import Counter
from typing import Final

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import deferLater

from tests.mime.hostile import COSTLY
from tests.process.acs_server import AcsServer
from tests.process.crash.storm import Kill, Storm
from tests.process.relay_process import RelayProcess
from tests.process.traffic import Deliveries

#: To whom hostile mail goes.
VICTIM: Final = "victim@example.com"

#: Octets of hostile mails; on some of the largest the worker works for a quarter of a second.
SIZES: Final = (10_000, 60_000, 250_000)

#: What breaks a client's session.
_GONE: Final = (ConnectError, ConnectionLost, TookTooLong)


class Honest:
    """What came to an ACS, without the hostile mail."""

    def __init__(self, acs: AcsServer) -> None:
        self._acs = acs

    async def deliveries(self) -> Deliveries:
        """Return what came there."""
        found = await self._acs.deliveries()
        return Counter({each: times for each, times in found.items() if each[1] != VICTIM})


class HostileStorm(Storm):
    """
    A storm with hostile mail, in which the worker is killed again and again, too.

    :ivar hostile: how often a hostile mail was accepted.
    :ivar workers: how often a worker was killed.
    """

    def __init__(
        self, relay: RelayProcess, acs: AcsServer, dice: random.Random, *, mails: int, clients: int
    ) -> None:
        super().__init__(relay, Honest(acs), mails=mails, clients=clients)
        self._dice = dice
        self._unsent: list[str] = []
        self._over = False
        self.hostile = 0
        self.workers = 0

    async def _live(self, kill: Kill) -> None:
        self._over = False
        others = [Deferred.fromCoroutine(each) for each in (self._harm(), self._kill_workers())]
        try:
            await super()._live(kill)
        finally:
            self._over = True
            await gatherResults(others, consumeErrors=True)

    async def _harm(self) -> None:
        """Hand in hostile mails of each kind while the relay lives."""
        while not self._over:
            if not self._unsent:
                self._unsent = list(COSTLY)
                self._dice.shuffle(self._unsent)
            mail = COSTLY[self._unsent.pop()](self._dice.choice(SIZES))
            with contextlib.suppress(*_GONE):
                reply = await self._relay.send(mail.rstrip(b"\r\n") + b"\r\n", VICTIM)
                self.hostile += reply.startswith("250")
            await deferLater(reactor, 0.02)

    async def _kill_workers(self) -> None:
        while not self._over:
            await deferLater(reactor, self._dice.uniform(0.1, 0.6))
            worker = self._relay.worker()
            if worker:
                self.workers += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
