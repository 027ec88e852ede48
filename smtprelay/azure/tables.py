"""
Reads rows of one table of Azure Table Storage, or of Cosmos DB's API for tables.

Whoever reads says which rows by the values of columns; what a client of ours wrote can be among these, for
every value is escaped. A table that is away is told from a row that is not there.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import quote, urlsplit

from attrs import field, frozen

from smtprelay.http.client import Http, OutcomeError, Response, request_once
from smtprelay.http.credentials import CredentialSource, call_with
from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, json_object, retry_after
from smtprelay.model.network import is_loopback

#: The oldest that takes tokens of Entra.
_VERSION: Final = "2020-12-06"
_OK: Final = 200
_NOT_FOUND: Final = 404
_REFUSED: Final = (401, 403)
_JSON: Final = "application/json;odata=nometadata"
#: Rows of one answer: small enough for :data:`smtprelay.http.client.MAX_ANSWER`.
_PAGE: Final = 200
_CONTINUED: Final = ("NextPartitionKey", "NextRowKey")
_COLUMN: Final = re.compile(r"[A-Za-z_]\w{0,254}")
#: What a key cannot have, so that no row has it.
_NO_KEY: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_XML_CODE: Final = re.compile(rb"<(?:m:)?code>\s*(\w+)", re.IGNORECASE)
_XML_TEXT: Final = re.compile(rb"<(?:m:)?message[^>]*>([^<]*)", re.IGNORECASE)

_ERRORS: Final = ErrorTable(
    meanings={
        **HTTP,
        400: Classification.BLOCKED,
        404: Classification.BLOCKED,
        # Nothing was asked for but to read.
        502: Classification.DEFERRED,
        504: Classification.DEFERRED,
        "OperationTimedOut": Classification.DEFERRED,
        "ServerBusy": Classification.THROTTLED,
    },
    advice={
        401: "check the key, the signature or the token for the table",
        403: "check the key, the signature, or the role Storage Table Data Reader, and this machine's clock",
        "TableNotFound": "there is no such table: check the URL",
    },
)

Row = Mapping[str, Any]


class TableError(OutcomeError):
    """The table cannot be read; :attr:`outcome` says whether an operator must mend it."""


@frozen
class AccountKey:
    """A key of the storage account, in base64; :meth:`authorize` raises ``ValueError`` if it is none."""

    key: str = field(repr=False)

    def authorize(self, url: str, date: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL and the headers of a request that is signed (SharedKeyLite)."""
        parts = urlsplit(url)
        account = account_of(url)
        signed = hmac.digest(
            base64.b64decode(self.key, validate=True), f"{date}\n/{account}{parts.path}".encode(), "sha256"
        )
        return url, {"Authorization": f"SharedKeyLite {account}:{base64.b64encode(signed).decode()}"}


@frozen
class SharedAccessSignature:
    """A signature as the portal gives it: ``sv=…&sig=…``."""

    text: str = field(repr=False)

    def authorize(self, url: str, date: str) -> tuple[str, Mapping[str, str]]:  # noqa: ARG002 -- as the others
        """Return the URL with the signature."""
        return f"{url}{'&' if '?' in url else '?'}{self.text.strip().lstrip('?')}", {}


@frozen
class TableToken:
    """A token of Entra."""

    token: str = field(repr=False)

    def authorize(self, url: str, date: str) -> tuple[str, Mapping[str, str]]:  # noqa: ARG002 -- as the others
        """Return the header with the token."""
        return url, {"Authorization": f"Bearer {self.token}"}


TableCredential = AccountKey | SharedAccessSignature | TableToken


