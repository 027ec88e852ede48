"""Our reader of Azure tables before azurite, Microsoft's emulator, whose rows its SDK writes."""

import os
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.data.tables import TableServiceClient, generate_table_sas
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.azure.tables import AccountKey, AzureTable, SharedAccessSignature, TableCredential
from smtprelay.http.client import NoAnswerError, open_http
from smtprelay.http.credentials import StoredCredentials
from smtprelay.model.outcome import Blocked
from tests.interop.test_clients import needs
from tests.ports import free_port
from tests.process.program import Program, eventually

ACCOUNT = "devstoreaccount1"
#: Everybody knows it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
NAMES = ("a@x.com", "o'brien@x.com", "a b+c%d=e&f", "ü@x.com", "''")
MANY = 450


class AzuriteTests(TestCase):
    timeout = 300

    @needs("node", "npm")
    async def test_rows(self) -> None:
        """Rows by their keys and by a filter, over several pages, by the account's key and by a signature."""
        await self.start()
        await deferToThread(self.fill)
        for credential in (AccountKey(KEY), SharedAccessSignature(self.signature())):
            table = self.table("users", credential)
            for name in NAMES:
                row = await table.row("user", name)
                assert row is not None
                found = row["RowKey"], row["from_email"], row["big"]
                self.assertEqual(found, (name, "f@x.com", "1234567890123"))
                self.assertEqual([each["RowKey"] for each in await table.rows({"lookup": name})], [name])
            self.assertIsNone(await table.row("user", "nobody"))
            self.assertEqual(len(await table.rows({"PartitionKey": "many"})), MANY)
        for table in (self.table("nothing", AccountKey(KEY)), self.table("users", AccountKey("d3Jvbmc="))):
            with self.assertRaises(NoAnswerError) as raised:
                await table.row("user", "x")
            self.assertIsInstance(raised.exception.outcome, Blocked)

    async def start(self) -> None:
        """Have azurite, from its package."""
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        environ = {name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")}
        options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund")
        install = Program.start(["npm", "install", *options, "azurite@3"], folder, **environ)
        self.addCleanup(install.stop)
        await eventually(lambda: install.status is not None, "the installation", patience=240)
        self.assertEqual(install.status, 0, install.err.decode())
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        azurite = Program.start(
            [
                *("node_modules/.bin/azurite-table", "--disableTelemetry", "--inMemoryPersistence"),
                *("--tableHost", "127.0.0.1", "--tablePort", str(port)),
            ],
            folder,
            **environ,
        )
        self.addCleanup(azurite.stop)
        await azurite.says("successfully started")

    def fill(self) -> None:
        credential = AzureNamedKeyCredential(ACCOUNT, KEY)
        with TableServiceClient(self.url, credential=credential) as service:
            table = service.create_table("users")
            for name in NAMES:
                row: Any = {"PartitionKey": "user", "RowKey": name, "lookup": name, "from_email": "f@x.com"}
                table.create_entity({**row, "big": (1234567890123, "Edm.Int64")})
            for begin in range(0, MANY, 90):
                table.submit_transaction(
                    [
                        ("create", {"PartitionKey": "many", "RowKey": f"{n:04}"})
                        for n in range(begin, begin + 90)
                    ]
                )
            with self.assertRaises(HttpResponseError):
                table.create_entity({"PartitionKey": "user", "RowKey": "a/b"})

    def signature(self) -> str:
        credential = AzureNamedKeyCredential(ACCOUNT, KEY)
        return generate_table_sas(credential, "users", permission="r", expiry="2099-01-01T00:00:00Z")

    def table(self, name: str, credential: TableCredential) -> AzureTable:
        source = StoredCredentials(lambda: credential, deferToThread)
        return AzureTable(
            f"{self.url}/{name}", source, lambda: open_http(reactor, concurrency=1), reactor.seconds
        )
