import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
from attrs import evolve

from smtprelay.model.attempt import Block
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.model.queue import SUSPENDED
from smtprelay.model.refusal import RefusalRow
from smtprelay.model.route import RateLimit
from smtprelay.model.shape import shape_of
from smtprelay.spool.engines.postgres import PostgresEngine, new_node
from smtprelay.spool.engines.sqlite import connect_reader
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.transaction import SpoolNode, Transaction
from smtprelay.spool.engines.writer import InlineWriter
from smtprelay.spool.location import SqliteLocation
from smtprelay.spool.operations.accept import CHUNK, Arrival, accept, store_chunk
from smtprelay.spool.operations.claim import claim
from smtprelay.spool.operations.refusals import record
from smtprelay.spool.operations.settle import set_block, settle
from smtprelay.spool.tables.schema import MIGRATIONS, POSTGRES_TYPES, SQLITE_TYPES
from tests.behaviours.spool_stories import done
from tests.cli.fakes import CommandCase, FakeRelay, Ran, data_of, queue_of, summary
from tests.postgres import new_spool_url

CONFIG = """
listeners: [{{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}}]
providers: {{local: {{type: capture, path: {folder}/captured}}, other: {{type: capture, path: {folder}/o}}}}
control_socket: {folder}/control.sock
spool: {spool}
routes: [{{name: default, via: [local]}}]
"""

REFUSED = RefusalRow(
    listener="lan", client="10.0.3.7", user="", rule="network", reply="550 5.7.1", domain="x.test", count=7,
    first=100.0, last=200.0, command="MAIL FROM:<a@x.test>", text="no",
)  # fmt: skip


def put(folder: str, *ids: str, body: bytes = b"Hello", people: int = 1) -> None:
    """Put a message with each of ``ids`` into the spool in ``folder``."""
    with SqliteLocation(Path(folder)).writing(new=True) as writer:
        put_by(writer, *ids, body=body, people=people)


def put_by(writer: InlineWriter, *ids: str, body: bytes = b"Hello", people: int = 1) -> None:
    """Put a message with each of ``ids`` into a spool."""
    to = (Recipient(address="anna@example.com"),)
    to += tuple(Recipient(address=f"person{number}@example.com") for number in range(1, people))
    pieces = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    for name in ids:
        draft = Draft(
            id=name,
            envelope=Envelope(sender="scan@example.com", recipients=to),
            client=Client(address="10.0.3.17"),
            received=1_800_000_000.0,
        )
        arrival = Arrival(
            draft=draft,
            shape=shape_of(body),
            subject="Scan",
            message_id="",
            planned=[Planned(route="default", provider="local", lane="", recipients=to)],
            chunks=len(pieces) - 1,
            rest=pieces[-1],
        )

        def arrive(tx: Transaction, arrival: Arrival = arrival) -> None:
            for n, piece in enumerate(pieces[:-1], start=1):
                store_chunk(tx, arrival.draft.id, n, piece)
            accept(tx, arrival, claiming=False)

        writer.run(arrive)


class OfflineCase(CommandCase):
    """A relay that does not run, and its spool with two messages."""

    def setUp(self) -> None:
        super().setUp()
        # Short, because the address of a socket in it must be.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.config = self.mktemp()
        Path(self.config).write_text(CONFIG.format(folder=self.folder, spool=self.spool()))
        self.put("7QK2AAAA00000000", "7QK4BBBB00000000")

    def spool(self) -> str:
        """Return the configuration of the spool."""
        return f"{{path: {self.folder}}}"

    def put(self, *ids: str, body: bytes = b"Hello") -> None:
        put(self.folder, *ids, body=body)

    def queue(self, *argv: str) -> Ran:
        return self.command("queue", *argv)

    def command(self, *argv: str) -> Ran:
        return self.run_command(*argv, "-c", self.config)


