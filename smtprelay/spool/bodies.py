"""
Bodies that go along with their claims.

An attempt that reads a body of its own changes threads for each chunk; for a short one
that costs more than all the rest of its claim. So the short bodies of all claims that were
taken together are read together.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import evolve
from twisted.internet.defer import Deferred

from smtprelay.model.attempt import Claim, ClaimBatch
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.operations.accept import CHUNK
from smtprelay.spool.tables.deliveries import marks, portions

Bodies = Mapping[str, bytes]

#: Asks a question of the committed data, as :meth:`smtprelay.spool.spool.Reader.do`.
Ask = Callable[[Callable[[Connection], Bodies]], "Deferred[Bodies]"]


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
