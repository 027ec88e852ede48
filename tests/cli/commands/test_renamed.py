from smtprelay.cli.options import RENAMED
from tests.cli.fakes import CommandCase


class RenamedTests(CommandCase):
    def test_each(self) -> None:
        """An old command is an error of usage that names the new one, whatever follows it."""
        for old, new in RENAMED.items():
            for more in ((), ("7QK2", "--to", "x"), ("-o", "json")):
                ran = self.run_command(*old.split(), *more)
                self.assertEqual((ran.status, ran.out), (2, ""), old)
                self.assertIn(f'"{old}" is now called "{new}"', ran.err)

    def test_options_before(self) -> None:
        """The options that every command takes may stand before it."""
        ran = self.run_command("-o", "json", "queue", "-c", "x", "hold", "--to", "*", "--for=2h")
        self.assertEqual(ran.status, 2)
        self.assertIn('"queue hold --for" is now called "hold-rules add"', ran.err)

    def test_the_new_ones(self) -> None:
        """Every new name is a command."""
        for new in RENAMED.values():
            ran = self.run_command(*(word for word in new.split() if word != "--raw"), "--help")
            self.assertEqual((ran.status, ran.err), (0, ""), new)
        self.assertIn("--raw", self.run_command("queue", "show", "--help").out)

    def test_hidden(self) -> None:
        """No help shows an old name."""
        for group in ((), ("queue",), ("providers",)):
            out = self.run_command(*group, "--help").out
            listed = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()}
            for old in RENAMED:
                self.assertNotIn(old.removeprefix("".join(group)).strip(), listed)

    def test_unknown_all_the_same(self) -> None:
        """What never was a command is told as such."""
        self.assertIn("No such command", self.run_command("queue", "unhald").err)
        self.assertIn("No such option", self.run_command("queue", "hold", "--fro").err)