def account_of(url: str) -> str:
    """Return the storage account of a table's URL: the host's first part, or, on this machine, the path's."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.path.split("/")[1] if is_loopback(host) else host.partition(".")[0]


def row_filter(values: Mapping[str, str]) -> str:
    """
    Return the filter (OData) of the rows whose columns have these values.

    :raises ValueError: a name is no column's.
    """
    for column in values:
        if not _COLUMN.fullmatch(column):
            raise ValueError(f"{column}: not the name of a column")
    return " and ".join(f"{column} eq {_literal(value)}" for column, value in values.items())


class AzureTable:
    """
    One table.

    :ivar url: of the table, ``https://ACCOUNT.table.core.windows.net/TABLE``.
    :param credentials: what opens it; after a refusal it is asked again.
    :param open_http: makes the client of one request.
    :param seconds: gives the time, since the epoch.
    """

    def __init__(
        self,
        url: str,
        credentials: CredentialSource[TableCredential],
        open_http: Callable[[], Http],
        seconds: Callable[[], float],
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials
        self._open_http = open_http
        self._seconds = seconds

    async def row(self, partition: str, key: str) -> Row | None:
        """
        Return a row by its keys; ``None``: there is none.

        :raises NoAnswerError: it cannot be said.
        """
        if _NO_KEY.search(partition + key):
            return None
        keys = f"PartitionKey={_encoded(_literal(partition))},RowKey={_encoded(_literal(key))}"
        answer = await self._ask(f"{self.url}({keys})")
        if answer.status == _NOT_FOUND and _refusal(answer)[0] != "TableNotFound":
            return None
        return json_object(self._taken(answer).body)

    async def rows(self, values: Mapping[str, str], *, most: int = 1000) -> list[Row]:
        """
        Return the rows whose columns have these values, in the order of their keys.

        :param most: with more rows than that the table is not what we think it is.
        :raises NoAnswerError: they cannot be read, or there are more.
        """
        asked = {"$filter": row_filter(values)} if values else {}
        found: list[Row] = []
        following: Mapping[str, str] = {}
        while True:
            options = {**asked, "$top": str(_PAGE), **following}
            query = "&".join(f"{name}={_encoded(value)}" for name, value in options.items())
            answer = self._taken(await self._ask(f"{self.url}()?{query}"))
            page = json_object(answer.body).get("value")
            if not isinstance(page, list) or not all(isinstance(each, dict) for each in page):
                raise TableError(_ERRORS.outcome(_OK, "", f"{self.url}: the answer is not that of a table"))
            found += page
            headers = {name: answer.header(f"x-ms-continuation-{name}") for name in _CONTINUED}
            following = {name: value for name, value in headers.items() if value}
            if len(found) > most:
                raise TableError(_ERRORS.outcome(_OK, "", f"{self.url}: more than {most} rows"))
            if not following:
                return found

    async def _ask(self, url: str) -> Response:
        """Return the answer; after a refusal to other credentials, if there are any."""
        return await call_with(
            self._credentials,
            lambda credential: self._request(credential, url),
            lambda answer: answer.status in _REFUSED,
        )

    async def _request(self, credential: TableCredential, url: str) -> Response:
        date = formatdate(self._seconds(), usegmt=True)
        target, authorization = credential.authorize(url, date)
        headers = {"Accept": _JSON, "x-ms-version": _VERSION, "x-ms-date": date, **authorization}
        return await request_once(self._open_http, "GET", target, headers)

    def _taken(self, answer: Response) -> Response:
        if answer.status == _OK and answer.complete:
            return answer
        code, message = _refusal(answer)
        wait = retry_after(answer.header("Retry-After"), self._seconds())
        raise TableError(_ERRORS.outcome(answer.status, code, f"{self.url}: {message}", retry_after=wait))


def _literal(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _refusal(answer: Response) -> tuple[str, str]:
    """Return code and words of a refusal, which is JSON or XML."""
    error = json_object(answer.body).get("odata.error")
    if isinstance(error, dict):
        message = error.get("message")
        text = str(message.get("value", "")) if isinstance(message, dict) else ""
        return str(error.get("code", "")), text.partition("\n")[0]
    code, words = _XML_CODE.search(answer.body), _XML_TEXT.search(answer.body)
    found = code[1].decode("ascii", "replace") if code else answer.header("x-ms-error-code")
    return found, words[1].decode("utf-8", "replace").partition("\n")[0] if words else ""
