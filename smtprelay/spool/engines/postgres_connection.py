"""
A connection to PostgreSQL as the queue operations want it.

It takes ``?`` parameters, connects when it is first used, and again when it was lost.
What a database says becomes an error that the writer understands.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import (
    DataError,
    Error,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    RawCursor,
)
from psycopg.pq import TransactionStatus

from smtprelay.spool.engines.transaction import SpoolAway, SpoolFault

#: Gives the connection string.
UrlSource = Callable[[], str]

#: Unless the connection string says otherwise: a server that is gone is noticed, not waited for.
_DEFAULTS: Final = {
    "application_name": "smtprelay",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "target_session_attrs": "read-write",
}

# It warns of each connection that breaks while in use; we tell that ourselves.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

#: The first version of PostgreSQL that can end a transaction because of its age.
_BOUNDING: Final = 170000

#: For how long one refusal of the server answers for all that is asked, seconds.
_BELIEVED: Final = 0.25

#: Statements that stay prepared; each number of rows in an INSERT is one of them.
_PREPARED: Final = 500


class PostgresConnection:
    """
    A connection to PostgreSQL that takes the statements of the SQLite dialect.

    :param bound: how long a transaction may last before the database ends it, seconds: a node that was
        frozen within one must not hold up the others. ``None``: as long as it takes.
    :param reading: it cannot write, and asks again by itself when the connection was lost.
    :param steady: gives seconds that only grow.
    """

    def __init__(
        self,
        url: UrlSource,
        *,
        bound: float | None = None,
        reading: bool = False,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._bound = bound
        self._reading = reading
        self._steady = steady
        #: Why there was no connection the last time, and until when that is believed.
        self._refusal: SpoolFault | None = None
        self._believed = -math.inf
        self._session = ""
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def lost(self) -> bool:
        """Whether the connection broke."""
        return self._connection is not None and self._connection.closed

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """
        Run one statement.

        :raises SpoolFault: there is no connection.
        :raises psycopg.Error: the database's.
        """
        numbered = _numbered(sql)
        idle = self._connection is None or self._connection.info.transaction_status is TransactionStatus.IDLE
        try:
            return self._opened().execute(numbered, parameters)
        except Error as error:
            if not self._reading:
                raise
            if not (idle and self.lost):
                raise SpoolFault(explained(error)) from error
        try:
            return self._opened().execute(numbered, parameters)
        except Error as error:
            raise SpoolFault(explained(error)) from error

    def run(self, sql: str, parameters: Sequence[Any] = (), /) -> None:
        """Run one statement that returns nothing; it raises what :meth:`execute` raises."""
        self.execute(sql, parameters)

    def pipeline(self) -> AbstractContextManager[object]:
        """Send the statements within without waiting for the answer to each, where that is safe."""
        if self.lost:
            self.close()
        connection = self._opened()
        return connection.pipeline() if _bounds_transactions(connection) else nullcontext()

    def check_session(self) -> None:
        """
        See that it has a session of the server to itself: what was set there, and prepared, must last.

        :raises SpoolFault: it has not, for a pool gives it another one for each transaction.
        """
        if not self._session:
            return
        row = self.execute("SELECT current_setting('smtprelay.session', true)").fetchone()
        if row is None or row[0] != self._session:
            raise SpoolFault(_POOLED)

    def close(self) -> None:
        """
        Close the connection, which undoes what was begun; the next statement opens another.

        A ROLLBACK would not do: after a pipeline that was broken off psycopg takes statements for prepared
        that are not.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> psycopg.Connection[Any]:
        # What writes and was lost is dropped first: another connection knows nothing of what was begun.
        if self._connection is None or (self._reading and self._connection.closed):
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        # A server that comes back, or is promoted, has more to do than to turn away all that came meanwhile.
        if self._refusal is not None and self._steady() < self._believed:
            raise self._refusal
        try:
            connection = connect(self._url)
            connection.prepared_max = _PREPARED
            self._session = _named(connection)
            if self._reading:
                connection.execute("SET default_transaction_read_only = on")
                # What is asked within BEGIN and COMMIT is answered as of one moment.
                connection.execute("SET default_transaction_isolation = 'repeatable read'")
            else:
                _check_commits_are_synced(connection)
            if self._bound is not None:
                _set_bounds(connection, int(self._bound * 1000))
        except (Error, ValueError, OSError) as error:
            kind = SpoolAway if isinstance(error, OperationalError) else SpoolFault
            self._refusal = kind(f"no connection to the database: {explained(error)}")
            self._believed = self._steady() + _BELIEVED
            raise self._refusal from error
        return connection


