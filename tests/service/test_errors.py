"""Why the relay does not start is told in one sentence with an exit status."""

import errno
import io
import sys
import tempfile
from pathlib import Path
from socket import gaierror

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.certificate import CertificateError
from smtprelay.service.errors import StartFailed, exit_with_status, explain, tell_failed
from smtprelay.spool.engines.sqlite_lock import SpoolBusy
from smtprelay.spool.engines.transaction import SpoolFault
from tests.recording import Recording


def _cannot(number: int) -> CannotListenError:
    return CannotListenError("127.0.0.1", 25, OSError(number, "as the system says"))


class ExplainTests(SynchronousTestCase):
    def test_each_has_its_sentence_and_status(self):
        """What an operator can mend names the place, and the kind of mistake is the exit status."""
        denied = PermissionError(errno.EACCES, "Permission denied", "/var/lib/x")
        full = OSError(errno.ENOSPC, "No space left on device", "/var/lib/x")
        for error, words, status in (
            (_cannot(errno.EADDRINUSE), "127.0.0.1:25 is in use by another program", 69),
            (_cannot(errno.EACCES), "127.0.0.1:25: no right to listen on a port below 1024", 77),
            (_cannot(errno.EADDRNOTAVAIL), "127.0.0.1:25: interface must be an address of this machine", 69),
            (CannotListenError("eth0", 25, gaierror(-2, "not known")), "eth0:25: interface must be", 69),
            (CannotListenError("::1", 25, OSError(errno.EADDRINUSE, "")), "[::1]:25 is in use", 69),
            (_cannot(errno.ENOBUFS), "127.0.0.1:25: ", 69),
            (SpoolBusy("the spool x is in use by process 7"), "process 7", 69),
            (SpoolFault("file is not a database"), "the spool cannot be used: file is not", 73),
            (CertificateError("cert.pem: no such file"), "cert.pem", 78),
            (denied, "/var/lib/x: Permission denied", 77),
            (full, "/var/lib/x: No space left", 73),
        ):
            told = explain(error)
            self.assertIsInstance(told, StartFailed)
            self.assertIn(words, str(told))
            self.assertEqual(status, told.status, error)

    def test_a_port_by_name(self):
        """A UNIX socket that cannot be made is named by its path."""
        error = CannotListenError(None, "/run/x.sock", OSError(errno.ENOENT, "No such file"))
        self.assertIn("/run/x.sock", str(explain(error)))

    def test_a_socket_without_rights(self):
        """A UNIX socket that may not be made has nothing to do with ports."""
        error = CannotListenError(None, b"/run/x.sock", OSError(errno.EACCES, "Permission denied"))
        told = explain(error)
        self.assertEqual(told.status, 77)
        self.assertTrue(str(told).startswith("/run/x.sock: permission denied: choose a path"))

    def test_what_nobody_foresaw_stays_as_it_is(self):
        """A bug is not dressed up as an operator's mistake."""
        error = KeyError("x")
        self.assertIs(error, explain(error))


class TellTests(SynchronousTestCase):
    def test_event(self):
        """A start that fails is an error event; only what nobody foresaw has a traceback."""
        events = Recording()
        tell_failed(events, StartFailed("no port", 69))
        tell_failed(events, KeyError("x"))
        known, unknown = events.of("relay.failed")
        self.assertEqual(known, {"reason": "no port", "status": 69})
        self.assertEqual((unknown["reason"], unknown["status"]), ("unexpected error: KeyError: 'x'", 70))
        self.assertIn("KeyError", unknown["exc"])

    def exits(self, error):
        """Return the status and the words of an exit because of ``error``."""
        told = io.StringIO()
        self.patch(sys, "stderr", told)
        with self.assertRaises(SystemExit) as caught, exit_with_status():
            raise error
        return caught.exception.code, told.getvalue()

    def test_exit(self):
        """A command ends with one line and the status of the error: 70 for what nobody foresaw."""
        denied = PermissionError(errno.EACCES, "Permission denied", "/var/log/x")
        self.assertEqual(self.exits(denied), (77, "smtprelay: /var/log/x: Permission denied\n"))
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(tempfile, "tempdir", str(folder))
        status, told = self.exits(ZeroDivisionError("seven"))
        self.assertEqual((status, told.count("\n")), (70, 1))
        self.assertIn("ZeroDivisionError: seven; please report it with the traceback in", told)
