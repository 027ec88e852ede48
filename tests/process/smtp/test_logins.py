"""
Logins that do not send the password, by other programs' clients.
"""

import smtplib
import ssl
import tempfile
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

from scramp import ScramClient
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.policy.user_secret import hash_for_scram
from smtprelay.service import Relay
from smtprelay.testing.certificates import make_certificate
from tests.recording import Recording

CONFIG = """\
hostname: relay.test
users:
  - {{name: ann, password: s3cret}}
  - {{name: eve, password_hash: "{hash}"}}
listeners:
  - name: lan
    endpoint: "tcp:0:interface=127.0.0.1"
    tls: {{certificate: tls/certificate.pem, key: tls/key.pem}}
    auth: {{required: true, mechanisms: [PLAIN, CRAM-MD5, SCRAM-SHA-256, SCRAM-SHA-256-PLUS]}}
providers: {{out: {{type: capture, path: captured}}}}
spool: {{path: spool}}
"""


class LoginTests(TestCase):
    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        trusted = make_certificate(folder / "tls").ca
        self.trust = ssl.create_default_context(cafile=str(trusted))
        file = folder / "relay.yaml"
        file.write_text(CONFIG.format(hash=hash_for_scram(b"hunter2", b"0123456789abcdef")))
        self.events = Recording()
        self.relay = Relay(load(str(file), {}).config, reactor, events=[self.events])
        self.addCleanup(self.relay.stopService)
        self.relay.startService()
        return self.relay.started

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.relay.addresses["lan"].port, timeout=10)
        client._host = "localhost"
        client.starttls(context=self.trust)
        client.ehlo()
        return client

    def send(self, login: object) -> str:
        """Log in and send a mail; return what EHLO offered."""
        with self.connect() as client:
            login(client)
            client.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nhi\r\n")
            return client.esmtp_features["auth"]

    def test_what_is_in_force(self) -> None:
        """The start tells the ciphers of each listener with TLS."""
        [told] = self.events.of("relay.tls")
        self.assertEqual((told["listener"], told["oldest"]), ("lan", "TLS 1.2"))
        self.assertIn("TLS_AES_256_GCM_SHA384", told["ciphers"].split())

    async def test_cram_md5(self) -> None:
        """Python's client chooses CRAM-MD5 before PLAIN, and sends its mail."""
        offered = await deferToThread(self.send, lambda client: client.login("ann", "s3cret"))
        self.assertEqual(offered.split(), ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
        [told] = self.events.of("auth.ok")
        self.assertEqual((told["user"], told["mechanism"]), ("ann", "CRAM-MD5"))

    async def test_bound(self) -> None:
        """A client that binds the login to the certificate that it saw sends its mail; else it fails."""
        for mechanism, name, password in (
            ("SCRAM-SHA-256-PLUS", "eve", "hunter2"),
            ("SCRAM-SHA-256-PLUS", "ann", "s3cret"),
            ("SCRAM-SHA-256", "eve", "hunter2"),
        ):
            await deferToThread(
                self.send, lambda client, as_=(mechanism, name, password): scram(client, *as_)
            )
        with self.assertRaises(smtplib.SMTPAuthenticationError):
            await deferToThread(
                self.send,
                lambda client: scram(client, "SCRAM-SHA-256-PLUS", "eve", "hunter2", certificate=b"another"),
            )
        self.assertEqual([told["user"] for told in self.events.of("auth.ok")], ["eve", "ann", "eve"])


def scram(
    client: smtplib.SMTP, mechanism: str, name: str, password: str, certificate: bytes | None = None
) -> None:
    """Log in by SCRAM, as a client that trusts the server only if it knows the password, too."""
    seen = certificate or client.sock.getpeercert(binary_form=True)
    bound = ("tls-server-end-point", sha256(seen).digest()) if mechanism.endswith("PLUS") else None
    scram_client = ScramClient([mechanism], name, password, channel_binding=bound)
    _, challenge = client.docmd("AUTH", f"{mechanism} {encoded(scram_client.get_client_first())}")
    scram_client.set_server_first(b64decode(challenge).decode())
    code, final = client.docmd(encoded(scram_client.get_client_final()))
    if code != 334:
        raise smtplib.SMTPAuthenticationError(code, final)
    scram_client.set_server_final(b64decode(final).decode())
    code, text = client.docmd("")
    assert code == 235, text


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
