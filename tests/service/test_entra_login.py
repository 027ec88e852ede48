"""Clients that log in at Entra, before a relay over real sockets."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.policy.checkers.entra_name import application_names
from smtprelay.service.errors import StartFailed
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.azure.test_tables import KEY
from tests.providers.http_wiring import served
from tests.service.relay_case import CONFIG, RelayCase

TENANT, CLIENT = "99999999-8888-7777-6666-555555555555", "11111111-2222-3333-4444-555555555555"
SECRET = "s3cr3t~value"
AUTH = "{{checkers: [m365, open], allow_plaintext: true, required: true}}"
LONG, SHORT = application_names(TENANT, CLIENT, "@")


def plain(name: str, secret: str = SECRET) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{name}\0{secret}".encode()).decode()


class EntraLoginRelayTests(RelayCase, TestCase):
    text = (
        CONFIG.replace('0.1"}}', f'0.1", auth: {AUTH}}}}}') + "checkers:\n"
        "  m365: {{type: entra, tenants: [" + TENANT + '], authority: "http://127.0.0.1:{entra}"}}\n'
        "  open: {{type: any}}\n"
    )

    def write(self, *edits: tuple[str, str]) -> None:
        if "entra" not in self.ports:
            self.entra = FakeEntra(reactor)
            self.entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
            self.ports["entra"] = served(self, self.entra)
        super().write(*edits)

    async def test_login(self) -> None:
        """A device logs in by AUTH LOGIN with a name of 73 characters, or the short one, and sends."""
        await self.begin()
        talk = await self.talk()
        self.assertEqual(len(LONG), 73)
        self.assertEqual(await talk.say("AUTH LOGIN"), "334 VXNlcm5hbWU6")
        self.assertEqual(await talk.say(b64encode(LONG.encode()).decode()), "334 UGFzc3dvcmQ6")
        self.assertEqual((await talk.say(b64encode(SECRET.encode()).decode()))[:3], "235")
        self.assertEqual((await talk.mail(b"Subject: x\r\n\r\nx\r\n", "a@example.net"))[:3], "250")
        await self.arrived(0, 1)
        self.assertEqual(self.events.of("message.queued")[0]["user"], LONG)
        short = await self.talk()
        self.assertEqual((await short.say(plain(SHORT)))[:3], "235")
        self.assertEqual(len(self.entra.asked), 1)

    async def test_refused(self) -> None:
        """A wrong secret is refused for good, and both the client and the list of refused mail learn why."""
        await self.begin()
        talk = await self.talk()
        reply = await talk.say(plain(LONG, "another"))
        self.assertTrue(reply.startswith("535 5.7.8 Entra refuses this login: AADSTS7000215"), reply)
        [failed] = self.events.of("auth.failed")
        self.assertEqual((failed["user"], failed["rule"]), (LONG, "entra-refused"))
        self.assertNotIn("another", repr(self.events.heard))

    async def test_away(self) -> None:
        """While Entra is away a login is refused temporarily; others on the listener log in."""
        await self.begin()
        await self.reload((":{entra}", ":1"))
        talk = await self.talk()
        self.assertEqual((await talk.say(plain(LONG)))[:9], "454 4.7.0")
        self.assertEqual((await talk.say(plain("scanner")))[:3], "235")


class TableRelayTests(RelayCase, TestCase):
    acts: Sequence[TableRefuses] = ()
    key = KEY
    text = (
        CONFIG.replace('0.1"}}', f'0.1", auth: {AUTH.replace("m365", "table")}}}}}') + "checkers:\n"
        '  table: {{type: azure_table, url: "http://127.0.0.1:{tables}/acct/logins", key: {{file: key}},'
        ' require_at_start: true, authority: "http://127.0.0.1:{entra}"}}\n'
        "  open: {{type: any}}\n"
    )

    async def begin(self) -> Any:
        entra = FakeEntra(reactor)
        entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        tables = FakeTables("acct", KEY)
        tables.script(*self.acts)
        row = {"tenant_id": TENANT, "client_id": CLIENT, "from_email": "scan@example.com"}
        tables.put("logins", "user", "hall", **row)
        self.served = {"entra": served(self, entra), "tables": served(self, tables)}
        return await super().begin()

    def write(self, *edits: tuple[str, str]) -> None:
        self.ports |= self.served
        (self.folder / "key").write_text(self.key)
        (self.folder / "key").chmod(0o600)
        super().write(*edits)

    async def test_sender(self) -> None:
        """Whatever a device calls its sender, its mail comes from the address in its row."""
        await self.begin()
        talk = await self.talk()
        self.assertEqual((await talk.say(plain("hall@lookup.local")))[:3], "235")
        mail = b"From: Hall <xerox@device.test>\r\nSubject: x\r\n\r\nx\r\n"
        self.assertEqual((await talk.mail(mail, "a@example.net", sender="xerox@device.test"))[:3], "250")
        await self.arrived(0, 1)
        [message] = self.sinks[0].messages
        self.assertEqual(message.sender, "scan@example.com")
        self.assertIn(b"From: Hall <scan@example.com>\r\n", message.body)
        self.assertNotIn(b"xerox@", message.body)

    async def test_no_start(self) -> None:
        """A relay does not start without a table that is required, and says which and why."""
        self.acts = [TableRefuses(403, "AuthorizationFailure")] * 2
        with self.assertRaisesRegex(StartFailed, "checker table: .*AuthorizationFailure"):
            await self.begin()

    async def test_no_key(self) -> None:
        """A key that is none is told at the start, and is not repeated."""
        self.key = "no key"
        with self.assertRaisesRegex(StartFailed, "checker table: the key of .* is no base64"):
            await self.begin()
