from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.certificates import make_certificate
from tests.config.loading import SMALL, codes, problems_of, with_provider


def with_tls(settings: str) -> str:
    """Return a configuration whose listener has these ``settings`` of TLS."""
    return SMALL.replace("name: lan", f"name: lan, tls: {{{settings}}}")


class CertificatesTests(SynchronousTestCase):
    def test_unreadable(self) -> None:
        """A certificate that is not there, or is a folder, is told with its path."""
        for path, reason in {"/nope.pem": "no such file or directory", "/": "is a directory"}.items():
            texts = [problem.text for problem in problems_of(with_tls(f"certificate: {path}, key: {path}"))]
            self.assertEqual(len(texts), 2)
            self.assertIn(f"certificate: file {path}: {reason}", texts[0])
            self.assertIn(f"key: file {path}: {reason}", texts[1])

    def test_unusable(self) -> None:
        """A key that is missing or another's, and ciphers that nobody knows, are told as at the start."""
        made, other = (
            make_certificate(Path(self.mktemp()).absolute()),
            make_certificate(Path(self.mktemp()).absolute()),
        )
        cases = {
            f"certificate: {made.certificate}": "no private key in PEM form in it",
            f"certificate: {made.key}, key: {made.key}": "no certificate in PEM form in it",
            f"certificate: {made.certificate}, key: {other.key}": "does not belong to the certificate",
            f"certificate: {made.certificate}, key: {made.key}, ciphers: FOO": "no such ciphers",
        }
        for settings, expected in cases.items():
            [problem] = problems_of(with_tls(settings))
            self.assertEqual(problem.code, "CFG-TLS")
            self.assertIn(expected, problem.text)

    def test_several(self) -> None:
        """Each of several certificates is looked at; one alone needs no other."""
        made = make_certificate(Path(self.mktemp()).absolute())
        good = f"{{certificate: {made.certificate}, key: {made.key}}}"
        self.assertEqual(problems_of(with_tls(f"certificates: [{good}, {good}]")), [])
        for entry, code, text in (
            ("{certificate: /nope.pem}", "CFG-FILE", "certificate: file /nope.pem: no such file"),
            (f"{{certificate: {made.certificate}}}", "CFG-TLS", "no private key in PEM form in it"),
            (f"{{key: {made.key}}}", "CFG-MISSING", '"certificate" is missing'),
        ):
            [problem] = problems_of(with_tls(f"certificates: [{good}, {entry}]"))
            self.assertEqual(problem.code, code)
            self.assertIn(text, problem.text)

    def test_good(self) -> None:
        """A pair that belongs together is fine, and without TLS nobody looks."""
        made = make_certificate(Path(self.mktemp()).absolute())
        self.assertEqual(problems_of(with_tls(f"certificate: {made.certificate}, key: {made.key}")), [])
        self.assertEqual(problems_of(with_tls("mode: off, certificate: /nope.pem")), [])


class AuthoritiesTests(SynchronousTestCase):
    def test_ca(self) -> None:
        """A file of certificates to trust holds at least one."""
        made = make_certificate(Path(self.mktemp()).absolute())
        for file, expected in {made.ca: [], made.key: ["CFG-FILE"], "/nope.pem": ["CFG-FILE"]}.items():
            text = with_provider(f"type: smarthost, host: h, ca: {file}")
            self.assertEqual(codes(problems_of(text)), expected, file)


class ClientCertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made, self.other = (make_certificate(Path(self.mktemp()).absolute()) for _ in range(2))

    def problems(self, settings: str, kind: str = "type: smarthost, host: h") -> list[tuple[str, str]]:
        return [(found.code, found.text) for found in problems_of(with_provider(f"{kind}, {settings}"))]

    def test_good(self) -> None:
        """A certificate with its key, maybe in one file, is fine for a server and for an API."""
        both = Path(self.mktemp()).absolute()
        both.write_bytes(self.made.certificate.read_bytes() + self.made.key.read_bytes())
        for settings in (
            f"client_certificate: {both}",
            f"client_certificate: {self.made.certificate}, client_key: {self.made.key}",
        ):
            for kind in ("type: smarthost, host: h", "type: ses, region: eu-west-1"):
                self.assertEqual(self.problems(settings, kind), [])

    def test_wrong(self) -> None:
        """Files that are missing, mixed up, or of another pair are told with key and file."""
        made, other = self.made, self.other
        pair = f"client_certificate: {made.certificate}, client_key:"
        for settings, text in (
            (f"client_key: {made.key}", '"client_certificate" is missing: client_key is its key'),
            ("client_certificate: /nope.pem", "client_certificate: file /nope.pem: no such file"),
            (f"{pair} /nope.key", "client_key: file /nope.key: no such file or directory"),
            (
                f"client_certificate: {made.key}",
                f"client_certificate: {made.key}: no certificate in PEM form",
            ),
            (f"{pair} {made.ca}", f"client_certificate: {made.ca}: no private key in PEM form"),
            (f"{pair} {other.key}", f"client_certificate: {other.key}: the key does not belong"),
        ):
            [(found, said)] = self.problems(settings)
            self.assertEqual(found, "CFG-MISSING" if "missing" in text else "CFG-FILE")
            self.assertTrue(said.startswith(text), said)

    def test_expired(self) -> None:
        """A certificate that is no longer valid is told with its day."""
        key = load_pem_private_key(self.made.key.read_bytes(), None)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
        builder = builder.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(
            datetime(2020, 2, 3, tzinfo=UTC)
        )
        old = Path(self.mktemp()).absolute()
        old.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        [(code, text)] = self.problems(f"client_certificate: {old}, client_key: {self.made.key}")
        self.assertEqual(code, "CFG-FILE")
        self.assertEqual(text, f"client_certificate: {old}: the certificate expired on 2020-02-03")


