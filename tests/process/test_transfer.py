"""
Mail moves from one relay to another, both running, and everybody gets it once.
"""

from twisted.trial.unittest import TestCase

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
        program = self.ending_program(Program.python(command, relay.folder))
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
