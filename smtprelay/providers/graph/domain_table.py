"""
What the rows of an Azure table say of the domains that mail is from. The configuration goes before them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from smtprelay.azure.table_rows import TableSource
from smtprelay.azure.tables import Row
from smtprelay.interfaces import Events
from smtprelay.model.address import ascii_domain, is_mailbox

_BOOLS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


@frozen
class DomainRow:
    """
    What a row says of its domain.

    :ivar remap: the domain's fallback sends all its mail.
    :ivar addresses: the senders, in lower case, whose mail it sends else.
    :ivar notify: who gets a copy of reports of failures, ``""``: nobody.
    """

    remap: bool = False
    addresses: frozenset[str] = frozenset()
    notify: str = ""


DomainSource = TableSource[Mapping[str, DomainRow]]


@define(eq=False)
class DomainRowReader:
    """Reads rows; a column that cannot be used counts as empty, and is told of once."""

    _provider: str
    _events: Events
    _told: frozenset[tuple[str, str]] = field(default=frozenset(), init=False)

    async def domains(self, rows: Sequence[Row]) -> Mapping[str, DomainRow]:
        """Return what the rows say, by domain."""
        found: dict[str, DomainRow] = {}
        wrong: list[tuple[str, str]] = []
        for row in rows:
            domain = ascii_domain(str(row["RowKey"]).strip())
            found[domain], reasons = _read(row)
            wrong += ((domain, reason) for reason in reasons)
        for domain, reason in wrong:
            if (domain, reason) not in self._told:
                self._events("provider.row", provider=self._provider, domain=domain, reason=reason)
        self._told = frozenset(wrong)
        return found


@frozen
class DomainNotices(Mapping[str, str]):
    """Who is told of failures, by the domain: as the configuration says, else the table."""

    _configured: Mapping[str, str]
    _source: DomainSource

    def __getitem__(self, domain: str) -> str:
        return self._all()[domain]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, str]:
        rows = self._source.latest.known or {}
        return {domain: row.notify for domain, row in rows.items() if row.notify} | dict(self._configured)


def _read(row: Row) -> tuple[DomainRow, Sequence[str]]:
    """Return what a row says, and what is wrong with it."""
    wrong = []
    remap = _BOOLS.get(_text(row, "from_remap").lower())
    if remap is None:
        wrong.append("from_remap is neither true nor false")
    names = _text(row, "from_remap_addresses").lower().split(",")
    listed = {name for each in names if (name := each.strip())}
    addresses = frozenset(each for each in listed if "@" in each and is_mailbox(each))
    if addresses != listed:
        wrong.append("from_remap_addresses has what is no mail address")
    notify = _text(row, "failure_notification")
    if notify and not ("@" in notify and is_mailbox(notify)):
        notify = ""
        wrong.append("failure_notification is no mail address")
    return DomainRow(remap=bool(remap), addresses=addresses, notify=notify), wrong


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()
