"""A file that is written has its name when it is whole, and replaces nothing unasked."""

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli.commands.export import new_file
from smtprelay.cli.exit_codes import CliError


class NewFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "file"

    def write(self, meanwhile: str = "", *, overwrite: bool = False) -> None:
        with new_file(self.file, overwrite=overwrite) as out:
            out.write(b"ours")
            if meanwhile:
                self.file.write_text(meanwhile)

    def check(self, content: str) -> None:
        self.assertEqual((self.file.read_text(), [*self.folder.iterdir()]), (content, [self.file]))

    def without_links(self) -> None:
        """Make it a file system that has none."""

        def refuse(_file: Path, _target: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        self.patch(Path, "hardlink_to", refuse)

    def test_what_is_no_file(self) -> None:
        """A pipe, a device or a folder is not replaced, and nothing is left beside it."""
        os.mkfifo(self.file)
        for overwrite in (False, True):
            with self.assertRaisesRegex(CliError, "is not a regular file: give another name, or - for"):
                self.write(overwrite=overwrite)
        self.assertTrue(self.file.is_fifo())
        self.assertEqual([*self.folder.iterdir()], [self.file])

    def test_new(self) -> None:
        """It is there, for its owner alone, and nothing else is."""
        self.write()
        self.check("ours")
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)

    def test_without_links(self) -> None:
        """So it is where there are no links, and what exists is spared there, too."""
        self.without_links()
        self.write()
        self.check("ours")
        self.file.unlink()
        self.assertRaises(CliError, self.write, "theirs")
        self.check("theirs")

    def test_what_comes_meanwhile(self) -> None:
        """It is not replaced, unless that is wanted."""
        self.assertRaises(CliError, self.write, "theirs")
        self.check("theirs")
        self.write("theirs again", overwrite=True)
        self.check("ours")

    def test_two_at_once(self) -> None:
        """The second one is an error, and spoils nothing of the first."""
        with new_file(self.file, overwrite=True) as out:
            out.write(b"first")
            error = self.assertRaises(CliError, self.write, overwrite=True)
            self.assertIn("another export is writing it", str(error))
        self.check("first")
