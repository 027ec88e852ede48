"""
Reports each negative reply as an event, and records it in the list of refused mail.

The first refusals of a client are reported singly; after that, equal ones are summed and reported together a
little later, with their ``count``, some in each iteration of the reactor. So a flood fills neither the log
nor the memory, and the sums are complete. If one client causes too many kinds of refusals, they are summed
without user and domain; with too many clients, also without the address. The sums are written to the list,
too. Reading the list writes nothing, so it works while the spool cannot be written.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from smtprelay.interfaces import Events, RefusedMail
from smtprelay.model.message import Client, Reply
from smtprelay.model.network import counted_as
from smtprelay.model.refusal import MOST_OF_CLIENT, MOST_ROWS, Key, RefusalFilter, RefusalRow
from smtprelay.smtp.command import command_shown, printable
from smtprelay.smtp.events import END_OF_CHUNK, END_OF_DATA, RESPONSE, UNKNOWN

if TYPE_CHECKING:
    from smtprelay.smtp.responder import Responder

#: Maximum number of refusals of one client that are reported singly in each :data:`PERIOD` (seconds).
ONE_BY_ONE: Final = 10
PERIOD: Final = 5.0
#: Maximum number of kinds of refusals that are counted separately in it, and of known clients.
MOST_KINDS: Final = 2 * MOST_ROWS
MOST_CLIENTS: Final = 10_000
#: Maximum number of sums that are reported in one iteration of the reactor.
IN_AN_ITERATION: Final = 50

#: Maximum number of characters of a field.
LONGEST_USER: Final = 100
_LONGEST_DOMAIN: Final = 255
_LONGEST_TEXT: Final = 500

_SENDER: Final = re.compile(r"FROM:\s*<?[^<>]*@([^<>@\s]+)", re.IGNORECASE)

_STAGES: Final = {
    "EHLO": "helo",
    "HELO": "helo",
    "STARTTLS": "tls",
    "AUTH": "auth",
    RESPONSE: "auth",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "DATA": "data",
    "BDAT": "data",
    END_OF_CHUNK: "content",
    END_OF_DATA: "content",
}

#: The stages of a session's last reply: before the first command, and after it; and of unknown commands.
_CONNECT, _SESSION, _COMMAND = "connect", "session", "command"
_GOODBYE: Final = 421

#: The rules of refusals that only follow from an earlier one, by the command that was refused then: passwords
#: and content arrive as commands. They have no rows; the cause has one.
_AFTER_LOGIN: Final = frozenset({"sequence", "command", "auth-required", "auth-always"})
_FOLLOWING: Final = {
    "AUTH": _AFTER_LOGIN,
    RESPONSE: _AFTER_LOGIN,
    "MAIL": frozenset({"sequence"}),
    "RCPT": frozenset({"sequence"}),
    "DATA": frozenset({"sequence", "command"}),
    END_OF_CHUNK: frozenset({"sequence"}),
}


@frozen
class FailedLogin:
    """A login that failed, as the client claimed it."""

    mechanism: str
    user: str


@define
class _Sum:
    """
    Equal refusals.

    :ivar newest: the last of them.
    :ivar kept: they get a row in the list.
    :ivar count: number of all of them.
    :ivar first: time of the first of several.
    :ivar untold: number of those that no event has reported yet.
    """

    newest: RefusalRow
    stage: str
    mechanism: str = ""
    kept: bool = True
    count: int = 1
    first: float = 0.0
    untold: int = 0

    @property
    def key(self) -> tuple[Key, str, bool]:
        """What equal refusals have in common."""
        return self.newest.key, self.stage, self.kept

    @property
    def row(self) -> RefusalRow:
        """All of them, added up."""
        return evolve(self.newest, count=self.count, first=self.first or self.newest.first)

    def add(self, newer: "_Sum") -> None:
        """Add those that came later."""
        self.first = self.first or self.newest.first
        self.newest, self.mechanism = newer.newest, newer.mechanism
        self.count += newer.count
        self.untold += newer.untold


@define
class _ClientLimits:
    """What is left of one client's limits in the period that began at ``since``."""

    since: float
    one_by_one: int = ONE_BY_ONE
    kinds: int = MOST_OF_CLIENT


