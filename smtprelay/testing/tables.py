"""
A fake of Azure Table Storage that is read: rows by their keys, or by a filter, page by page.

It takes account keys (``SharedKey`` and ``SharedKeyLite``), signatures that it was told of, and tokens of
Entra. ``azure-data-tables`` reads from it, unchanged.
"""

import base64
import hmac
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from attrs import frozen
from twisted.web.resource import Resource
from twisted.web.server import Request

_TARGET: Final = re.compile(r"(?:/(?P<account>[a-z0-9]+))?/(?P<table>\w+)(?:\((?P<keys>.*)\))?")
_KEYS: Final = re.compile(r"PartitionKey='((?:[^']|'')*)',RowKey='((?:[^']|'')*)'")
_TERM: Final = re.compile(r"\(?(\w+) eq '((?:[^']|'')*)'\)?(?: and |$)")


@frozen
class TableRefuses(Exception):  # noqa: N818 -- what it does
    """Answer so; ``xml``: as the service does where a login fails."""

    status: int
    code: str
    text: str = "as scripted"
    xml: bool = False


class FakeTables(Resource):
    """
    The tables of one account.

    :param account: its name; the path of a URL may begin with it, as that of the emulator does.
    :param key: in base64.
    :param takes: tells whether a token of Entra is valid.
    :ivar tables: by name: the rows, by partition and key.
    :ivar signatures: the texts that are taken (``sv=…&sig=…``).
    :ivar page: most rows of one answer.
    :ivar asked: the path and query of each request, without a signature.
    """

    isLeaf = True

    def __init__(self, account: str, key: str, takes: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__()
        self.tables: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
        self.signatures: set[str] = set()
        self.page = 1000
        self.asked: list[str] = []
        self._account = account
        self._key = base64.b64decode(key)
        self._takes = takes
        self._script: deque[TableRefuses] = deque()

    def script(self, *acts: TableRefuses) -> None:
        """Answer the next requests so."""
        self._script.extend(acts)

    def put(self, table: str, partition: str, key: str, **columns: Any) -> None:
        """Have a row."""
        row = {"PartitionKey": partition, "RowKey": key, **columns, "Timestamp": "2026-11-20T09:20:46.5Z"}
        self.tables.setdefault(table, {})[partition, key] = row

    def render(self, request: Request) -> bytes:
        """Answer one request."""
        request.setHeader("Content-Type", "application/json;odata=minimalmetadata;charset=utf-8")
        try:
            return json.dumps(self._answer(request)).encode()
        except TableRefuses as refusal:
            request.setResponseCode(refusal.status)
            request.setHeader("x-ms-error-code", refusal.code)
            text = f"{refusal.text}\nRequestId:1\nTime:2026-11-20T09:20:46.5Z"
            if refusal.xml:
                request.setHeader("Content-Type", "application/xml")
                return f"<Error><Code>{refusal.code}</Code><Message>{text}</Message></Error>".encode()
            message = {"lang": "en-US", "value": text}
            return json.dumps({"odata.error": {"code": refusal.code, "message": message}}).encode()

    def _answer(self, request: Request) -> Mapping[str, Any]:
        target = urlsplit(request.uri.decode("ascii"))
        options = dict(_options(target.query))
        self._check_login(request, target.path, target.query)
        self.asked.append(unquote(request.uri.decode("ascii").partition("&sv=")[0].partition("?sv=")[0]))
        if self._script:
            raise self._script.popleft()
        found = _TARGET.fullmatch(unquote(target.path))
        table = self.tables.get(found["table"]) if found else None
        if found is None or table is None or found["account"] not in {None, self._account}:
            raise TableRefuses(404, "TableNotFound", "The table specified does not exist.")
        if keys := _KEYS.fullmatch(found["keys"] or ""):
            row = table.get((_plain(keys[1]), _plain(keys[2])))
            if row is None:
                raise TableRefuses(404, "ResourceNotFound", "The specified resource does not exist.")
            request.setHeader("etag", "W/\"datetime'2026'\"")
            return {"odata.metadata": "m", "odata.etag": "W/\"datetime'2026'\"", **row}
        return {"odata.metadata": "m", "value": list(self._page(request, table, options))}

    def _page(
        self, request: Request, table: Mapping[tuple[str, str], Mapping[str, Any]], options: Mapping[str, str]
    ) -> Iterator[Mapping[str, Any]]:
        """Give the rows of the next page, and tell where that after it begins."""
        wanted = _conditions(options.get("$filter", ""))
        begin = (options.get("NextPartitionKey", ""), options.get("NextRowKey", ""))
        most = min(int(options.get("$top", self.page)), self.page)
        for keys in sorted(table):
            row = table[keys]
            if keys < begin or any(row.get(column) != value for column, value in wanted):
                continue
            if not most:
                request.setHeader("x-ms-continuation-NextPartitionKey", keys[0])
                request.setHeader("x-ms-continuation-NextRowKey", keys[1])
                return
            most -= 1
            yield row

    def _check_login(self, request: Request, path: str, query: str) -> None:
        scheme, _, given = (request.getHeader("Authorization") or "").partition(" ")
        date = request.getHeader("x-ms-date") or ""
        resource = f"/{self._account}{path}"
        media = request.getHeader("Content-Type") or ""
        signed = {
            "SharedKeyLite": f"{date}\n{resource}",
            "SharedKey": f"{request.method.decode()}\n\n{media}\n{date}\n{resource}",
        }
        if scheme in signed:
            right = base64.b64encode(hmac.digest(self._key, signed[scheme].encode(), "sha256")).decode()
            taken = given == f"{self._account}:{right}"
        elif scheme == "Bearer":
            taken = self._takes(given)
        else:
            taken = any(text in query for text in self.signatures)
        if not taken:
            text = "Server failed to authenticate the request."
            raise TableRefuses(403, "AuthenticationFailed", text, xml=True)


def _options(query: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        yield unquote(name), unquote(value)


def _plain(literal: str) -> str:
    return literal.replace("''", "'")


def _conditions(text: str) -> list[tuple[str, str]]:
    """Return columns and values; only those that are equal, and all of them, are understood."""
    found, at = [], 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None:
            raise TableRefuses(400, "InvalidInput", f"not understood: {text[at:]}")
        found.append((term[1], _plain(term[2])))
        at = term.end()
    return found