class FoldersTests(SynchronousTestCase):
    def test_spool(self) -> None:
        """The spool's folder may be made, but not below a file."""
        file = Path(self.mktemp())
        file.write_text("")
        for path, expected in (
            (file, ["CFG-SPOOL"]),
            (file / "spool", ["CFG-SPOOL"]),
            (Path(self.mktemp()) / "a/b", []),
        ):
            self.assertEqual(
                codes(problems_of(SMALL.replace("path: spool", f"path: {path.absolute()}"))), expected
            )

    def test_what_the_kernel_shows(self) -> None:
        """Nobody can make a file in /proc, whatever its mode says."""
        for key, code in {"spool": "CFG-SPOOL", "captured": "CFG-FILE"}.items():
            [problem] = problems_of(SMALL.replace(f"path: {key}", f"path: /proc/{key}"))
            self.assertEqual((problem.code, problem.text[:20]), (code, "/proc belongs to the"))

    def test_captured(self) -> None:
        """So it is with the folder of captured mail."""
        file = Path(self.mktemp())
        file.write_text("")
        [problem] = problems_of(SMALL.replace("path: captured", f"path: {file.absolute()}/x"))
        self.assertEqual((problem.code, problem.line), ("CFG-FILE", 2))

    def test_memory(self) -> None:
        """A spool in memory has no folder."""
        text = SMALL.replace("path: spool", "engine: memory, path: /dev/null/x")
        self.assertEqual(problems_of(text), [])

    def test_log(self) -> None:
        """The folder of the log must be there, and the log itself a file."""
        for file, told in {
            "nope/log": "cannot write in ",
            "/": "/ is a folder",
            "/proc/log": "/proc belongs",
        }.items():
            [problem] = problems_of(SMALL + f"logging: {{file: {file}}}\n")
            self.assertEqual((problem.code, problem.text[: len(told)]), ("CFG-FILE", told))
        self.assertEqual(problems_of(SMALL + "logging: {file: /dev/null}\n"), [])
        self.assertEqual(problems_of(SMALL + "logging: {file: log}\n"), [])


class SocketsTests(SynchronousTestCase):
    def test_too_long(self) -> None:
        """A path that no address has room for is told, with what to do."""
        for length, expected in {107: [], 108: ["CFG-SOCKET"]}.items():
            path = "/tmp/".ljust(length, "s")
            problems = problems_of(SMALL + f"control_socket: {path}\n")
            self.assertEqual(codes(problems), expected, length)
            for problem in problems:
                self.assertIn("set control_socket to a shorter one", problem.text)

    def test_the_usual_place(self) -> None:
        """What nobody chose is no mistake in the file."""
        self.assertEqual(problems_of(SMALL.replace("path: spool", f"path: {'s' * 120}")), [])

    def test_no_socket(self) -> None:
        """A folder, or a file that is something else, is no place for a socket."""
        file = Path(self.mktemp()).absolute()
        file.write_text("mine")
        for path, told in {
            "/": "/ is a folder: name a file in it",
            file: f"{file} is a file, not a socket",
        }.items():
            for text in (
                SMALL + f"control_socket: {path}\n",
                SMALL.replace("tcp:2525:interface=127.0.0.1", f"unix:{path}"),
            ):
                [problem] = problems_of(text)
                self.assertEqual((problem.code, problem.text), ("CFG-SOCKET", told))

    def test_no_folder(self) -> None:
        """The folder of a socket must be there, also that of a listener."""
        for text in (
            SMALL + "control_socket: /nope/s\n",
            SMALL.replace("tcp:2525:interface=127.0.0.1", "unix:/nope/s"),
        ):
            [problem] = problems_of(text)
            self.assertEqual(problem.code, "CFG-SOCKET")
            self.assertIn("cannot write in /nope: no such file or directory", problem.text)
