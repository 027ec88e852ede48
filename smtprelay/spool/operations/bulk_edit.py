"""
An operator's change on many deliveries, page by page.

A page is found on the reader, what it needs is prepared on the reactor, and it is changed in
transactions so small that the mail which comes in between does not wait for them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field

from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.queue import STATES, Edit, Selection
from smtprelay.model.queue_admin import MOST_LOOKED_AT, Edited, Prepare, Prepared
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.engines.writer import Writer
from smtprelay.spool.operations.edit import ACTS, MOST_AT_ONCE, Act, edit
from smtprelay.spool.query.search import Page, Search
from smtprelay.spool.tables.deliveries import BOUNCED

if TYPE_CHECKING:
    from smtprelay.spool.engines.reader import Reader

#: So many deliveries are changed in one step; its caller then says whether it goes on.
_MOST_IN_A_STEP: Final = 5000

_COLUMNS: Final = "d.message, d.n, d.state, d.attempt, d.uncertain"

#: Why a delivery in some state is left alone.
_EXCUSES: Final = {
    "active": "under way",
    "held": "held already",
    "delivered": "delivered already",
    "deleted": "deleted already",
}
_CHANGED: Final = "changed meanwhile"


@define(kw_only=True)
class BulkEdit:
    """One change, and how far it has come in this step."""

    reader: "Reader"
    writer: Writer
    selection: Selection
    change: Edit
    prepare: Prepare | None
    count: int = 0
    ids: list[str] = field(factory=list)
    left: Counter[str] = field(factory=Counter)

    async def step(self, mark: str) -> Edited:
        """Do one step; see :meth:`smtprelay.interfaces.Spool.edit`."""
        act = _checked(self.selection, self.change, self.prepare)
        # What comes in while the change goes on is not meant: it could go on for ever.
        top, _, place = mark.partition("/") if mark else (await self.reader.do(_newest), "", "")
        states = () if self.selection.ids else (*act.states, "active")
        selection = self.selection
        if states and not selection.states:
            # Failures only if they were asked for.
            selection = evolve(selection, states=[each for each in states if each != "failed"])
        search = Search(selection=selection, columns=_COLUMNS, top=top, states=states or STATES)
        looked = 0
        while True:
            page = await self.reader.do(partial(search.page, mark=place, limit=_MOST_IN_A_STEP))
            await self._change(page, act)
            looked, place = looked + page.looked, page.mark
            if not place:
                break
            if not selection.ids and (self.count >= _MOST_IN_A_STEP or looked >= MOST_LOOKED_AT):
                break
        return Edited(
            count=self.count, ids=self.ids, left=dict(self.left), mark=f"{top}/{place}" if place else ""
        )

    async def _change(self, page: Page, act: Act) -> None:
        rows = []
        for row in page.rows:
            if row[2] in act.states:
                rows.append(row)
            else:
                self.left[_EXCUSES.get(row[2], row[2])] += 1
        for start in range(0, len(rows), MOST_AT_ONCE):
            await self._change_some(rows[start : start + MOST_AT_ONCE])

    async def _change_some(self, rows: Sequence[Sequence[Any]]) -> None:
        """Change up to :data:`MOST_AT_ONCE` deliveries in one transaction."""
        prepared = {}
        fences = {}
        for message, n, state, attempt, uncertain in rows:
            needs = await self._prepared(message, n, state, uncertain=bool(uncertain))
            if needs.refusal:
                self.left[needs.refusal] += 1
            else:
                fences[message, n] = attempt
                prepared[f"{message}.{n}"] = needs
        if self.change.dry_run:
            done = list(prepared)
        else:
            done = await self.writer.do(partial(edit, fences=fences, change=self.change, prepared=prepared))
            if len(done) < len(fences):
                self.left[_CHANGED] += len(fences) - len(done)
        self.count += len(done)
        self.ids += done

    async def _prepared(self, message: str, n: int, state: str, *, uncertain: bool) -> Prepared:
        if self.prepare is None or not _needs(self.change):
            return _NOTHING
        if uncertain and self.change.action == "reroute" and not self.change.force:
            return Prepared(refusal="uncertain: it may have arrived (--force)")
        delivery, noticed = await self.reader.do(partial(_delivery, message=message, n=n, state=state))
        if delivery is None:
            return Prepared(refusal=_CHANGED)
        if self.change.bounce and state == "failed" and noticed & BOUNCED:
            return _NOTHING  # its sender knows
        return await self.prepare(delivery, self.change)


_NOTHING: Final = Prepared()


def _needs(change: Edit) -> bool:
    """Tell whether something must be found out for each delivery."""
    return change.bounce or change.action == "reroute"


def _checked(selection: Selection, change: Edit, prepare: Prepare | None) -> Act:
    act = ACTS.get(change.action)
    if act is None:
        raise ValueError(f"there is no action {change.action!r}: {', '.join(ACTS)}")
    if not selection.narrows and not selection.everything:
        raise ValueError("nothing is selected: name ids or a filter, or say that you mean everything")
    if selection.states and not set(selection.states) & set(act.states):
        raise ValueError(f"{change.action} does nothing to what is {' or '.join(selection.states)}")
    if _needs(change) and prepare is None:
        raise ValueError(f"{change.action}: this needs the relay's providers, which are not known here")
    return act


def _newest(connection: Connection) -> str:
    row = connection.execute("SELECT max(message) FROM delivery").fetchone()
    return row[0] or ""


def _delivery(connection: Connection, message: str, n: int, state: str) -> tuple[Delivery | None, int]:
    """
    Return a delivery, if it is there, and of what its sender was told.

    It has the open recipients; a failed one has those who failed.
    """
    row = connection.execute(
        "SELECT d.generation, d.route, l.provider, l.key, m.sender, m.parameters, m.size, m.received,"
        " m.bounce_of, d.noticed FROM delivery d JOIN message m ON m.id = d.message"
        " JOIN lane l ON l.id = d.lane WHERE d.message = ? AND d.n = ?",
        (message, n),
    ).fetchone()
    if row is None:
        return None, 0
    recipients = connection.execute(
        "SELECT address, notify, orcpt FROM recipient WHERE message = ? AND n = ? AND state = ?"
        " ORDER BY position",
        (message, n, "failed" if state == "failed" else "open"),
    ).fetchall()
    generation, route, provider, key, sender, parameters, size, received, bounce_of, noticed = row
    delivery = Delivery(
        message=message,
        n=n,
        generation=generation,
        route=route,
        provider=provider,
        lane=key,
        envelope=Envelope(
            sender=sender,
            recipients=tuple(Recipient(address=a, notify=b, orcpt=c) for a, b, c in recipients),
            parameters=json.loads(parameters),
        ),
        size=size,
        received=received,
        bounce_of=bounce_of,
    )
    return delivery, noticed