class OfflineContract:
    """What can be done without a relay, wherever its spool is."""

    def test_list(self) -> None:
        """With no relay running the queue is read from its spool, and stderr says so."""
        ran = self.queue("list", "-o", "ids")
        self.assertEqual((ran.status, ran.out), (0, "7QK2AAAA00000000.1\n7QK4BBBB00000000.1\n"))
        self.assertIn("the relay is not running", ran.err)

    def test_list_as_online(self) -> None:
        """What the spool gives has the shape of the relay's own answer."""
        answer = data_of(self.queue("list", "-o", "json").out)
        self.assertEqual(set(answer), set(queue_of()))
        self.assertEqual(set(answer["deliveries"][0]), set(summary()))

    def test_a_long_list(self) -> None:
        """It is listed whole, as the relay would, which lets others have their turn meanwhile."""
        self.put(*(f"7QK9{number:012}" for number in range(250)))
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 252)

    def test_show(self) -> None:
        """One message is shown from the spool."""
        ran = self.queue("show", "7QK2")
        self.assertIn("anna@example.com   open", ran.out)
        self.assertEqual(ran.status, 0)

    def test_show_unknown(self) -> None:
        """An unknown id is a sentence and exit 1 here too."""
        ran = self.queue("show", "ZZZZ")
        self.assertEqual((ran.status, ran.out), (1, ""))
        self.assertIn("ZZZZ", ran.err.splitlines()[-1])

    def test_edit(self) -> None:
        """A change is carried out in the spool."""
        self.assertEqual(self.queue("hold", "7QK2").status, 0)
        self.assertEqual(self.queue("list", "--state", "held", "-o", "ids").out, "7QK2AAAA00000000.1\n")

    def test_edit_dry_run(self) -> None:
        """A dry run names what it would change, and changes nothing."""
        self.assertEqual(self.queue("delete", "--all", "--dry-run", "-o", "ids").out.count("\n"), 2)
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 2)

    def test_a_rule(self) -> None:
        """A rule holds what waits; removed it lets it go."""
        ran = self.command("hold-rules", "add", "--to", "*", "--for", "1h", "--reason", "x", "-o", "ids")
        number = ran.out.strip()
        self.assertEqual(self.queue("list", "--state", "held", "-o", "ids").out.count("\n"), 2)
        self.assertIn("to *", self.command("hold-rules", "list").out)
        self.assertEqual(self.command("hold-rules", "remove", number).status, 0)
        self.assertEqual(self.queue("list", "--state", "queued", "-o", "ids").out.count("\n"), 2)
        self.assertEqual(self.command("hold-rules", "list").out, "No rule holds mail.\n")
        self.assertEqual(self.command("hold-rules", "remove", "99").status, 1)

    def test_refused_mail(self) -> None:
        """What clients were refused is read from the spool, and cleared in it."""
        self.assertEqual(self.command("refused").out, "Nothing was refused.\n")
        self.change(partial(record, rows=[REFUSED, evolve(REFUSED, rule="syntax")]))
        found = data_of(self.command("refused", "--rule", "network", "-o", "json").out)
        [row] = found["refused"]
        self.assertEqual((row["count"], row["setting"]), (7, "listeners[lan].allow_from: add 10.0.3.7/32"))
        self.assertEqual(self.command("refused", "--clear", "--rule", "network").status, 0)
        self.assertIn("[syntax]", self.command("refused").out)
        self.assertNotIn("[network]", self.command("refused").out)

    def test_a_reroute(self) -> None:
        """The configuration knows the provider; one that it does not have is named."""
        self.assertEqual(self.queue("reroute", "7QK2", "--provider", "other").status, 0)
        answer = data_of(self.queue("list", "7QK2", "-o", "json").out)
        self.assertEqual(answer["deliveries"][0]["provider"], "other")
        ran = self.queue("reroute", "7QK2", "--provider", "nowhere")
        self.assertEqual(ran.status, 1)
        self.assertIn("there is no provider 'nowhere': ", ran.err)
        ran = self.queue("reroute", "--state", "held", "--provider", "nowhere")
        self.assertEqual(ran.status, 1)
        self.assertIn("there is no provider 'nowhere': ", ran.err)

    def test_a_deletion_that_is_told(self) -> None:
        """The report waits in the spool for the relay to run again."""
        self.assertEqual(self.queue("delete", "7QK2", "--yes", "--bounce", "--why", "spam").status, 0)
        answer = data_of(self.queue("list", "--to", "scan@example.com", "-o", "json").out)
        self.assertEqual([line["sender"] for line in answer["deliveries"]], [""])

    def test_raw(self) -> None:
        """The message as it came, or its header."""
        self.put("7QK8CCCC00000000", body=b"A: b\r\n\r\nHello")
        ran = self.queue("show", "--raw", "7QK8")
        self.assertEqual((ran.status, ran.out), (0, "A: b\r\n\r\nHello"))
        self.assertEqual(self.queue("show", "7QK8", "--raw", "--headers").out, "A: b\r\n")
        self.assertEqual(self.queue("show", "--raw", "ZZZ").status, 1)

    def test_check(self) -> None:
        """The spool is counted anew, and the lanes' counts are put right."""
        ran = self.command("spool", "check", "--recount")
        self.assertEqual((ran.status, ran.out.split(":")[0]), (0, "consistent"))

    def test_moved_away_and_back(self) -> None:
        """Messages leave the spool with their bodies, and come back from the archive."""
        self.put("7QK8CCCC00000000", body=b"x" * 400_000)
        archive = f"{self.folder}/moved.tar"
        self.assertEqual(self.queue("export", archive, "--all", "--move").status, 0)
        self.assertEqual(self.queue("list").out, "Nothing waits.\n")
        ran = self.queue("import", archive)
        self.assertEqual((ran.status, ran.err.count("refused")), (0, 0))
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 3)
        self.assertEqual(len(self.queue("show", "--raw", "7QK8").out), 400_000)
        self.assertEqual(self.command("spool", "check").status, 0)


