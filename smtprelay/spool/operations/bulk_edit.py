"""
A change of many deliveries, by an operator or the relay, page by page.

A page is found on the reader, what it needs is prepared on the reactor, and it is changed in
transactions so small that the mail which comes in between does not wait for them.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field

from smtprelay.interfaces import Prepare
from smtprelay.model.message import Delivery
from smtprelay.model.queue import DueSelection, Edit, Selection
from smtprelay.model.queue_admin import CHANGED, MOST_SEARCHED, Edited, Prepared
from smtprelay.spool.engines.transaction import Connection
from smtprelay.spool.engines.writer import Writer
from smtprelay.spool.operations.edit import EDIT_ACTIONS, MOST_AT_ONCE, EditAction, edit
from smtprelay.spool.query.search import DueSearch, Page, Search
from smtprelay.spool.tables.deliveries import BOUNCED, COLUMNS, WIDTH, deliveries_of, marks, portions

if TYPE_CHECKING:
    from smtprelay.spool.engines.reader import Reader

#: Maximum number of deliveries that are changed in one step; the caller decides whether to go on.
_MOST_IN_A_STEP: Final = 5000

_COLUMNS: Final = "d.message, d.n, d.state, d.attempt, d.uncertain"
_FOUND: Final = (
    f"SELECT {COLUMNS}, l.provider, l.key, d.state, d.noticed FROM delivery d"  # noqa: S608 -- constants
    " JOIN message m ON m.id = d.message JOIN lane l ON l.id = d.lane WHERE d.message IN ({})"
)

#: A delivery, and of what its sender was notified.
FoundDelivery = tuple[Delivery, int]

#: Why a delivery in some state is left unchanged.
_EXCUSES: Final = {
    "active": "under way",
    "held": "held already",
    "delivered": "delivered already",
    "deleted": "deleted already",
}


@define(kw_only=True)
class BulkEdit:
    """One change, and how far it has come in this step."""

    reader: "Reader"
    writer: Writer
    selection: Selection | DueSelection
    change: Edit
    prepare: Prepare | None
    ids: list[str] = field(factory=list, init=False)
    left: Counter[str] = field(factory=Counter, init=False)

    async def step(self, mark: str) -> Edited:
        """Do one step of the change."""
        action = _checked(self.selection, self.change, self.prepare)
        # What comes in while the change continues is not meant: it could go on for ever.
        top, _, place = mark.partition("/") if mark else (await self.reader.do(_newest), "", "")
        search, most, most_searched = self._search(action, top)
        searched = 0
        while True:
            page = await self.reader.do(partial(search.page, mark=place, limit=most))
            await self._change(page, action)
            searched, place = searched + page.searched, page.mark
            if not place or len(self.ids) >= most or searched >= most_searched:
                break
        mark = f"{top}/{place}" if place else ""
        return Edited(count=len(self.ids), ids=self.ids, left=dict(self.left), mark=mark)

    def _search(self, action: EditAction, top: str) -> tuple[Search | DueSearch, int, int]:
        """Return what is gone through, and how many are changed and looked at in this step at most."""
        selection = self.selection
        if isinstance(selection, DueSelection):
            return DueSearch(selection), selection.limit, selection.limit
        if selection.ids:
            return Search(selection=selection, columns=_COLUMNS, top=top), sys.maxsize, sys.maxsize
        states = (*action.states, "active")
        if not selection.states:
            # Failures only if they were asked for.
            selection = evolve(selection, states=[each for each in states if each != "failed"])
        search = Search(selection=selection, columns=_COLUMNS, top=top, states=states)
        return search, _MOST_IN_A_STEP, MOST_SEARCHED

    async def _change(self, page: Page, action: EditAction) -> None:
        rows = [row for row in page.rows if row[2] in action.states]
        self.left.update(_EXCUSES.get(row[2], row[2]) for row in page.rows if row[2] not in action.states)
        for start in range(0, len(rows), MOST_AT_ONCE):
            await self._change_some(rows[start : start + MOST_AT_ONCE])

    async def _change_some(self, rows: Sequence[Sequence[Any]]) -> None:
        """Change up to :data:`MOST_AT_ONCE` deliveries in one transaction."""
        prepared = {}
        fences = {}
        names = [(message, n) for message, n, *_ in rows]
        needed = partial(_deliveries, names=names)
        found = await self.reader.do(needed) if _needs(self.change) else {}
        for message, n, state, attempt, uncertain, *_ in rows:
            needs = await self._prepared(found.get((message, n)), state, uncertain=bool(uncertain))
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
                self.left[CHANGED] += len(fences) - len(done)
        self.ids += done

    async def _prepared(self, found: FoundDelivery | None, state: str, *, uncertain: bool) -> Prepared:
        if self.prepare is None or not _needs(self.change):
            return Prepared()
        if uncertain and self.change.action == "reroute" and not self.change.force:
            return Prepared(refusal="uncertain: it may have arrived (--force)")
        if found is None:
            return Prepared(refusal=CHANGED)
        delivery, noticed = found
        if self.change.bounce and state == "failed" and noticed & BOUNCED:
            return Prepared()  # its sender knows
        return await self.prepare(delivery, self.change)


def _needs(change: Edit) -> bool:
    """Tell whether something must be found out for each delivery."""
    return change.bounce or change.action == "reroute"


def _checked(selection: Selection | DueSelection, change: Edit, prepare: Prepare | None) -> EditAction:
    action = EDIT_ACTIONS.get(change.action)
    if action is None:
        raise ValueError(f"there is no action {change.action!r}: {', '.join(EDIT_ACTIONS)}")
    if isinstance(selection, DueSelection):
        return action
    if not selection.narrows and not selection.everything:
        raise ValueError("nothing is selected: name ids or a filter, or say that you mean everything")
    if selection.states and not set(selection.states) & set(action.states):
        raise ValueError(f"{change.action} does nothing to what is {' or '.join(selection.states)}")
    if _needs(change) and prepare is None:
        raise ValueError(f"{change.action}: this needs the relay's providers, which are not known here")
    return action


def _newest(connection: Connection) -> str:
    return connection.execute("SELECT max(message) FROM delivery").fetchone()[0] or ""


def _deliveries(
    connection: Connection, names: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], FoundDelivery]:
    """
    Return those that are there of the deliveries with these names, and of what their senders were notified.

    They have the open recipients; a failed one has those who failed.
    """
    rows: dict[tuple[tuple[str, str], str], list[Sequence[Any]]] = {}
    for some in portions(sorted({message for message, _ in names})):
        for row in connection.execute(_FOUND.format(marks(some)), some).fetchall():
            *place, state, _ = row[WIDTH:]
            group = ((place[0], place[1]), "failed" if state == "failed" else "open")
            if (row[0], row[1]) in names:
                rows.setdefault(group, []).append(row)
    return {
        (delivery.message, delivery.n): (delivery, row[-1])
        for (lane, state), group in rows.items()
        for delivery, row in zip(deliveries_of(connection, lane, group, state), group, strict=True)
    }
