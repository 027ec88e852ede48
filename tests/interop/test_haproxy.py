"""
HAProxy in front of a listener, with both versions of the PROXY protocol. Skipped where it is not installed.
"""

import shutil
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.certificates import make_certificate
from tests.ports import free_port
from tests.process.program import Program, eventually
from tests.recording import Recording

CONFIG = """\
hostname: relay.test
listeners:
  - name: plain
    endpoint: "haproxy:tcp:0:interface=127.0.0.1"
    allow_from: [127.0.0.2]
    tls: {certificate: tls/certificate.pem, key: tls/key.pem}
  - name: implicit
    endpoint: "haproxy:tcp:0:interface=127.0.0.1"
    allow_from: [127.0.0.2]
    tls: {mode: implicit, certificate: tls/certificate.pem, key: tls/key.pem}
providers: {out: {type: capture, path: captured}}
spool: {path: spool}
"""

PROXY = """\
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""


class HaproxyTests(TestCase):
    if shutil.which("haproxy") is None:
        skip = "haproxy is not installed"

    async def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(shutil.rmtree, folder)
        self.trust = ssl.create_default_context(cafile=str(make_certificate(folder / "tls").ca))
        file = folder / "relay.yaml"
        file.write_text(CONFIG)
        self.events = Recording()
        self.relay = Relay(load(str(file), {}).config, reactor, events=[self.events])
        self.addCleanup(self.relay.stopService)
        self.relay.startService()
        await self.relay.started
        fronts, self.ports = "", {}
        for name in ("plain", "implicit"):
            for version in ("send-proxy", "send-proxy-v2"):
                self.ports[name, version] = port = free_port()
                server = f"127.0.0.1:{self.relay.addresses[name].port} {version} check check-send-proxy"
                fronts += f"listen {name}-{version}\n    bind 127.0.0.1:{port}\n    server relay {server}\n"
        (folder / "haproxy.cfg").write_text(PROXY + fronts)
        proxy = Program.start(["haproxy", "-db", "-f", "haproxy.cfg"], folder)
        self.addCleanup(proxy.stop)
        for port in self.ports.values():
            await eventually(lambda port=port: is_open(port), "HAProxy")

    def send(self, kind: str, port: int, client: str) -> None:
        """Send a mail from ``client``, an address of this machine, with TLS."""
        source = (client, 0)
        if kind == "implicit":
            smtp = smtplib.SMTP_SSL("localhost", port, timeout=10, context=self.trust, source_address=source)
        else:
            smtp = smtplib.SMTP("localhost", port, timeout=10, source_address=source)
            smtp.starttls(context=self.trust)
        with smtp:
            smtp.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nhi\r\n")

    async def test_the_real_client(self) -> None:
        """The client's network decides, not that of the proxy; with both versions and both kinds of TLS."""
        for (kind, _), port in self.ports.items():
            await deferToThread(self.send, kind, port, "127.0.0.2")
            with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
                await deferToThread(self.send, kind, port, "127.0.0.3")
            self.assertIn(b"127.0.0.3", refused.exception.smtp_error)
        clients = {told["client"] for told in self.events.of("session.tls")}
        self.assertEqual(clients, {"127.0.0.2", "127.0.0.3"})

    async def test_without_a_header(self) -> None:
        """Who speaks SMTP to the listener itself is not answered."""
        port = self.relay.addresses["plain"].port

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"EHLO x\r\nQUIT\r\n")
                try:
                    return client.recv(100)
                except ConnectionResetError:
                    return b""

        self.assertEqual(await deferToThread(talk), b"")
        self.assertIn("proxy-header", [told["rule"] for told in self.events.of("smtp.refused")])


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
