"""
How the real process starts, refuses to start, and ends.

Whatever is wrong is told in plain lines on the standard error, with an exit status that says
which kind of wrong it is (sysexits.h); a traceback there is a bug.
"""

import re
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

UNAVAILABLE, CANNOT_CREATE, NO_PERMISSION, CONFIG = 69, 73, 77, 78

CAPTURE = "out: {type: capture, path: captured}"

MISTAKES = """\
hostname: relay.test
listenerz: []
listeners:
  - name: lan
    endpoint: "tcp:2525:interface=127.0.0.1"
    limits: {size: 25 parsecs}
    bare_newlines: mend
providers:
  local: {type: captcha, path: captured}
spool: {path: spool}
routes: [{via: [lokal]}]
"""

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


class StartCase(Stage):
    """Starts what shall not start."""

    def relay(self, *, listener: str = "", provider: str = CAPTURE) -> RelayProcess:
        return self.ending(RelayProcess.of(self.folder, provider, listener=listener))

    def at(self, endpoint: str, *, more: str = "") -> RelayProcess:
        """Return a relay whose listener has this endpoint."""
        relay = self.relay()
        text = relay.config.read_text()
        relay.config.write_text(text.replace('"tcp:0:interface=127.0.0.1"', f'"{endpoint}"{more}'))
        return relay

    def by_twistd(self, relay: RelayProcess) -> list[str]:
        """Return the arguments of Python for ``twistd -n smtprelay`` with the configuration of ``relay``."""
        return ["-c", TWISTD, "-n", "smtprelay", "-c", str(relay.config)]

    def twistd(self, relay: RelayProcess) -> Program:
        """Start it."""
        return self.ending_program(Program.forked(self.by_twistd(relay), self.folder))

    async def refused(self, program: Program) -> tuple[int, str]:
        """Return exit status and standard error of what must end by itself, without a traceback."""
        status = await program.ends()
        told = program.err.decode()
        self.assertNotIn("Traceback", told + program.out.decode())
        self.assertNotIn("Unhandled", told + program.out.decode())
        return status, told

    async def told_by_both(self, relay: RelayProcess) -> tuple[int, str]:
        """Return what ``smtprelay run`` says; ``twistd`` must say the same."""
        ours = await self.refused(self.ending_program(relay.launch()))
        twistds = await self.refused(self.twistd(relay))
        self.assertEqual(twistds, ours)
        return ours

    def unprivileged(self, relay: RelayProcess) -> Program:
        """Start ``relay`` with no right that its user does not have by the modes of files."""
        without = ["-m", "tests.process.without_rights", "smtprelay", "run", "-c", str(relay.config)]
        return self.ending_program(Program.forked(without, self.folder))