class FolderTests(OfflineContract, OfflineCase):
    """The spool is a file."""

    def change(self, operation) -> None:
        with SqliteLocation(Path(self.folder)).writing() as writer:
            writer.run(operation)

    def test_long_reason(self) -> None:
        """A reason of more than 500 characters is refused, with or without a relay, and changes nothing."""
        ran = self.queue("hold", "7QK2", "--why", "x" * 501)
        self.assertEqual((ran.status, ran.out), (1, ""))
        self.assertIn("why must be a string of at most 500 characters", ran.err)

    def test_postponed_at_a_suspended_provider(self) -> None:
        """What is to be done needs the relay; the time that was asked for is told, in the history, too."""
        block = Block(provider="local", until=SUSPENDED, reason="suspended by x", operator=True)
        self.change(lambda tx: set_block(tx, block))
        ran = self.queue("retry", "7QK2", "--in", "2h")
        self.assertRegex(ran.out, r"^scheduled 1 delivery for \S+ \S+ \(\+\dh\): 7QK2AAAA00000000.1\n")
        out = self.queue("show", "7QK2").out
        self.assertRegex(out, r"retry  at [\d-]{10} [\d:]{8} UTC, by ")
        self.assertRegex(out, r"next attempt \(\+\dh\), when the cause below is corrected")
        self.assertIn("Do         start the relay, then smtprelay providers resume local\n", out)
        self.assertRegex(self.queue("list").out, r"blocked, \+\dh")

    def test_edit_while_somebody_has_the_spool(self) -> None:
        """A change of a spool that somebody has locked is refused by name: exit 69."""
        lock = SpoolLock(Path(self.folder))
        self.addCleanup(lock.release)
        ran = self.queue("delete", "--all", "--yes")
        self.assertEqual(ran.status, 69)
        self.assertIn("in use by process", ran.err)
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 2)

    def test_an_older_version(self) -> None:
        """It is not read, and says why; a change, which has the lock, brings it up to date."""
        database = Path(self.folder) / "spool.db"
        database.unlink()
        database.touch()
        connection = connect_reader(database)
        with closing(connection):
            connection.execute("PRAGMA query_only = OFF")
            for statement in ("CREATE TABLE schema_version (version INTEGER NOT NULL)", *MIGRATIONS[0]):
                connection.execute(statement.format(**SQLITE_TYPES))
            connection.execute("INSERT INTO schema_version (version) VALUES (1)")
        ran = self.queue("list")
        self.assertEqual((ran.status, ran.out), (69, ""))
        self.assertIn("the spool has version 1, this smtprelay reads version", ran.err)
        self.assertEqual(self.queue("hold", "--all").status, 0)
        self.assertEqual(self.queue("list").out, "Nothing waits.\n")

    def test_a_newer_version(self) -> None:
        """It is left alone, whatever is asked."""
        with closing(connect_reader(Path(self.folder) / "spool.db")) as connection:
            connection.execute("PRAGMA query_only = OFF")
            connection.execute("INSERT INTO schema_version (version) VALUES (99)")
        for argv in (["list"], ["hold", "--all"]):
            ran = self.queue(*argv)
            self.assertEqual(ran.status, 69)
            self.assertIn("version 99", ran.err)

    def test_broken_spool(self) -> None:
        """A spool that is no database is exit 69 and a sentence."""
        (Path(self.folder) / "spool.db").write_bytes(b"not a database, but long enough to be looked at" * 99)
        ran = self.queue("list")
        self.assertEqual((ran.status, ran.out), (69, ""))
        self.assertIn("not a database", ran.err)

    def test_no_spool(self) -> None:
        """Neither a relay nor a spool: exit 69."""
        (Path(self.folder) / "spool.db").unlink()
        ran = self.queue("list")
        self.assertEqual((ran.status, ran.out), (69, ""))

    def test_endpoint_alone(self) -> None:
        """With only an endpoint given, no spool is touched: it may be another relay's."""
        ran = self.run_command("--endpoint", self.mktemp(), "queue", "list")
        self.assertEqual((ran.status, ran.out), (69, ""))
        self.assertNotIn("opening", ran.err)

    def test_relay_beside_its_spool(self) -> None:
        """The control socket is found beside the spool, and then the relay answers."""
        relay = FakeRelay(self, {"GET /api/v1/queue": (200, queue_of())})
        shutil.move(relay.endpoint, Path(self.folder) / "control.sock")
        self.assertEqual(self.queue("list"), Ran(0, "Nothing waits.\n", ""))
        self.assertEqual(len(relay.asked), 1)


