import os

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.worker import shared_file


class SharedFileTests(SynchronousTestCase):
    def setUp(self):
        self.file = shared_file.create()
        self.addCleanup(os.close, self.file)

    def test_put_and_take(self):
        """What was put there piece by piece is taken whole."""
        end = 0
        for piece in (b"ab", b"", bytes(1 << 20), b"c"):
            end = shared_file.put(self.file, piece, end)
        self.assertEqual(shared_file.take(self.file, end), b"ab" + bytes(1 << 20) + b"c")

    def test_little_is_kept(self):
        """It keeps some memory for the next mail, and gives back what a large one needed."""
        shared_file.take(self.file, shared_file.put(self.file, bytes(1 << 20)))
        self.assertEqual(os.fstat(self.file).st_size, 1 << 20)
        shared_file.take(self.file, shared_file.put(self.file, bytes(shared_file.KEPT + 1)))
        self.assertEqual(os.fstat(self.file).st_size, shared_file.KEPT)

    def test_without_memory_files(self):
        """Where the system has no files in memory, one on the disk without a name does."""
        if hasattr(os, "memfd_create"):
            memfd_create = os.memfd_create
            del os.memfd_create
            self.addCleanup(setattr, os, "memfd_create", memfd_create)
        file = shared_file.create()
        self.addCleanup(os.close, file)
        self.assertEqual(shared_file.take(file, shared_file.put(file, b"abc")), b"abc")
        self.assertEqual(os.fstat(file).st_nlink, 0)

    def test_fewer(self):
        """Of a file that has fewer octets than were asked for, all are taken."""
        shared_file.put(self.file, b"abc")
        self.assertEqual(shared_file.take(self.file, 10), b"abc")
