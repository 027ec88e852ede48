"""
What clients were refused, added up: the rows of the list of refused mail. Pure.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from attrs import evolve, frozen

from smtprelay.model.network import counted_as

#: Maximum number of rows that are kept, the newest; and of one client, so that it does not hide others.
MOST_ROWS: Final = 1000
MOST_OF_CLIENT: Final = MOST_ROWS // 10

#: What makes a row: two refusals that agree in all of it are one.
Key = tuple[str, str, str, str, str, str]


@frozen(kw_only=True)
class RefusalRow:
    """
    One kind of refusal of one client.

    :ivar client: as whom it is counted: its address, or for IPv6 its /64.
    :ivar user: who had logged in, or who a failed login claimed to be.
    :ivar reply: code and enhanced code; ``""``: the client got none.
    :ivar domain: of the envelope sender, if there was one.
    :ivar first: when that was first, seconds since the epoch; ``last``: when it was last.
    :ivar command: the last command of the client, without secrets.
    :ivar text: the reply's, of the last time; where there was none, the reason.
    """

    listener: str
    client: str
    user: str
    rule: str
    reply: str
    domain: str
    count: int
    first: float
    last: float
    command: str
    text: str

    @property
    def key(self) -> Key:
        """Return what adds it up with others; a refusal without a reply is distinguished by its text."""
        return (self.listener, self.client, self.user, self.rule, self.reply or self.text, self.domain)

    def plus(self, other: "RefusalRow") -> "RefusalRow":
        """Return both as one; the last reply is that of ``other``."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        return evolve(other, count=self.count + other.count, first=first, last=last)


@frozen(kw_only=True)
class RefusalFilter:
    """
    Which rows are meant; every filter that is given must match. A ``*`` stands for anything.

    :ivar client: an address, also one within the /64 of a row.
    :ivar since: refused at this time or later, seconds since the epoch.
    :ivar limit: maximum number; the newest.
    """

    client: str = ""
    user: str = ""
    rule: str = ""
    since: float | None = None
    limit: int = MOST_ROWS

    def matches(self, row: RefusalRow) -> bool:
        """Say whether a row is meant."""
        return (
            (not self.client or _fits(self.client, row.client) or counted_as(self.client) == row.client)
            and (not self.user or _fits(self.user, row.user))
            and (not self.rule or _fits(self.rule, row.rule))
            and (self.since is None or row.last >= self.since)
        )

    def of(self, rows: Iterable[RefusalRow]) -> list[RefusalRow]:
        """Return those of ``rows`` that are meant, the last first."""
        newest = sorted(filter(self.matches, rows), key=lambda row: row.last, reverse=True)
        return newest[: self.limit]


def _fits(pattern: str, text: str) -> bool:
    # Only the star is special.
    return fnmatchcase(text.lower(), pattern.lower().replace("[", "[[]").replace("?", "[?]"))
