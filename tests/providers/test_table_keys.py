"""Keys that sign mail, in rows of an Azure table: read ahead and again, and what a bad row does."""

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from smtprelay.config.model import Config
from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Deferred as DeferredOutcome
from smtprelay.model.outcome import Delivered, Outcome
from smtprelay.model.shape import shape_of
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.table_keys import SHOWN
from smtprelay.service.build.providers import build_signer
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.provider import ScriptedProvider
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.azure.joined_entra import CLIENT, SECRET, TENANT, JoinedEntra
from tests.azure.test_key_vault import ByHost
from tests.config.loading import SMALL, load_text
from tests.mime.dkim.keys import PEMS
from tests.providers.smarthost_wiring import delivery
from tests.providers.test_signer import MAIL, signatures, verified
from tests.recording import Recording

KEY = "a" * 43 + "="
URL = "https://acct.table.core.windows.net/relay"
TABLE = f"url: {URL}, key: {{env: K}}"
ROW = {"dkim_selector": "s1", "dkim_private_key": PEMS["ed25519"]}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.entra = JoinedEntra()
        self.tables = FakeTables(
            "acct", KEY, lambda token: self.entra.fake.knows(token, "https://storage.azure.com")
        )
        self.http = MemoryHttp(ByHost(self.entra.fake, self.tables), self.entra.clock)
        self.tables.tables["relay"] = {}
        self.provider = ScriptedProvider()

    def config(self, table: str = TABLE, more: str = "") -> Config:
        environ = {"K": KEY, "D": PEMS["rsa"], "S": SECRET}
        return load_text(f"{SMALL}dkim_table: {{{table}}}\n{more}", environ).config

    def use(self, table: str = TABLE, more: str = "", kept: Any = None) -> None:
        """Build what signs, and begin to read the table, as a start does."""
        self.events = Recording()
        self.context = self.http.context(events=self.events)
        self.context.kept_tables.update(kept or {})
        self.signer = build_signer(self.config(table, more), self.context)
        assert self.signer is not None
        for source in self.context.tables.values():
            source.latest.read_ahead()
        self.http.advance(0.1)
        self.addCleanup(self.close)

    def close(self) -> None:
        for each in self.context.renewed.values():
            ensureDeferred(each.close())
        self.http.advance(1)

    def put(self, domain: str = "example.com", **columns: Any) -> None:
        self.tables.put("relay", "dkim", domain, **columns)

    def deliver(self, mail: bytes = MAIL, *seconds: float) -> Outcome:
        """Deliver a mail, and return what became of it."""
        made = OutgoingProvider(
            self.provider,
            self.context.mime,
            hostname="relay.example.com",
            bounces_from="x@example.com",
            signer=self.signer,
        )
        item = evolve(delivery(), shape=shape_of(mail))
        [outcome] = self.http.result(made.deliver(Attempt(item, MemoryBody(mail))), *seconds).values()
        return outcome

    @property
    def sent(self) -> list[bytes]:
        return [octets for _, octets in self.provider.sent]

    def told(self, event: str = "dkim.failing") -> list[str]:
        return [f"{each['domain']} {each.get('reason', '')}".strip() for each in self.events.of(event)]


class SignedTests(Case):
    def test_signed(self) -> None:
        """Mail of a domain with a row is signed by it; nothing is asked for that, it was read ahead."""
        for kind in PEMS:
            self.put(dkim_selector="s1", dkim_private_key=PEMS[kind].replace("\n", "\\n"))
            self.use()
            asked = len(self.tables.asked)
            self.assertIsInstance(self.deliver(), Delivered)
            self.assertTrue(verified(self.sent[-1], kind=kind))
            self.assertEqual(len(self.tables.asked), asked)

    def test_columns(self) -> None:
        """A row says which key signs what, and how; a file's key goes before one in the row."""
        file = Path(self.mktemp())
        file.write_text(PEMS["rsa"])
        self.put(
            "Example.COM",
            dkim_selector="Two",
            dkim_private_key=PEMS["ed25519"],
            dkim_private_key_path=str(file.absolute()),
            dkim_canonicalization="Simple/Relaxed",
            dkim_headers="From, subject,",
        )
        self.use()
        self.deliver()
        [sent] = self.sent
        self.assertIn(b"a=rsa-sha256; c=simple/relaxed;", sent)
        self.assertIn(b"s=two;", sent)
        self.assertIn(b"h=from:from:subject:subject;", sent)
        self.assertTrue(verified(sent, kind="rsa"))

    def test_configuration_first(self) -> None:
        """A domain that the configuration has a key for is signed by that alone."""
        self.put(**ROW)
        self.use(more="dkim: [{domain: example.com, selector: own, key: {env: D}}]\n")
        self.deliver()
        [sent] = self.sent
        self.assertEqual((signatures(sent), sent.count(b"s=own;")), (1, 1))

    def test_other_rows(self) -> None:
        """Rows of other partitions are no keys."""
        self.tables.put("relay", "domain", "example.com", **ROW)
        self.use()
        self.deliver()
        self.assertEqual(self.sent, [MAIL])

    def test_readers(self) -> None:
        """The table is read by a signature or by a token of Entra, too."""
        self.put(**ROW)
        self.tables.signatures.add("sv=1&sig=x")
        own = f"tenant: {TENANT}, client_id: {CLIENT}, client_secret: {{env: S}}"
        for reader in ("sas: 'sv=1&sig=x'", own):
            self.use(f"url: {URL}, {reader}")
            self.deliver()
            self.assertTrue(verified(self.sent[-1]))


