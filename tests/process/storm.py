"""
Many clients, one relay that is killed again and again, and the count of what became of the mail.

The unit is a *try*: one mail handed in once, with a Message-ID of its own. A try that got its 250
must arrive exactly once; one that did not (the relay died before the reply) may arrive once or
not at all, and its mail is tried again, as any client would.
"""

import random
import signal
import sqlite3
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import deferLater

from tests.process.acs_process import AcsProcess, digest
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message

#: Every so many mails one is larger than a chunk of the spool.
LARGE_EVERY: Final = 8
LARGE_LINES: Final = 8_000

#: Seconds that a relay may live on after its mail was handed in without coming to where it shall die.
GRACE: Final = 8.0


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


@define
class Tally:
    """
    The result, in tries.

    :ivar spoilt: arrived with another text or at another recipient than it was sent with.
    :ivar left_over: rows of bodies that the spool still has although nothing waits.
    :ivar reached: the points at which a life really ended.
    """

    accepted: int = 0
    unanswered: int = 0
    delivered: int = 0
    lost: list[str] = field(factory=list)
    duplicated: list[str] = field(factory=list)
    spoilt: list[str] = field(factory=list)
    left_over: int = 0
    reached: Counter[str] = field(factory=Counter)

    def __str__(self) -> str:
        kills = ", ".join(f"{point} {count}" for point, count in sorted(self.reached.items()))
        return (
            f"accepted {self.accepted}, delivered {self.delivered}, lost {len(self.lost)},"
            f" duplicated {len(self.duplicated)}, spoilt {len(self.spoilt)}, left over {self.left_over};"
            f" without a reply {self.unanswered}; killed: {kills}"
        )


class Storm:
    """
    Hands mails in while the relay is killed.

    :param mails: how many must be accepted in all; each life gets its share.
    """

    def __init__(self, relay: RelayProcess, acs: AcsProcess, *, mails: int, clients: int) -> None:
        self._relay = relay
        self._acs = acs
        self._mails = mails
        self._clients = clients
        self._next = 0
        self._to_send: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        self._accepted: set[str] = set()
        self._texts: dict[str, str] = {}
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
        await eventually(self._at_rest, "an empty queue", patience=300.0)
        tally = self._count(await self._acs.deliveries())
        await self._relay.stop()
        tally.left_over = self._left_over()
        return tally

    # --- lives

    def _add(self, count: int) -> None:
        until = min(self._next + count, self._mails)
        self._to_send.extend(range(self._next, until))
        self._next = until

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
        """Hand in all there is, as far as the relay lives that long."""
        await gatherResults([Deferred.fromCoroutine(self._client()) for _ in range(self._clients)])

    async def _client(self) -> None:
        try:
            talk = await self._relay.greet()
        except (ConnectError, ConnectionLost):
            return
        while self._to_send:
            number = self._to_send.popleft()
            try:
                accepted = await self._try(talk, number)
            except ConnectionLost:
                accepted = False
            if not accepted:
                self._to_send.append(number)
                break
            await deferLater(reactor, random.uniform(0.0, 0.01))
        await talk.close()

    async def _try(self, talk: Conversation, number: int) -> bool:
        self._tries[number] += 1
        name = f"{number}.{self._tries[number]}"
        text = f"mail {name}"
        if number % LARGE_EVERY == 0:
            text += "\r\n" + "\r\n".join(
                f"line {line} of a large mail, to fill it" for line in range(LARGE_LINES)
            )
        self._texts[name] = digest(text)
        reply = await talk.mail(message("storm", text=text, number=name), f"user{number}@example.com")
        return self._judge(name, reply)

    def _judge(self, name: str, reply: str) -> bool:
        """Note what became of a try; return whether the mail needs no other."""
        if not reply.startswith("250 2.0.0 Ok: queued as "):
            raise AssertionError(f"not accepted: {reply}")
        self._accepted.add(name)
        return True

    # --- the end

    async def _at_rest(self) -> bool:
        queued = await self._relay.queued()
        # Here every death is ours: mail that was under way at three of them in a row is held without guilt.
        held = [each["id"] for each in queued if each["state"] == "held"]
        if held:
            await self._relay.cli("queue", "release", *held)
        return not queued

    def _left_over(self) -> int:
        with closing(sqlite3.connect(self._relay.folder / "spool" / "spool.db")) as spool:
            return int(
                spool.execute(
                    "SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM upload)"
                ).fetchone()[0]
            )

    def _count(self, deliveries: "Counter[tuple[str, str, str]]") -> Tally:
        arrived: Counter[str] = Counter()
        tally = Tally(accepted=len(self._accepted), reached=self._reached)
        for (message_id, recipient, text), times in deliveries.items():
            name = message_id.strip("<>").partition("@")[0]
            arrived[name] += times
            number = name.partition(".")[0]
            if text != self._texts[name] or recipient != f"user{number}@example.com":
                tally.spoilt.append(name)
        tally.unanswered = len(self._texts) - len(self._accepted)
        tally.delivered = len(arrived)
        tally.lost = sorted(self._accepted - arrived.keys())
        tally.duplicated = sorted(name for name, times in arrived.items() if times > 1)
        return tally
