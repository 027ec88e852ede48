"""
Many clients, one relay that is never restarted, and what fails around it meanwhile: its disk, its provider.

It counts as :mod:`tests.process.traffic` does. A refusal is no harm as long as it is temporary: its client
tries again, until all its mail is accepted.
"""

import random
import resource
from collections import Counter
from collections.abc import Awaitable, Callable

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import deferLater

from tests.process.acs_server import AcsServer
from tests.process.crash.storm import is_empty
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.spool_tables import SpoolTables
from tests.process.traffic import Tally, Traffic

#: Fails for a while, and is well again when it returns.
Trouble = Callable[["Siege"], Awaitable[None]]


class Siege(Traffic):
    """
    Hands mails in while something fails.

    :ivar mails: how many there are in all.
    :ivar relay: that is under siege.
    :ivar acs: its provider.
    :ivar dice: for what happens at random.
    :ivar madness: what the provider has done instead of its work, and how often.
    :ivar unready: how often ``/readyz`` was seen to say no, by its reason.
    """

    def __init__(
        self, relay: RelayProcess, acs: AcsServer, dice: random.Random, *, mails: int, clients: int
    ) -> None:
        super().__init__()
        self.mails = mails
        self.relay = relay
        self.acs = acs
        self.dice = dice
        self.madness: Counter[str] = Counter()
        self.unready: Counter[str] = Counter()
        self._clients = clients
        self._tables = SpoolTables.of_folder(relay.folder / "spool")
        self._over = False

    async def endure(self, trouble: Trouble, *wrapping: str) -> Tally:
        """Hand in until all is accepted and ``trouble`` is over; count when nothing waits any more."""
        await self.relay.start(*wrapping)
        clients = [Deferred.fromCoroutine(self._come()) for _ in range(self._clients)]
        self.add(self.mails)
        try:
            await trouble(self)
        finally:
            self._over = True
        await gatherResults(clients, consumeErrors=True)
        await eventually(self.is_ready, "a relay that is ready")
        await eventually(lambda: is_empty(self._tables, self.relay), "an empty queue", patience=300.0)
        tally = self.count(await self.acs.deliveries(), self._tables)
        await self.relay.stop()
        tally.left_over = self._tables.left_over()
        return tally

    async def is_ready(self) -> bool:
        """Ask the relay, and note what it says."""
        answer = await treq.get(f"{self.relay.http}/readyz", persistent=False, reactor=reactor)
        text = await answer.text()
        if answer.code != 200:
            self.unready[text.partition("\n")[0]] += 1
        return answer.code == 200

    async def wait(self, least: float, most: float) -> None:
        """Let some time pass, in seconds."""
        await deferLater(reactor, self.dice.uniform(least, most))

    def add_more(self, count: int) -> None:
        """Have ``count`` mails more to hand in than there are in all."""
        self.mails += count
        self.add(count)

    async def until_refused(self, times: int = 1) -> None:
        """Hand more mail in until so many are refused."""
        enough = self.refused.total() + times

        def refused() -> bool:
            if not self._to_send:
                self.add_more(self._clients)
            return self.refused.total() >= enough

        await eventually(refused, "mail that is refused")

    def faults_of_the_spool(self) -> list[str]:
        """Return what the check of the spool finds wrong, when the relay has ended."""
        damage = [row[0] for row in self._tables.ask("PRAGMA integrity_check") if row[0] != "ok"]
        return damage + self._tables.wrong()

    def limit_files(self, size: int = resource.RLIM_INFINITY) -> None:
        """Have each write of the relay fail that would reach beyond ``size`` bytes of a file (EFBIG)."""
        pid = self.relay.life.transport.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))

    # --- clients

    async def _come(self) -> None:
        """Hand in, in one session after the other, until there is nothing more and the trouble is over."""
        while (self._to_send and self.relay.life.status is None) or not self._over:
            try:
                talk = await self.relay.greet()
                while self._to_send:
                    await self._hand_in_one(talk)
                await talk.close()
            except (ConnectError, ConnectionLost):
                self.refused["gone"] += 1
            await self.wait(0.02, 0.1)

    async def _hand_in_one(self, talk) -> None:
        number = self._to_send.popleft()
        accepted = False
        try:
            accepted = await self._try(talk, number)
        finally:
            if not accepted:
                self._to_send.append(number)
        if not accepted:
            await self.wait(0.02, 0.2)

    def _judge(self, name: str, reply: str) -> bool:
        if reply.startswith("250 "):
            return super()._judge(name, reply)
        self.refused[reply[:9]] += 1
        if reply[0] != "4":
            raise AssertionError(f"refused for good: {reply}")
        return False
