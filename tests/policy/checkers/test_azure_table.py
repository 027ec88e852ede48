"""Logins by rows of a table: who they are, as whom they send, and what a table that is away means."""

from typing import Any

from attrs import evolve
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import execute
from twisted.internet.error import ConnectError
from zope.interface.verify import verifyObject

from smtprelay.azure.tables import AccountKey, AzureTable
from smtprelay.http.credentials import StoredCredentials
from smtprelay.model.message import SessionLogin
from smtprelay.policy.checkers.azure_table import ABSENT, LoginRows, TableLogins
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.checkers.entra import EntraLogins
from smtprelay.policy.checkers.entra_name import application_names
from smtprelay.policy.settings import Identity, Rights
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.tables import FakeTables, TableRefuses
from tests.azure.joined_entra import CLIENT, SECRET
from tests.azure.test_tables import KEY, URL
from tests.policy.checkers.test_entra import LONG, SHORT, TENANT, EntraCase
from tests.policy.checkers.test_users import ANN

LOGIN = SessionLogin(tenant=TENANT, client_id=CLIENT, secret=SECRET)


class TableCase(EntraCase):
    """Such a checker before the Entra one, and its table."""

    def setUp(self) -> None:
        super().setUp()
        self.tables = FakeTables("acct", KEY)
        self.http = MemoryHttp(self.tables, self.joined.clock)
        credentials: Any = StoredCredentials(lambda: AccountKey(KEY), execute)
        table = AzureTable(URL, credentials, lambda: self.http.http, self.joined.clock.seconds)
        self.rows = LoginRows(table, "user", self.joined.clock.seconds, 300.0)
        self.table = TableLogins(self.rows, self.passwords, "@")
        self.put("scan1", from_email="scan@example.com", description="the one in the hall")
        self.use(self.table, self.entra)

    def put(self, name: str, **columns: Any) -> None:
        self.tables.put("users", "user", name, **{"tenant_id": TENANT, "client_id": CLIENT, **columns})

    def begin(self, name: str, password: Any = SECRET, address: str = "198.51.100.1") -> Any:
        deferred = super().begin(name, password, address)
        for _ in range(2):
            self.http.flush()
            self.joined.http.flush()
        return deferred


