import json
import shutil
import tempfile
import time
from pathlib import Path

from smtprelay.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.spool.accept import CHUNK, Arrival, accept, store_chunk
from smtprelay.spool.lock import SpoolLock
from smtprelay.spool.sqlite import SqliteEngine, prepare_folder
from tests.cli.fakes import CommandCase, FakeRelay, Ran, queue_of, summary

CONFIG = """
listeners: [{{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}}]
providers: {{local: {{type: capture, path: {folder}/captured}}, other: {{type: capture, path: {folder}/o}}}}
spool: {{path: {folder}}}
routes: [{{name: default, via: [local]}}]
"""


def put(folder: str, *ids: str, body: bytes = b"Hello", people: int = 1) -> None:
    """Put a message with each of ``ids`` into the spool in ``folder``."""
    engine = SqliteEngine(
        database=str(prepare_folder(folder) / "spool.db"), paces={}, lease=60.0, seconds=time.time
    )
    connection = engine.connect()
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
        planned = [Planned(route="default", provider="local", lane="", recipients=to)]
        arrival = Arrival(
            draft=draft,
            size=len(body),
            subject="Scan",
            message_id="",
            planned=planned,
            chunks=len(pieces) - 1,
            rest=pieces[-1],
        )
        with engine.transaction(connection) as transaction:
            for n, piece in enumerate(pieces[:-1], start=1):
                store_chunk(transaction, name, n, piece)
            accept(transaction, arrival, claiming=False)
    engine.disconnect(connection)


class OfflineCase(CommandCase):
    """A relay that does not run, and its spool with two messages."""

    def setUp(self) -> None:
        super().setUp()
        # Short, because the address of a socket in it must be.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        put(self.folder, "7QK2AAAA00000000", "7QK4BBBB00000000")
        self.config = self.mktemp()
        Path(self.config).write_text(CONFIG.format(folder=self.folder))

    def queue(self, *argv: str) -> Ran:
        return self.run_command("queue", *argv, "-c", self.config)


class OfflineTests(OfflineCase):
    def test_list(self) -> None:
        """With no relay running the queue is read from its spool, and stderr says so."""
        ran = self.queue("list", "-o", "ids")
        self.assertEqual((ran.status, ran.out), (0, "7QK2AAAA00000000.1\n7QK4BBBB00000000.1\n"))
        self.assertIn("the relay is not running", ran.err)

    def test_list_as_online(self) -> None:
        """What the spool gives has the shape of the relay's own answer."""
        answer = json.loads(self.queue("list", "-o", "json").out)
        self.assertEqual(set(answer), set(queue_of()))
        self.assertEqual(set(answer["deliveries"][0]), set(summary()))

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
        """A rule holds what waits; ended it lets it go."""
        ran = self.queue("hold", "--to", "*", "--for", "1h", "--reason", "x", "-o", "ids")
        number = ran.out.strip()
        self.assertEqual(self.queue("list", "--state", "held", "-o", "ids").out.count("\n"), 2)
        self.assertIn("to *", self.queue("holds").out)
        self.assertEqual(self.queue("unhold", number).status, 0)
        self.assertEqual(self.queue("list", "--state", "queued", "-o", "ids").out.count("\n"), 2)
        self.assertEqual(self.queue("holds").out, "No rule holds mail.\n")
        self.assertEqual(self.queue("unhold", "99").status, 1)

    def test_a_redirect(self) -> None:
        """The configuration knows the provider; one that it does not have is named."""
        self.assertEqual(self.queue("redirect", "7QK2", "--provider", "other").status, 0)
        answer = json.loads(self.queue("list", "7QK2", "-o", "json").out)
        self.assertEqual(answer["deliveries"][0]["provider"], "other")
        ran = self.queue("redirect", "7QK2", "--provider", "nowhere")
        self.assertEqual(ran.status, 1)
        self.assertIn("there is no provider 'nowhere'", ran.err)

    def test_a_deletion_that_is_told(self) -> None:
        """The report waits in the spool for the relay to run again."""
        self.assertEqual(self.queue("delete", "7QK2", "--bounce", "--why", "spam").status, 0)
        answer = json.loads(self.queue("list", "--to", "scan@example.com", "-o", "json").out)
        self.assertEqual([line["sender"] for line in answer["deliveries"]], [""])

    def test_cat(self) -> None:
        """The message as it came, or its header."""
        put(self.folder, "7QK8CCCC00000000", body=b"A: b\r\n\r\nHello")
        ran = self.queue("cat", "7QK8")
        self.assertEqual((ran.status, ran.out), (0, "A: b\r\n\r\nHello"))
        self.assertEqual(self.queue("cat", "7QK8", "--headers").out, "A: b\r\n")
        self.assertEqual(self.queue("cat", "ZZZ").status, 1)

    def test_edit_while_somebody_has_the_spool(self) -> None:
        """A change of a spool that somebody has locked is refused by name: exit 69."""
        lock = SpoolLock(Path(self.folder))
        self.addCleanup(lock.release)
        ran = self.queue("delete", "--all")
        self.assertEqual(ran.status, 69)
        self.assertIn("in use by process", ran.err)
        self.assertEqual(self.queue("list", "-o", "ids").out.count("\n"), 2)

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
