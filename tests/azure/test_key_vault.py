"""Secrets and certificates in Azure Key Vault: what is read, when again, and what its refusals mean."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509, X509Store, X509StoreContext
from twisted.internet.defer import execute
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource
from zope.interface import implementer

from smtprelay.azure.key_vault import pem_of
from smtprelay.config.model import Config
from smtprelay.net.tls_server import ServerContext
from smtprelay.service.errors import StartFailed
from smtprelay.service.remote_secrets import RemoteSecrets
from smtprelay.settings.entra import parse_secret_url
from smtprelay.settings.secret import Secret
from smtprelay.testing.certificates import Certificate, make_certificate
from smtprelay.testing.key_vault import FakeKeyVault, KeyVaultRefuses
from smtprelay.testing.memory_http import MemoryHttp
from tests.azure.joined_entra import CLIENT, SECRET, TENANT, JoinedEntra
from tests.config.loading import load_text, problems_of

VAULT = "https://mail.vault.azure.net"
ASKED = f"key_vault: {{tenant: {TENANT}, client_id: {CLIENT}, client_secret: {{env: S}}}}"
TEXT = f"""\
listeners: [{{endpoint: "tcp:25"}}]
users: [{{name: printer, password: {{key_vault: "{VAULT}/secrets/printer"}}}}]
providers: {{local: {{type: capture, path: captured}}}}
"""
TLS = f"""\
listeners: [{{endpoint: "tcp:25", tls: {{certificate: {{key_vault: "{VAULT}/certificates/mail"}}}}}}]
providers: {{local: {{type: capture, path: captured}}}}
"""


@implementer(IResource)
class ByHost:
    """Sends requests for tokens to Entra, others to another service."""

    isLeaf = True

    def __init__(self, entra: Any, service: Any) -> None:
        self._entra, self._service = entra, service

    def render(self, request: Any) -> Any:
        at_entra = request.getRequestHostname().startswith(b"login.")
        return (self._entra if at_entra else self._service).render(request)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.entra = JoinedEntra()
        self.clock, self.events = self.entra.clock, self.entra.events
        self.vault = FakeKeyVault(lambda token: self.entra.fake.knows(token, "https://vault.azure.net"))
        self.http = MemoryHttp(ByHost(self.entra.fake, self.vault), self.clock)
        threads: Any = SimpleNamespace(work=execute, own=execute)
        self.secrets = RemoteSecrets(self.clock, self.events, threads, lambda *_, **__: self.http.http)
        self.addCleanup(lambda: self.http.result(self.secrets.stop()))

    def config(self, text: str = TEXT) -> Config:
        return load_text(f"{text}{ASKED}\n", {"S": SECRET}).config

    def read(self, config: Config) -> None:
        self.http.result(self.secrets.read(config), 1, 30)

    def failure(self, config: Config) -> str:
        with self.assertRaises(StartFailed) as raised:
            self.read(config)
        return str(raised.exception)


class SecretTests(Case):
    def password(self, config: Config) -> str:
        password = config.users[0].password
        assert password is not None
        return password.reveal()

    def test_read(self) -> None:
        """A secret is asked for once, with one token of the application."""
        self.vault.put("printer", "p4ss\n")
        config = self.config()
        self.read(config)
        self.assertEqual(self.password(config), "p4ss")
        self.assertEqual(self.vault.asked, ["/secrets/printer"])
        self.assertEqual(
            [each["scope"] for each in self.entra.fake.asked], ["https://vault.azure.net/.default"]
        )

    def test_refreshed(self) -> None:
        """A new version is in use after the next reading; while the vault is away the last one stays."""
        self.vault.put("printer", "p4ss")
        config = self.config()
        self.read(config)
        self.vault.put("printer", "n3w")
        self.http.advance(800)
        self.assertEqual(self.password(config), "p4ss")
        self.http.advance(101)
        self.assertEqual(self.password(config), "n3w")
        self.vault.script(*[KeyVaultRefuses(503, "ServiceUnavailable")] * 9)
        self.http.advance(901, 5, 5)
        self.assertEqual(self.password(config), "n3w")
        self.assertIn("503", str(self.events.of("credential.failed")[-1]["reason"]))

    def test_reload(self) -> None:
        """A reload reads again, or keeps what it has if the vault is away; what it does not name ends."""
        self.vault.put("printer", "p4ss")
        self.read(self.config())
        self.http.advance(60)
        self.vault.put("printer", "n3w")
        config = self.config()
        self.read(config)
        self.assertEqual(self.password(config), "n3w")
        self.http.advance(60)
        self.vault.script(KeyVaultRefuses(403, "Forbidden"))
        config = self.config()
        self.read(config)
        self.assertEqual(self.password(config), "n3w")
        other = load_text(TEXT.replace(f'{{key_vault: "{VAULT}/secrets/printer"}}', "p")).config
        self.http.result(self.secrets.keep_only(other))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A start without a secret says which one, why, and what to do."""
        for act, why in (
            (
                None,
                "404 SecretNotFound: A secret with (name/id) /secrets/printer was not found",
            ),
            (
                KeyVaultRefuses(403, "Forbidden", "Caller is not authorized.", "ForbiddenByRbac"),
                "403 ForbiddenByRbac: Caller is not authorized. (give the application the role Key Vault",
            ),
            (KeyVaultRefuses(429, "Throttled", "later"), "429 Throttled: later"),
        ):
            self.vault.script(*([] if act is None else [act]))
            self.clock.advance(120)
            told = self.failure(self.config())
            self.assertTrue(
                told.startswith(f"users[0].password: Key Vault {VAULT}/secrets/printer: {why}"), told
            )

    def test_no_token(self) -> None:
        """So does one to which Entra gives no token."""
        self.entra.fake.application(TENANT, CLIENT).secrets.clear()
        self.assertIn("users[0].password: no token: 401 AADSTS7000215", self.failure(self.config()))

    def test_token_refused(self) -> None:
        """After a 401 there is one new token."""
        self.vault.put("printer", "p4ss")
        self.read(self.config())
        self.entra.fake.issued.clear()
        self.http.advance(60)
        config = self.config()
        self.read(config)
        self.assertEqual((self.password(config), len(self.entra.fake.asked)), ("p4ss", 2))

    def test_nothing_planted_is_found(self) -> None:
        """No event, error or representation has the secret, a token, or the secret of the application."""
        self.vault.put("printer", "pl4nted")
        config = self.config()
        self.read(config)
        [token] = self.entra.fake.issued
        self.vault.script(KeyVaultRefuses(403, "Forbidden"))
        self.http.advance(901)
        shown = repr((config, self.events.heard, self.secrets.__dict__))
        for planted in ("pl4nted", SECRET, token):
            self.assertNotIn(planted, shown)

    def test_unfit(self) -> None:
        """What is no secret is refused when it is used, and not repeated."""
        self.vault.put("printer", "two\nlines")
        config = self.config()
        self.read(config)
        with self.assertRaisesRegex(ValueError, "it has 2 lines, a secret has one"):
            self.password(config)


