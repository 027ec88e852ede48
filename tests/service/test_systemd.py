"""What systemd is told, on a socket of the test's own."""

import contextlib
import os
import shlex
import socket
import tempfile
from configparser import RawConfigParser
from pathlib import Path

from twisted.internet.task import Clock
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service import Options
from smtprelay.service.errors import CONFIG
from smtprelay.service.systemd import SystemdNotifier
from smtprelay.service.workers.supervisor import PATIENCE

ROOT = Path(__file__).parents[2]


def notify_socket(case: SynchronousTestCase, address: str) -> socket.socket:
    """Return a socket that takes what is told to systemd at ``address``; it never waits."""
    taking = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    case.addCleanup(taking.close)
    taking.bind(address)
    taking.setblocking(False)
    return taking


def told(taking: socket.socket) -> list[str]:
    """Return the datagrams that are there."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(taking.recv(4096).decode())
    return found


class SystemdTests(SynchronousTestCase):
    def setUp(self) -> None:
        # A name of trial's own is too long for the address of a socket.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.address = str(Path(folder.name, "notify"))
        self.clock = Clock()

    def notifier(self, **environ: str) -> SystemdNotifier:
        notifier = SystemdNotifier(self.clock, {"NOTIFY_SOCKET": self.address, **environ})
        notifier.start()
        return notifier

    def test_a_life(self) -> None:
        """READY comes with the addresses, STOPPING with the reason, and nothing between."""
        taking = notify_socket(self, self.address)
        notifier = self.notifier()
        self.assertEqual(told(taking), [])
        notifier("relay.ready", listeners="lan on 127.0.0.1:25")
        notifier("worker.waiting", worker=1)
        self.clock.pump([10.0] * 3)
        self.assertEqual(told(taking), ["READY=1\nSTATUS=ready: lan on 127.0.0.1:25"])
        notifier("relay.stop", reason="requested")
        self.assertEqual(told(taking), ["STOPPING=1\nSTATUS=stopping: requested"])
        self.clock.pump([10.0] * 3)
        self.assertEqual(told(taking), [])

    def test_a_start_that_waits(self) -> None:
        """While the database is away systemd is asked for more time, and told what for."""
        taking = notify_socket(self, self.address)
        notifier = self.notifier()
        notifier("spool.unavailable", reason="connection\nrefused", seconds=15.0)
        notifier("worker.waiting", worker=1)
        first, second = told(taking)
        self.assertEqual(
            first, "EXTEND_TIMEOUT_USEC=75000000\nSTATUS=waiting for the spool's database connection refused"
        )
        self.assertTrue(second.startswith("EXTEND_TIMEOUT_USEC=60000000\n"))

    def test_a_start_that_fails(self) -> None:
        """The reason is the status, and READY never comes."""
        taking = notify_socket(self, self.address)
        notifier = self.notifier()
        notifier("relay.failed", reason="port 25 is in use", status=69)
        notifier("relay.stop", reason="it cannot start")
        self.assertEqual(told(taking)[0], "STATUS=cannot start: port 25 is in use")

    def test_watchdog(self) -> None:
        """A sign of life comes thrice within the time that systemd waits, from the reactor, until the end."""
        taking = notify_socket(self, self.address)
        notifier = self.notifier(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
        self.assertEqual(told(taking), ["WATCHDOG=1"])
        self.clock.advance(9.0)
        self.assertEqual(told(taking), [])
        self.clock.advance(1.0)
        self.assertEqual(told(taking), ["WATCHDOG=1"])
        notifier("relay.stop", reason="requested")
        self.clock.advance(10.0)
        self.assertEqual(told(taking)[1:], ["WATCHDOG=1"])

    def test_the_watchdog_of_another_process(self) -> None:
        """Only the process that systemd means gives signs of life; a number that is none is no watchdog."""
        taking = notify_socket(self, self.address)
        self.notifier(WATCHDOG_USEC="30000000", WATCHDOG_PID="1")
        self.notifier(WATCHDOG_USEC="often")
        self.notifier(WATCHDOG_USEC="0")
        self.clock.pump([10.0] * 3)
        self.assertEqual(told(taking), [])

    def test_abstract_socket(self) -> None:
        """A name that begins with @ is an abstract socket."""
        name = f"smtprelay-test-{os.getpid()}"
        taking = notify_socket(self, f"\0{name}")
        self.address = f"@{name}"
        self.notifier()("relay.failed", reason="x", status=1)
        self.assertEqual(told(taking), ["STATUS=cannot start: x"])

    def test_without_systemd(self) -> None:
        """Without a socket, or with a kind that is unknown, nothing is heard and nothing told."""
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
            notifier = SystemdNotifier(self.clock, {**environ, "WATCHDOG_USEC": "1000000"})
            notifier.start()
            self.assertIsNone(notifier.handler_for("relay.ready"))
            notifier("relay.ready", listeners="")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody_takes_it(self) -> None:
        """A socket that is gone is no error."""
        self.notifier()("relay.failed", reason="x", status=1)

    def full(self) -> socket.socket:
        """Return a socket that takes nothing more until it is read."""
        taking = notify_socket(self, self.address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
            filling.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    filling.sendto(b"", self.address)
        return taking

    def test_a_full_socket(self) -> None:
        """What systemd cannot take at once is told a little later: READY must not get lost."""
        taking = self.full()
        self.notifier()("relay.ready", listeners="lan")
        self.clock.pump([1.0] * 20)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        told(taking)
        self.clock.advance(1.0)
        self.assertEqual(told(taking), ["READY=1\nSTATUS=ready: lan"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_newest_state(self) -> None:
        """One state waits for systemd, the newest: none comes behind STOPPING."""
        taking = self.full()
        notifier = self.notifier()
        notifier("relay.ready", listeners="lan")
        notifier("relay.failed", reason="x", status=1)
        notifier("relay.stop", reason="requested")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        told(taking)
        self.clock.pump([1.0] * 5)
        self.assertEqual(told(taking), ["STOPPING=1\nSTATUS=stopping: requested"])

    def test_a_socket_that_stays_full(self) -> None:
        """Signs of life are never told late, and a state is given up in the end."""
        taking = self.full()
        notifier = self.notifier(WATCHDOG_USEC="30000000")
        watchdog = self.clock.getDelayedCalls()
        notifier("relay.ready", listeners="lan")
        self.clock.pump([0.2] * 1000)
        self.assertEqual(len(self.clock.getDelayedCalls()), len(watchdog))
        self.assertNotIn("READY=1\nSTATUS=ready: lan", told(taking))


class UnitTests(SynchronousTestCase):
    """``etc/systemd/smtprelay.service``."""

    def setUp(self) -> None:
        unit = RawConfigParser(strict=False)
        unit.optionxform = str
        unit.read(ROOT / "etc" / "systemd" / "smtprelay.service")
        self.service = unit["Service"]

    def test_notify(self) -> None:
        """It waits until the relay is ready, and has it killed when it stands still."""
        self.assertEqual((self.service["Type"], self.service["NotifyAccess"]), ("notify", "main"))
        self.assertGreater(int(self.service["WatchdogSec"]), 10)

    def test_command(self) -> None:
        """The command is one that ``twistd`` understands, and stays in the foreground."""
        program, *arguments = shlex.split(self.service["ExecStart"])
        self.assertTrue(program.endswith("/twistd"))
        twistd, ours = arguments[: (at := arguments.index("smtprelay"))], arguments[at + 1 :]
        options = ServerOptions()
        options.parseOptions(twistd)
        self.assertTrue(options["nodaemon"])
        relay = Options()
        relay.parseOptions(ours)
        self.assertEqual(relay["config"], "/etc/smtprelay/smtprelay.yaml")

    def test_reload(self) -> None:
        """Its reload is our command, for the same configuration: it fails when that cannot be used."""
        program, *arguments = shlex.split(self.service["ExecReload"])
        started = shlex.split(self.service["ExecStart"])
        self.assertEqual(Path(program), Path(started[0]).with_name("smtprelay"))
        self.assertEqual(arguments, ["-c", started[-1], "reload"])

    def test_end(self) -> None:
        """It may stop in order, and a configuration that is wrong is not tried again."""
        self.assertGreater(int(self.service["TimeoutStopSec"]), PATIENCE)
        self.assertEqual(int(self.service["RestartPreventExitStatus"]), CONFIG)
