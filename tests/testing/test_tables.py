"""Microsoft's own SDK for tables against our fake, unchanged."""

import base64
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.data.tables import TableClient
from azure.identity import ClientSecretCredential
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.tables import FakeTables
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.azure.peers import EntraServer, served_by_tls

KEY = base64.b64encode(b"k" * 32).decode()
SIGNATURE = "sv=2019-02-02&tn=users&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=abc%3D"


class SdkTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.entra = EntraServer(self)
        takes = self.entra.fake.knows
        self.fake = FakeTables("acct", KEY, lambda token: takes(token, "https://storage.azure.com"))
        self.fake.signatures.add(SIGNATURE)
        self.fake.page = 2
        for name in ("a", "o'brien@x.com", "z"):
            self.fake.put("users", "user", name, lookup="me" if name != "z" else "you")
        self.url = f"{served_by_tls(self, self.fake, self.entra.certificate)}/acct"

    async def read(self, credential: Any) -> list[str]:
        def work() -> list[str]:
            with TableClient(
                self.url,
                "users",
                credential=credential,
                # To the SDK what is on this machine is the emulator of Cosmos DB.
                audience="https://storage.azure.com",
                connection_verify=self.entra.ca,
                retry_total=0,
            ) as client:
                one = client.get_entity("user", "o'brien@x.com")
                query = client.query_entities(
                    "PartitionKey eq @p and lookup eq @l", parameters={"p": "user", "l": "me"}
                )
                with self.assertRaises(ResourceNotFoundError):
                    client.get_entity("user", "nobody")
                return [one["lookup"], *(each["RowKey"] for each in query)]

        return await deferToThread(work)

    async def test_credentials(self) -> None:
        """By the account's key, by a signature, and by a token of Entra."""
        entra = ClientSecretCredential(
            TENANT,
            CLIENT,
            SECRET,
            authority=self.entra.url,
            connection_verify=self.entra.ca,
            disable_instance_discovery=True,
        )
        for credential in (AzureNamedKeyCredential("acct", KEY), AzureSasCredential(SIGNATURE), entra):
            self.assertEqual(await self.read(credential), ["me", "a", "o'brien@x.com"])

    async def test_refused(self) -> None:
        """A wrong key is told as the service tells it."""
        with self.assertRaises(HttpResponseError) as raised:
            await self.read(AzureNamedKeyCredential("acct", base64.b64encode(b"wrong").decode()))
        self.assertEqual(raised.exception.status_code, 403)
        self.flushWarnings()  # Python 3.12 warns of how azure-data-tables reads the XML of an error
