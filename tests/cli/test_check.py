import json
from pathlib import Path

from tests.cli.fakes import CommandCase

GOOD = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {local: {type: capture, path: captured}}
spool: {path: spool}
"""


class CheckConfigTests(CommandCase):
    def file(self, text: str) -> str:
        path = self.mktemp()
        Path(path).write_text(text)
        return path

    def test_good(self) -> None:
        """A good file is exit 0 and a summary, wherever its name stands."""
        path = self.file(GOOD)
        for argv in (("check-config", path), ("check-config", "-c", path), ("-c", path, "check-config")):
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.err), (0, ""), argv)
            self.assertIn("configuration ok: 1 listener, 1 provider, 1 route\n", ran.out)

    def test_every_mistake(self) -> None:
        """All mistakes are told, each with its place, a caret and a suggestion: exit 78."""
        path = self.file(GOOD + "hostnam: x\nspol: {}\n")
        ran = self.run_command("check-config", path)
        self.assertEqual((ran.status, ran.out), (78, ""))
        self.assertIn(f"{path}:4:1: error", ran.err)
        self.assertIn(f"{path}:5:1: error", ran.err)
        self.assertIn('did you mean "hostname"?', ran.err)
        self.assertIn("    4 | hostnam: x\n      | ^\n", ran.err)
        self.assertTrue(ran.err.endswith("2 errors.\n"), ran.err)

    def test_sets(self) -> None:
        """--set is checked with the file, wherever it stands, each time it is given."""
        path = self.file(GOOD)
        ran = self.run_command("--set", "hostnam=x", "check-config", path, "--set", "spol.path=y")
        self.assertEqual(ran.status, 78)
        self.assertIn("--set hostnam", ran.err)
        self.assertIn("--set spol.path", ran.err)

    def test_missing_file(self) -> None:
        """A file that is not there is named: exit 78."""
        ran = self.run_command("check-config", "no-such-file.yaml")
        self.assertEqual((ran.status, ran.out), (78, ""))
        self.assertIn("no-such-file.yaml", ran.err)

    def test_json(self) -> None:
        """JSON holds the verdict and each problem's place, for an editor."""
        ran = self.run_command("check-config", self.file(GOOD + "hostnam: x\n"), "-o", "json")
        answer = json.loads(ran.out)
        self.assertEqual((ran.status, answer["ok"]), (78, False))
        self.assertEqual((answer["problems"][0]["line"], answer["problems"][0]["severity"]), (4, "error"))

    def test_other_commands(self) -> None:
        """A command that needs the configuration to find the relay says what is wrong in one line."""
        ran = self.run_command("queue", "list", "-c", self.file("hostnam: x\n"))
        self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (78, "", 1))
        self.assertIn("check-config shows all", ran.err)
