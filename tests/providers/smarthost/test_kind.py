"""What must be right about the settings of a smarthost."""

from attrs import evolve
from OpenSSL.SSL import Error as SSLError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from smtprelay.net.certificate import CertificateError
from smtprelay.providers.smarthost.kind import SMARTHOST
from smtprelay.providers.smarthost.provider import DirectDelivery
from smtprelay.testing.memory_http import MemoryHttp
from tests.config.loading import codes, load_text, problems_of, with_provider


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

    def test_mechanism(self) -> None:
        """A mechanism fits the secret, and a token can be obtained."""
        password, token = "password: {env: P}", "oauth: {tenant: t, client_id: c, client_secret: {env: P}}"
        for settings, expected in {
            f"username: u, {password}, mechanism: cram-md5": [],
            f"username: u, {token}": [],
            f"username: u, {token}, mechanism: xoauth2": [],
            f"username: u, {token}, mechanism: plain": ["CFG-VALUE"],
            f"username: u, {password}, mechanism: xoauth2": ["CFG-VALUE"],
            f"username: u, {password}, {token}": ["CFG-VALUE?"],
            token: ["CFG-MISSING"],
            "username: u, oauth: {client_id: c, refresh_token: {env: P}}": [],
            "username: u, oauth: {tenant: t, client_id: c}": ["CFG-MISSING"],
            "username: u, oauth: {client_id: c, client_secret: {env: P}}": ["CFG-MISSING"],
            f"username: u, tls: none, {token}": ["CFG-CLEAR-TEXT?"],
            f"username: u, tls: opportunistic, {token}": ["CFG-CLEAR-TEXT?"],
            'username: u, oauth: {token_endpoint: "http://x.t", client_id: c, refresh_token: {env: P}}': [
                "CFG-CLEAR-TEXT"
            ],
            "mechanism: ntlm": ["CFG-UNKNOWN-VALUE"],
        }.items():
            text = with_provider(f"type: smarthost, host: h, {settings}")
            self.assertEqual(codes(problems_of(text, {"P": "x"})), expected, settings)

    def test_mx(self) -> None:
        """The servers of other domains know no login and no implicit TLS, and need no certificate."""
        login = "username: u, password: {env: P}"
        for settings, expected in {
            "host: mx": [],
            "host: mx, tls: starttls, verify: false": ["CFG-NO-VERIFY?"],
            "host: mx, tls: none": [],
            "host: mx, tls: implicit": ["CFG-TLS"],
            f"host: mx, {login}": ["CFG-VALUE"],
        }.items():
            text = with_provider(f"type: smarthost, {settings}")
            self.assertEqual(codes(problems_of(text, {"P": "x"})), expected, settings)

    def test_defaults(self) -> None:
        """The port and the TLS of a host, and those of MX; reports to senders name no server of MX."""
        for settings, expected in {
            "host: h": ("starttls", 587, "h"),
            "host: h, tls: implicit": ("implicit", 465, "h"),
            "host: h, tls: none": ("none", 25, "h"),
            "host: mx": ("opportunistic", 25, ""),
            "host: mx, tls: starttls": ("starttls", 25, ""),
        }.items():
            made = load_text(with_provider(f"type: smarthost, {settings}")).config.providers["more"]
            self.assertEqual((made.tls, made.port, made.remote), expected)

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

    def test_build(self) -> None:
        """``host: mx`` asks the name servers of this machine, which are read no more after close."""
        http = MemoryHttp(Resource())
        settings = SMARTHOST.settings(type="smarthost", host="mx").completed("relay.example.com", {})
        provider = SMARTHOST.build("h", settings, http.context())
        self.assertIsInstance(provider, DirectDelivery)
        http.result(provider.close())
        http.clock.advance(60)
        self.assertEqual(http.clock.getDelayedCalls(), [])

    def test_certificates(self) -> None:
        """The authorities and the certificate of the settings are those of the connections."""
        settings = SMARTHOST.settings(type="smarthost", host="h").completed("relay.example.com", {})
        context = MemoryHttp(Resource()).context()
        for key, error in (("ca", SSLError), ("client_certificate", CertificateError)):
            self.assertRaises(error, SMARTHOST.build, "h", evolve(settings, **{key: "/nope.pem"}), context)