def connect(url: UrlSource) -> psycopg.Connection[Any]:
    """
    Connect to the server that writes, each statement a transaction of its own.

    :raises psycopg.Error: it cannot be.
    :raises ValueError: ``url`` has no connection string; the text says why.
    """
    text = url()
    try:
        given = psycopg.conninfo.conninfo_to_dict(text)
    except (ProgrammingError, ValueError):
        # The error would quote it, with its password.
        raise ProgrammingError("the connection string cannot be understood") from None
    return psycopg.connect(
        psycopg.conninfo.make_conninfo("", **{**_DEFAULTS, **given}),
        autocommit=True,
        cursor_factory=RawCursor,
    )


def explained(error: Exception) -> str:
    """Return the database's message in one line."""
    return " ".join(str(error).split())


def is_broken(error: Error) -> bool:
    """Tell whether the database has ended the session, or does not know itself what became of a commit."""
    return error.sqlstate is not None and error.sqlstate.startswith(_BROKEN)


#: connection_exception, operator_intervention, transaction_timeout and others, statement_completion_unknown.
_BROKEN: Final = ("08", "57P", "25P03", "25P04", "40003")


def is_ours(error: Error) -> bool:
    """Tell whether the statement was wrong, not the database: only its operation fails."""
    wrong = isinstance(error, IntegrityError | DataError | ProgrammingError | NotSupportedError)
    return wrong and error.sqlstate not in _NOT_OURS_TO_USE


#: insufficient_privilege, undefined_table, invalid_schema_name: the database was changed from outside.
_NOT_OURS_TO_USE: Final = ("42501", "42P01", "3F000")


def _bounds_transactions(connection: psycopg.Connection[Any]) -> bool:
    """
    Tell whether the server has ``transaction_timeout``, as PostgreSQL has from version 17 on.

    Within a pipeline a session is never idle, whatever it waits for: nothing else would end one there.
    """
    return connection.info.server_version >= _BOUNDING


def _named(connection: psycopg.Connection[Any]) -> str:
    """Give the server's session a name that no other has, and return it; ``""`` if it takes none."""
    name = secrets.token_hex(8)
    try:
        connection.execute("SELECT set_config('smtprelay.session', $1, false)", (name,))
    except (ProgrammingError, NotSupportedError):
        return ""
    return name


_POOLED: Final = (
    "what pools its connections gives each transaction another session (as PgBouncer does with"
    " pool_mode = transaction): the spool needs sessions (pool_mode = session)"
)


def _set_bounds(connection: psycopg.Connection[Any], milliseconds: int) -> None:
    """Have transactions end by themselves; who waits for one gives up sooner, and begins anew."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
    connection.execute(f"SET lock_timeout = {milliseconds // 4}")
    if _bounds_transactions(connection):
        connection.execute(f"SET transaction_timeout = {milliseconds}")


def _check_commits_are_synced(connection: psycopg.Connection[Any]) -> None:
    """A database can be configured not to sync; our 250 promises that it did."""
    row = connection.execute("SHOW synchronous_commit").fetchone()
    if row is not None and row[0] == "off":
        connection.execute("SET synchronous_commit = on")


@lru_cache(maxsize=1000)
def _numbered(sql: str) -> str:
    """Return ``sql`` with its ``?`` as ``$1``, ``$2`` and so on; no text in our statements has one."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, start=1))
