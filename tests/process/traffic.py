"""
Many clients with mail, and the count of what became of it.

The unit is a *try*: one mail handed in once, with a Message-ID of its own. A try that got its 250
must arrive exactly once; one that did not (the relay died before the reply) may arrive once or
not at all, and its mail is tried again, as any client would.
"""

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.task import deferLater

from tests.process.acs_server import digest
from tests.process.conversation import Conversation
from tests.process.relay_process import RelayProcess, message
from tests.process.spool_tables import SpoolTables, name_of

#: Every so many mails one is larger than a chunk of the spool.
LARGE_EVERY: Final = 8
LARGE_LINES: Final = 8_000

#: What a relay says whose spool cannot be written.
NOT_NOW: Final = "451 4.3.0"

#: How often each (Message-ID, recipient, digest of the text) came to the provider.
Deliveries = Counter[tuple[str, str, str]]


@define
class Tally:
    """
    The result, in tries.

    :ivar excused: came more than once, but not more often than the spool has attempts in doubt for it.
    :ivar spoilt: arrived with another text or at another recipient than it was sent with.
    :ivar left_over: rows of bodies that the spool still has although nothing waits.
    :ivar reached: the points at which a life really ended.
    """

    accepted: int = 0
    unanswered: int = 0
    delivered: int = 0
    lost: list[str] = field(factory=list)
    duplicated: list[str] = field(factory=list)
    excused: list[str] = field(factory=list)
    spoilt: list[str] = field(factory=list)
    left_over: int = 0
    reached: Counter[str] = field(factory=Counter)

    def __str__(self) -> str:
        kills = ", ".join(f"{point} {count}" for point, count in sorted(self.reached.items()))
        return (
            f"accepted {self.accepted}, delivered {self.delivered}, lost {len(self.lost)},"
            f" duplicated {len(self.duplicated)} (excused {len(self.excused)}), spoilt {len(self.spoilt)},"
            f" left over {self.left_over}; without a 250 {self.unanswered}; killed: {kills}"
        )


class Traffic:
    """
    Hands mails in.

    :ivar accepted: the names of the tries that got their 250.
    :ivar refused: the replies that were no 250, by their codes.
    :ivar slowest: how long a client had to wait for the reply to its mail at most, seconds.
    """

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.slowest = 0.0
        self._next = 0
        self._to_send: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        self._texts: dict[str, str] = {}

    def add(self, count: int) -> None:
        """Have ``count`` more mails to hand in."""
        self._to_send.extend(range(self._next, self._next + count))
        self._next += count

    async def hand_in(self, relays: Sequence[RelayProcess], clients: int) -> None:
        """
        Hand in all there is, at any of ``relays`` for each session.

        With one relay it ends when that is not there any more; with several, the next session is with
        one that is.
        """
        await gatherResults([Deferred.fromCoroutine(self._client(relays)) for _ in range(clients)])

    async def _client(self, relays: Sequence[RelayProcess]) -> None:
        while not await self._session(random.choice(relays)) and len(relays) > 1:
            await deferLater(reactor, 0.05)

    async def _session(self, relay: RelayProcess) -> bool:
        """Hand in what is there; ``False`` if the relay went away before."""
        try:
            talk = await relay.greet()
        except (ConnectError, ConnectionLost):
            return False
        except TookTooLong:
            # A handshake that meets the end of who listened may be dropped without a word.
            if relay.life is None or relay.life.status is None:
                raise
            return False
        while self._to_send:
            number = self._to_send.popleft()
            try:
                accepted = await self._try(talk, number)
            except ConnectionLost:
                self._to_send.append(number)
                return False
            if not accepted:
                self._to_send.append(number)
            await deferLater(reactor, random.uniform(0.0, 0.01) if accepted else 0.1)
        await talk.close()
        return True

    async def _try(self, talk: Conversation, number: int) -> bool:
        self._tries[number] += 1
        name = f"{number}.{self._tries[number]}"
        text = f"mail {name}"
        if number % LARGE_EVERY == 0:
            text += "\r\n" + "\r\n".join(
                f"line {line} of a large mail, to fill it" for line in range(LARGE_LINES)
            )
        self._texts[name] = digest(text)
        begun = reactor.seconds()
        reply = await talk.mail(message("storm", text=text, number=name), f"user{number}@example.com")
        self.slowest = max(self.slowest, reactor.seconds() - begun)
        return self._judge(name, reply)

    def _judge(self, name: str, reply: str) -> bool:
        """Note what became of a try; return whether the mail needs no other."""
        if reply.startswith(NOT_NOW):
            self.refused[NOT_NOW] += 1
            return False
        if not reply.startswith("250 2.0.0 Ok: queued as "):
            raise AssertionError(f"not accepted: {reply}")
        self.accepted.add(name)
        return True

    def count(self, deliveries: Deliveries, tables: SpoolTables) -> Tally:
        """Return what became of all that was handed in, when nothing waits any more."""
        arrived: Counter[str] = Counter()
        tally = Tally(accepted=len(self.accepted), left_over=tables.left_over())
        for (message_id, recipient, text), times in deliveries.items():
            name = name_of(message_id)
            arrived[name] += times
            number = name.partition(".")[0]
            if text != self._texts[name] or recipient != f"user{number}@example.com":
                tally.spoilt.append(name)
        in_doubt = tables.in_doubt()
        tally.unanswered = len(self._texts) - len(self.accepted)
        tally.delivered = len(arrived)
        tally.lost = sorted(self.accepted - arrived.keys())
        tally.excused = sorted(name for name, times in arrived.items() if 1 < times <= 1 + in_doubt[name])
        tally.duplicated = sorted(name for name, times in arrived.items() if times > 1 + in_doubt[name])
        return tally
