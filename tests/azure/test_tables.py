"""Rows of Azure tables: how they are asked for, by whom, and what it means that they are not there."""

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred, execute
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.azure.tables import (
    AccountKey,
    AzureTable,
    SharedAccessSignature,
    TableCredential,
    TableToken,
    account_of,
    row_filter,
)
from smtprelay.http.client import NoAnswerError
from smtprelay.http.credentials import MappedSource, StoredCredentials
from smtprelay.model.outcome import Blocked, Deferred, Outcome, Throttled
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.azure.joined_entra import JoinedEntra

URL = "https://acct.table.core.windows.net/users"
KEY = base64.b64encode(b"k" * 32).decode()
#: That of the emulator, which everybody knows.
EMULATOR = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
DATE = "Fri, 20 Nov 2026 09:30:00 GMT"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.fake = FakeTables("acct", KEY)
        self.http = MemoryHttp(self.fake)
        self.http.clock.advance(1_800_000_000)
        self.credential: TableCredential = AccountKey(KEY)

    def table(self, url: str = URL, source: Any = None) -> AzureTable:
        stored = StoredCredentials(lambda: self.credential, execute)
        return AzureTable(url, source or stored, lambda: self.http.http, self.http.clock.seconds)

    def row(self, partition: str, key: str) -> Any:
        return self.http.result(self.table().row(partition, key), 1)

    def outcome(self) -> Outcome:
        with self.assertRaises(NoAnswerError) as raised:
            self.row("p", "r")
        return raised.exception.outcome


class ReadingTests(Case):
    def test_row(self) -> None:
        """A row by its keys, whatever is in them; ``None`` for one that is not there."""
        for key in ("r@x.com", "o'brien@x.com", "a b", "ü", "+%=&", "''"):
            self.fake.put("users", "p'1", key, from_email="a@x.com")
            found = self.row("p'1", key)
            self.assertEqual((found["RowKey"], found["from_email"]), (key, "a@x.com"))
        self.assertIsNone(self.row("p'1", "nobody"))

    def test_keys_that_no_row_has(self) -> None:
        """A key with characters that the service does not take is nobody's, and is not asked for."""
        for key in ("a/b", "a\\b", "#", "?", "a\nb", "\x7f"):
            self.assertIsNone(self.row("p", key))
        self.assertEqual(self.fake.asked, [])

    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=20), st.text(max_size=20))
    def test_no_value_gets_out(self, value: str, other: str) -> None:
        """Whatever a client wrote, it finds only rows that have it."""
        try:
            (value + other).encode()
        except UnicodeEncodeError:
            return
        self.setUp()
        self.fake.put("users", "user", "1", lookup=other)
        found = self.http.result(self.table().rows({"PartitionKey": "user", "lookup": value}), 1)
        self.assertEqual(len(found), int(value == other))

    def test_filter(self) -> None:
        """Values are quoted, names of columns are checked."""
        self.assertEqual(row_filter({"a": "o'b", "b_1": ""}), "a eq 'o''b' and b_1 eq ''")
        for name in ("", "a b", "1a", "a eq 'b' or c", "a-b"):
            with self.assertRaisesRegex(ValueError, "not the name of a column"):
                row_filter({name: "x"})

    def test_pages(self) -> None:
        """All pages are read, in the order of their keys; too many rows are an error."""
        self.fake.page = 3
        for number in range(10):
            self.fake.put("users", "dkim" if number % 2 else "user", f"{number}")
        found = self.http.result(self.table().rows({"PartitionKey": "user"}), *[1] * 9)
        self.assertEqual([each["RowKey"] for each in found], ["0", "2", "4", "6", "8"])
        self.assertEqual(len(self.http.result(self.table().rows({}), *[1] * 9)), 10)
        self.assertEqual(len(self.fake.asked), 2 + 4)
        with self.assertRaisesRegex(NoAnswerError, "more than 4 rows"):
            self.http.result(self.table().rows({}, most=4), *[1] * 9)

    def test_page_without_rows(self) -> None:
        """A page may be empty, and have another one behind it."""
        self.fake.page = 1
        self.fake.put("users", "a", "1", x="1")
        self.fake.put("users", "b", "1", x="2")
        self.assertEqual(len(self.http.result(self.table().rows({"x": "2"}), *[1] * 9)), 1)


