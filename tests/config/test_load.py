import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import ConfigError, load
from smtprelay.config.problem import render
from tests.config.loading import SMALL, codes, load_text, problems_of, with_provider


class SearchTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Work in an empty folder, and go back afterwards."""
        self.addCleanup(os.chdir, Path.cwd())
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)

    def write(self, name: str) -> None:
        """Write a configuration whose hostname is the name of its file."""
        Path(name).write_text(f"hostname: {name}\n{SMALL}")

    def test_order(self) -> None:
        """-c wins over SMTPRELAY_CONFIG, and that over ./smtprelay.yaml."""
        for name in ("given.yaml", "variable.yaml", "smtprelay.yaml"):
            self.write(name)
        environ = {"SMTPRELAY_CONFIG": "variable.yaml"}
        found = [load("given.yaml", environ), load(None, environ), load(None, {})]
        self.assertEqual([loaded.file for loaded in found], ["given.yaml", "variable.yaml", "smtprelay.yaml"])
        self.assertEqual([loaded.config.hostname for loaded in found], [loaded.file for loaded in found])

    def test_unreadable(self) -> None:
        """A file that is not there, or is a folder, is one problem that says why."""
        for name, reason in {
            "nope.yaml": "no such file or directory",
            ".": "is a directory",
            "a\0b": "null",
        }.items():
            error = self.assertRaises(ConfigError, load, name, {})
            self.assertEqual(codes(error.problems), ["CFG-NO-FILE"])
            self.assertIn(reason, str(error))

    def test_not_there(self) -> None:
        """A file that is not there is named once as the place, and how to begin it is told."""
        error = self.assertRaises(ConfigError, load, "nope.yaml", {})
        self.assertEqual(
            str(error),
            "nope.yaml: error: no such file or directory: name another one with -c FILE,"
            " or begin it with smtprelay config example > nope.yaml [CFG-NO-FILE]",
        )

    def test_not_to_be_read(self) -> None:
        """Nor is the path of a folder, or of what this user may not read, told twice."""
        Path("folder").mkdir(mode=0o700)
        error = self.assertRaises(ConfigError, load, "folder", {})
        self.assertEqual(str(error).count("folder"), 1)
        self.assertIn("folder: error: cannot be read: is a directory (uid ", str(error))


class NotFoundTests(SynchronousTestCase):
    def test_nowhere(self) -> None:
        """Without any file the problem says where it was looked for."""
        if Path("/etc/smtprelay/smtprelay.yaml").exists():
            self.assertEqual(load(None, {}, alone=True).file, "/etc/smtprelay/smtprelay.yaml")
            return
        self.addCleanup(os.chdir, Path.cwd())
        folder = Path(self.mktemp())
        folder.mkdir()
        os.chdir(folder)
        error = self.assertRaises(ConfigError, load, None, {})
        self.assertEqual(codes(error.problems), ["CFG-NONE"])
        self.assertEqual(error.problems[0].file, "configuration")
        places = ("-c FILE", "$SMTPRELAY_CONFIG", "smtprelay.yaml", "/etc/smtprelay/smtprelay.yaml")
        for word in (*places, "smtprelay config example", "smtprelay demo"):
            self.assertIn(word, str(error))


class LoadTests(SynchronousTestCase):
    def test_another_file(self) -> None:
        """What is no configuration may be a secret: nothing of it is repeated."""
        for text in (
            "opensesame\n",
            "- opensesame\n",
            "endpoint=https://opensesame.test/;accesskey=opensesame\n",
            "opensesame: 1\n",
            "opensesame:\n",
            "user: a: opensesame\n",
            '"opensesame\n',
        ):
            told = "".join(render(problem) for problem in problems_of(text))
            self.assertNotIn("opensesame", told, text)
            self.assertIn("error: ", told)

    def test_a_misspelt_setting(self) -> None:
        """As the only one of a file, too, it is told what it should be."""
        self.assertIn('did you mean "listeners"?', problems_of("listners: []\n")[0].text)

    def test_warnings(self) -> None:
        """Warnings alone do not stop; beside errors they are told too, in the order of the file."""
        text = with_provider("type: smarthost, host: h, verify: false")
        loaded = load_text(text)
        self.assertEqual(codes(loaded.warnings), ["CFG-NO-VERIFY?"])
        error = self.assertRaises(ConfigError, load_text, "nonsense: 1\n" + text + "workers: x\n")
        self.assertEqual(codes(error.problems), ["CFG-UNKNOWN-KEY", "CFG-NO-VERIFY?", "CFG-VALUE"])

    def test_alone(self) -> None:
        """A command that only asks where the daemon is needs no secrets."""
        path = Path(self.mktemp())
        path.write_text(with_provider("type: acs, sender: a@b, connection_string: {file: /nope}"))
        self.assertEqual(codes(self.assertRaises(ConfigError, load, str(path), {}).problems), ["CFG-SECRET"])
        self.assertEqual(
            load(str(path), {}, alone=True).config.control_socket,
            str(path.parent.absolute() / "spool/control.sock"),
        )
