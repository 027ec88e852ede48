import shutil
import sys

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.program import program


class ProgramTests(SynchronousTestCase):
    def test_off_the_path(self) -> None:
        """A path with a blank is quoted, so that a shell takes it back."""
        self.patch(sys, "argv", ["/opt/my tools/smtprelay", "run"])
        self.patch(sys, "executable", "/opt/my tools/python")
        self.assertEqual(self.told(), "'/opt/my tools/smtprelay'")
        sys.argv = ["/opt/my tools/smtprelay/__main__.py"]
        self.assertEqual(self.told(), "'/opt/my tools/python' -m smtprelay")

    def told(self) -> str:
        self.patch(shutil, "which", lambda _name: None)
        return program()
