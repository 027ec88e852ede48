"""
A spool in PostgreSQL, seen by a command while no relay answers here.

Other nodes may be at work on it. So nobody is locked out: what a command changes are transactions like
theirs, behind the same locks on rows; and it never changes the tables, which those nodes rely on.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import ClassVar

from attrs import frozen
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from smtprelay.spool.engines.postgres import PostgresEngine, database_clock, new_node
from smtprelay.spool.engines.postgres_connection import PostgresConnection, UrlSource
from smtprelay.spool.engines.transaction import Connection, SpoolFault, SpoolNode
from smtprelay.spool.engines.writer import InlineWriter
from smtprelay.spool.tables.schema import POSTGRES_TYPES, check_version, migrate

_HAS_TABLES = """
    SELECT 1 FROM information_schema.tables
    WHERE table_name = 'schema_version' AND table_schema = ANY (current_schemas(false))"""

_NONE = "there is no spool in it: the first start of a relay makes one"


@frozen
class PostgresLocation:
    """A spool in PostgreSQL that is opened while no relay answers."""

    url: UrlSource
    lease: float
    shared: ClassVar[bool] = True

    def __str__(self) -> str:
        try:
            given = conninfo_to_dict(self.url())
        except (Error, ValueError):
            return "a database"
        host = given.get("host")
        return f"the database {given.get('dbname', 'of its user')}{f' on {host}' if host else ''}"

    @property
    def engine(self) -> PostgresEngine:
        """The engine, for what only it can tell."""
        return PostgresEngine(url=self.url, node=new_node(SpoolNode(rate_limits={}, lease=self.lease)))

    @contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """Give a connection that cannot write."""
        connection = PostgresConnection(self.url, reading=True)
        try:
            _check(connection, database_clock())
            yield connection
        finally:
            connection.close()

    @contextmanager
    def writing(self, *, new: bool = False) -> Iterator[InlineWriter]:
        """Give a writer while no other process writes."""
        engine = self.engine
        engine.tables = partial(_check, new=new)
        with closing(InlineWriter(engine)) as writer:
            yield writer


def _check(connection: Connection, now: str, *, new: bool = False) -> None:
    """Raise :class:`SpoolFault` unless the tables are there as we know them; with ``new`` make them."""
    if connection.execute(_HAS_TABLES).fetchone() is not None:
        check_version(connection)
    elif new:
        migrate(connection, now, POSTGRES_TYPES)
    else:
        raise SpoolFault(_NONE)
