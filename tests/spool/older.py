"""What lies in a spool that an earlier version wrote, as rows of its first tables; both databases take it."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import Clock

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block
from smtprelay.model.queue import Edit, Selection
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.tables.schema import MIGRATIONS
from tests.behaviours.spool_stories import done

_LANE = "INSERT INTO lane (provider, key, queued, due) VALUES ('main', '', 1, 1)"

_MESSAGE = """INSERT INTO message
    (id, sender, parameters, client, received, size, subject, message_id, bounce_of, finished)
    VALUES ('{0}', 's@example.com', '{{}}', '{{}}', 1, 5, '', '', '', {1})"""
_CHUNK = "INSERT INTO chunk VALUES ('{0}', 1, CAST('hello' AS {blob}))"
_DELIVERY = """INSERT INTO delivery
    (message, n, generation, route, lane, state, due, ended, attempt, tries, errors, uncertain, node, slot,
    blocked_before, reason)
    VALUES ('{0}', {1}, 1, 'r', 1, '{2}', {3}, {4}, {5}, 0, 0, 0, '', 0, 0, '{6}')"""
_RECIPIENT = "INSERT INTO recipient VALUES ('{0}', {1}, {2}, 'a{2}@example.com', '', '', '{3}', '{4}', '')"
_ATTEMPT = "INSERT INTO attempt VALUES ('{0}', {1}, {2}, 'main', '', 1, 1, '{3}', '{4}')"

#: The version that has a state for what was deleted.
DELETED = 5

_SPAM = "deleted by ops: spam"

#: By message: its deliveries; of each the state, its recipients' states with reasons, and its history.
_MAIL: Mapping[str, Any] = {
    "OLD": [("queued", [("open", "")], [])],
    # Deleted whole, when one recipient had failed before.
    "DEAD": [("failed", [("failed", "no such user"), ("failed", _SPAM)], ["deferred", "delete"])],
    "HA1F": [("delivered", [("delivered", "")], ["delivered"]), ("failed", [("failed", _SPAM)], ["delete"])],
    # Tried again after it was deleted, and failed for good.
    "REA1": [("failed", [("failed", "no such user")], ["delete", "retry", "failed"])],
    "B0TH": [("failed", [("failed", "no")], ["failed"]), ("failed", [("failed", _SPAM)], ["delete"])],
}


def fill(execute: Callable[[str], object], types: Mapping[str, str], have: int) -> None:
    """Make a spool as version ``have`` left it; before :data:`DELETED` what was deleted counted as failed."""
    _make(execute, types, have)
    execute(_LANE)
    for message, deliveries in _MAIL.items():
        if message != "OLD" and have >= DELETED:
            continue
        over = "NULL" if message == "OLD" else "1"
        execute(_MESSAGE.format(message, over))
        if any(state != "delivered" for state, *_ in deliveries):
            execute(_CHUNK.format(message, **types))
        for n, (state, recipients, history) in enumerate(deliveries, start=1):
            due = "1" if state == "queued" else "NULL"
            reason = recipients[-1][1]
            execute(_DELIVERY.format(message, n, state, due, over, len(history), reason))
            for position, (became, why) in enumerate(recipients, start=1):
                execute(_RECIPIENT.format(message, n, position, became, why))
            for number, outcome in enumerate(history, start=1):
                execute(_ATTEMPT.format(message, n, number, outcome, reason))
    if have < DELETED:
        execute(f"INSERT INTO credential VALUES ('DEAD', 1, 'k', CAST('x' AS {types['blob']}))")


def _make(execute: Callable[[str], object], types: Mapping[str, str], have: int) -> None:
    execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    for version, statements in enumerate(MIGRATIONS[:have], start=1):
        for statement in statements:
            execute(statement.format(now="0.0", **types))
        execute(f"INSERT INTO schema_version VALUES ({version})")


#: The last version whose lanes have no turn.
UNTURNED = 6

#: By lane: its counts, when it is due, what its provider's window of 5 a minute has seen, and its block.
_LANES = {
    1: "'main', '', 1, 1, 1, 1, 1, '[[5, 60.0, {\"320\": 3}]]', NULL, '', NULL, 0",
    2: "'other', '', 0, 0, 0, 0, NULL, '', NULL, '', NULL, 0",
    3: "'other', 'box', 1, 0, 0, 0, 1, '', NULL, '', NULL, 0",
    4: "'other', 'bad', 1, 0, 0, 0, 1, '', 9e9, '401', 900, 200",
}
#: By message: lane, state, due, ended, attempt, node, slot, lease and the blocked time that does not count.
_WAITING = {
    "QUEUED": "1, 'queued', 1, NULL, 0, '', 0, NULL, 0",
    "LATER": "1, 'deferred', 2000, NULL, 0, '', 0, NULL, 0",
    "ACTIVE": "1, 'active', NULL, NULL, 1, 'local', 1, 1, 0",
    "BOX": "3, 'queued', 1, NULL, 0, '', 0, NULL, 0",
    "BAD": "4, 'queued', 1, NULL, 0, '', 0, NULL, 50",
    "DONE": "3, 'delivered', NULL, 1, 1, '', 0, NULL, 0",
}


def fill_lanes(execute: Callable[[str], object], types: Mapping[str, str]) -> None:
    """Make a spool as :data:`UNTURNED` left it, with mail in several lanes, one of them blocked."""
    _make(execute, types, UNTURNED)
    for lane in _LANES.values():
        execute(
            "INSERT INTO lane (provider, key, queued, deferred, active, slots, due, spent, blocked_until,"
            f" blocked_reason, blocked_since, blocked_total) VALUES ({lane})"
        )
    for message, row in _WAITING.items():
        over = message == "DONE"
        execute(
            "INSERT INTO message (id, sender, parameters, client, received, size, subject, message_id,"
            f" bounce_of, finished) VALUES ('{message}', 's@example.com', '{{}}', '{{}}', 1, 5, '', '', '',"
            f" {'1' if over else 'NULL'})"
        )
        execute(
            "INSERT INTO delivery (message, n, generation, route, tries, errors, uncertain, reason, lane,"
            " state, due, ended, attempt, node, slot, lease, blocked_before)"
            f" VALUES ('{message}', 1, 1, 'r', 0, 0, 0, '', {row})"
        )
        execute(_RECIPIENT.format(message, 1, 1, "delivered" if over else "open", ""))
        if not over:
            execute(_CHUNK.format(message, **types))
    execute(_ATTEMPT.format("DONE", 1, 1, "delivered", ""))
    execute("INSERT INTO attempt VALUES ('ACTIVE', 1, 1, 'main', 'local', 1, NULL, '', '')")


#: How fast the providers of :func:`fill_lanes` may be asked.
RATES = {
    "main": RateLimit(windows=(Window(count=5, seconds=60.0),)),
    "other": RateLimit(per_lane=1),
}


async def deliver_lanes(spool: Spool, clock: Clock) -> dict[str, tuple[bool, float]]:
    """
    Open what is blocked, and deliver all that :func:`fill_lanes` made.

    Return of each message whether it was uncertain, and from when its age counts.
    """
    await spool.recover()
    await spool.maintenance.reclaim()
    went: dict[str, tuple[bool, float]] = {}
    while len(went) < len(DELIVERED):
        work = await spool.claim()
        for claim in work.claims:
            went[claim.delivery.message] = claim.uncertain, clock.seconds() - claim.age
            assert await spool.settle(claim, done(claim))
        if ("other", "bad") in work.stopped:
            await spool.block(Block(provider="other", lane="bad"))
        elif not work.claims:
            assert work.due is not None, went
            clock.advance(max(1.0, work.due - clock.seconds()))
    return went


#: What :func:`deliver_lanes` returns: the time for which a lane was blocked is left out of the age.
DELIVERED = {
    "QUEUED": (False, 1.0),
    "LATER": (False, 1.0),
    "ACTIVE": (True, 1.0),
    "BOX": (False, 1.0),
    "BAD": (False, 251.0),
}


async def deletions(spool: Spool) -> dict[str, list[tuple[str, list[str], bool]]]:
    """
    Return by message what each delivery and its recipients are now, and whether there is a body.

    All that failed is tried again before.
    """
    await spool.admin.edit(Selection(states=("failed",)), Edit(action="retry", who="o"))
    found = {}
    for message in list(_MAIL)[1:]:
        try:
            body = bool(await (await spool.admin.content(message)).whole())
        except LookupError:
            body = False
        found[message] = [
            (each.summary.state, [one.state for one in each.summary.recipients], body)
            for each in await spool.admin.show(message)
        ]
    return found


#: What :func:`deletions` finds.
CORRECTED = {
    "DEAD": [("deleted", ["failed", "deleted"], False)],
    "HA1F": [("delivered", ["delivered"], False), ("deleted", ["deleted"], False)],
    "REA1": [("queued", ["open"], True)],
    "B0TH": [("queued", ["open"], True), ("deleted", ["deleted"], True)],
}
