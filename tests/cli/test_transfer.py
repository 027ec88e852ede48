"""Mail goes to a file and comes from one, whatever state the file or the spool is in."""

import base64
import gc
import gzip
import io
import json
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli.archive_files import archive_tar as archive
from smtprelay.cli.archive_files.archive_tar import Item
from smtprelay.cli.commands import export as export_command
from smtprelay.cli.commands import import_
from smtprelay.model.route import RateLimit
from smtprelay.spool.engines.sqlite_lock import SpoolLock
from smtprelay.spool.engines.transaction import SpoolNode
from smtprelay.spool.location import SqliteLocation
from smtprelay.spool.operations import export
from smtprelay.spool.operations.claim import claim
from tests.cli.fakes import Ran, data_of
from tests.cli.test_source import OfflineCase, put

FIRST, SECOND = "7QK2AAAA00000000", "7QK4BBBB00000000"

OTHER = """
listeners: [{{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}}]
providers: {{out: {{type: capture, path: {folder}/captured}}}}
routes: [{{name: only, via: [out]}}]
spool: {{path: {folder}}}
"""

#: As the relay "SMTPRelay" writes them, but for what a test changes.
THEIRS: dict[str, Any] = {
    "id": "1754224496123456789",
    "from": "scan@example.com",
    "to": ["anna@example.com", "bob@example.com"],
    "headers": {"Subject": "Scan"},
    "body": base64.b64encode(b"Subject: Scan\nMessage-ID: <1@x>\n\nHello\r\n").decode(),
    "received": "2025-08-03T12:34:56.123456789Z",
    "forwarded": "0001-01-01T00:00:00Z",
    "status": "retrying",
    "error": "dial tcp: refused",
    "retry_attempt": 2,
    "next_retry": "2025-08-03T14:35:56+02:00",
    "retry_history": [
        {"attempt": 1, "timestamp": "2025-08-03T12:35:00Z", "error": "refused"},
        {"attempt": 1, "timestamp": "2025-08-03T12:35:10Z", "error": "refused again"},
    ],
}


class TransferCase(OfflineCase):
    """Two relays that do not run, with a spool each; the second one's is still to be made."""

    def setUp(self) -> None:
        super().setUp()
        self.file = f"{self.folder}/out.tar.gz"
        self.other = self.mktemp()
        Path(self.other).write_text(OTHER.format(folder=f"{self.folder}/other"))

    def into_other(self, *argv: str) -> Ran:
        return self.run_command("queue", "import", *argv, "-c", self.other)

    def shown(self, config: str, message: str) -> dict[str, Any]:
        ran = self.run_command("queue", "show", message, "-c", config, "-o", "json")
        self.assertEqual(0, ran.status, ran.err)
        return data_of(ran.out)["deliveries"][0]

    def piece(self, message: str, n: int) -> bytes | None:
        """Return a piece of a body from the other spool."""
        with SqliteLocation(Path(f"{self.folder}/other")).reading() as connection:
            return export.piece(connection, message, n)

    def sound(self, config: str) -> str:
        ran = self.run_command("spool", "check", "-c", config, "--deep")
        self.assertEqual(0, ran.status, ran.out)
        return ran.out


