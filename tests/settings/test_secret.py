import os
import tempfile
from datetime import date
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.kind import AcsSettings
from smtprelay.providers.smarthost.kind import SmarthostSettings
from smtprelay.settings.secret import Secret, complaint, fixed, in_file
from tests.config.loading import SMALL, codes, load_text, problems_of, with_provider


def password(value: str, environ: dict[str, str] | None = None) -> Secret:
    """Return the password of a smarthost that is given as ``value``."""
    text = with_provider(f"type: smarthost, host: h, username: u, password: {value}")
    host = load_text(text, environ).config.providers["more"]
    assert isinstance(host, SmarthostSettings)
    assert host.password is not None
    return host.password


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def secret(self, content: bytes) -> Secret:
        """Return the secret of a file with ``content``."""
        self.path.write_bytes(content)
        return in_file(str(self.path), "file x")

    def test_one_newline_is_stripped(self) -> None:
        """One newline at the end belongs to the editor; blanks, and all lines of a PEM key, to the secret."""
        cases = {
            b"a b": "a b",
            b"a\n": "a",
            b" a ": " a ",
            b"-----BEGIN KEY-----\na\n-----END KEY-----\n": "-----BEGIN KEY-----\na\n-----END KEY-----",
            b"'": "'",
            b"'a": "'a",
        }
        cases |= {b"'a' and 'b'\n": "'a' and 'b'"}
        for content, value in cases.items():
            secret = self.secret(content)
            self.assertEqual((secret.reveal(), self.cleanings(secret)), (value, []))

    def cleanings(self, secret: Secret) -> list[str]:
        """Return the warnings that are not about who can read the file."""
        return [text for text in secret.warnings() if "every user" not in text]

    def test_what_editors_add(self) -> None:
        """A byte order mark, quotes, and newlines that are not just one are removed, and named."""
        for content, removed in {
            b"\xef\xbb\xbfhunter2\n": "the byte order mark",
            b'"hunter2"\n': "the quotes",
            b"'hunter2'": "the quotes",
            b"hunter2\r\n": "newlines",
            b"hunter2\n\n\n": "newlines",
            b'\xef\xbb\xbf"hunter2"\r\n': "the byte order mark and newlines and the quotes",
        }.items():
            secret = self.secret(content)
            self.assertEqual(secret.reveal(), "hunter2")
            self.assertEqual(self.cleanings(secret), [f"file {self.path}: {removed} removed"])

    def test_others_can_read_it(self) -> None:
        """A file that every user of the machine can read is a warning, unless no other comes that far."""
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.path = Path(place.name, "secret")
        secret = self.secret(b"x")
        self.path.chmod(0o644)
        self.assertEqual(secret.warnings(), [])
        Path(place.name).chmod(0o755)
        told = [f"file {self.path}: every user of this machine can read it: run chmod o-r"]
        self.assertEqual(secret.warnings(), told)
        self.path.chmod(0o640)
        self.assertEqual(secret.warnings(), [])

    def test_a_warning_at_the_start(self) -> None:
        """A configuration with such a file works, and says so; so it is with a variable, too."""
        self.secret(b'"hunter2"\r\n')
        acs = "type: smarthost, host: h, username: u, password: {{{}}}"
        for where, place in (
            (f"file: {self.path.absolute()}", "file "),
            ("env: PW", "env PW: the quotes removed"),
        ):
            problems = problems_of(with_provider(acs.format(where)), {"PW": '"hunter2"'})
            told = [p.text for p in problems if p.code == "CFG-SECRET-FILE" and "every user" not in p.text]
            self.assertEqual((len(told), codes(problems)[0]), (1, "CFG-SECRET-FILE?"))
            self.assertIn(f"providers.more.password: {place}", told[0])
        self.assertEqual(password("{env: PW}", {"PW": '"hunter2"'}).reveal(), "hunter2")

    def test_change_is_seen(self) -> None:
        """A file that changed is read again, also one that was put in its place by a rename."""
        secret = self.secret(b"old")
        self.assertEqual(secret.reveal(), "old")
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(b"new")
        fresh.rename(self.path)
        self.assertEqual(secret.reveal(), "new")

    def test_unreadable_later(self) -> None:
        """A file that vanishes leaves the value it had; one that comes back is read."""
        secret = self.secret(b"old")
        secret.reveal()
        self.path.unlink()
        self.assertEqual(secret.reveal(), "old")
        self.path.write_bytes(b"newer")
        self.assertEqual(secret.reveal(), "newer")

    def test_bad_files(self) -> None:
        """What holds no secret is told with its path."""
        cases = {
            b"": "it is empty",
            b"\n": "it is empty",
            b'""\n': "it is empty",
            b"  \t\n": "it has only blanks",
            b"' '": "it has only blanks",
            b"hunter2\nhunter3\n": "it has 2 lines, a secret has one",
            b"hunter2\0": "it has a control character",
            b"\xff\xfea\0": "not UTF-8 but UTF-16: save it as UTF-8",
            b"a\xff": "not UTF-8",
            b"x" * 70_000: "larger than 65536 bytes",
        }
        for content, expected in cases.items():
            error = self.assertRaises(ValueError, self.secret(content).reveal)
            self.assertEqual(str(error), f"file {self.path}: {expected}")

    def test_bad_words(self) -> None:
        """So it is with a variable, and with what stands in the file itself; none of it is repeated."""
        for value, expected in (("''", "it is"), ("' '", "it has only"), ('"hunter2\\nx"', "it has 2 lines")):
            text = with_provider(f"type: smarthost, host: h, username: u, password: {value}")
            [problem] = problems_of(text)
            self.assertTrue(problem.text.startswith(f"providers.more.password: {expected}"), problem.text)
            self.assertNotIn("hunter2", f"{problem}{problem.snippet}")
        text = with_provider("type: smarthost, host: h, username: u, password: {env: P}")
        for value, expected in (('""', "it is empty"), (" ", "it has only"), ("hunter2\nx", "it has 2")):
            [problem] = problems_of(text, {"P": value})
            self.assertTrue(problem.text.startswith(f"providers.more.password: env P: {expected}"))

    def test_missing_and_folder(self) -> None:
        """A file that is not there, or is none, is told with its path and our uid."""
        error = self.assertRaises(ValueError, in_file(str(self.path), "file x").reveal)
        self.assertEqual(str(error), f"file {self.path}: no such file or directory (uid {os.getuid()})")
        self.path.mkdir()
        error = self.assertRaises(ValueError, in_file(str(self.path), "file x").reveal)
        self.assertEqual(str(error), f"file {self.path}: not a regular file")

    def test_permission(self) -> None:
        """A file that we may not read is told with our uid, its mode and its owner."""
        self.path.write_bytes(b"x")
        self.path.chmod(0o600)
        text = complaint(self.path, PermissionError(13, "Permission denied"))
        self.assertRegex(text, rf"^{self.path}: permission denied \(uid {os.getuid()}, mode 0600 \S+\)$")


