"""
The checker ``azure_table``: logins by rows of an Azure table, which say as which application, and as whom.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtprelay.azure.tables import AzureTable, Row
from smtprelay.http.client import NoAnswerError
from smtprelay.model.address import is_mailbox
from smtprelay.model.message import Refused, Reply
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.checkers.entra import REPEATED, EntraPasswords
from smtprelay.policy.checkers.entra_name import lookup_name, parse_application, parse_id, parse_lookup
from smtprelay.policy.settings import Identity, Rights

#: Maximum number of rows that are remembered.
REMEMBERED: Final = 10_000
#: Seconds at most for which it is remembered that there is no row.
ABSENT: Final = 30.0
#: The text is that of a wrong password: no client learns which rows there are.
_NO_ROW: Final = Reply(
    code=535, enhanced="5.7.8", text="Authentication credentials invalid", rule="table-row"
)


class LoginRows:
    """
    The rows of one partition, each remembered for a while.

    :param seconds: gives the time.
    :param cache: seconds for which a row is remembered.
    """

    def __init__(self, table: AzureTable, partition: str, seconds: Callable[[], float], cache: float) -> None:
        self._table = table
        self._partition = partition
        self._seconds = seconds
        self._cache = cache
        self._known: OrderedDict[tuple[str, ...], tuple[float, Row | None]] = OrderedDict()

    async def check(self) -> None:
        """Raise :class:`NoAnswerError` if the table cannot be read."""
        await self._table.row(self._partition, "smtprelay")

    async def by_name(self, name: str) -> Row | None:
        """Return the row of this name; raises :class:`NoAnswerError` if it cannot be said."""
        return await self._remembered((name,), lambda: self._table.row(self._partition, name))

    async def by_application(self, tenant: str, client_id: str) -> Row | None:
        """Return the first row of an application, by its ids in lower case; raises as :meth:`by_name`."""

        async def first() -> Row | None:
            values = {"PartitionKey": self._partition, "tenant_id": tenant, "client_id": client_id}
            return next(iter(await self._table.rows(values)), None)

        return await self._remembered((tenant, client_id), first)

    async def _remembered(
        self, key: tuple[str, ...], read: Callable[[], Awaitable[Row | None]]
    ) -> Row | None:
        until, row = self._known.get(key, (float("-inf"), None))
        if self._seconds() < until:
            return row
        row = await read()
        life = self._cache if row is not None else min(ABSENT, self._cache)
        self._known[key] = (self._seconds() + life, row)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return row


@implementer(ICredentialsChecker)
@frozen
class TableLogins:
    """
    Takes ``NAME@lookup``: the row ``NAME`` names the application whose secret the password is.

    :ivar delimiter: what stands before ``lookup``, and between tenant and client id.
    :ivar required: names of applications themselves are its own, too, and need a row.
    """

    rows: LoginRows
    passwords: EntraPasswords
    delimiter: str
    required: bool = False
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        Fire with an :class:`Identity`, which sends as ``from_email`` of its row if there is one.

        Fails with :exc:`UnknownUser` for another kind of name, with :class:`Refused` if there is no row or
        that cannot be said, and as :meth:`EntraPasswords.authenticate`.
        """
        return Deferred.fromCoroutine(self._authenticate(credentials.username, credentials.password))

    async def _authenticate(self, username: bytes, password: bytes) -> Identity:
        name = username.decode("utf-8", "replace")
        key = parse_lookup(name, self.delimiter)
        ids = parse_application(name, self.delimiter) if self.required else None
        if key is not None:
            row, called = await self._row(self.rows.by_name(key)), lookup_name(key, self.delimiter)
        elif ids is not None:
            row, called = await self._row(self.rows.by_application(*ids)), self.delimiter.join(ids)
        else:
            raise UnknownUser
        tenant, client_id = (parse_id(str(row.get(column, ""))) for column in ("tenant_id", "client_id"))
        sender = str(row.get("from_email") or "").strip()
        if not tenant or not client_id or (sender and not is_mailbox(sender)):
            wrong = "from_email" if tenant and client_id else "tenant_id and client_id"
            raise _unavailable(f"{called}: the row of the table has no usable {wrong}")
        login = await self.passwords.authenticate(tenant, client_id, password)
        return Identity(name=called, rights=Rights(force_from=sender), login=login)

    async def _row(self, asking: Awaitable[Row | None]) -> Row:
        try:
            row = await asking
        except NoAnswerError as error:
            raise _unavailable(f"the table of logins cannot be read: {error}") from error
        if row is None:
            raise Refused(_NO_ROW)
        return row


def _unavailable(why: str) -> Refused:
    text = f"This login cannot be checked now: {why[:REPEATED]}"
    return Refused(Reply(code=454, enhanced="4.7.0", text=text, rule="table-unavailable"))
