"""A relay whose keys for Amazon SES come from Vault."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.cli.client import ApiClient
from smtprelay.service import StartFailed
from smtprelay.testing.ses import FakeSes
from smtprelay.testing.vault import FakeVault
from tests.process.program import eventually
from tests.providers.vault_wiring import ROLE, SECRET_ID, Users
from tests.service.ses_relay import EXAMPLES, SesRelayCase, Silence

CONFIG = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers:
  ses:
    type: ses
    region: eu-west-1
    timeout: 75s
    vault: {path: aws/creds/mail, approle: {role_id: role-1, secret_id: {file: secret}}, MORE}
  local: {type: capture, path: captured}
routes: [{match: {recipient: ["*@other.example"]}, via: [local]}, {via: [ses], retry: {first: 100ms}}]
spool: {path: spool}
"""


class VaultRelayTests(SesRelayCase, TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.users = Users()
        self.fake = FakeSes(reactor, {})
        # What the engine makes the fake of SES knows, and what it removes no more.
        self.fake.keys = self.users.now
        self.vault = FakeVault(reactor, self.users.engine())
        self.vault.approles[ROLE] = SECRET_ID
        self.variables = {"AWS_ENDPOINT_URL": self.serve(self.fake), "AWS_REGION": "eu-west-1"}
        (self.folder / "secret").write_text(SECRET_ID)

    async def begin(self, address: str = "", more: str = "require_at_start: false") -> None:
        path = self.folder / "relay.yaml"
        path.write_text(CONFIG.replace("MORE", more))
        await self.start(path, {**self.variables, "VAULT_ADDR": address or self.serve(self.vault)})

    def ask(self, path: str, body: Any = None) -> "Deferred[Any]":
        client = ApiClient(f"{self.folder}/c.sock")
        call = client.get if body is None else client.post
        return deferToThread(call, f"/api/v1/{path}", *([] if body is None else [body]))

    async def test_ses_smtpd_proxy(self) -> None:
        """What ses-smtpd-proxy does with Vault: leased keys for SES, which are gone when it stops."""
        login = {"VAULT_APPROLE_ROLE_ID": ROLE, "VAULT_APPROLE_SECRET_ID": SECRET_ID}
        variables = {**self.variables, **login, "VAULT_ADDR": self.serve(self.vault)}
        await self.start(EXAMPLES / "ses-smtpd-proxy-vault.yaml", variables)
        self.assertEqual((await self.send("b@example.net"))[:3], "250")
        self.assertEqual([mail.api for mail in self.fake.mails], ["v1"])
        self.assertEqual({key for _, key in self.fake.asked}, {"AKID1"})
        _, metrics = await self.get(0, "/metrics")
        self.assertIn('smtprelay_credential_renewals_total{provider="ses",result="renewed"} 1.0', metrics)
        await self.relay.stopService()
        self.assertEqual((self.users.now, self.vault.tokens), ({}, {}))

    async def test_wrong_secret(self) -> None:
        """A wrong secret blocks the provider and bounces nothing; when it is corrected mail flows."""
        (self.folder / "secret").write_text("wrong")
        await self.begin()
        self.assertEqual((await self.send("b@example.net"))[:3], "250")
        await eventually(lambda: self.events.of("lane.blocked"), "the block")
        [blocked] = self.events.of("lane.blocked")
        self.assertEqual(blocked["reason"], "Vault: auth/approle/login: invalid role or secret ID")
        self.assertEqual([self.events.of(f"message.{end}") for end in ("failed", "bounced")], [[], []])
        (self.folder / "secret").write_text(SECRET_ID)
        await self.ask("providers/ses/probe", {})
        await eventually(lambda: self.fake.mails, "the mail")

    async def test_young_keys(self) -> None:
        """While SES does not know new keys the mail waits, and no others are made."""
        self.fake.keys = {}
        await self.begin()
        await self.send("b@example.net")
        await eventually(lambda: len(self.events.of("message.deferred")) > 1, "two attempts")
        self.fake.keys = self.users.now
        await eventually(lambda: self.fake.mails, "the mail")
        self.assertEqual((self.users.made, self.events.of("lane.blocked")), (1, []))

    async def test_hangs(self) -> None:
        """While Vault answers nothing replies, other providers and the stop wait for nothing."""
        silence = Silence()
        await self.begin(self.serve(silence))
        for recipient in ("a@example.net", "b@other.example"):
            self.assertEqual((await self.send(recipient))[:3], "250")
        await eventually(lambda: self.events.of("message.delivered"), "the other provider's mail")
        await eventually(lambda: silence.asked, "the request")
        await self.stop_within(2.5)
        silence.end()

    async def test_hangs_at_the_stop(self) -> None:
        """A Vault that hangs is not waited for when keys should be revoked; that is told."""
        silence = Silence()
        await self.begin()
        await self.send("a@example.net")
        await eventually(lambda: self.fake.mails, "the mail")
        self.vault.render = silence.render
        await self.stop_within(2.5)
        texts = [each["text"] for each in self.events.of("relay.warning")]
        self.assertIn("ses: its credentials are not revoked, they end by themselves: no answer", texts)
        silence.end()

    async def test_required(self) -> None:
        """A relay that must not start without keys says why it does not."""
        (self.folder / "secret").write_text("wrong")
        starting = Deferred.fromCoroutine(self.begin(more="require_at_start: true"))
        error = await self.assertFailure(starting, StartFailed)
        self.assertEqual(str(error), "provider ses: Vault: auth/approle/login: invalid role or secret ID")
        self.assertFalse(Path(self.folder, "c.sock").exists())

    async def stop_within(self, seconds: float) -> None:
        began = reactor.seconds()
        await self.relay.stopService()
        self.assertLess(reactor.seconds() - began, seconds)
