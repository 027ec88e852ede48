"""
One relay that is killed again and again while many clients hand mail in.
"""

import signal
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from attrs import frozen
from twisted.internet import reactor

from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.spool_tables import SpoolTables
from tests.process.traffic import Deliveries, Tally, Traffic

#: Seconds that a relay may live on after its mail was handed in without coming to where it shall die.
GRACE: Final = 8.0

#: Seconds until nothing may wait any more: what was under way at deaths, hundreds of mails, goes one by one.
PATIENCE: Final = 900.0


@frozen
class Kill:
    """
    The end of one life.

    :ivar point: of :data:`tests.process.wrapped_relay.POINTS`, or ``""`` for any moment.
    :ivar count: the how-manieth time it comes to ``point``.
    :ivar after: seconds from the beginning of the traffic, for any moment.
    """

    point: str = ""
    count: int = 1
    after: float = 0.0


class Sink(Protocol):
    """Where the mail goes."""

    async def deliveries(self) -> Deliveries:
        """Return what came there."""


class Storm:
    """
    Hands mails in while the relay is killed.

    :param mails: how many must be accepted in all; each life gets its share.
    :param tables: of the relay's spool; without one it is in the relay's folder.
    """

    def __init__(
        self, relay: RelayProcess, sink: Sink, *, mails: int, clients: int, tables: SpoolTables | None = None
    ) -> None:
        self._relay = relay
        self._sink = sink
        self._mails = mails
        self._clients = clients
        self._tables = tables or SpoolTables.of_folder(relay.folder / "spool")
        self._traffic = Traffic()
        self._left = mails
        self._reached: Counter[str] = Counter()

    async def rage(self, kills: Sequence[Kill]) -> Tally:
        """Live and die as ``kills`` say, live once more, and count when nothing waits any more."""
        share = -(-self._mails // (len(kills) + 1))
        for kill in kills:
            self._add(share)
            await self._live(kill)
        self._add(self._mails)
        await self._relay.start()
        await self._hand_in()
        tally = await at_rest(self._traffic, self._sink, self._tables, relay=self._relay)
        await self._relay.stop()
        tally.reached = self._reached
        return tally

    def _add(self, count: int) -> None:
        count = min(count, self._left)
        self._left -= count
        self._traffic.add(count)

    async def _live(self, kill: Kill) -> None:
        relay = self._relay
        await relay.start(*(["--die", f"{kill.point}:{kill.count}"] if kill.point else []))
        timer = None if kill.point else reactor.callLater(kill.after, relay.life.signal, signal.SIGKILL)
        await self._hand_in()
        if kill.point:
            timer = reactor.callLater(GRACE, relay.life.signal, signal.SIGKILL)
        await relay.life.ends()
        if timer is not None and timer.active():
            timer.cancel()
        died = relay.life.err.decode().partition("died at ")[2].strip()
        self._reached[died or "any moment"] += 1

    async def _hand_in(self) -> None:
        await self._traffic.hand_in([self._relay], self._clients)


async def at_rest(
    traffic: Traffic,
    sink: Sink,
    tables: SpoolTables,
    *,
    swept: bool = True,
    relay: RelayProcess | None = None,
) -> Tally:
    """
    Wait until nothing waits any more; return the result.

    :param swept: wait, too, until what did not become a message is gone.
    :param relay: asked to release what is held: mail that was under way at three deaths in a row, which
        here are ours and not its own.
    """
    await eventually(lambda: is_empty(tables, relay), "an empty queue", patience=PATIENCE)
    tally = traffic.count(await sink.deliveries(), tables)
    if swept:
        await eventually(lambda: not tables.left_over(), f"no bodies left over; {tally}")
        tally.left_over = 0
    wrong = tables.wrong()
    if wrong:
        raise AssertionError(f"the spool is not sound: {wrong}; {tally}")
    return tally


async def is_empty(tables: SpoolTables, relay: RelayProcess | None) -> bool:
    """Say whether nothing waits any more; ``relay`` shall release what is held for the deaths around it."""
    held = [each["id"] for each in await relay.queued() if each["state"] == "held"] if relay else []
    if held:
        assert relay is not None
        await relay.cli("queue", "release", *held)
    return not tables.waiting()