class RefreshTests(Case):
    def test_refreshed(self) -> None:
        """A row that changes, comes or goes counts after the next reading."""
        self.put(**ROW)
        self.use()
        self.put(dkim_selector="s2", dkim_private_key=PEMS["rsa"])
        self.put("example.net", **ROW)
        self.deliver()
        self.assertIn(b"s=s1;", self.sent[-1])
        self.http.advance(301)
        self.deliver()
        self.assertTrue(verified(self.sent[-1], kind="rsa"))
        self.deliver(MAIL.replace(b"ann@example.com", b"ann@example.net"))
        self.assertIn(b"d=example.net;", self.sent[-1])
        self.tables.tables["relay"].clear()
        self.http.advance(301)
        self.deliver()
        self.assertEqual(self.sent[-1], MAIL)

    def test_unchanged(self) -> None:
        """A row that has not changed is the same key, which is not parsed again."""
        self.put(**ROW)
        self.use()
        [source] = self.context.tables.values()
        before = source.latest.known["example.com"]
        self.http.advance(301)
        self.assertEqual(len(self.tables.asked), 2)
        self.assertIs(source.latest.known["example.com"], before)

    def test_outage(self) -> None:
        """While the table is away the keys that were read last sign; an operator is told of it."""
        self.put(**ROW)
        self.use()
        self.http.refuse = Refused("no")
        self.http.advance(301, 30, 60, 60, 600)
        self.deliver()
        self.assertTrue(verified(self.sent[-1]))
        [text] = self.signer.failing
        self.assertIn("dkim_table cannot be read: ", text)
        self.assertEqual(self.events.of("credential.failed")[0]["provider"], "dkim_table")
        self.http.refuse = None
        self.http.advance(61)
        self.assertEqual(self.signer.failing, [])

    def test_reload(self) -> None:
        """A reload keeps what was read, though the table is away, unless it is read in another way."""
        self.put(**ROW)
        self.use()
        self.http.refuse = Refused("no")
        self.use(kept=self.context.tables)
        self.deliver()
        self.assertTrue(verified(self.sent[-1]))
        self.use(f"{TABLE}, required: all", kept=self.context.tables)
        self.assertIsInstance(self.deliver(MAIL, 1), DeferredOutcome)

    def test_closed(self) -> None:
        """Nothing is read any more, and no timer is left, when the configuration is closed."""
        self.put(**ROW)
        self.use()
        self.close()
        self.assertEqual(self.http.clock.getDelayedCalls(), [])


class UnreadTests(Case):
    def outcome(self, required: str) -> Outcome:
        self.tables.script(*[TableRefuses(503, "ServerBusy")] * 3)
        self.use(f"{TABLE}, required: {required}")
        return self.deliver(MAIL, 1)

    def test_waits(self) -> None:
        """Before the first reading nobody knows which mail is signed: all waits, and says why."""
        outcome = self.outcome("rows")
        assert isinstance(outcome, DeferredOutcome)
        self.assertTrue(outcome.ours)
        self.assertIn("how to sign for example.com: dkim_table was not read yet", outcome.why)
        self.assertIn("503 ServerBusy", outcome.why)
        self.put(**ROW)
        # It is tried again, though no mail asks for it.
        self.http.advance(2, 4, 8, 16)
        self.deliver()
        self.assertTrue(verified(self.sent[-1]))

    def test_not_required(self) -> None:
        """With ``none`` it leaves without a signature."""
        self.assertIsInstance(self.outcome("none"), Delivered)
        self.assertEqual(self.sent, [MAIL])

    def test_hanging(self) -> None:
        """A table that does not answer holds a mail for the time limit only, and the relay not at all."""
        hanging: Deferred[None] = Deferred()
        self.http.request = lambda *_: hanging  # type: ignore[method-assign]
        self.use()
        self.assertIsInstance(self.deliver(MAIL, 31), DeferredOutcome)


