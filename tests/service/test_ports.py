import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import _SystemdParser
from twisted.internet.testing import MemoryReactor
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.service.errors import StartFailed, explain
from smtprelay.service.ports import HttpPort, Ports
from smtprelay.service.workers.sockets import make_endpoint


class ControlSocketTests(SynchronousTestCase):
    def opened(self, path: str) -> Deferred[None]:
        """Open a site on ``path``."""
        port = HttpPort(name="control", endpoint=f"unix:{path}", site=Site(Resource()), socket=path)
        return Deferred.fromCoroutine(Ports(MemoryReactor()).open([port]))

    def told(self, path: str) -> str:
        """Return the line that an operator reads when ``path`` cannot be opened."""
        failed = explain(self.failureResultOf(self.opened(path), OSError).value)
        assert isinstance(failed, StartFailed)
        return str(failed)

    def test_too_long(self) -> None:
        """A path that no address has room for is told with what to do."""
        path = "/tmp/".ljust(120, "x")
        why = "longer than the 107 bytes that a socket's path may have: set control_socket to another path"
        self.assertEqual(self.told(path), f"{path}: {why}")

    def test_no_folder(self) -> None:
        """A folder that is not there is told by its own name, with the setting."""
        self.assertEqual(
            self.told("/nope/s"), "/nope: No such file or directory: set control_socket to another path"
        )

    def own_folder(self) -> Path:
        """Return the folder that the relay makes for itself in what is this user's for temporary files."""
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.patch(tempfile, "tempdir", place.name)
        return Path(place.name, f"smtprelay-{os.getuid()}")

    def test_own_folder(self) -> None:
        """The relay's own folder is made, for its user alone; it may be there already."""
        folder = self.own_folder()
        for _ in range(2):
            self.opened(str(folder / "control.sock"))
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_own_folder_of_somebody_else(self) -> None:
        """In a place for everybody a folder that others can change, or a link, is not used."""
        folder = self.own_folder()
        folder.mkdir()
        folder.chmod(0o777)
        told = f"{folder}: belongs to another user: set control_socket to another path"
        self.assertEqual(self.told(str(folder / "control.sock")), told)
        folder.rmdir()
        folder.symlink_to(folder.parent)
        self.assertEqual(self.told(str(folder / "control.sock")), told)

    def test_left_behind(self) -> None:
        """The file of a relay that was killed is in nobody's way."""
        path = self.own_folder()
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(path))
        self.opened(str(path))
        self.assertFalse(path.exists())

    def test_a_file_of_somebody_else(self) -> None:
        """What is no socket is not removed."""
        path = Path(self.mktemp())
        path.write_text("mine")
        told = f"{path}: exists and is not a socket: set control_socket to another path"
        self.assertEqual(self.told(str(path)), told)
        self.assertEqual(path.read_text(), "mine")


class EndpointTests(SynchronousTestCase):
    def failed(self, text: str) -> StartFailed:
        """Return what an operator reads of an endpoint that cannot be made."""
        return self.assertRaises(StartFailed, make_endpoint, MemoryReactor(), text)

    def test_a_socket_that_systemd_has_not_passed(self) -> None:
        """It is the operator's mistake, with the status of one, by number and by name."""
        for text in ("systemd:domain=INET:index=0", "systemd:domain=INET6:name=smtp"):
            failed = self.failed(text)
            self.assertEqual(failed.status, 78)
            self.assertTrue(str(failed).startswith(f"{text}: systemd has passed no such socket"))

    def test_a_socket_of_another_domain(self) -> None:
        """A TCP socket is none of the domain UNIX."""
        with socket.socket() as passed:
            fds = ListenFDs([passed.fileno()], ("smtp",))
            self.patch(_SystemdParser, "_sddaemon", fds)
            self.assertIn("of the domain INET", str(self.failed("systemd:domain=UNIX:name=smtp")))
            make_endpoint(MemoryReactor(), "systemd:domain=INET:name=smtp")