class DatabaseTests(OfflineContract, OfflineCase):
    """The spool is a database, where other relays may be at work."""

    def spool(self) -> str:
        self.url = new_spool_url()
        self.secret = Path(self.folder, "url")
        self.secret.write_text(self.url)
        engine = PostgresEngine(
            url=lambda: self.url, node=new_node(SpoolNode(rate_limits={"local": RateLimit(concurrency=1)}))
        )
        self.other = InlineWriter(engine)
        self.addCleanup(self.other.close)
        return f"{{engine: postgres, url: {{file: {self.secret}}}}}"

    def put(self, *ids: str, body: bytes = b"Hello") -> None:
        put_by(self.other, *ids, body=body)

    def change(self, operation) -> None:
        self.other.run(operation)

    def test_beside_a_node(self) -> None:
        """What another node delivers is left to it; all else is changed, and that node sees it."""
        (claimed,) = self.other.run(partial(claim, limit=9)).claims
        ran = self.queue("hold", "--all", "-o", "ids")
        self.assertEqual((ran.status, ran.out), (0, "7QK4BBBB00000000.1\n"))
        self.assertEqual(self.other.run(lambda tx: settle(tx, [(claimed, done(claimed))])), [True])
        self.assertEqual(self.other.run(partial(claim, limit=9)).claims, [])
        self.assertEqual(self.command("spool", "check").status, 0)
        nodes = self.other.run(lambda tx: tx.execute("SELECT count(*) FROM node").fetchone())
        self.assertEqual(nodes, (1,))

    def test_its_tables_are_not_changed(self) -> None:
        """Relays of the older version may be at work with them: nothing is read, and nothing changed."""
        self.url = new_spool_url()
        self.secret.write_text(self.url)
        for argv in (["list"], ["hold", "--all"]):
            ran = self.queue(*argv)
            self.assertEqual((ran.status, ran.out), (69, ""))
            self.assertIn("there is no spool in it", ran.err)
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in ("CREATE TABLE schema_version (version INTEGER NOT NULL)", *MIGRATIONS[0]):
                connection.execute(statement.format(**POSTGRES_TYPES))
            connection.execute("INSERT INTO schema_version (version) VALUES (1)")
        (Path(self.folder) / "a.json").write_text("{}")
        for argv in (["list"], ["hold", "--all"], ["import", self.folder]):
            ran = self.queue(*argv)
            self.assertEqual((ran.status, ran.out), (69, ""), argv)
            self.assertIn("the spool has version 1, this smtprelay reads version", ran.err)
        self.assertEqual(self.command("spool", "check").status, 69)

    def test_a_first_import(self) -> None:
        """An empty database gets its tables from an import, as a folder does."""
        archive = f"{self.folder}/all.tar"
        self.queue("export", archive)
        self.secret.write_text(new_spool_url())
        self.assertEqual(self.queue("import", archive).status, 0)
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 2)

    def test_a_database_that_does_not_answer(self) -> None:
        """Exit 69 and what the database library says, in one line; so for a role that may not come in."""
        for url, words in {
            f"host={self.folder} user=x": "its spool cannot be read: no connection to the database",
            psycopg.conninfo.make_conninfo(self.url, user="nobody"): 'role "nobody" does not exist',
        }.items():
            self.secret.write_text(url)
            for argv in (["list"], ["hold", "--all"], ["export", f"{self.folder}/x.tar"]):
                ran = self.queue(*argv)
                self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (69, "", 2), argv)
                self.assertIn(words, ran.err)
            self.assertIn(words, self.command("spool", "check").err)

    def test_a_role_without_rights(self) -> None:
        """What the database forbids is a sentence, too."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP ROLE IF EXISTS looker")
            connection.execute("CREATE ROLE looker LOGIN")
            (schema,) = connection.execute("SELECT current_schema()").fetchone()
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO looker")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO looker")
        self.secret.write_text(psycopg.conninfo.make_conninfo(self.url, user="looker"))
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 2)
        ran = self.queue("hold", "--all")
        self.assertEqual((ran.status, ran.out), (69, ""))
        self.assertIn("permission denied", ran.err)

    def test_a_url_that_is_not_there(self) -> None:
        """The configuration names a file that does not exist, or holds no URL: exit 78, 69."""
        self.secret.write_text("postgresql//relay:secret@db")
        ran = self.queue("list")
        self.assertEqual(ran.status, 69)
        self.assertIn("the connection string cannot be understood", ran.err)
        self.assertNotIn("secret@", ran.err)
        self.secret.unlink()
        ran = self.queue("list")
        self.assertEqual((ran.status, ran.err.count("\n")), (78, 1))
        self.assertIn(f"spool.url: file {self.secret}: no such file", ran.err)

    def test_without_psycopg(self) -> None:
        """Exit 78, and how to get it."""
        program = "import sys; sys.modules['psycopg'] = None; import smtprelay.__main__"
        argv = [sys.executable, "-c", program, "queue", "list", "-c", self.config]
        ran = subprocess.run(argv, capture_output=True, text=True, check=False)
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr.count("\n")), (78, "", 1))
        self.assertIn("pip install 'smtprelay[postgres]'", ran.stderr)
