import json
import stat
from pathlib import Path

from smtprelay.mime.dkim.key import parse_key
from smtprelay.mime.dkim.record import record_of
from tests.cli.fakes import CommandCase
from tests.config.loading import SMALL


class KeygenTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        Path(self.folder).mkdir()
        self.file = f"{self.folder}/dkim.pem"

    def keygen(self, *options: str) -> dict[str, str]:
        """Make a key and return what the command says of it."""
        ran = self.run_command(
            "dkim", "keygen", "Example.com", "--selector", "s1", "--out", self.file, "-o", "json", *options
        )
        self.assertEqual((ran.status, ran.err), (0, ""))
        return json.loads(ran.out)["data"]

    def test_kinds(self) -> None:
        """The record is that of the key in the file, which only its owner can read."""
        for kind in ("rsa", "ed25519"):
            self.file = f"{self.folder}/{kind}.pem"
            made = self.keygen("--type", kind)
            key = parse_key(Path(self.file).read_text("utf-8"))
            self.assertEqual((key.kind, made["text"]), (kind, record_of(key)))
            self.assertEqual(made["name"], "s1._domainkey.example.com")
            self.assertEqual(stat.S_IMODE(Path(self.file).stat().st_mode), 0o600)

    def test_words(self) -> None:
        """People get the record in one line, as a zone file has it, and the settings."""
        ran = self.run_command("dkim", "keygen", "example.com", "--selector", "s1", "--out", self.file)
        key = parse_key(Path(self.file).read_text("utf-8"))
        self.assertEqual(key.bits, 2048)
        self.assertIn(f"\n{record_of(key)}\n", ran.out)
        self.assertIn('s1._domainkey.example.com. IN TXT ( "v=DKIM1; k=rsa; p=', ran.out)
        settings = ran.out[ran.out.index("dkim:\n") :]
        file = Path(self.folder, "smtprelay.yaml")
        file.write_text(SMALL + settings, "utf-8")
        self.assertEqual(self.run_command("config", "check", str(file)).status, 0)

    def test_names(self) -> None:
        """What cannot be a name in DNS makes no key."""
        for domain, selector in (("a..com", "s1"), ("a.com", "s 2026"), ("me@a.com", "s1"), ("a.com", "")):
            ran = self.run_command("dkim", "keygen", domain, "--selector", selector, "--out", self.file)
            self.assertEqual((ran.status, Path(self.file).exists()), (2, False), ran)

    def test_existing(self) -> None:
        """A file that is there is not replaced: mail is signed by that key, perhaps."""
        Path(self.file).write_text("x", "utf-8")
        ran = self.run_command("dkim", "keygen", "example.com", "--selector", "s1", "--out", self.file)
        self.assertEqual((ran.status, ran.out, Path(self.file).read_text("utf-8")), (73, "", "x"))
        self.assertIn("exists already", ran.err)


class CheckTests(CommandCase):
    def test_no_keys(self) -> None:
        """Without keys there is nothing to check, and that is said."""
        Path(self.folder).mkdir()
        file = Path(self.folder, "smtprelay.yaml")
        file.write_text(SMALL, "utf-8")
        ran = self.run_command("dkim", "check", "-c", str(file))
        self.assertEqual(ran.status, 1)
        self.assertIn("no section dkim", ran.err)

    def test_nameserver(self) -> None:
        """A name server is named by its address."""
        for text in ("dns.example.com", "127.0.0.1:x", ""):
            ran = self.run_command("dkim", "check", "--nameserver", text)
            self.assertEqual(ran.status, 2)
            self.assertIn("is no IP address", ran.err)
