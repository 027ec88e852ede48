"""Microsoft's own libraries against our fake of Entra, unchanged."""

from typing import Any

import msal
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from requests import Session
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.azure.joined_entra import CLIENT, SCOPE, SECRET, TENANT
from tests.azure.peers import EntraServer, environment


class MsalTests(TestCase):
    """msal asks our fake as it asks Entra."""

    timeout = 60

    def setUp(self) -> None:
        self.entra = EntraServer(self)

    async def token(self, credential: Any) -> dict[str, Any]:
        def run() -> Any:
            with Session() as session:
                session.trust_env = False
                session.verify = self.entra.ca
                application = msal.ConfidentialClientApplication(
                    CLIENT,
                    authority=f"{self.entra.url}/{TENANT}",
                    client_credential=credential,
                    http_client=session,
                    instance_discovery=False,
                )
                return application.acquire_token_for_client([SCOPE])

        return await deferToThread(run)

    async def test_secret(self) -> None:
        """By a secret, after it has discovered the endpoint; a wrong one is told with Entra's number."""
        found = await self.token(SECRET)
        self.assertTrue(self.entra.fake.knows(found["access_token"], "https://service.example"))
        self.assertIn(f"/{TENANT}/v2.0/.well-known/openid-configuration", self.entra.fake.discovered)
        found = await self.token("wr0ng")
        self.assertEqual((found["error"], found["error_codes"]), ("invalid_client", [7000215]))

    async def test_certificate(self) -> None:
        """By a certificate, with the newest form of its assertion."""
        pem = self.entra.pem.read_text("ascii")
        found = await self.token({"private_key": pem, "public_certificate": pem})
        self.assertTrue(self.entra.fake.knows(found["access_token"], "https://service.example"))


class AzureIdentityTests(TestCase):
    """So does azure-identity."""

    timeout = 60

    def setUp(self) -> None:
        self.entra = EntraServer(self)

    async def check(self, credential: Any) -> None:
        found = await deferToThread(credential.get_token, SCOPE)
        self.assertTrue(self.entra.fake.knows(found.token, "https://service.example"))

    async def test_applications(self) -> None:
        """A secret, a certificate and a workload, each with discovery as the library does it."""
        environment(self, AZURE_FEDERATED_TOKEN_FILE=str(self.entra.token))
        more: Any = {"authority": self.entra.url, "connection_verify": self.entra.ca}
        own: Any = {**more, "disable_instance_discovery": True}
        await self.check(ClientSecretCredential(TENANT, CLIENT, SECRET, **own))
        await self.check(CertificateCredential(TENANT, CLIENT, str(self.entra.pem), **own))
        await self.check(WorkloadIdentityCredential(tenant_id=TENANT, client_id=CLIENT, **more))
        with self.assertRaisesRegex(ClientAuthenticationError, "AADSTS7000215"):
            await self.check(ClientSecretCredential(TENANT, CLIENT, "wr0ng", **own))

    async def test_managed_identity(self) -> None:
        """The metadata service of the machine."""
        self.entra.fake.identities.add("")
        environment(self, AZURE_POD_IDENTITY_AUTHORITY_HOST=self.entra.metadata, IDENTITY_ENDPOINT=None)
        await self.check(ManagedIdentityCredential())
