"""
Mail moves from one relay to another, both running, and everybody gets it once; or leaves a spool in trouble.
"""

import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing

from twisted.trial.unittest import TestCase

from tests.cli.test_source import put
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

#: Nobody listens at port 9 of this machine.
NOWHERE = "out: {type: smarthost, host: 127.0.0.1, port: 9, tls: none}"
CAPTURE = "out: {type: capture, path: captured}"


class MoveTests(Stage, TestCase):
    def place(self, name: str, provider: str) -> RelayProcess:
        (self.folder / name).mkdir()
        return self.ending(RelayProcess.of(self.folder / name, provider))

    async def command(self, relay: RelayProcess, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
        """Run ``smtprelay ARGUMENTS`` for ``relay``; return what it prints."""
        command = ["-m", "smtprelay", "-c", str(relay.config), *arguments]
        program = self.ending_program(Program.forked(command, relay.folder))
        self.assertIn(await program.ends(), allowed, program.err.decode())
        return program.out.decode()

    async def test_move(self) -> None:
        """What waits here for a provider that is down is delivered there, in the order and form it came."""
        old = await self.place("old", NOWHERE).start()
        for number in range(5):
            text = "x" * (400_000 if number == 3 else 10)
            reply = await old.send(message(f"mail {number}", text=text), "user@example.com")
            self.assertIn("250 2.0.0", reply)
        # An attempt that is under way at that moment stays: nothing is sent from both.
        archive = str(self.folder / "mail.tar.gz")
        archives = [f"{archive}{number}" for number in range(20)]
        for number, each in enumerate(archives):
            await self.command(old, "queue", "export", each, "--move", allowed=(0, 75))
            if not await old.queued():
                archives = archives[: number + 1]
                break
        self.assertEqual([], await old.queued())
        self.assertIn("consistent: 0 messages", await self.command(old, "spool", "check", "--deep"))
        new = await self.place("new", CAPTURE).start()
        for _ in range(2):
            told = [await self.command(new, "queue", "import", each) for each in archives]
        self.assertNotIn("imported 1", " ".join(told))
        found = await eventually(
            lambda: len(list(new.folder.glob("captured/new/*"))) == 5, "the mails at the other end"
        )
        self.assertTrue(found)
        bodies = [path.read_bytes() for path in new.folder.glob("captured/new/*")]
        self.assertEqual(
            {f"mail {number}" for number in range(5)},
            {body.partition(b"Subject: ")[2].split(b"\r\n")[0].decode() for body in bodies},
        )
        self.assertIn("consistent: 5 messages", await self.command(new, "spool", "check"))


class TroubleTests(Stage, TestCase):
    """The relay does not run, and its spool is not what it should be."""

    def setUp(self) -> None:
        super().setUp()
        self.relay = self.ending(RelayProcess.of(self.folder, NOWHERE))
        self.spool = self.folder / "spool"
        put(str(self.spool), *(f"7QK2000000000{number:03d}" for number in range(30)), body=b"x" * 300_000)

    async def without_rights(self, *arguments: str) -> tuple[int, str, str]:
        """Run ``smtprelay ARGUMENTS`` bound by the modes of files; return status, output and errors."""
        command = ["smtprelay", "-c", str(self.relay.config), *arguments]
        program = Program.forked(["-m", "tests.process.without_rights", *command], self.folder)
        status = await self.ending_program(program).ends()
        return status, program.out.decode(), program.err.decode()

    def freeze(self) -> None:
        for file in (*self.spool.iterdir(), self.spool):
            file.chmod(0o555 if file.is_dir() else 0o444)
        self.addCleanup(self.spool.chmod, 0o755)

    async def check_export(self) -> None:
        archive = self.folder / "mail.tar"
        status, out, err = await self.without_rights("queue", "export", str(archive))
        self.assertEqual((0, "exported 30 messages\n"), (status, out), err)
        self.assertGreater(archive.stat().st_size, 30 * 300_000)

    async def test_read_only(self) -> None:
        """Mail is copied from a spool that nobody can write; it cannot be moved, and says why."""
        self.freeze()
        await self.check_export()
        status, out, err = await self.without_rights("queue", "export", str(self.folder / "y.tar"), "--move")
        self.assertEqual((77, ""), (status, out), err)
        self.assertIn(f"Permission denied: '{self.spool}/lock'", err)
        self.assertFalse((self.folder / "y.tar").exists())
        status, out, err = await self.without_rights("spool", "check", "--deep")
        self.assertIn("consistent: 30 messages", out, err)

    async def test_read_only_after_a_crash(self) -> None:
        """What the log holds that was not in the database yet is copied, too."""
        whole = self.folder / "whole"
        shutil.copytree(self.spool, whole)
        with closing(sqlite3.connect(whole / "spool.db")) as connection, connection:
            connection.execute("DELETE FROM delivery WHERE message = '7QK2000000000000'")
            connection.execute("DELETE FROM message WHERE id = '7QK2000000000000'")
            connection.commit()
            shutil.rmtree(self.spool)
            shutil.copytree(whole, self.spool)
        self.assertGreater((self.spool / "spool.db-wal").stat().st_size, 0)
        self.freeze()
        status, out, err = await self.without_rights("queue", "export", str(self.folder / "mail.tar"))
        self.assertEqual((0, "exported 29 messages\n"), (status, out), err)

    async def test_damaged(self) -> None:
        """Mail that can be read leaves a file that is damaged elsewhere, and a lock that cannot be had."""
        database = self.spool / "spool.db"
        with closing(sqlite3.connect(database)) as connection, connection:
            (page,) = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'refusal'"
            ).fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
        with database.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        (self.spool / "lock").unlink()
        (self.spool / "lock").mkdir()
        await self.check_export()
        status, out, err = await self.without_rights("spool", "check", "--deep")
        self.assertEqual(1, status, err)
        self.assertIn("the file is damaged: ", out)

    async def killed(self, sign: Callable[[], object], *arguments: str) -> None:
        """Start ``smtprelay ARGUMENTS`` and kill it when there is a sign that it has begun."""
        command = ["-m", "smtprelay", "-c", str(self.relay.config), *arguments]
        program = self.ending_program(Program.forked(command, self.folder))
        await eventually(lambda: program.status is not None or sign(), "a beginning")
        self.assertEqual(-9, await program.stop(signal.SIGKILL), program.err.decode())

    async def test_killed(self) -> None:
        """Whatever an export that moves, or an import, was at: done again it ends with all mail, once."""
        archive, unfinished = self.folder / "mail.tar.gz", self.folder / "mail.tar.gz.part"
        await self.killed(unfinished.exists, "queue", "export", str(archive), "--move")
        unfinished.unlink()
        status, out, err = await self.without_rights("queue", "export", str(archive), "--all", "--move")
        told = "exported 30 messages\nremoved 30 messages from the spool\n"
        self.assertEqual((0, told), (status, out), err)
        shutil.rmtree(self.spool)
        log = self.spool / "spool.db-wal"
        begun = lambda: log.exists() and log.stat().st_size > 2_000_000  # noqa: E731
        await self.killed(begun, "queue", "import", str(archive), "--route", "all")
        status, out, err = await self.without_rights("queue", "import", str(archive), "--route", "all")
        self.assertEqual(0, status, err)
        self.assertNotIn(" 0 were here", out)
        _, out, _ = await self.without_rights("spool", "check", "--deep")
        self.assertIn("consistent: 30 messages, 30 deliveries, 9.0M of bodies", out)