class LoginTests(Case):
    def test_vectors(self) -> None:
        """The signatures that were recorded before the emulator; the account is in host or path."""
        path = "senders(PartitionKey='p1',RowKey='r%40x.com')"
        for url, signed in (
            (f"https://myacct.table.core.windows.net/{path}", "01I3cW15SHdraG9W1jUbd3nCRN5/tMjtIHNy7rxjHOA="),
            (
                f"http://127.0.0.1:10002/devstoreaccount1/{path}",
                "hNTHmbjIxcYZidLJYoHmIpSeQd3IbT2ojlQNCQ/FMb4=",
            ),
        ):
            _, headers = AccountKey(EMULATOR).authorize(url, DATE)
            self.assertEqual(headers["Authorization"], f"SharedKeyLite {account_of(url)}:{signed}")

    def test_signature(self) -> None:
        """A shared access signature goes in the URL, with and without a query before it."""
        self.fake.put("users", "p", "r")
        self.fake.signatures.add("sv=2019-02-02&tn=users&sp=r&sig=abc%3D")
        self.credential = SharedAccessSignature("?sv=2019-02-02&tn=users&sp=r&sig=abc%3D\n")
        self.assertEqual(self.row("p", "r")["RowKey"], "r")
        self.assertEqual(len(self.http.result(self.table().rows({}), 1)), 1)

    def test_token(self) -> None:
        """A token of Entra, for storage."""
        entra = JoinedEntra()
        source = entra.tokens.source("table", entra.application(), "https://storage.azure.com/.default")
        self.addCleanup(lambda: ensureDeferred(source.close()))
        entra.token(source)
        self.fake = FakeTables(
            "acct", KEY, lambda token: entra.fake.knows(token, "https://storage.azure.com")
        )
        self.fake.put("users", "p", "r")
        self.http = MemoryHttp(self.fake, entra.clock)
        table = self.table(source=MappedSource(source, TableToken))
        self.assertEqual(self.http.result(table.row("p", "r"), 1)["RowKey"], "r")

    def test_other_key(self) -> None:
        """After a refusal the key is read again: an operator may have replaced it."""
        self.fake.put("users", "p", "r")
        table = self.table()
        self.credential = AccountKey(base64.b64encode(b"old").decode())
        with self.assertRaises(NoAnswerError):
            self.http.result(table.row("p", "r"), 1)
        self.credential = AccountKey(KEY)
        self.assertEqual(self.http.result(table.row("p", "r"), 1)["RowKey"], "r")

    def test_nothing_planted_is_found(self) -> None:
        """No error or representation has the key, the signature or the token."""
        for credential, planted in (
            (AccountKey(base64.b64encode(b"planted").decode()), base64.b64encode(b"planted").decode()),
            (SharedAccessSignature("sv=1&sig=planted"), "planted"),
            (TableToken("planted"), "planted"),
        ):
            self.credential = credential
            self.assertNotIn(planted, f"{credential!r} {self.outcome()!r}")
            self.http.refuse = Refused()
            self.assertNotIn(planted, repr(self.outcome()))
            self.http.refuse = None


class RefusalTests(Case):
    def test_missing_table(self) -> None:
        """A table that is not there is an operator's mistake, unlike a row that is not."""
        outcome = self.outcome()
        self.assertIsInstance(outcome, Blocked)
        self.assertIn(f"404 TableNotFound: {URL}: The table specified does not exist.", outcome.why)

    def test_refusals(self) -> None:
        """What it means, in JSON or in XML."""
        for act, kind, words in (
            (TableRefuses(403, "AuthenticationFailed", "no", xml=True), Blocked, "403 AuthenticationFailed"),
            (
                TableRefuses(403, "AuthorizationPermissionMismatch", "no"),
                Blocked,
                "Storage Table Data Reader",
            ),
            (TableRefuses(400, "InvalidInput", "no"), Blocked, "400 InvalidInput"),
            (TableRefuses(503, "ServerBusy", "later"), Throttled, "503 ServerBusy"),
            (TableRefuses(500, "OperationTimedOut", "later"), Deferred, "500 OperationTimedOut"),
            (TableRefuses(502, "", ""), Deferred, "502"),
        ):
            self.fake.script(act)
            outcome = self.outcome()
            self.assertIsInstance(outcome, kind)
            self.assertIn(words, outcome.why)

    def test_away(self) -> None:
        """A service that cannot be reached defers."""
        self.http.refuse = Refused()
        self.assertIsInstance(self.outcome(), Deferred)

    def test_key_that_is_none(self) -> None:
        """A key that is no base64 raises, and is not repeated."""
        with self.assertRaises(ValueError) as raised:
            AccountKey("n*t").authorize(URL, DATE)
        self.assertNotIn("n*t", str(raised.exception))
