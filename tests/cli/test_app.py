import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from smtprelay.version import VERSION
from tests.cli.fakes import CommandCase, FakeRelay, Ran, data_of, queue_of

QUEUE = {"GET /api/v1/queue": (200, queue_of())}


class AppTests(CommandCase):
    def test_version(self) -> None:
        """``--version`` and ``version`` print the same."""
        wanted = Ran(0, f"smtprelay {VERSION}\n", "")
        self.assertEqual([self.run_command("--version"), self.run_command("version")], [wanted, wanted])

    def test_help_names_every_command(self) -> None:
        """``--help`` names each command with one line about it."""
        ran = self.run_command("--help")
        for name in ("run", "demo", "config", "hash-password", "send", "queue", "status", "version"):
            self.assertRegex(ran.out, rf"(?m)^  {name} +\w+")

    def test_usage(self) -> None:
        """Mistakes of usage are one line that says where to read on: exit 2."""
        for argv in (("quue",), ("queue", "--lots"), ("queue", "show"), ("send",), ("-o", "xml", "status")):
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (2, "", 1), argv)
            self.assertIn("--help)", ran.err)

    def test_which_help(self) -> None:
        """An option without its value names the help of the command that has it."""
        for argv, where in {
            ("send", "--to"): "smtprelay send",
            ("queue", "list", "--from"): "smtprelay queue list",
            ("queue", "-c"): "smtprelay queue",
            ("-c",): "smtprelay",
        }.items():
            ran = self.run_command(*argv)
            self.assertEqual(ran.status, 2)
            self.assertIn(f"requires an argument. (see {where} --help)", ran.err)

    def test_numbers(self) -> None:
        """A number that is none, or too large or too small, is told the bounds."""
        for argv, told in {
            ("demo", "--smtp-port", "x"): '"x" is not a whole number from 0 to 65535',
            ("queue", "list", "--limit", "0"): '"0" is not a whole number from 1 to 10000',
            ("send", "--to", "a@b.c", "--count", "0"): '"0" is not a whole number from 1 (',
        }.items():
            self.assertIn(told, self.run_command(*argv).err)

    def test_spans(self) -> None:
        """A duration is at most a century, the timeout of a socket some time and at most a day."""
        for argv, told in {
            ("queue", "retry", "--all", "--in", "999999999d"): "is not a time like",
            ("hold-rules", "add", "--for", "999999999d"): '"999999999d" is longer than a hundred years',
            ("drain", "--timeout", "999999999d"): '"999999999d" is longer than a hundred years',
            ("healthcheck", "--timeout", "0"): '"0" is no time to wait: expected one such as 30s',
            ("send", "--to", "a@b.c", "--timeout", "2d"): "is no time to wait",
        }.items():
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.out), (2, ""))
            self.assertIn(told, ran.err)

    def test_unknown_command(self) -> None:
        """The command that was probably meant is named."""
        for argv, told in {
            ("stauts",): "No such command 'stauts': did you mean 'status'? (see smtprelay --help)",
            ("queue", "lst"): "No such command 'lst': did you mean 'list'? (see smtprelay queue --help)",
            ("frobnicate",): "No such command 'frobnicate' (see smtprelay --help)",
        }.items():
            self.assertEqual(self.run_command(*argv), Ran(2, "", f"smtprelay: {told}\n"))

    def test_not_utf_8(self) -> None:
        """An argument in another encoding is an error of usage that shows it; a file may be called so."""
        word = os.fsdecode(b"caf\xe9")
        for argv, where in {
            ("queue", "show", word): "'ID'",
            ("queue", "list", "--from", word): "'--from'",
            ("queue", "retry", word): "'[ID]... | -'",
            ("config", "explain", word): "'KEY'",
            ("send", "--to", word): "'--to'",
        }.items():
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.err), (2, f"smtprelay: {where}: caf\\xe9 is not UTF-8\n"), argv)
        file = Path(self.mktemp(), word)
        file.parent.mkdir()
        file.write_text("hostname: x\n")
        self.assertEqual(self.run_command("config", "check", str(file)).status, 78)
        self.assertEqual(self.run_command("--endpoint", f"http://{word}", "status").status, 2)

    def test_files_not_utf_8(self) -> None:
        """So are files that are read as text, and the standard input."""
        file = Path(self.mktemp())
        file.write_bytes(b"caf\xe9")
        for argv in (
            ("--endpoint", "http://127.0.0.1:1", "--token-file", str(file), "status"),
            ("send", "--to", "a@b.test", "--body", f"@{file}"),
            ("send", "--to", "a@b.test", "--user", "u", "--password-file", str(file)),
        ):
            ran = self.run_command(*argv)
            option = next(
                word for word in argv[2:] if word.startswith("--") and word not in ("--to", "--user")
            )
            self.assertEqual((ran.status, ran.err), (2, f"smtprelay: {option} {file}: not UTF-8\n"), argv)
        for argv in (("hash-password",), ("queue", "retry", "-")):
            for stdin in (os.fsdecode(b"caf\xe9"), io.TextIOWrapper(io.BytesIO(b"caf\xe9"), "utf-8")):
                ran = self.run_command(*argv, stdin=stdin)
                self.assertEqual((ran.status, ran.err), (2, "smtprelay: the standard input is not UTF-8\n"))

    def test_nothing_asked_for(self) -> None:
        """Without a command the help is shown, as it is, and the exit status says that nothing was done."""
        for argv, line in {(): r"\n  run +Run the relay", ("queue",): r"\n  list +List"}.items():
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.out), (2, ""))
            self.assertRegex(ran.err, line)

    def test_every_command_is_told_whole(self) -> None:
        """No line about a command is cut off."""
        for argv in ((), ("queue",)):
            self.assertNotRegex(self.run_command(*argv, "--help").out, r"(?m)^  [a-z-]+ .*\.\.\.$")

    def test_options_before_and_after(self) -> None:
        """Global options count before the command, after it, and between; the innermost wins."""
        relay = FakeRelay(self, QUEUE)
        for argv in (
            ("-o", "json", "--endpoint", relay.endpoint, "queue", "list"),
            ("--endpoint", relay.endpoint, "queue", "-o", "json", "list"),
            ("queue", "list", "--endpoint", relay.endpoint, "-o", "json"),
            ("-o", "ids", "--endpoint", "/nowhere", "queue", "list", "--endpoint", relay.endpoint, "-ojson"),
        ):
            self.assertEqual(data_of(self.run_command(*argv).out), queue_of(), argv)

    def test_endpoint_from_the_environment(self) -> None:
        """SMTPRELAY_ENDPOINT is the endpoint, unless one is given."""
        relay, other = FakeRelay(self, QUEUE), FakeRelay(self, QUEUE)
        os.environ["SMTPRELAY_ENDPOINT"] = relay.endpoint
        self.addCleanup(os.environ.pop, "SMTPRELAY_ENDPOINT")
        self.run_command("queue", "list")
        self.run_command("--endpoint", other.endpoint, "queue", "list")
        self.assertEqual((len(relay.asked), len(other.asked)), (1, 1))

    def test_token_file(self) -> None:
        """The token of --token-file goes to the URL; a file that is not there is an error in words."""
        relay = FakeRelay(self, QUEUE, tcp=True)
        token = self.mktemp()
        Path(token).write_text("s3cret\n")
        self.run_command("queue", "list", "--endpoint", relay.endpoint, "--token-file", token)
        self.assertEqual(relay.asked[0].headers["Authorization"], "Bearer s3cret")
        ran = self.run_command("queue", "list", "--endpoint", relay.endpoint, "--token-file", "no-such-file")
        self.assertEqual(ran.status, 1)
        self.assertEqual(ran.err, "smtprelay: --token-file no-such-file: No such file or directory\n")
        for content in ("", "two\nlines\n"):
            Path(token).write_text(content)
            ran = self.run_command("status", "--endpoint", relay.endpoint, "--token-file", token)
            self.assertEqual(
                (ran.status, ran.err), (2, f"smtprelay: --token-file {token}: expected one word, the token\n")
            )

    def test_unexpected(self) -> None:
        """What nobody foresaw is a sentence too, which names the file of the traceback; 70."""
        self.patch(tempfile, "tempdir", tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, tempfile.tempdir)
        relay = FakeRelay(self, {"GET /api/v1/queue": (200, {"deliveries": 7})})
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "list")
        self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (70, "", 1))
        kept = Path(re.search(r"please report it with the traceback in (\S+)$", ran.err)[1])
        self.assertTrue(kept.read_text().startswith("Traceback"))
        self.assertEqual(kept.stat().st_mode & 0o777, 0o600)

    def test_unexpected_without_a_place(self) -> None:
        """Where no file can be written the sentence says how to see the traceback."""
        relay = FakeRelay(self, {"GET /api/v1/queue": (200, {"deliveries": 7})})
        self.patch(tempfile, "tempdir", "/nowhere")
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "list")
        self.assertEqual((ran.status, ran.err.count("\n")), (70, 1))
        self.assertIn("python -X dev -m smtprelay", ran.err)


