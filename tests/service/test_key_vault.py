"""A relay whose certificate and passwords are in Azure Key Vault."""

import smtplib
import ssl
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.service.errors import StartFailed
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.key_vault import FakeKeyVault
from smtprelay.web.context import ReloadFailed
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.ports import free_port
from tests.providers.http_wiring import served
from tests.recording import Recording

CONFIG = """\
control_socket: c.sock
key_vault: {{tenant: {tenant}, client_id: {client}, client_secret: {{file: secret}}, authority: "{entra}"}}
listeners:
  - name: lan
    endpoint: "tcp:{port}:interface=127.0.0.1"
    tls: {{mode: implicit, certificate: {{key_vault: "{vault}/certificates/mail"}}}}
users: [{{name: printer, password: {{key_vault: "{vault}/secrets/printer"}}}}]
providers: {{local: {{type: capture, path: captured}}}}
spool: {{path: spool}}
"""


class KeyVaultRelayTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="smtprelay-")
        self.addCleanup(rmtree, self.folder)
        entra = FakeEntra(reactor)
        entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        self.vault = FakeKeyVault(lambda token: entra.knows(token, "https://vault.azure.net"))
        self.made = make_certificate(self.mktemp())
        self.vault.put_certificate("mail", self.made.key.read_bytes(), self.made.certificate.read_bytes())
        self.port = free_port()
        config = CONFIG.format(
            tenant=TENANT,
            client=CLIENT,
            entra=f"http://127.0.0.1:{served(self, entra)}",
            vault=f"http://127.0.0.1:{served(self, self.vault)}",
            port=self.port,
        )
        Path(self.folder, "secret").write_text(SECRET)
        Path(self.folder, "relay.yaml").write_text(config)

    def relay(self) -> Relay:
        self.events = Recording()
        relay = Relay(load(f"{self.folder}/relay.yaml", {}).config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(lambda: relay.stopService() if relay.running else None)
        return relay

    async def test_started(self) -> None:
        """Clients see the certificate of the vault, and log in with its password."""
        self.vault.put("printer", "p4ss")
        await self.relay().started
        self.assertEqual(await deferToThread(self.log_in, "p4ss"), 235)
        self.assertEqual(await deferToThread(self.log_in, "wrong"), 535)

    async def test_reload(self) -> None:
        """A reload that names a secret which is not there changes nothing, and says so."""
        self.vault.put("printer", "p4ss")
        relay = self.relay()
        await relay.started
        file = Path(self.folder, "relay.yaml")
        file.write_text(file.read_text().replace("secrets/printer", "secrets/other"))
        config = load(str(file), {}).config
        failed = await self.assertFailure(Deferred.fromCoroutine(relay.reload(config)), ReloadFailed)
        self.assertIn("users[0].password: Key Vault", str(failed))
        self.assertEqual(await deferToThread(self.log_in, "p4ss"), 235)
        self.vault.put("other", "n3w")
        await relay.reload(config)
        self.assertEqual(await deferToThread(self.log_in, "n3w"), 235)

    async def test_clock_set_back(self) -> None:
        """A reload reads the vault anew, also if the clock was set back since the last reading."""
        self.vault.put("printer", "p4ss")
        relay = self.relay()
        await relay.started
        self.vault.put("printer", "p5ss")
        relay.clock_stepped(-86_400.0)
        await relay.reload(load(f"{self.folder}/relay.yaml", {}).config)
        self.assertEqual(await deferToThread(self.log_in, "p5ss"), 235)

    async def test_not_started(self) -> None:
        """Without the password the start fails, and says where it should be."""
        error = await self.assertFailure(self.relay().started, StartFailed)
        self.assertEqual(error.status, 69)
        self.assertIn("users[0].password: Key Vault", str(error))
        [failed] = self.events.of("relay.failed")
        self.assertEqual(failed["status"], 69)

    def log_in(self, password: str) -> int:
        trust = ssl.create_default_context(cafile=str(self.made.ca))
        with smtplib.SMTP_SSL("localhost", self.port, context=trust, timeout=20) as client:
            try:
                code, _ = client.login("printer", password)
            except smtplib.SMTPAuthenticationError as error:
                code = error.smtp_code
        return code