class Refusals(RefusedMail):
    """
    Reports refusals as ``smtp.refused`` and ``auth.failed``, and keeps their list.

    :param clock: also for the timer that reports the sums.
    :ivar store: holds the list; while there is none, the newest rows are kept in memory.
    """

    def __init__(self, clock: IReactorTime, events: Events) -> None:
        self.store: RefusedMail | None = None
        self._clock = clock
        self._events = events
        self._sums: dict[tuple[Key, str, bool], _Sum] = {}
        self._clients: dict[str, _ClientLimits] = {}
        self._others = _ClientLimits(0.0, one_by_one=0)  # those for whom there was no room
        self._writing: list[_Sum] = []  # on their way to the store
        self._lock = DeferredLock()  # of whoever writes
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def tell(self, verb: str, reply: Reply, line: bytes, responder: "Responder", cause: str) -> None:
        """
        Report one negative reply.

        :param verb: that it answers, or one of the words of :mod:`smtprelay.smtp.events`.
        :param line: the client's last line.
        :param cause: the command that was refused before in the same transaction, or ``""``.
        """
        client, login = responder.client, responder.failed_login()
        command = command_shown(line) if line else ""
        stage = _stage(verb, reply, command)
        user = login.user if login else client.user
        row = self._row(client, reply, command, user, _domain(stage, command, responder.sender))
        mechanism = login.mechanism if login else ""
        # Where TLS is required each command is refused, also the RSET behind a MAIL.
        follows = reply.rule == "tls" and cause == "MAIL" and verb not in _FOLLOWING
        follows |= reply.rule in _FOLLOWING.get(cause, ())
        self._handle(_Sum(row, stage, mechanism, not follows), client.address)

    def turned_away(self, client: Client, reply: Reply) -> None:
        """Report a connection that was ended with ``reply`` before a session began."""
        self._handle(_Sum(self._row(client, reply), _CONNECT), client.address)

    def _row(
        self, client: Client, reply: Reply, command: str = "", user: str = "", domain: str = ""
    ) -> RefusalRow:
        now = self._clock.seconds()
        return RefusalRow(
            listener=client.listener,
            client=counted_as(client.address),
            user=user,
            rule=reply.rule or "other",
            reply=f"{reply.code} {reply.enhanced}".strip() if reply.code else "",
            domain=domain,
            count=1,
            first=now,
            last=now,
            command=command,
            text=printable(reply.text, _LONGEST_TEXT),
        )

    def _handle(self, refusal: _Sum, address: str) -> None:
        client = self._known(refusal.newest.client)
        if client.one_by_one > 0 or self._stopped:
            client.one_by_one -= 1
            self._report(refusal, address)
        else:
            refusal.untold = 1
        self._add(refusal, client)
        if refusal.untold or self.store is not None:
            self._arm()

    def _known(self, name: str) -> _ClientLimits:
        now = self._clock.seconds()
        known = self._clients.get(name)
        if known is None and len(self._clients) >= MOST_CLIENTS:
            return self._others
        if known is None or now >= known.since + PERIOD:
            known = self._clients[name] = _ClientLimits(now)
        return known

    def _arm(self) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(PERIOD, self._due)

    def _add(self, refusal: _Sum, client: _ClientLimits) -> None:
        """Add a refusal to the sum of equal ones, which keeps the newest."""
        if client.kinds <= 0 and refusal.key not in self._sums:
            refusal.newest = evolve(refusal.newest, user="", domain="")
        full = len(self._sums) >= MOST_KINDS and refusal.key not in self._sums
        if full or client is self._others:
            refusal.newest = evolve(refusal.newest, client="", user="", domain="")
        same = self._sums.setdefault(refusal.key, refusal)
        if same is refusal:
            client.kinds -= 1
        else:
            same.add(refusal)

    def _due(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self.flush()).addErrback(self._not_written)

    def _not_written(self, failure: Failure) -> None:
        self._events("spool.failed", operation="refused", reason=failure.getErrorMessage())
        self._arm()

    async def flush(self) -> None:
        """Report the sums and write them to the list; those that cannot be written stay, and it raises."""
        async with self._lock:
            sums, self._sums = self._sums, {}
            self._clients.clear()
            left = self._writing = [each for each in sums.values() if each.kept]
            try:
                await self._report_all([each for each in sums.values() if each.untold])
                if self.store is not None and left:
                    await self.store.record([each.row for each in left])
                    left = []
            finally:
                self._writing = []
                for each in sorted(left, key=lambda each: each.newest.last)[-MOST_ROWS:]:
                    if newer := self._sums.get(each.key):
                        each.add(newer)
                    self._sums[each.key] = each

    async def _report_all(self, sums: Sequence[_Sum]) -> None:
        for number, each in enumerate(sums, start=1):
            self._report(each, each.newest.client)
            if number % IN_AN_ITERATION == 0:
                await deferLater(self._clock, 0)

    def stop(self) -> None:
        """Report the sums; from now on each refusal is reported at once, and written by :meth:`flush`."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for each in self._sums.values():
            if each.untold:
                self._report(each, each.newest.client)

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Write refusals of another process to the list."""
        assert self.store is not None
        await self.store.record(rows)

    async def refused(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """
        Return the rows that ``wanted`` selects, the newest first, including those not yet written.

        It does not wait for a write; while one hangs, rows that it has written already may count twice.
        """
        rows = {row.key: row for row in await self._stored(wanted)}
        unread = [*self._writing, *(each for each in self._sums.values() if each.kept)]
        for row in (each.row for each in unread):
            rows[row.key] = rows[row.key].plus(row) if row.key in rows else row
        return wanted.of(rows.values())

    async def _stored(self, wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return the store's rows, read again if a write began or ended meanwhile."""
        # A row that is old in the store may have grown since.
        everything = evolve(wanted, since=None, limit=MOST_ROWS)
        stored: Sequence[RefusalRow] = ()
        for _ in range(2):
            writing = self._writing
            stored = () if self.store is None else await self.store.refused(everything)
            if writing is self._writing:
                break
        return stored

    async def clear(self, wanted: RefusalFilter) -> int:
        """Delete the rows that ``wanted`` selects; return how many."""
        await self.flush()
        return 0 if self.store is None else await self.store.clear(wanted)

    def _report(self, refusal: _Sum, address: str) -> None:
        """Report the refusals that no event has reported yet, or the only one."""
        row = refusal.newest
        count, refusal.untold = refusal.untold or 1, 0
        fields = {
            "listener": row.listener,
            "client": address,
            "stage": refusal.stage,
            "command": row.command,
            "status": row.reply,
            "text": row.text,
            "rule": row.rule,
            "user": row.user,
            "domain": row.domain,
            "count": count,
        }
        if refusal.mechanism:
            self._events("auth.failed", mechanism=refusal.mechanism, **fields)
        else:
            self._events("smtp.refused", **fields)


def _stage(verb: str, reply: Reply, command: str) -> str:
    if verb == UNKNOWN and (reply.code == _GOODBYE or not reply.code):
        return _SESSION if command else _CONNECT
    return _STAGES.get(verb, _COMMAND)


def _domain(stage: str, command: str, sender: str) -> str:
    if stage == "mail":
        found = _SENDER.search(command)
        return found[1].lower()[:_LONGEST_DOMAIN] if found else ""
    if stage not in ("rcpt", "data", "content"):
        return ""
    return printable(sender.rpartition("@")[2].lower(), _LONGEST_DOMAIN)
