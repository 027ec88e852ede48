"""Which file systems do not keep what is written to them."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.engines.filesystem import file_system

MOUNTS = """\
21 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l
22 21 0:21 / /var/lib/mail rw master:1 propagate_from:2 - ext4 /dev/sda1 rw
23 21 0:22 / /dev/shm rw - tmpfs tmpfs rw
24 21 0:23 / /with\\040space rw - tmpfs tmpfs rw
25 22 0:24 / /var/lib/mail/twice rw - tmpfs tmpfs rw
26 22 0:25 / /var/lib/mail/twice rw - ext4 /dev/sdb1 rw
"""


class MountTests(SynchronousTestCase):
    def test_where_a_folder_lies(self) -> None:
        """The longest mount point decides, of two at the same place the later one."""
        cases = {
            "/var/lib/smtprelay": "overlay",
            "/var/lib/mailbox": "overlay",
            "/var/lib/mail": "ext4",
            "/var/lib/mail/smtprelay": "ext4",
            "/dev/shm": "tmpfs",
            "/dev/shm/a/b": "tmpfs",
            "/with space/spool": "tmpfs",
            "/var/lib/mail/twice/x": "ext4",
        }
        for folder, what in cases.items():
            self.assertEqual(file_system(MOUNTS, folder), what, folder)

    def test_what_cannot_be_read(self) -> None:
        """Nothing, or lines that are no mounts, warn of nothing."""
        for text in ("", "\n\n", "rubbish", "1 2 3 - tmpfs", "21 1 0:20 / / rw"):
            self.assertEqual(file_system(text, "/var/lib/smtprelay"), "")
