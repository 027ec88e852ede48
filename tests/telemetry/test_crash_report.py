"""Where the traceback of an error that nobody foresaw is."""

import os
import sys
import tempfile
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.command import tell_failure
from smtprelay.telemetry.crash_report import unexpected


class CrashReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(tempfile, "tempdir", str(self.folder))
        self.file = self.folder / f"smtprelay-traceback-{os.getuid()}.txt"

    def test_one_file(self) -> None:
        """What fails again and again leaves one file, with the last traceback, for its user alone."""
        for number in range(3):
            self.assertTrue(unexpected(ValueError(number)).endswith(f"the traceback in {self.file}"))
        self.assertEqual([*self.folder.iterdir()], [self.file])
        self.assertIn("ValueError: 2", self.file.read_text())
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_a_link(self) -> None:
        """A link that somebody has put there is replaced, and not followed."""
        mine = self.folder / "mine"
        mine.write_text("mine")
        self.file.symlink_to("mine")
        unexpected(ValueError())
        self.assertEqual((mine.read_text(), self.file.is_symlink()), ("mine", False))

    def test_what_cannot_be_replaced(self) -> None:
        """Then the sentence says how to see the traceback, and nothing is left."""
        self.file.mkdir()
        self.assertIn("python -X dev -m smtprelay", unexpected(ValueError()))
        self.assertEqual([*self.folder.iterdir()], [self.file])

    def test_a_start_that_fails(self) -> None:
        """The log has the traceback: no file is written."""
        with (self.folder / "stderr").open("w+") as stderr:
            self.patch(sys, "__stderr__", stderr)
            status: list[int] = []
            tell_failure(MemoryReactorClock(), status.append)(Failure(KeyError("x")))
            stderr.seek(0)
            self.assertIn("KeyError: 'x'; please report it with the traceback in the log\n", stderr.read())
        self.assertEqual(([*self.folder.iterdir()], status), ([self.folder / "stderr"], [70]))
