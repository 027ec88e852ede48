"""A relay that signs by keys of an Azure table."""

import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.ports import free_port
from tests.process.program import eventually
from tests.providers.http_wiring import served
from tests.providers.test_table_keys import KEY, ROW
from tests.recording import Recording

CONFIG = """\
control_socket: c.sock
listeners: [{{endpoint: "tcp:{port}:interface=127.0.0.1"}}]
providers: {{out: {{type: smarthost, host: 127.0.0.1, port: 9, tls: none}}}}
dkim_table: {{url: "{url}/acct/relay", key: {{env: K}}}}
hostname: {name}
spool: {{engine: memory}}
"""


class DkimTableTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        self.tables = FakeTables("acct", KEY)
        self.tables.put("relay", "dkim", "example.com", **ROW)
        self.tables.put("relay", "dkim", "example.net")
        self.given = {"port": free_port(), "url": f"http://127.0.0.1:{served(self, self.tables)}"}

    def config(self, name: str = "one.example"):
        path = self.folder / "relay.yaml"
        path.write_text(CONFIG.format(name=name, **self.given))
        return load(str(path), {"K": KEY}).config

    async def start(self) -> Relay:
        self.events = Recording()
        relay = Relay(self.config(), reactor, events=[self.events])
        relay.startService()
        self.addCleanup(relay.stopService)
        await relay.started
        return relay

    async def test_read_ahead(self) -> None:
        """The table is read before any mail comes, a bad row is shown, and a reload asks nothing."""
        relay = await self.start()
        await eventually(lambda: self.events.of("dkim.failing"), "the bad row")
        told = "mail of example.net waits, it cannot be signed by -: the row has no dkim_selector"
        self.assertEqual(relay.failing_keys(), [told])
        asked = len(self.tables.asked)
        await relay.reload(self.config("two.example"))
        self.assertEqual(relay.config.hostname, "two.example")
        self.assertEqual((relay.failing_keys(), len(self.tables.asked)), ([told], asked))

    async def test_away(self) -> None:
        """A relay starts while the table is away, says so, and reads it when it is there."""
        self.tables.script(TableRefuses(503, "ServerBusy"))
        relay = await self.start()
        await eventually(lambda: self.events.of("credential.failed"), "the refusal")
        [told] = relay.failing_keys()
        self.assertIn("dkim_table cannot be read: 503 ServerBusy", told)
        await eventually(lambda: self.events.of("dkim.failing"), "the bad row")
