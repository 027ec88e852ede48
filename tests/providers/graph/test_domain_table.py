"""Senders whose mail their domain's fallback sends, and who is told of failures: by settings, and by rows."""

import email
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Deferred, Delivered
from smtprelay.providers.graph.kind import DomainTableSettings
from smtprelay.service.build.bounces import bounce_settings
from smtprelay.settings.secret import fixed
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.config.loading import load_text, problems_of, with_provider
from tests.providers.graph_wiring import ANN, BOB, JoinedGraph

OPS, DOMAIN = "ops@mail.example.com", "mail.example.com"
KEY = "a" * 43 + "="
URL = "https://acct.table.core.windows.net/relay"
TABLE = DomainTableSettings(url=URL, key=fixed(KEY, "inline"))
LOGIN = "type: graph, tenant: contoso.com, client_id: c, client_secret: {env: S}"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.tables = FakeTables("acct", KEY)
        self.tables.tables["relay"] = {}

    def put(self, key: str = DOMAIN, **columns: Any) -> None:
        self.tables.put("relay", "domain", key, **columns)

    def use(self, **settings: Any) -> JoinedGraph:
        """Return a provider before a Graph that has both mailboxes; it has begun to read the table."""
        given = {"mailboxes": (ANN, OPS), "fallback": {DOMAIN: OPS}, "domain_table": TABLE}
        self.joined = JoinedGraph(
            tables=self.tables,
            **{**given, "authority": "https://login.microsoftonline.com", **settings},
        )
        for source in self.joined.context.tables.values():
            source.latest.read_ahead()
        self.joined.tokens.advance(0.1)
        self.addCleanup(self.joined.leftovers)
        return self.joined

    def sent_by(self, **more: Any) -> tuple[str, str]:
        """Send a mail, and return whose mailbox sent it, and From."""
        outcome = self.joined.deliver(**more)[BOB]
        self.assertIsInstance(outcome, Delivered)
        mail = self.joined.fake.mails[-1]
        return mail.mailbox, mail.author


class RemapTests(Case):
    def test_settings(self) -> None:
        """The fallback sends the mail of ``remap`` though the sender's mailbox exists; answers go to that."""
        joined = self.use(remap=(f"*@{DOMAIN}",), domain_table=None)
        self.assertEqual(self.sent_by(), (OPS, OPS))
        message = email.message_from_bytes(joined.fake.mails[-1].raw)
        self.assertEqual(message["Reply-To"], "Ann <ann@mail.example.com>")
        [told] = joined.events.of("message.corrected")
        self.assertIn(f"sent by {OPS} instead of {ANN}, which is remapped", str(told["reason"]))

    def test_rows(self) -> None:
        """So by a row: of the whole domain, or of the senders that it names."""
        for columns, mailbox in (
            ({"from_remap": True}, OPS),
            ({"from_remap": "TRUE"}, OPS),
            ({"from_remap_addresses": "x@y.example, ANN@mail.example.com"}, OPS),
            ({"from_remap_addresses": "x@y.example"}, ANN),
            ({"from_remap": False}, ANN),
            ({}, ANN),
        ):
            self.put(**columns)
            self.use()
            self.assertEqual(self.sent_by(), (mailbox, mailbox), columns)

    def test_configuration_first(self) -> None:
        """A domain that ``remap`` has an entry of is not looked up."""
        self.put(from_remap=True)
        self.use(remap=(f"bob@{DOMAIN}",))
        self.assertEqual(self.sent_by(), (ANN, ANN))

    def test_rules_first(self) -> None:
        """A From that a rule of a user or a route has set stays."""
        self.put(from_remap=True)
        self.use()
        self.assertEqual(self.sent_by(sends_as=ANN)[0], ANN)

    def test_no_fallback(self) -> None:
        """Without a fallback of the domain no mail is remapped, nor is that of the fallback itself."""
        self.put(from_remap=True)
        for fallback in ({}, {"other.example": OPS}, {DOMAIN: ANN}):
            self.use(fallback=fallback)
            self.assertEqual(self.sent_by()[0], ANN)

    def test_refreshed(self) -> None:
        """A row counts after the next reading; while the table is away the last one does."""
        joined = self.use()
        self.assertEqual(self.sent_by()[0], ANN)
        self.put(from_remap=True)
        joined.tokens.advance(301)
        self.assertEqual(self.sent_by()[0], OPS)
        self.tables.script(*[TableRefuses(503, "ServerBusy")] * 9)
        joined.tokens.advance(301, 10)
        self.assertEqual(self.sent_by()[0], OPS)

    def test_unread(self) -> None:
        """Before the first reading mail that it may be about waits; other mail does not."""
        self.tables.script(*[TableRefuses(503, "ServerBusy")] * 20)
        outcome = self.use().deliver()[BOB]
        assert isinstance(outcome, Deferred)
        self.assertIn("domain_table was not read yet: 503 ServerBusy", outcome.why)
        self.assertEqual(self.joined.fake.mails, [])
        self.use(fallback={})
        self.assertEqual(self.sent_by()[0], ANN)


class RowTests(Case):
    def test_bad(self) -> None:
        """What is wrong with a row is told once, and is empty; the rest of the row counts."""
        self.put(from_remap="perhaps", from_remap_addresses=f"{ANN}, nobody", failure_notification="it")
        joined = self.use()
        joined.tokens.advance(301)
        told = [
            f"{each['provider']} {each['domain']} {each['reason']}"
            for each in joined.events.of("provider.row")
        ]
        self.assertEqual(
            told,
            [
                f"graph {DOMAIN} from_remap is neither true nor false",
                f"graph {DOMAIN} from_remap_addresses has what is no mail address",
                f"graph {DOMAIN} failure_notification is no mail address",
            ],
        )
        self.assertEqual(self.sent_by()[0], OPS)

    def test_notified(self) -> None:
        """Who is told of failures: as the configuration says, else as the row; it follows the table."""
        self.put(failure_notification="row@x.example")
        self.put("Other.example", failure_notification="other@x.example")
        joined = self.use(notify_failures={DOMAIN: "own@x.example"})
        config = load_text(with_provider(LOGIN), {"S": "s"}).config
        copies = bounce_settings(config, {}, joined.context.failure_copies).copies["graph"]
        self.assertEqual(dict(copies), {DOMAIN: "own@x.example", "other.example": "other@x.example"})
        self.tables.tables["relay"].clear()
        joined.tokens.advance(301)
        self.assertEqual(copies.get("other.example", ""), "")


class SettingsTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The table of a provider is checked as that of keys, and has the proxy of the environment."""
        environ = {"S": "s", "K": KEY, "HTTPS_PROXY": "http://p:1"}
        text = with_provider(f'{LOGIN}, domain_table: {{url: "{URL}", key: {{env: K}}}}')
        found: Any = load_text(text, environ).config.providers["more"]
        self.assertEqual((found.domain_table.partition, found.domain_table.refresh), ("domain", 300.0))
        self.assertEqual(found.domain_table.outbound.proxy, found.outbound.proxy)
        for table, words in (
            (f'url: "{URL}", key: {{env: K}}, sas: {{env: K}}', "sas is not used: there is key"),
            ("url: http://acct.table.core.windows.net/relay, key: {env: K}", "http:// is for loopback only"),
        ):
            [told] = problems_of(with_provider(f"{LOGIN}, domain_table: {{{table}}}"), environ)
            self.assertIn(words, told.text)