class CertificateTests(Case):
    def made(self, name: str) -> Certificate:
        return make_certificate(Path(self.mktemp()), name)

    def put(self, made: Certificate) -> None:
        pem = made.certificate.read_bytes() + made.ca.read_bytes()
        self.vault.put_certificate("mail", made.key.read_bytes(), pem)

    def shown(self, config: Config) -> str:
        """Return the name in the certificate, whose chain is complete."""
        certificate = config.listeners[0].tls.certificate
        assert isinstance(certificate, Secret)
        leaf, authority = load_pem_x509_certificates(certificate.reveal().encode())
        store = X509Store()
        store.add_cert(X509.from_cryptography(authority))
        X509StoreContext(store, X509.from_cryptography(leaf)).verify_certificate()
        return leaf.subject.rfc4514_string()

    def test_rotation(self) -> None:
        """A listener shows the certificate with its chain, and a new one after the next reading."""
        self.put(self.made("one.example"))
        config = self.config(TLS)
        self.read(config)
        context = ServerContext(config.listeners[0].tls.sources, self.clock, self.events)
        first = context.getContext()
        self.assertEqual(self.shown(config), "CN=one.example")
        self.put(self.made("two.example"))
        self.http.advance(901)
        self.assertEqual(self.shown(config), "CN=two.example")
        self.assertIsNot(context.getContext(), first)
        # One that cannot be used changes nothing, and is told of.
        second = context.getContext()
        self.vault.secrets["mail"].values.append("AAAA")
        self.http.advance(901)
        self.assertIs(context.getContext(), second)
        self.assertIn("cannot be read", str(self.events.of("credential.failed")[-1]["reason"]))

    def test_pem(self) -> None:
        """A certificate that the vault keeps as PEM is taken as it is."""
        made = self.made("one.example")
        self.vault.put("mail", f"{made.key.read_text()}{made.certificate.read_text()}")
        config = self.config(TLS)
        self.read(config)
        ServerContext(config.listeners[0].tls.sources, self.clock, self.events)

    def test_strange_pkcs12(self) -> None:
        """What is no PKCS#12, or has no key, says so."""
        for text in ("AAAA", "", "é"):
            with self.assertRaisesRegex(ValueError, "cannot be read"):
                pem_of(text)


class SettingsTests(SynchronousTestCase):
    def told(self, text: str) -> list[str]:
        return [
            f"{each.code} {each.text}"
            for each in problems_of(text, {"S": SECRET})
            if each.severity == "error"
        ]

    def test_urls(self) -> None:
        """The URL of a secret or a certificate, also of one version; nothing else."""
        version = "0" * 32
        for text, url in (
            (f"{VAULT}/secrets/a-1", f"{VAULT}/secrets/a-1"),
            (f"{VAULT}/certificates/a/", f"{VAULT}/secrets/a"),
            (f"{VAULT}/secrets/a/{version}", f"{VAULT}/secrets/a/{version}"),
            ("http://127.0.0.1:80/secrets/a", "http://127.0.0.1:80/secrets/a"),
        ):
            self.assertEqual(parse_secret_url(text), url)
        for text in ("", "a", VAULT, f"{VAULT}/keys/a", f"{VAULT}/secrets/a?x", f"{VAULT}/secrets/a_b"):
            with self.assertRaisesRegex(ValueError, "expected https://"):
                parse_secret_url(text)
        with self.assertRaisesRegex(ValueError, "loopback only"):
            parse_secret_url("http://mail.vault.azure.net/secrets/a")

    def test_not_asked(self) -> None:
        """A check of the configuration asks nobody; without a section it is the machine's identity."""
        self.assertEqual(self.told(TEXT), [])
        self.assertEqual(self.told(TLS + ASKED), [])

    def test_mistakes(self) -> None:
        """Where the application's own secret cannot be, and what it lacks."""
        within = ASKED.replace("{env: S}", f'{{key_vault: "{VAULT}/secrets/own"}}')
        [told] = self.told(TEXT + within)
        self.assertIn("Key Vault cannot be asked by a secret that is in it", told)
        [told] = self.told(TEXT + "key_vault: {tenant: t}")
        self.assertIn("client_id and client_secret missing", told)