class LookupTests(TableCase):
    def test_interface(self) -> None:
        """It is a checker for cred's portal."""
        verifyObject(ICredentialsChecker, self.table)

    def test_row(self) -> None:
        """The row says as which application the secret is checked, and as whom its mail is sent."""
        expected = Identity(name="scan1@lookup", rights=Rights(force_from="scan@example.com"), login=LOGIN)
        for name in ("scan1@lookup", "scan1@lookup.local"):
            self.assertEqual(self.login(name), expected)
        self.assertEqual((len(self.tables.asked), len(self.fake.asked)), (1, 1))
        self.put("scan2", tenant_id=SHORT.split("@")[0], client_id=CLIENT.upper())
        self.assertEqual(self.login("scan2@lookup"), Identity(name="scan2@lookup", login=LOGIN))

    def test_no_row(self) -> None:
        """A name without a row is refused like a wrong password, also by those behind it."""
        for name in ("nobody@lookup", "a/b@lookup", "SCAN1@lookup"):
            self.use(self.table, self.entra)
            reply = self.reply(name, address="10.0.0.7")
            self.assertEqual((reply.code, reply.rule), (535, "table-row"))
            self.assertEqual(reply.text, "Authentication credentials invalid")
        self.assertEqual(self.fake.asked, [])

    def test_wrong_secret(self) -> None:
        """A wrong secret is refused as Entra says."""
        self.assertEqual(self.reply("scan1@lookup", "guess").rule, "entra-refused")

    def test_what_a_client_wrote_is_a_value(self) -> None:
        """Quotes and operators in a name find no row of somebody else."""
        for name in ("' or PartitionKey eq 'user@lookup", "scan1' or '1' eq '1@lookup", "o'brien@lookup"):
            self.use(self.table)
            self.assertEqual(self.reply(name).rule, "table-row")
        self.put("o'brien")
        self.joined.clock.advance(ABSENT)
        self.use(self.table)
        self.assertEqual(self.login("o'brien@lookup").name, "o'brien@lookup")

    def test_away(self) -> None:
        """A table that cannot be read is temporary, and never a guess; others log in meanwhile."""
        for act in (TableRefuses(503, "ServerBusy"), TableRefuses(403, "AuthorizationFailure", xml=True)) * 4:
            # After a refusal it is asked once more, with the credentials that are there then.
            self.tables.script(act)
            reply = self.reply("scan1@lookup")
            self.assertEqual((reply.code, reply.enhanced, reply.rule), (454, "4.7.0", "table-unavailable"))
            self.assertNotIn(KEY, reply.text)
        self.http.refuse = ConnectError()
        self.assertEqual(self.reply("scan1@lookup").code, 454)
        self.assertEqual(self.login("ann", "s3cret").rights, ANN.rights)
        self.assertEqual(self.login(LONG).name, LONG)
        self.http.refuse = None
        self.assertEqual(self.login("scan1@lookup").name, "scan1@lookup")
        self.http.refuse = ConnectError()
        self.joined.clock.advance(299)
        self.assertEqual(self.login("scan1@lookup").name, "scan1@lookup")

    def test_remembered(self) -> None:
        """A row is read again when it was remembered long enough; a missing one sooner."""
        self.login("scan1@lookup")
        self.put("scan1", from_email="other@example.com")
        self.assertEqual(self.login("scan1@lookup").rights.force_from, "scan@example.com")
        self.joined.clock.advance(300)
        self.assertEqual(self.login("scan1@lookup").rights.force_from, "other@example.com")
        self.reply("scan2@lookup")
        self.put("scan2")
        self.joined.clock.advance(ABSENT)
        self.assertEqual(self.login("scan2@lookup").login, LOGIN)

    def test_a_row_that_cannot_be_used(self) -> None:
        """A mistake in the table is temporary, and names the column."""
        for columns, wrong in (
            ({"tenant_id": "contoso.com"}, "tenant_id and client_id"),
            ({"client_id": 7}, "tenant_id and client_id"),
            ({"from_email": "scan"}, "from_email"),
            ({"from_email": "a@b.c\r\nx"}, "from_email"),
        ):
            self.put("wrong", **columns)
            reply = self.reply("wrong@lookup")
            self.assertEqual((reply.code, reply.rule), (454, "table-unavailable"))
            self.assertIn(wrong, reply.text)
            self.joined.clock.advance(300)

    def test_applications_are_anothers(self) -> None:
        """Unless rows are required, an application that logs in by its ids is not looked for."""
        self.assertEqual(self.login(LONG), Identity(name=LONG, login=LOGIN))
        self.assertEqual(self.tables.asked, [])
        self.use(self.table)
        self.failureResultOf(self.begin(LONG), UnknownUser)


class RequiredTests(TableCase):
    """The table is a list of those who may log in."""

    def setUp(self) -> None:
        super().setUp()
        self.table = evolve(self.table, required=True)
        self.use(self.table, EntraLogins(self.passwords, "@"))

    def test_row(self) -> None:
        """An application with a row logs in by its ids, and sends as the row says."""
        for name in (LONG, SHORT, LONG.upper()):
            found = self.login(name)
            self.assertEqual((found.name, found.rights.force_from), (LONG, "scan@example.com"))
        self.assertEqual(len(self.tables.asked), 1)

    def test_no_row(self) -> None:
        """One without is refused, whoever comes behind, and Entra is not asked."""
        self.fake.application(TENANT, TENANT).secrets[SECRET] = float("inf")
        self.assertEqual(self.reply(application_names(TENANT, TENANT, "@")[0]).rule, "table-row")
        self.assertEqual(self.fake.asked, [])

    def test_away(self) -> None:
        """Without the table nobody can be found in it."""
        self.http.refuse = ConnectError()
        self.assertEqual(self.reply(LONG).code, 454)
