"""Keys of Vault over reloads, and when the relay stops."""

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase

from smtprelay.testing.vault import FakeVault
from smtprelay.web.context import ReloadFailed
from tests.process.program import eventually
from tests.providers.vault_wiring import ROLE, SECRET_ID, Users, served
from tests.service.relay_case import CONFIG, RelayCase

VAULT = """\
ses: {{type: ses, region: eu-west-1, endpoint: "http://127.0.0.1:{one}", vault: {{path: aws/creds/mail,
  address: "{vault}", approle: {{role_id: ROLE, secret_id: {{file: secret}}}}, require_at_start: true}}}}"""


class KeysOfVaultTests(RelayCase, TestCase):
    text = CONFIG.replace("providers: {{", "providers: {{" + VAULT.replace("ROLE", ROLE) + ", ").replace(
        "via: [one]", "via: [one, ses]"
    )

    def write(self, *edits: tuple[str, str]) -> None:
        """Write the configuration, and the secret of the login."""
        if "vault" not in self.ports:
            self.users = Users()
            self.vault = FakeVault(reactor, self.users.engine())
            self.vault.approles[ROLE] = SECRET_ID
            self.ports["vault"] = served(self, self.vault)
            (self.folder / "secret").write_text(SECRET_ID)
        super().write(*edits)

    async def test_kept(self) -> None:
        """A reload that changes nothing of the provider makes no new keys; another one does."""
        await self.begin()
        self.assertEqual(list(self.users.now), ["AKID1"])
        await self.reload(("hostname: relay.test", "hostname: other.test"))
        await self.reload()
        self.assertEqual((list(self.users.now), self.users.made), (["AKID1"], 1))
        await self.relay.stopService()
        self.assertEqual((self.users.now, self.vault.tokens), ({}, {}))

    async def test_clock_step(self) -> None:
        """When the system clock is changed they are renewed."""
        await self.begin()
        self.relay.clock_stepped(10.0)
        await eventually(lambda: len(self.events.of("credential.renewed")) == 2, "a renewal")
        self.assertEqual(self.users.made, 1)

    async def test_replaced(self) -> None:
        """Keys of a provider that has changed are given back, and so are those of the relay when it stops."""
        await self.begin()
        await self.reload(("region: eu-west-1", "region: eu-west-2"))
        await eventually(lambda: not self.users.now, "the end of the first keys")
        renewed = self.relay._reloader.running.renewed["ses"]
        await renewed.current()
        self.assertEqual(list(self.users.now), ["AKID2"])
        await self.relay.stopService()
        self.assertEqual((self.users.now, self.users.made), ({}, 2))

    async def test_a_reload_that_fails(self) -> None:
        """It takes nothing from the configuration that stays."""
        await self.begin()
        site = 'http: [{{endpoint: "tcp:{one}:interface=127.0.0.1", serve: [health]}}]\ncontrol_socket:'
        other = ("hostname: relay.test", "hostname: other.test")
        failing = ensureDeferred(self.reload(("control_socket:", site), other))
        await self.assertFailure(failing, ReloadFailed)
        self.assertEqual(list(self.users.now), ["AKID1"])
        await self.reload(other)
        self.assertEqual(list(self.users.now), ["AKID1"])
        await self.relay.stopService()
        self.assertEqual(self.users.now, {})