class ArchiveTests(TransferCase):
    def members(self) -> dict[str, bytes]:
        with tarfile.open(self.file) as tar:
            return {each.name: tar.extractfile(each).read() for each in tar}

    def rewrite(self, members: dict[str, bytes]) -> None:
        with tarfile.open(self.file, "w:gz") as tar:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))

    def test_there_and_back(self) -> None:
        """A copy into another spool: same id, state and body; a second time nothing is added."""
        self.queue("hold", FIRST, "--why", "look")
        ran = self.queue("export", self.file)
        self.assertEqual((0, "exported 2 messages\n"), (ran.status, ran.out))
        self.assertEqual(0o600, Path(self.file).stat().st_mode & 0o777)
        for line in ("imported 2 messages, 0 were", "imported 0 messages, 2 were"):
            ran = self.into_other(self.file, "--route", "only")
            self.assertEqual(0, ran.status, ran.err)
            self.assertIn(line, ran.out)
        detail = self.shown(self.other, FIRST)
        self.assertEqual(
            ("held", "only", "out"), tuple(detail["summary"][k] for k in ("state", "route", "provider"))
        )
        self.assertIn("look", detail["history"][0]["reason"])
        self.assertEqual("consistent: 2 messages, 2 deliveries, 10B of bodies\n", self.sound(self.other))
        self.assertIn("2 deliveries", self.queue("list").out)

    def test_orders(self) -> None:
        """Rules go along with the whole queue, once; with a choice of mail they do not."""
        self.command("hold-rules", "add", "--to", "*", "--for", "2h", "--reason", "incident")
        self.assertEqual("exported 2 messages, 1 hold rule\n", self.queue("export", self.file).out)
        self.assertEqual("exported 1 message\n", self.queue("export", f"{self.folder}/one", FIRST).out)
        self.assertTrue(self.into_other(f"{self.folder}/one", "--route", "only").out.endswith("0 refused\n"))
        for told in ("refused, 1 hold rule\n", "0 refused\n"):
            ran = self.into_other(self.file, "--route", "only")
            self.assertEqual((0, True), (ran.status, ran.out.endswith(told)), ran)
        holds = self.run_command("hold-rules", "list", "-c", self.other, "-o", "json")
        (rule,) = data_of(holds.out)["hold_rules"]
        self.assertEqual(("*", "incident", 1), (rule["recipient"], rule["reason"], rule["count"]))
        self.run_command("hold-rules", "remove", str(rule["id"]), "-c", self.other)
        self.assertEqual("held", self.shown(self.other, FIRST)["summary"]["state"])
        self.assertEqual("queued", self.shown(self.other, SECOND)["summary"]["state"])
        self.sound(self.other)

    def test_bad_orders(self) -> None:
        """What they cannot mean is named, and the mail comes in all the same."""
        self.queue("export", self.file)
        members = self.members()
        for bad in (
            b"{",
            b"[]",
            b'{"schema": "x"}',
            b'{"schema": "smtprelay.operator_settings.v1", "holds": 7}',
        ):
            self.rewrite({"operator_settings.json": bad, **members})
            ran = self.into_other(self.file, "--route", "only")
            self.assertEqual((1, True), (ran.status, "operator_settings.json: " in ran.err), ran)
            self.assertIn("1 refused", ran.out)
        self.assertEqual("queued", self.shown(self.other, FIRST)["summary"]["state"])

    def test_an_export_that_is_broken_off(self) -> None:
        """It is one line, and no complaint of the interpreter follows, packed or not; nothing is left."""
        complaints: list[object] = []
        self.patch(sys, "unraisablehook", complaints.append)
        for name in (self.file, f"{self.folder}/out.tar"):
            ran = self.queue("export", name, "ZZZ")
            gc.collect()
            self.assertEqual((ran.status, ran.err.count("\n")), (1, 2), ran.err)
            self.assertIn("there is no message 'ZZZ'", ran.err)
        self.assertEqual(complaints, [])
        self.assertEqual(list(Path(self.folder).glob("out*")), [])

    def test_what_is_in_it(self) -> None:
        """One JSON and the mail itself for each message, and a manifest with the counts at the end."""
        self.queue("export", self.file)
        members = self.members()
        self.assertEqual(
            [f"messages/{FIRST}.json", f"messages/{FIRST}.eml", f"messages/{SECOND}.json"], [*members][:3]
        )
        self.assertEqual(b"Hello", members[f"messages/{FIRST}.eml"])
        self.assertEqual("manifest.json", [*members][-1])
        manifest = json.loads(members["manifest.json"])
        self.assertEqual((2, 2, 10), tuple(manifest[k] for k in ("messages", "deliveries", "bytes")))
        self.assertEqual(
            "anna@example.com",
            json.loads(members[f"messages/{FIRST}.json"])["deliveries"][0]["recipients"][0]["address"],
        )

    def test_filters(self) -> None:
        """Only what is meant is exported, and an id that is none is an error that leaves no file."""
        self.assertIn("exported 1 message\n", self.queue("export", self.file, FIRST).out)
        again = (self.file, "--overwrite")
        for subject, told in (("Sc*n", "exported 2 messages\n"), ("other", "exported 0 messages\n")):
            self.assertEqual(told, self.queue("export", *again, "--subject", subject).out)
        self.queue("delete", "--all", "--yes")
        self.assertIn("exported 0 messages", self.queue("export", *again).out)
        self.assertIn("exported 0 messages", self.queue("export", *again, "--state", "failed").out)
        self.assertIn("exported 2 messages", self.queue("export", *again, "--all").out)
        self.assertIn("exported 2 messages", self.queue("export", *again, "--state", "deleted").out)
        before = Path(self.file).read_bytes()
        ran = self.queue("export", *again, "ZZZZ")
        self.assertEqual((1, before), (ran.status, Path(self.file).read_bytes()))
        self.assertFalse(Path(f"{self.file}.part").exists())
        self.assertIn("ZZZZ", ran.err)

    def test_what_was_deleted(self) -> None:
        """It goes along as such, without its content; there nothing brings it back either."""
        self.queue("delete", FIRST, "--yes", "--why", "spam")
        self.queue("export", self.file, "--all")
        self.assertNotIn(f"messages/{FIRST}.eml", self.members())
        self.assertEqual(0, self.into_other(self.file, "--route", "only").status)
        detail = self.shown(self.other, FIRST)
        self.assertEqual("deleted", detail["summary"]["state"])
        self.assertIn("spam", detail["summary"]["reason"])
        self.run_command("queue", "retry", "--all", "--state", "failed", "-c", self.other)
        self.assertEqual("deleted", self.shown(self.other, FIRST)["summary"]["state"])
        self.sound(self.other)

    def test_a_file_that_exists(self) -> None:
        """It is not touched unless that is said; with --move not even then."""
        place = Path(self.file)
        place.write_text("mine")
        for move in ((), ("--move",)):
            ran = self.queue("export", self.file, *move)
            self.assertEqual((1, "mine"), (ran.status, place.read_text()), ran)
            self.assertIn("exists: --overwrite", ran.err)
        self.assertEqual(2, self.queue("export", self.file, "--move", "--overwrite").status)
        self.assertEqual(0, self.queue("export", self.file, "--overwrite").status)
        self.assertNotEqual(b"mine", place.read_bytes())
        self.assertFalse(Path(f"{place}.part").exists())

    def test_another_export_of_the_same_file(self) -> None:
        """What one writes no other one touches, and all mail stays."""
        unfinished = Path(f"{self.file}.part")
        unfinished.write_text("theirs")
        for more in ((), ("--move",), ("--overwrite",)):
            ran = self.queue("export", self.file, *more)
            self.assertEqual((1, "theirs"), (ran.status, unfinished.read_text()), ran)
            self.assertIn(f"{unfinished} exists: another export is writing it", ran.err)
        self.assertFalse(Path(self.file).exists())
        self.assertIn("consistent: 2 messages, ", self.sound(self.config))

    def test_move(self) -> None:
        """What moves is gone from the spool when the file is there, and nothing is left of it."""
        ran = self.queue("export", self.file, "--move", FIRST)
        self.assertEqual("exported 1 message\nremoved 1 message from the spool\n", ran.out)
        self.assertEqual(f"{SECOND}.1\n", self.queue("list", "-o", "ids").out)
        self.assertIn("consistent: 1 message, ", self.sound(self.config))
        again = self.queue("export", self.file, "--move")
        self.assertEqual((1, True), (again.status, "exists: --overwrite" in again.err))
        self.assertEqual(f"{SECOND}.1\n", self.queue("list", "-o", "ids").out)
        self.assertIn("imported 1 message,", self.queue("import", self.file).out)
        self.assertEqual("queued", self.shown(self.config, FIRST)["summary"]["state"])

    def test_move_what_is_under_way(self) -> None:
        """It stays, and is told what to do: the relay that tried it died."""
        with SqliteLocation(Path(self.folder)).writing() as writer:
            writer._engine.node = SpoolNode(rate_limits={"local": RateLimit(concurrency=1)})
            writer.run(lambda tx: claim(tx, 1))
        ran = self.queue("export", self.file, "--move")
        self.assertEqual((75, True), (ran.status, "removed 1 message from" in ran.out))
        self.assertIn("1 message stayed: the relay died during an attempt. Start it once", ran.err)
        self.assertEqual(f"{FIRST}.1\n", self.queue("list", "-o", "ids").out)

    def test_move_into_a_pipe(self) -> None:
        """Nobody knows what becomes of it there: it is refused, and nothing is held."""
        self.assertEqual(2, self.queue("export", "-", "--move").status)
        self.assertEqual("", self.queue("list", "--state", "held", "-o", "ids").out)

    def test_move_to_where_nothing_can_be_written(self) -> None:
        """Without a file nothing leaves the spool; the folder that is missing, or is none, is named."""
        for folder in (f"{self.folder}/nowhere", self.config):
            ran = self.queue("export", f"{folder}/out.tar", "--move")
            self.assertEqual(73, ran.status)
            self.assertIn(f"smtprelay: {folder}/out.tar cannot be created in {folder}: No", ran.err)
            self.assertNotIn(".part", ran.err)
        self.assertEqual(2, len(self.queue("list", "-o", "ids").out.split()))

    def test_import_of_nothing(self) -> None:
        """A file that is not there, and a folder that has no messages, are errors that name it."""
        Path(f"{self.folder}/empty").mkdir()
        for name, told in (
            ("nowhere", "no such file or directory: name an archive of queue export, a folder"),
            ("empty", "neither an archive of queue"),
        ):
            ran = self.into_other(f"{self.folder}/{name}")
            self.assertEqual((73, ""), (ran.status, ran.out))
            self.assertIn(f"smtprelay: {self.folder}/{name}: {told}", ran.err)

    def test_a_pipe(self) -> None:
        """The archive goes to stdout and comes from stdin, compressed or not."""
        self.queue("export", self.file)
        plain = gzip.decompress(Path(self.file).read_bytes())
        for content in (Path(self.file).read_bytes(), plain):
            self.patch(sys, "stdin", None)
            ran = self.run_command(
                "queue", "import", "-", "-c", self.other, "--route", "only", stdin=Bytes(content)
            )
            self.assertEqual(0, ran.status, ran.err)
        self.assertIn("2 were here already", ran.out)

    def test_a_large_body(self) -> None:
        """It goes piece by piece, and comes in byte for byte."""
        large = b"Subject: x\r\n\r\n" + bytes(range(256)) * 4000
        put(self.folder, "7QK5CCCC00000000", body=large)
        self.queue("export", self.file)
        self.assertEqual(large, self.members()["messages/7QK5CCCC00000000.eml"])
        self.assertEqual(0, self.into_other(self.file, "--route", "only").status)
        pieces = [self.piece("7QK5CCCC00000000", n) for n in range(1, 6)]
        self.assertEqual((large, None), (b"".join(pieces[:4]), pieces[4]))
        self.sound(self.other)

    def test_without_a_route(self) -> None:
        """Each message that can go nowhere here is named with the route that is missing; nothing is taken."""
        self.queue("export", self.file)
        ran = self.into_other(self.file)
        self.assertEqual(1, ran.status)
        self.assertIn("imported 0 messages, 0 were here already, 2 refused", ran.out)
        self.assertEqual(2, ran.err.count("there is no route 'default' here"))
        ran = self.into_other(self.file, "--route", "nope")
        self.assertEqual((2, True), (ran.status, "there is no route 'nope': there are only" in ran.err))

    def test_bounces_via(self) -> None:
        """The route of ``bounces.via`` is one; what is here already needs none."""
        self.queue("export", self.file)
        members = self.members().items()
        members = {name: each.replace(b'"default"', b'"bounces (via)"') for name, each in members}
        self.rewrite(members)
        self.assertIn("2 were here already, 0 refused", self.queue("import", self.file).out)
        ran = self.into_other(self.file)
        self.assertEqual(2, ran.err.count("no route 'bounces (via)' here: --route NAME says"), ran.err)
        config = Path(self.other).read_text() + "bounces: {via: [out]}\n"
        Path(self.other).write_text(config.replace("out:", "local:").replace("[out]", "[local]"))
        self.assertIn("imported 2 messages", self.into_other(self.file).out)

    def test_one_bad_file(self) -> None:
        """It is named with the reason, and the others come in."""
        for name, content, words in (
            (f"messages/{FIRST}.json", b"{", "no JSON"),
            (f"messages/{FIRST}.json", b"[]", "no JSON object"),
            (f"messages/{FIRST}.json", b'{"schema": "smtprelay.message.v2"}', "smtprelay.message.v2"),
            (f"messages/{FIRST}.eml", b"Hell", "4 bytes instead of 5"),
            (f"messages/{FIRST}.eml", None, "body is missing"),
        ):
            self.queue("export", self.file, "--overwrite")
            members = {**self.members(), name: content}
            self.rewrite({key: value for key, value in members.items() if value is not None})
            ran = self.into_other(self.file, "--route", "only")
            self.assertEqual(1, ran.status)
            self.assertIn(f"messages/{FIRST}.json: ", ran.err)
            self.assertIn(words, ran.err)
            self.assertIn("1 refused", ran.out)
            self.assertIn("consistent: 1 message,", self.sound(self.other))

    def test_strange_members(self) -> None:
        """Links, folders and other files in an archive are passed over; nothing is ever unpacked."""
        self.queue("export", self.file)
        members = {"../../evil.txt": b"x", "evil.eml": b"y", **self.members()}
        self.rewrite(members)
        ran = self.into_other(self.file, "--route", "only")
        self.assertEqual((0, "imported 2"), (ran.status, ran.out[:10]))

    def test_cut_off(self) -> None:
        """Of an archive that ends early what is there comes in, and the end is said to be missing."""
        self.queue("export", f"{self.folder}/out.tar")
        whole = Path(f"{self.folder}/out.tar").read_bytes()
        second = whole.index(f"messages/{SECOND}".encode())
        for end in (second, second + 100, second + 600):
            Path(self.file).write_bytes(whole[:end])
            ran = self.into_other(self.file, "--route", "only")
            self.assertEqual(1, ran.status)
            self.assertRegex(ran.err.splitlines()[-1], "no manifest|damaged")
        self.assertIn("consistent: 1 message,", self.sound(self.other))

    def test_no_archive(self) -> None:
        """Any other file, or none, is a sentence."""
        Path(self.file).write_bytes(b"no archive" * 200)
        for name, status, words in ((self.file, 1, "no archive"), (f"{self.folder}/missing", 73, "missing")):
            ran = self.into_other(name)
            self.assertEqual((status, ""), (ran.status, ran.out))
            self.assertIn(words, ran.err.splitlines()[-1])
            self.assertFalse(Path(f"{self.folder}/other").exists())

    def test_a_spool_in_use(self) -> None:
        """While somebody has the spool neither direction is possible, and says who it is: exit 69."""
        self.queue("export", self.file)
        lock = SpoolLock(Path(self.folder))
        self.addCleanup(lock.release)
        for argv in (("export", f"{self.folder}/other.tar"), ("import", self.file)):
            ran = self.queue(*argv)
            self.assertEqual(69, ran.status, ran.err)
            self.assertIn("in use by process", ran.err)


