"""The documented scenarios of smtp-oauth-relay, by the example that does what it did."""

import email
from base64 import b64encode
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.policy.checkers.entra_name import application_names
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.graph_mail import GraphRefuses
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.azure.test_tables import KEY
from tests.process.conversation import Conversation
from tests.service.ses_relay import EXAMPLES, SesRelayCase

TENANT, CLIENT, SECRET = (
    "99999999-8888-7777-6666-555555555555",
    "11111111-2222-3333-4444-555555555555",
    "s3cr3t~value",
)
LONG, SHORT = application_names(TENANT, CLIENT, "@")
ANN, SCAN = "ann@example.com", "scan@example.com"
MAIL = f"From: Ann <{ANN}>\r\nTo: b@example.net\r\nSubject: Scan\r\n\r\nHello\r\n".encode()


class OauthRelayTests(SesRelayCase, TestCase):
    async def begin(self, *sets: str) -> None:
        """Have a relay with the example, its fakes, and a table with one row; it needs no TLS here."""
        self.entra = FakeEntra(reactor)
        self.entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        knows = self.entra.knows
        self.graph = FakeGraph(
            reactor, lambda token: knows(token, "https://graph.microsoft.com"), [ANN, SCAN]
        )
        self.tables = FakeTables("acct", KEY)
        self.tables.put("users", "user", "hall", tenant_id=TENANT, client_id=CLIENT, from_email=SCAN)
        entra = self.serve(self.entra)
        key = self.folder / "key"
        key.write_text(KEY)
        key.chmod(0o600)
        await self.start(
            EXAMPLES / "smtp-oauth-relay.yaml",
            {"AZURE_TABLES_URL": f"{self.serve(self.tables)}/acct/users"},
            f"providers.graph.endpoint={self.serve(self.graph)}",
            f"providers.graph.authority={entra}",
            f"checkers.entra.authority={entra}",
            f"checkers.table.authority={entra}",
            f"checkers.table.key.file={key}",
            "listeners.0.tls.mode=off",
            "listeners.0.tls.require=never",
            "listeners.0.auth.allow_plaintext=true",
            *sets,
        )

    async def login(self, name: str, secret: str = SECRET) -> tuple[Any, str]:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        self.assertEqual(await talk.say("AUTH LOGIN"), "334 VXNlcm5hbWU6")
        for word in (name, secret):
            reply = await talk.say(b64encode(word.encode()).decode())
        return talk, reply

    async def send(self, name: str, *recipients: str, sender: str = ANN) -> str:
        talk, reply = await self.login(name)
        self.assertEqual(reply[:3], "235", reply)
        return await talk.mail(MAIL, *(recipients or ("b@example.net",)), sender=sender)

    async def test_names(self) -> None:
        """Direct with UUIDs, in base64url, with an ending: the mailbox of the sender sends the mail."""
        await self.begin()
        for name in (LONG, SHORT, f"{LONG}.example.com"):
            self.assertEqual((await self.send(name))[:3], "250")
        self.assertEqual([each.mailbox for each in self.graph.mails], [ANN] * 3)
        self.assertEqual(len(self.entra.asked), 1)

    async def test_lookup(self) -> None:
        """A row names the application, and the sender whatever the device says."""
        await self.begin()
        self.assertEqual((await self.send("hall@lookup", sender="xerox@device.test"))[:3], "250")
        [mail] = self.graph.mails
        self.assertEqual(mail.mailbox, SCAN)
        self.assertIn(SCAN, email.message_from_bytes(mail.raw)["From"])

    async def test_forced_table(self) -> None:
        """With a required table an application without a row is refused; one with a row sends as it says."""
        await self.begin("listeners.0.auth.checkers.1=users", "checkers.table.required=true")
        self.assertEqual((await self.send(LONG))[:3], "250")
        self.assertEqual(self.graph.mails[0].mailbox, SCAN)
        _, reply = await self.login(application_names(TENANT, TENANT, "@")[0])
        self.assertEqual(reply[:3], "535")

    async def test_no_login(self) -> None:
        """Nobody sends without a login."""
        await self.begin()
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        self.assertEqual((await talk.say(f"MAIL FROM:<{ANN}>"))[:3], "530")

    async def test_blind_recipients(self) -> None:
        """Recipients of the envelope that no header names get the mail; others do not."""
        await self.begin()
        self.assertEqual((await self.send(LONG, "c@example.net"))[:3], "250")
        [mail] = self.graph.mails
        self.assertEqual(list(mail.recipients), ["c@example.net"])

    async def test_trouble_that_passes(self) -> None:
        """Graph that is busy, Entra and a table that are away are for a client to try again."""
        await self.begin()
        self.graph.script(GraphRefuses(503, "serviceNotAvailable"))
        self.assertEqual((await self.send(LONG))[:3], "451")
        self.tables.script(TableRefuses(503, "ServerBusy"))
        _, reply = await self.login("hall@lookup")
        self.assertEqual(reply[:3], "454")
