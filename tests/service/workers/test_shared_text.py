"""The text of the configuration that all workers share."""

import os

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.worker_memory import new_file
from smtprelay.service.workers.shared_text import SharedText


class SharedTextTests(SynchronousTestCase):
    def test_write(self) -> None:
        """Others read what was written last, whatever the lengths of the texts; at first there is none."""
        number = new_file()
        self.addCleanup(os.close, number)
        ours, theirs = SharedText(number), SharedText(number)
        self.assertEqual(theirs.read(), b"")
        for text in (b"first", b"the second is longer", b"3", b"x" * 1_000_000, b"", b"last"):
            ours.write(text)
            self.assertEqual(theirs.read(), text)

    def test_reading_meanwhile(self) -> None:
        """Who has found the text before the next one is written reads all of it."""
        number = new_file()
        self.addCleanup(os.close, number)
        shared = SharedText(number)
        shared.write(b"first")
        place, length = shared._head()
        shared.write(b"other")
        self.assertEqual(os.pread(number, length, place), b"first")