class Bytes(io.StringIO):
    """A standard input of bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.buffer = io.BytesIO(content)


class FolderTests(TransferCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = Path(f"{self.folder}/messages")

    def theirs(self, name: str = "a.json", **changes: object) -> None:
        self.place.mkdir(exist_ok=True)
        (self.place / name).write_text(json.dumps({**THEIRS, **changes}))

    def take(self) -> list[dict[str, Any]]:
        ran = self.into_other(str(self.place), "--route", "only")
        self.assertEqual(0, ran.status, ran.err)
        self.sound(self.other)
        listed = self.run_command(
            "queue",
            "list",
            "-c",
            self.other,
            "-o",
            "json",
            *(f"--state={s}" for s in ("queued", "deferred", "failed", "delivered")),
        )
        return data_of(listed.out)["deliveries"]

    def test_states_of_theirs(self) -> None:
        """Each of their states becomes the one that says what is to be done."""
        for number, status in enumerate(("received", "forwarding", "retrying", "forwarded", "failed")):
            self.theirs(f"{number}.json", id=f"175422449612345678{number}", status=status)
        (self.place / "retry_queue.json").write_text("[]")
        states = {(line["state"], line["uncertain"]) for line in self.take()}
        self.assertEqual(
            {
                ("queued", False),
                ("queued", True),
                ("deferred", False),
                ("delivered", False),
                ("failed", False),
            },
            states,
        )

    def test_a_message_of_theirs(self) -> None:
        """Recipients, times, attempts and body are kept; line ends become those of mail."""
        self.theirs()
        (line,) = self.take()
        self.assertEqual(
            ("deferred", "Scan", "scan@example.com", 2, 1754224556.0),
            (line["state"], line["subject"], line["sender"], line["attempts"], line["due"]),
        )
        self.assertEqual(["anna@example.com", "bob@example.com"], [r["address"] for r in line["recipients"]])
        history = self.shown(self.other, line["message"])["history"]
        self.assertEqual(["refused", "refused again"], [each["reason"] for each in history])
        self.assertEqual(
            b"Subject: Scan\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n", self.piece(line["message"], 1)
        )

    def test_twice(self) -> None:
        """Their ids become the same ones of ours each time."""
        self.theirs()
        self.assertEqual(self.take(), self.take())

    def test_bad_files(self) -> None:
        """Each is named with the reason, and the others come in."""
        self.theirs("good.json")
        bad = {
            "base64.json": {"body": "*"},
            "status.json": {"status": "lost"},
            "nobody.json": {"to": []},
            "text.json": {"to": "anna@example.com"},
            "number.json": {"to": [7]},
            "inject.json": {"from": "a\r\nQUIT"},
            "time.json": {"received": "yesterday"},
            "history.json": {"retry_history": [7]},
        }
        for number, (name, changes) in enumerate(bad.items()):
            self.theirs(name, **{"id": str(number), **changes})
        (self.place / "torn.json").write_text('{"id": "17')
        (self.place / "other.json").write_text("{}")
        ran = self.into_other(str(self.place), "--route", "only")
        self.assertEqual(1, ran.status)
        self.assertIn(f"imported 1 message, 0 were here already, {len(bad) + 2} refused", ran.out)
        for name in (*bad, "torn.json", "other.json"):
            self.assertIn(f"smtprelay: {name}: ", ran.err)
        self.sound(self.other)

    def test_nowhere_to_go(self) -> None:
        """Their messages know no route: one must be given."""
        self.theirs()
        ran = self.into_other(str(self.place))
        self.assertEqual(1, ran.status)
        self.assertIn("names no route", ran.err)


class Counting:
    """A client of a relay that takes everything; it keeps what it was sent."""

    running = True

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def post(self, _path: str, body: Any, **_: int) -> Any:
        self.sent.append(body)
        return {"results": [{"done": "imported", "why": ""} for _ in body["messages"]]}


class OnlineTests(TransferCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = Counting()
        self.taken = import_._ImportCounts(self.client, "")

    def test_no_request_is_too_large(self) -> None:
        """However much JSON messages have, what is sent at once stays below what a relay reads."""
        put(self.folder, *(f"7QK6000000000{number:03d}" for number in range(40)), people=300)
        put(self.folder, "7QK7000000000000", people=20_000)
        self.queue("export", self.file)
        with Path(self.file).open("rb") as stream:
            for item in archive.read(stream):
                self.taken.take(item)
        self.taken.send()
        [(name, why)] = self.taken.faults
        self.assertEqual("messages/7QK7000000000000.json", name)
        self.assertIn("too many recipients", why)
        sizes = [len(json.dumps(body)) for body in self.client.sent]
        self.assertGreater(len(sizes), 1)
        self.assertLess(max(sizes), 1_000_000)
        self.assertEqual(42, sum(len(body["messages"]) for body in self.client.sent))
        self.assertEqual(0, self.into_other(self.file, "--route", "only").status)

    def test_a_long_body_for_too_many(self) -> None:
        """Its body is not sent before it is refused, and the others come in all the same."""
        put(self.folder, "7QK6000000000000", body=bytes(100_000), people=20_000)
        put(self.folder, "7QK6000000000001", body=bytes(100))
        self.queue("export", self.file)
        with Path(self.file).open("rb") as stream:
            for item in archive.read(stream):
                self.taken.take(item)
        self.taken.send()
        self.assertEqual([name for name, _ in self.taken.faults], ["messages/7QK6000000000000.json"])
        sent = [each["message"]["id"] for body in self.client.sent for each in body["messages"]]
        self.assertNotIn("7QK6000000000000", sent)
        self.assertIn("7QK6000000000001", sent)

    def test_an_impossible_id(self) -> None:
        """A large message with an impossible id is handed over to be refused; its body is not sent before."""
        for name in ("../../x", "a b", "ü", ""):
            values = {"id": name, "size": 100_000}
            self.taken.take(Item("evil.json", values, io.BytesIO(bytes(100_000))))
        self.taken.send()
        sent = [each["message"]["id"] for body in self.client.sent for each in body["messages"]]
        self.assertEqual(sent, ["../../x", "a b", "ü", ""])


class Waiting:
    """A client of a relay in which messages with one delivery wait; it keeps what it is asked to drop."""

    delivers = True

    def __init__(self, *ids: str) -> None:
        each = {"body": False, "received": 0.0, "deliveries": [{"n": 1, "attempt": 3}]}
        self.page = {"messages": [{"message": {"id": name, **each}} for name in ids], "mark": "", "left": []}
        self.dropped: list[dict[str, Any]] = []

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/export"):
            return self.page
        self.dropped.append(body)
        return {"ids": body["ids"]}


class DropTests(SynchronousTestCase):
    def test_as_it_was_exported(self) -> None:
        """The relay is told the last attempt in the archive, for each delivery, in small requests."""
        ids = [f"7QK6000000000{number:03d}" for number in range(120)]
        client = Waiting(*ids)
        with archive.ArchiveWriter(io.BytesIO(), gzip=False) as writer:
            taken = export_command._ExportCounts(writer, client)
            taken.fill({}, move=True)
        self.assertEqual(taken.drop(), ids)
        self.assertEqual([len(request["ids"]) for request in client.dropped], [50, 50, 20])
        for request in client.dropped:
            self.assertEqual(request["attempts"], {f"{name}.1": 3 for name in request["ids"]})


class CheckTests(TransferCase):
    def test_damage(self) -> None:
        """Each finding is a line, and the exit status says that there are some."""
        with closing(sqlite3.connect(f"{self.folder}/spool.db")) as connection, connection:
            connection.execute("UPDATE lane SET queued = 7")
        ran = self.command("spool", "check")
        self.assertEqual(1, ran.status)
        self.assertIn("lane 'local' '': queued is 7, counted 2\n", ran.out)
        self.assertIn("not consistent: 1 finding in 2 messages", ran.out)
        self.assertEqual(1, len(data_of(self.command("spool", "check", "-o", "json").out)["findings"]))

    def test_recount(self) -> None:
        """Counts that are wrong are put right, whatever they were."""
        with closing(sqlite3.connect(f"{self.folder}/spool.db")) as connection, connection:
            connection.execute("UPDATE lane SET queued = 7, slots = 9, active = -1, due = NULL")
        ran = self.command("spool", "check", "--recount")
        self.assertEqual((0, True), (ran.status, "recounted: 1 lane changed" in ran.err), ran.out)
        self.assertIn("recounted: 0 lanes changed", self.command("spool", "check", "--recount").err)

    def test_compact(self) -> None:
        """A spool is written anew, unless somebody has it."""
        ran = self.command("spool", "compact")
        self.assertEqual(0, ran.status, ran.err)
        self.sound(self.config)
        lock = SpoolLock(Path(self.folder))
        self.addCleanup(lock.release)
        ran = self.command("spool", "compact")
        self.assertEqual((69, True), (ran.status, "stop it first" in ran.err), ran.err)