class RefusalTests(StartCase, TestCase):
    async def test_five_mistakes(self) -> None:
        """All mistakes of a configuration at once, each with its place and what was probably meant; 78."""
        relay = self.relay()
        relay.config.write_text(MISTAKES)
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CONFIG)
        file = relay.config
        for place, meant in (
            ("2:1", 'did you mean "listeners"?'),
            ("6:20", "such as 10MB"),
            ("7:20", "expected fix or refuse"),
            ("9:17", "or capture"),
            ("11:17", 'did you mean "local"?'),
        ):
            [line] = [line for line in told.splitlines() if line.startswith(f"{file}:{place}:")]
            self.assertIn(meant, line)

    async def test_port_in_use(self) -> None:
        """Another program has the port: one line names it; 69."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            status, told = await self.told_by_both(self.at(f"tcp:{port}:interface=127.0.0.1"))
        self.assertEqual(status, UNAVAILABLE)
        [line] = told.splitlines()
        self.assertIn(f"127.0.0.1:{port} is in use", line)

    async def test_event(self) -> None:
        """A start that fails is an error in the log, once, with the exit status; so too under supervision."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            relay = self.at(f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
            for more in ("", "supervise: {restarts_per_hour: 5}\n"):
                relay.config.write_text(relay.config.read_text() + more)
                for program in (self.ending_program(relay.launch()), self.twistd(relay)):
                    self.assertEqual(await program.ends(), UNAVAILABLE)
                    [line] = [line for line in program.out.splitlines() if b"relay.failed" in line]
                    self.assertIn(b'"level":"error"', line)
                    self.assertIn(b'"status":69', line)

    async def test_unforeseen(self) -> None:
        """
        What nobody foresaw is one line, wherever it happens in a start; 70.

        The log has the traceback if there is one by then; else the line names its file.
        """
        relay = self.relay()
        arguments = {
            "run": ["run", "-c", str(relay.config)],
            "twistd": ["-n", "smtprelay", "-c", str(relay.config)],
        }
        for module, name in (("relay", "Budget"), ("relay", "build"), ("command", "start_logging")):
            broken = f"from smtprelay.service import {module}; {module}.{name} = lambda *_, **__: 1 / 0;"
            run = f"import sys; from smtprelay.cli import main; sys.exit(main({arguments['run']!r}))"
            twistd = f"{TWISTD.replace('run()', '')} sys.argv[1:] = {arguments['twistd']!r}; run()"
            for code in (run, twistd):
                command = ["-c", f"{broken} {code}"]
                program = self.ending_program(Program.forked(command, self.folder, TMPDIR=str(self.folder)))
                status, told = await program.ends(), program.err.decode()
                self.assertEqual((status, told.count("\n")), (70, 1), told)
                place = re.search(r"ZeroDivisionError.* the traceback in (.+)\n", told)[1]
                logged = b'"event":"relay.failed"' in program.out
                self.assertEqual((logged, place == "the log"), (name == "build",) * 2)
                self.assertIn("Traceback", program.out.decode() if logged else Path(place).read_text())

    async def test_missing_secret(self) -> None:
        """The file of a secret is not there: the line says where it is wanted and which file it is; 78."""
        provider = "out: {type: acs, connection_string: {file: nowhere.key}, sender: a@b.test}"
        relay = self.relay(provider=provider)
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CONFIG)
        [line] = [line for line in told.splitlines() if line.startswith(f"{relay.config}:3:")]
        self.assertIn("nowhere.key", line)

    async def test_unreadable_secret(self) -> None:
        """The file of a secret may not be read: so too."""
        (self.folder / "closed.key").touch(mode=0o000)
        provider = "out: {type: acs, connection_string: {file: closed.key}, sender: a@b.test}"
        relay = self.relay(provider=provider)
        status, told = await self.refused(self.unprivileged(relay))
        self.assertEqual(status, CONFIG)
        [line] = [line for line in told.splitlines() if line.startswith(f"{relay.config}:3:")]
        self.assertIn("closed.key", line)
        self.assertIn("ermission", line)

    async def test_unwritable_spool(self) -> None:
        """The spool's folder cannot be written: the line says where it is named, and why not; 78."""
        spool = self.folder / "spool"
        spool.mkdir(mode=0o500)
        relay = self.relay()
        status, told = await self.refused(self.unprivileged(relay))
        self.assertEqual(status, CONFIG)
        [line] = [line for line in told.splitlines() if line.startswith(f"{relay.config}:5:")]
        self.assertIn(f"cannot write in {spool}: permission denied", line)

    async def test_unwritable_file_in_the_spool(self) -> None:
        """A file of the spool belongs to somebody else: one line names it; 77."""
        spool = self.folder / "spool"
        spool.mkdir()
        (spool / "spool.db").touch(mode=0o000)
        status, told = await self.refused(self.unprivileged(self.relay()))
        self.assertEqual(status, NO_PERMISSION)
        [line] = told.splitlines()
        self.assertIn(f"{spool}/spool.db: Permission denied", line)

    async def test_a_spool_that_is_a_file(self) -> None:
        """A file is where the spool's folder should be: so too; 78."""
        relay = self.relay()
        (self.folder / "spool").write_text("I am no folder")
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CONFIG)
        [line] = [line for line in told.splitlines() if line.startswith(f"{relay.config}:5:")]
        self.assertRegex(line, f"{self.folder}/spool.* not a (folder|directory)")

    async def test_a_spool_that_is_no_database(self) -> None:
        """The file in the spool is something else: one line says so, and it is left alone; 73."""
        relay = self.relay()
        spool = self.folder / "spool"
        spool.mkdir()
        (spool / "spool.db").write_bytes(b"precious " * 1000)
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CANNOT_CREATE)
        [line] = told.splitlines()
        self.assertIn("not a database", line)
        self.assertEqual((spool / "spool.db").read_bytes(), b"precious " * 1000)

    async def test_second_daemon(self) -> None:
        """A second daemon on the same spool is refused by the first one's number, which runs on."""
        relay = await self.relay().start()
        status, told = await self.refused(self.twistd(relay))
        self.assertEqual(status, UNAVAILABLE)
        self.assertFalse((self.folder / "twistd.pid").exists())
        [line] = told.splitlines()
        self.assertIn(f"is in use by process {relay.life.transport.pid}", line)
        self.assertIn("250 2.0.0", await relay.send(message("still here"), "user@example.com"))

    async def test_privileged_port(self) -> None:
        """Port 25 without the right to it: one line says how to get it; 77."""
        first = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        if first.exists() and int(first.read_text()) <= 25:
            # Here everybody may listen there, so what is to be seen is that it works.
            await self.refused_or_ready()
            return
        status, told = await self.refused(self.unprivileged(self.at("tcp:25:interface=127.0.0.1")))
        self.assertEqual(status, NO_PERMISSION)
        [line] = told.splitlines()
        self.assertIn("127.0.0.1:25: no right to listen on a port below 1024", line)

    async def refused_or_ready(self) -> None:
        """Start at port 25 where everybody may: it is ready, unless somebody else is there."""
        program = self.unprivileged(self.at("tcp:25:interface=127.0.0.1"))
        await eventually(lambda: b"relay.ready" in program.out or program.status is not None)
        self.assertIn(program.status, (None, UNAVAILABLE))

    async def test_open_relay(self) -> None:
        """A listener that would send for everybody is refused, with why and what to write instead; 78."""
        relay = self.at("tcp:0", more=", allow_from: [0.0.0.0/0]")
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CONFIG)
        self.assertIn("open relay", told)
        self.assertIn("open_relay: accepted", told)
        self.assertIn(f"{relay.config}:2:", told)

    async def test_no_configuration(self) -> None:
        """A configuration that is not there is named; 78."""
        relay = self.relay()
        relay.config.unlink()
        status, told = await self.told_by_both(relay)
        self.assertEqual(status, CONFIG)
        self.assertIn(str(relay.config), told)


