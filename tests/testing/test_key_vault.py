"""Microsoft's own SDKs of Key Vault against our fake, unchanged."""

from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.certificates import CertificateClient
from azure.keyvault.secrets import SecretClient
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.key_vault import FakeKeyVault, KeyVaultRefuses
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.azure.peers import EntraServer, served_by_tls


class SdkTests(TestCase):
    """They ask for the challenge, then for a token, then for what they want."""

    timeout = 60

    def setUp(self) -> None:
        entra = EntraServer(self)
        takes = lambda token: entra.fake.knows(token, "https://vault.azure.net")  # noqa: E731 -- as a parameter
        self.fake = FakeKeyVault(takes, f"{entra.url}/{TENANT}")
        self.url = served_by_tls(self, self.fake, entra.certificate)
        self.credential = ClientSecretCredential(
            TENANT,
            CLIENT,
            SECRET,
            authority=entra.url,
            connection_verify=entra.ca,
            disable_instance_discovery=True,
        )
        # The vault is not in the domain that the challenge names.
        self.options: Any = {
            "verify_challenge_resource": False,
            "connection_verify": entra.ca,
            "retry_total": 0,
        }

    async def test_secrets(self) -> None:
        """A secret, an older version of it, one that is missing, and a refusal."""
        self.fake.put("printer", "0ld")
        self.fake.put("printer", "n3w")
        with SecretClient(self.url, self.credential, **self.options) as client:
            found = await deferToThread(client.get_secret, "printer")
            self.assertEqual((found.value, found.name), ("n3w", "printer"))
            self.assertEqual(found.properties.content_type, "text/plain")
            before = await deferToThread(client.get_secret, "printer", "0" * 32)
            self.assertEqual(before.value, "0ld")
            with self.assertRaises(ResourceNotFoundError):
                await deferToThread(client.get_secret, "nothing")
            self.fake.script(KeyVaultRefuses(403, "Forbidden", "Not authorized.", "ForbiddenByRbac"))
            with self.assertRaises(HttpResponseError) as raised:
                await deferToThread(client.get_secret, "printer")
            self.assertEqual(raised.exception.status_code, 403)

    async def test_certificates(self) -> None:
        """A certificate, and the secret of the same name, which has its key."""
        made = make_certificate(Path(self.mktemp()), "mail.example")
        self.fake.put_certificate("mail", made.key.read_bytes(), made.certificate.read_bytes())
        with CertificateClient(self.url, self.credential, **self.options) as client:
            found = await deferToThread(client.get_certificate, "mail")
            self.assertEqual(found.name, "mail")
            self.assertTrue(found.cer)
        with SecretClient(self.url, self.credential, **self.options) as client:
            secret = await deferToThread(client.get_secret, "mail")
            self.assertEqual(secret.properties.content_type, "application/x-pkcs12")
