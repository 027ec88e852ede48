"""What lies in a spool that an earlier version wrote, as rows of its first tables; both databases take it."""

from collections.abc import Callable, Mapping
from typing import Any

from smtprelay.interfaces.spool import Spool
from smtprelay.model.queue import Edit, Selection
from smtprelay.spool.engines.schema import MIGRATIONS

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
    execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    for version, statements in enumerate(MIGRATIONS[:have], start=1):
        for statement in statements:
            execute(statement.format(**types))
        execute(f"INSERT INTO schema_version VALUES ({version})")
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