class EndTests(StartCase, TestCase):
    async def check_end(self, relay: RelayProcess) -> int:
        """
        See that SIGTERM lets a message in progress be finished, and tells 421 to who is idle.

        Return the exit status.
        """
        idle = await relay.greet()
        busy = await relay.greet()
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await busy.say(command)
        busy.write(b"Subject: in progress\r\n\r\nfirst half\r\n")
        relay.life.signal(signal.SIGTERM)
        self.assertTrue((await idle.reply()).startswith("421 4.3."))
        busy.write(b"second half\r\n.\r\n")
        self.assertIn("250 2.0.0 Ok: queued as", await busy.reply())
        self.assertTrue((await busy.reply()).startswith("421 4.3."))
        status = await relay.life.ends()
        kept = [path.read_text() for path in self.folder.glob("captured/new/*")]
        listed = (await relay.cli("queue", "list"))["deliveries"]
        self.assertEqual(len(kept) + len(listed), 1)
        self.assertFalse([text for text in kept if "second half" not in text])
        self.assertNotIn("Traceback", (relay.life.out + relay.life.err).decode())
        return status

    async def test_run(self) -> None:
        """``smtprelay run`` ends in order at SIGTERM, with 0."""
        relay = self.relay()
        relay.is_imported = True
        self.assertEqual(await self.check_end(await relay.start()), 0)

    async def test_twistd(self) -> None:
        """``twistd -n smtprelay`` does the same, and then ends, as twistd does, by the signal that it got."""
        relay = self.relay()
        twistd = self.ending_program(Program.python(self.by_twistd(relay), self.folder))
        status = await self.check_end(await relay.ready(twistd))
        self.assertEqual(status, -signal.SIGTERM)

    async def test_a_delivery_under_way(self) -> None:
        """SIGTERM waits for the answer of a provider that has the mail, and its outcome is recorded; 0."""
        acs = await self.fake_acs()
        await acs.delay(1.0)
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await relay.send(message("on its way"), "user@example.com")
        await eventually(acs.arrivals, "the request")
        self.assertEqual(await relay.stop(), 0)
        [line] = (await relay.cli("queue", "list", "--state", "delivered"))["deliveries"]
        self.assertEqual((line["state"], line["attempts"], line["uncertain"]), ("delivered", 1, False))

    async def test_a_log_that_cannot_be_written(self) -> None:
        """A full disk under the log keeps nothing from going; one line and the relay's state say so."""
        relay = self.relay()
        full = (
            "import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); from smtprelay.cli import main;"
        )
        run = f"{full} sys.exit(main(['run', '-c', {str(relay.config)!r}]))"
        relay.life = Program.forked(["-c", run], self.folder)
        relay.smtp = await eventually(lambda: self.port_of(relay), "the port")
        self.assertIn("250 2.0.0", await relay.send(message("unlogged"), "user@example.com"))
        await eventually(lambda: list(self.folder.glob("captured/new/*")), "the mail")
        reason = "the log cannot be written: standard output: No space left on device"
        self.assertIn(reason, [each["text"] for each in (await relay.status())["attention"]])
        self.assertEqual(await relay.stop(), 0)
        told = "the log cannot be written, the relay continues: standard output: No space left on device"
        self.assertEqual(relay.life.err.decode(), f"smtprelay: {told}\n")

    async def port_of(self, relay: RelayProcess) -> int:
        """Return the port at which ``relay`` takes mail, as its API tells it; 0 if it does not yet."""
        if not (self.folder / "spool" / "control.sock").exists():
            return 0
        listeners = (await relay.status())["listeners"]
        return int(listeners[0]["address"].rpartition(":")[2]) if listeners else 0

    async def test_the_socket_of_a_killed_relay(self) -> None:
        """What a killed relay leaves behind does not keep the next one from starting."""
        relay = await self.relay().start()
        await relay.kill()
        self.assertTrue((self.folder / "spool" / "control.sock").exists())
        await relay.start()
        self.assertEqual(await relay.queued(), [])
