"""Tokens by azure-identity, before the fake of Entra."""

import base64
import json
import logging
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.identity import obtain_token
from smtprelay.http.client import NotSent
from smtprelay.http.oauth import NoTokenError
from smtprelay.model.outcome import Blocked, Deferred
from smtprelay.net.outbound import Outbound
from smtprelay.testing.entra import EntraRefuses
from tests.azure.joined_entra import CLIENT, SCOPE, TENANT
from tests.azure.peers import EntraServer, environment


class IdentityTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.entra = EntraServer(self)
        self.fake = self.entra.fake

    async def obtain(self, credential: str, **changed: Any) -> tuple[str, float]:
        given = {"tenant": TENANT, "client_id": CLIENT, "authority": self.entra.url, **changed}
        application = EntraApplication(credential=credential, **given)
        outbound = Outbound(ca=self.entra.ca)
        return await deferToThread(obtain_token, application, SCOPE, outbound, 5.0)

    async def failure(self, credential: str, **changed: Any) -> Exception:
        try:
            await self.obtain(credential, **changed)
        except Exception as error:  # noqa: BLE001 -- it is looked at
            return error
        raise AssertionError("there is a token")

    def check(self, found: tuple[str, float]) -> None:
        token, life = found
        self.assertTrue(self.fake.knows(token, "https://service.example"))
        self.assertTrue(3500 < life < 3700, f"{life}")

    async def test_certificate(self) -> None:
        """The assertion is signed with the key of a PEM file, or of PKCS#12 with a password."""
        self.check(await self.obtain("certificate", certificate=str(self.entra.pem)))
        self.check(
            await self.obtain("certificate", certificate=str(self.entra.pfx), read_secret=lambda: "p4ss")
        )
        # The chain is sent, too, for applications that trust an issuer and a subject.
        for each in self.fake.asked:
            header = each["client_assertion"].partition(".")[0]
            self.assertIn("x5c", json.loads(base64.urlsafe_b64decode(f"{header}===")))
        # Nobody but the authority that is configured is asked.
        self.assertNotIn("/common/discovery/instance", self.fake.discovered)

    async def test_certificate_unknown(self) -> None:
        """A certificate that Entra does not know blocks, and so does one that cannot be read."""
        self.fake.application(TENANT, CLIENT).certificates.clear()
        self.fake.application(TENANT, CLIENT).federated.clear()
        error = await self.failure("certificate", certificate=str(self.entra.pem))
        assert isinstance(error, NoTokenError)
        self.assertIsInstance(error.outcome, Blocked)
        self.assertIn("AADSTS700027", str(error))
        self.assertIn("upload it for the application", str(error))
        for path in ("/nowhere/app.pem", self.entra.ca):
            error = await self.failure("certificate", certificate=path)
            self.assertIsInstance(error, ValueError | OSError)

    async def test_managed_identity(self) -> None:
        """The machine's identity, or another one that is assigned to it, for the resource of the scope."""
        environment(self, AZURE_POD_IDENTITY_AUTHORITY_HOST=self.entra.metadata, IDENTITY_ENDPOINT=None)
        self.fake.identities = {"", CLIENT}
        self.check(await self.obtain("managed_identity", client_id=""))
        self.check(await self.obtain("managed_identity"))
        self.assertEqual([each.get("client_id") for each in self.fake.asked], [None, CLIENT])
        error = await self.failure("managed_identity", client_id="another")
        assert isinstance(error, NoTokenError)
        self.assertIsInstance(error.outcome, Blocked)
        self.assertEqual(str(error), "no token: 400 invalid_request: Identity not found")
        self.fake.script(EntraRefuses(400, "unknown_error", text="Failed to retrieve a token"))
        error = await self.failure("managed_identity")
        assert isinstance(error, NotSent)
        self.assertIsInstance(error.outcome, Deferred)

    async def test_workload(self) -> None:
        """The token of the workload is read from its file; the environment names what is not configured."""
        environment(
            self,
            AZURE_FEDERATED_TOKEN_FILE=str(self.entra.token),
            AZURE_TENANT_ID=TENANT,
            AZURE_CLIENT_ID=CLIENT,
        )
        self.check(await self.obtain("workload"))
        self.check(await self.obtain("workload", tenant="", client_id=""))
        self.entra.token.write_text("an.other.token", "ascii")
        error = await self.failure("workload")
        self.assertIn("AADSTS700027", str(error))
        environment(self, AZURE_FEDERATED_TOKEN_FILE=None)
        self.assertIsInstance(await self.failure("workload"), ValueError)

    async def test_outages(self) -> None:
        """An outage passes: the mail waits, and no lane is blocked."""
        self.fake.script(EntraRefuses(503, "server_error"))
        error = await self.failure("certificate", certificate=str(self.entra.pem))
        assert isinstance(error, NotSent)
        self.assertIsInstance(error.outcome, Deferred)
        error = await self.failure(
            "certificate", certificate=str(self.entra.pem), authority="https://127.0.0.1:1"
        )
        assert isinstance(error, NotSent)
        self.assertIsInstance(error.outcome, Deferred)

    async def test_nothing_planted_is_logged(self) -> None:
        """The libraries log neither token nor assertion, also if a program logs all."""
        root, records = logging.getLogger(), []
        keep = logging.Handler()
        keep.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
        root.addHandler(keep)
        level = root.level
        root.setLevel(logging.DEBUG)
        self.addCleanup(root.setLevel, level)
        self.addCleanup(root.removeHandler, keep)
        environment(self, AZURE_FEDERATED_TOKEN_FILE=str(self.entra.token))
        token, _ = await self.obtain("workload")
        other, _ = await self.obtain("certificate", certificate=str(self.entra.pem))
        assertions = [each["client_assertion"] for each in self.fake.asked]
        for planted in (token, other, *assertions):
            self.assertNotIn(planted, "\n".join(records))