class RowTests(Case):
    def test_missing(self) -> None:
        """Mail of a domain without a row leaves unsigned, or waits with ``all``."""
        self.use()
        self.assertIsInstance(self.deliver(), Delivered)
        self.assertEqual(self.sent, [MAIL])
        self.use(f"{TABLE}, required: all")
        outcome = self.deliver()
        assert isinstance(outcome, DeferredOutcome)
        self.assertIn("dkim_table has no row for example.com", outcome.why)

    def test_bad(self) -> None:
        """A bad row is told of when it is read, once, shown until it is right, and its mail waits."""
        pem = PEMS["ed25519"]
        for columns, why in (
            ({}, "the row has no dkim_selector"),
            ({"dkim_selector": "s1"}, "the row has neither dkim_private_key nor dkim_private_key_path"),
            (
                {"dkim_selector": "s 1", "dkim_private_key": pem},
                "dkim_selector is not the name of a key",
            ),
            ({"dkim_selector": "s1", "dkim_private_key": "x"}, "it is no private key in PEM form"),
            ({**ROW, "dkim_private_key_path": "a.pem"}, "dkim_private_key_path is not a whole path"),
            ({**ROW, "dkim_private_key_path": "/no/such"}, "file /no/such: no such file"),
            ({**ROW, "dkim_canonicalization": "strict"}, "dkim_canonicalization is none of relaxed/relaxed"),
            ({**ROW, "dkim_headers": "to"}, "dkim_headers: From is missing"),
            ({**ROW, "dkim_headers": "from,received"}, "dkim_headers: received changes on the way"),
            ({**ROW, "dkim_selector": 7, "dkim_headers": True}, "dkim_headers: From is missing"),
        ):
            self.put(**columns)
            self.use()
            [told] = self.told()
            self.assertTrue(told.startswith(f"example.com {why}"), told)
            [shown] = self.signer.failing
            self.assertIn(why, shown)
            outcome = self.deliver()
            assert isinstance(outcome, DeferredOutcome)
            self.assertIn(why, outcome.why)
            self.http.advance(301)
            self.assertEqual(self.told(), [told])
            self.put(**ROW)
            self.http.advance(301)
            self.assertEqual((self.told("dkim.recovered"), self.signer.failing), (["example.com"], []))
            self.assertIsInstance(self.deliver(), Delivered)

    def test_bad_not_required(self) -> None:
        """With ``none`` its mail leaves without a signature."""
        self.put(dkim_selector="s1")
        self.use(f"{TABLE}, required: none")
        self.assertIsInstance(self.deliver(), Delivered)
        self.assertEqual(self.sent, [MAIL])

    def test_one_bad_row(self) -> None:
        """A bad row is the trouble of its own domain only, also one whose key is no domain."""
        self.put(**ROW)
        self.put("a@b c", **ROW)
        self.put("example.net")
        self.use()
        self.deliver()
        self.assertTrue(verified(self.sent[-1]))
        self.assertEqual(
            self.told(), ["a@b c the RowKey is no domain", "example.net the row has no dkim_selector"]
        )

    def test_many(self) -> None:
        """Of many bad rows an operator sees some, and how many more there are."""
        for number in range(SHOWN + 5):
            self.put(f"d{number}.example")
        self.use()
        self.assertEqual(len(self.signer.failing), SHOWN + 1)
        self.assertIn("5 more rows of dkim_table", self.signer.failing[-1])

    def test_nothing_planted_is_found(self) -> None:
        """No key of a row or of the account is in an event, an outcome or a representation."""
        body = PEMS["ed25519"].splitlines()[1]
        self.put(dkim_selector="s1", dkim_private_key=PEMS["ed25519"].replace("PRIVATE", "PRIVAT"))
        self.use()
        shown = repr((self.events.heard, self.deliver(), self.signer, self.config(), self.context.tables))
        self.assertNotIn(body, shown)
        self.assertNotIn(KEY, shown)


class UnusedTests(SynchronousTestCase):
    def test_no_table(self) -> None:
        """Without keys and a table nothing signs."""
        context = MemoryHttp(Resource()).context()
        self.assertIsNone(build_signer(load_text(SMALL).config, context))