class ProcessTests(CommandCase):
    def python(self, *argv: str) -> subprocess.CompletedProcess[str]:
        root = str(Path(__file__).parents[2])
        environ = {**os.environ, "PYTHONPATH": root}
        return subprocess.run(
            [sys.executable, *argv], check=False, capture_output=True, text=True, env=environ, timeout=60
        )

    def test_thin_commands_import_no_reactor(self) -> None:
        """Asking the relay imports neither Twisted nor attrs nor rich: that is what makes it fast."""
        relay = FakeRelay(self, QUEUE)
        script = (
            "import sys; from smtprelay.cli import main; status = main();"
            "print(status, sorted({'twisted', 'attr', 'rich', 'yaml'} & set(sys.modules)))"
        )
        done = self.python("-c", script, "queue", "list", "--endpoint", relay.endpoint)
        self.assertEqual(done.stdout, "Nothing waits.\n0 []\n", done.stderr)

    def test_module(self) -> None:
        """``python -m smtprelay`` is the command, and its exit status is the process's."""
        done = self.python("-m", "smtprelay", "queue", "delete")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertTrue(done.stderr.startswith("smtprelay: say what to delete"), done.stderr)

    def test_reader_goes_away(self) -> None:
        """A reader that stops reading (``| head``) causes no traceback."""
        script = "import os, sys; from smtprelay.cli import main; os.close(1); r, w = os.pipe(); os.close(r);"
        script += "sys.stdout = os.fdopen(w, 'w'); sys.exit(main(['--help']))"
        done = self.python("-c", script)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