class HidingTests(SynchronousTestCase):
    def test_repr(self) -> None:
        """Neither repr nor str shows the value."""
        secret = fixed("hunter2", "inline", date(2027, 1, 3))
        self.assertNotIn("hunter2", repr(secret) + str(secret))
        self.assertIn("inline", repr(secret))


class SettingTests(SynchronousTestCase):
    def test_environment(self) -> None:
        """{env: NAME} is the variable's value."""
        secret = password("{env: P}", {"P": "s3cret"})
        self.assertEqual((secret.reveal(), secret.place), ("s3cret", "env P"))

    def test_credential(self) -> None:
        """{credential: name} is a file in $CREDENTIALS_DIRECTORY."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "mail").write_text("s3cret\n")
        secret = password("{credential: mail}", {"CREDENTIALS_DIRECTORY": str(folder.absolute())})
        self.assertEqual((secret.reveal(), secret.place), ("s3cret", "credential mail"))

    def test_expires(self) -> None:
        """Expires is a day."""
        self.assertEqual(password("{env: P, expires: 2027-01-03}", {"P": "x"}).expires, date(2027, 1, 3))

    def test_digits_keep_their_zeros(self) -> None:
        """A password of digits is the text that was written."""
        self.assertEqual(password("007").reveal(), "007")

    def test_paths_of_a_shell(self) -> None:
        """What only a shell understands in a path is told, instead of a folder of that name."""
        for path in ("~/spool", "$HOME/spool"):
            [problem] = problems_of(SMALL.replace("path: spool", f"path: {path}"))
            self.assertIn("~ and $HOME are for shells", problem.text)

    def test_relative_file(self) -> None:
        """A relative path is meant from the folder of the configuration."""
        config = load_text(SMALL).config
        self.assertTrue(Path(config.spool.path).is_absolute())
        self.assertNotEqual(Path(config.spool.path), Path("spool").absolute())

    def test_problems(self) -> None:
        """Each secret that cannot be had is one problem, in words, at its place."""
        cases = {
            "{env: NOPE}": "the variable NOPE is not set",
            "{file: /nope/x}": "file /nope/x: no such file or directory",
            "{credential: x}": "CREDENTIALS_DIRECTORY is not set",
            "{}": "expected one of file, env, credential and key_vault",
            "{file: a, env: b}": "expected one of file, env, credential and key_vault",
            "{fil: a}": 'unknown key "fil" - did you mean "file"?',
            "{env: P, expires: soon}": '"soon" is not a date',
            "[a]": "expected one value, not a list",
        }
        for value, expected in cases.items():
            text = with_provider(f"type: acs, sender: a@b, connection_string: {value}")
            texts = [p.text for p in problems_of(text, {"P": "x"})]
            self.assertTrue(any(expected in t for t in texts), f"{value}: {texts}")

    def test_inline_is_warned_of(self) -> None:
        """A secret in the file itself is a warning that does not show it; one from a variable is none."""
        inline = "endpoint=https://x.example/;accesskey=c2VjcmV0"
        for value, expected in ((inline, ["CFG-INLINE-SECRET?"]), ("'${C}'", [])):
            text = with_provider(f"type: acs, sender: a@b, connection_string: {value}")
            problems = problems_of(text, {"C": inline})
            self.assertEqual(codes(problems), expected)
            self.assertNotIn("c2VjcmV0", "".join(p.text + p.snippet for p in problems))

    def test_access_keys(self) -> None:
        """Two keys beside an endpoint are two secrets."""
        keys = 'endpoint: "https://x.example", access_keys: ["${A}", {env: B}]'
        text = with_provider(f"type: acs, sender: a@b, {keys}")
        provider = load_text(text, {"A": "MQ==", "B": "Mg=="}).config.providers["more"]
        assert isinstance(provider, AcsSettings)
        self.assertEqual([key.reveal() for key in provider.access_keys], ["MQ==", "Mg=="])
