"""
All rows of a partition, read ahead and again by a timer.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from attrs import define, field, frozen

from smtprelay.azure.tables import AzureTable, Row
from smtprelay.http.client import NoAnswerError
from smtprelay.http.renewed import Credential, Renewed

T = TypeVar("T")

#: With more rows than that the partition is not what we think it is.
MOST_ROWS: Final = 1000


@define(eq=False)
class TableReader(Generic[T]):
    """
    Reads them: a :class:`smtprelay.http.renewed.TokenService`, whose credentials are what rows are for.

    :param make: returns what is made of the rows; it does not fail.
    :param seconds: gives the time, since the epoch.
    :param refresh: seconds until they are read again.
    :ivar trouble: why they could not be read last; ``""``: they could.
    """

    _table: AzureTable
    _partition: str
    _make: Callable[[Sequence[Row]], Awaitable[T]]
    _seconds: Callable[[], float]
    _refresh: float
    trouble: str = field(default="", init=False)
    #: A relay without the rows starts, and what needs them waits.
    required_at_start: bool = field(default=False, init=False)

    async def obtain(self, *, refused: bool) -> Credential[T]:  # noqa: ARG002 -- each reads them anew
        """Return what is made of the rows that there are now; raises :class:`NoAnswerError`."""
        try:
            rows = await self._table.rows({"PartitionKey": self._partition}, most=MOST_ROWS)
        except NoAnswerError as error:
            self.trouble = str(error)
            raise
        made = await self._make(rows)
        self.trouble = ""
        return Credential(made, None, self._table.url, renew=self._seconds() + self._refresh)

    async def revoke(self) -> None:
        """Do nothing: nothing was made for us."""


@frozen
class TableSource(Generic[T]):
    """
    What rows are for, as it was read last.

    :ivar latest: gives that; while the table is away what was read before.
    :ivar token: what the table is read with, if that is a token.
    """

    latest: Renewed[T]
    reader: TableReader[T]
    token: Renewed[Any] | None
