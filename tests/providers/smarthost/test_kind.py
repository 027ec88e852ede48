"""What must be right about the settings of a smarthost."""

from attrs import evolve
from OpenSSL.SSL import Error as SSLError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from smtprelay.net.certificate import CertificateError
from smtprelay.providers.smarthost.kind import SMARTHOST
from smtprelay.testing.memory_http import MemoryHttp
from tests.config.loading import codes, problems_of, with_provider


class SmarthostKindTests(SynchronousTestCase):
    def test_the_usual_tls_of_a_port(self) -> None:
        """A port whose servers expect TLS at once, or never do, is told; any other may have what it wants."""
        for setting, expected in {
            "port: 465": ["CFG-TLS?"],
            "port: 587, tls: implicit": ["CFG-TLS?"],
            "port: 465, tls: implicit": [],
            "port: 2465, tls: implicit": [],
            "port: 25": [],
            "port: 587, tls: none": [],
        }.items():
            found = codes(problems_of(with_provider(f"type: smarthost, host: h, {setting}")))
            self.assertEqual(found, expected, setting)

    def test_login(self) -> None:
        """A user name needs a password, and a password a user name."""
        for setting, missing in {"username: u": "password", "password: {env: P}": "username"}.items():
            [problem] = problems_of(with_provider(f"type: smarthost, host: h, {setting}"), {"P": "x"})
            self.assertIn(f'"{missing}" is missing', problem.text)

    def test_clear_text(self) -> None:
        """A password in clear text and a certificate that is not verified are warnings."""
        login = "username: u, password: {env: P}"
        for settings, expected in {
            f"tls: none, {login}": ["CFG-CLEAR-TEXT?"],
            f"verify: false, {login}": ["CFG-NO-VERIFY?"],
            f"tls: implicit, {login}": [],
            "tls: none": [],
        }.items():
            text = with_provider(f"type: smarthost, host: h, {settings}")
            self.assertEqual(codes(problems_of(text, {"P": "x"})), expected)
        for host in ("127.0.0.1", "localhost"):
            text = with_provider(f"type: smarthost, host: {host}, tls: none, {login}")
            self.assertEqual(problems_of(text, {"P": "x"}), [], host)

    def test_certificates(self) -> None:
        """The authorities and the certificate of the settings are those of the connections."""
        settings = SMARTHOST.settings(type="smarthost", host="h").completed("relay.example.com")
        context = MemoryHttp(Resource()).context()
        for key, error in (("ca", SSLError), ("client_certificate", CertificateError)):
            self.assertRaises(error, SMARTHOST.build, "h", evolve(settings, **{key: "/nope.pem"}), context)
