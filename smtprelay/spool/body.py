"""
The bodies of messages: of those in the spool, piece by piece, and of one that is coming in.

A body that is read by itself costs a change of threads for each chunk; for a short one that is more than all
the rest of its claim. So the short bodies of all claims that were taken together are read together.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

from attrs import evolve

from smtprelay.interfaces import Body
from smtprelay.interfaces.spool import StoredMessage
from smtprelay.model.attempt import Claim, ClaimBatch
from smtprelay.spool.engines.reader import Reader
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.operations.accept import CHUNK, piece
from smtprelay.spool.tables.deliveries import marks, portions

Bodies = Mapping[str, bytes]

#: Asks a question of what is committed, as :meth:`smtprelay.spool.engines.reader.Reader.do`.
Ask = Callable[[Callable[[Connection], Bodies]], Awaitable[Bodies]]


class StoredBody(StoredMessage):
    """The body of a message of the spool."""

    def __init__(self, reader: Reader, message: str, size: int) -> None:
        self.message, self.size = message, size
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the rows of the spool, one by one."""
        n, had = 1, 0
        while (content := await self._reader.do(partial(piece, message=self.message, n=n))) is not None:
            n, had = n + 1, had + len(content)
            yield content
            if had >= self.size:
                break
        if n == 1:
            why = "spool.retention.bodies says how long that of delivered mail is kept"
            raise LookupError(f"the content of {self.message} is no longer in the spool: {why}")
        if had != self.size:
            raise LookupError(f"the body of {self.message} has {had} bytes instead of {self.size}")


class ArrivingBody(Body):
    """
    The body of a message that has come whole and is not accepted yet.

    :param rest: what of it is not on its way to the disk.
    :param written: waits until all that is on its way is there, or has failed.
    """

    def __init__(
        self, reader: Reader, message: str, size: int, rest: bytes, written: Callable[[], Awaitable[None]]
    ) -> None:
        self.size = size
        self._reader = reader
        self._message = message
        self._rest = rest
        self._written = written

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give what was stored, then the rest."""
        stored = self.size - len(self._rest)
        if stored:
            await self._written()
            async for chunk in StoredBody(self._reader, self._message, stored).chunks():
                yield chunk
        if self._rest or not stored:
            yield self._rest


async def with_bodies(ask: Ask, work: ClaimBatch) -> ClaimBatch:
    """
    Return ``work`` with the bodies that are one chunk each.

    What cannot be read stays away, with all that was asked for together; each attempt then reads its own.
    It never raises, for the claims are ours already.
    """
    messages = [claim.delivery.message for claim in work.claims if claim.delivery.size <= CHUNK]
    if not messages:
        return work
    try:
        bodies = await ask(partial(_first_chunks, messages=messages))
    except Exception:  # noqa: BLE001 -- whatever it is, the attempt will meet it
        return work
    return evolve(work, claims=[_complete(claim, bodies) for claim in work.claims])


def _first_chunks(connection: Connection, messages: Sequence[str]) -> Bodies:
    bodies: dict[str, bytes] = {}
    for some in portions(messages):
        sql = f"SELECT message, content FROM chunk WHERE n = 1 AND message IN ({marks(some)})"  # noqa: S608
        rows = connection.execute(sql, some).fetchall()
        bodies.update((message, bytes(content)) for message, content in rows)
    return bodies


def _complete(claim: Claim, bodies: Bodies) -> Claim:
    delivery = claim.delivery
    body = bodies.get(delivery.message)
    return claim if body is None or len(body) != delivery.size else evolve(claim, body=body)
