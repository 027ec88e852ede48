"""
Keys that sign mail, by rows of an Azure table: one for each domain.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from smtprelay.azure.table_rows import TableSource
from smtprelay.azure.tables import Row
from smtprelay.http.client import NoAnswerError
from smtprelay.interfaces import DeferToThread, Events
from smtprelay.mime.dkim.headers import unfit_headers
from smtprelay.mime.dkim.signature import SignatureRule, signature_rule
from smtprelay.model.address import ascii_domain
from smtprelay.model.outcome import Deferred
from smtprelay.providers.signer import KeyTable, RuleKey, SigningFailed

_DNS_NAME: Final = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
#: Most rows that are shown to an operator.
SHOWN: Final = 10
_FORMS: Final = ("relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
_COLUMNS: Final = (
    *("dkim_selector", "dkim_private_key", "dkim_private_key_path"),
    *("dkim_canonicalization", "dkim_headers"),
)

TableKeySource = TableSource[Mapping[str, RuleKey]]


@define(eq=False)
class TableKeyReader:
    """
    Makes keys of rows. A row that has not changed is the same key as before.

    :param required: mail of a domain with a row waits while it cannot be signed.
    :param file_reader: returns what reads a key's file, each time anew; that raises ``ValueError``.
    """

    _required: bool
    _file_reader: Callable[[str], Callable[[], str]]
    _defer_to_thread: DeferToThread
    _events: Events
    _known: Mapping[str, tuple[tuple[str, ...], RuleKey]] = field(factory=dict, init=False, repr=False)

    async def keys(self, rows: Sequence[Row]) -> Mapping[str, RuleKey]:
        """Return the keys by their domains, and tell which cannot be used, and no longer cannot."""
        found: dict[str, tuple[tuple[str, ...], RuleKey]] = {}
        for row in rows:
            domain = ascii_domain(str(row["RowKey"]).strip())
            columns = tuple(str(row.get(name) or "").strip() for name in _COLUMNS)
            before = self._known.get(domain)
            same = before if before is not None and before[0] == columns else None
            found.setdefault(domain, same or (columns, self._new_key(domain, columns)))
        keys = {domain: key for domain, (_, key) in found.items()}
        troubles = await self._defer_to_thread(_troubles, keys)
        for domain, key in keys.items():
            if domain in self._known:
                key.trouble = self._known[domain][1].trouble
            key.tell(self._events, troubles[domain])
        self._known = found
        return keys

    def _new_key(self, domain: str, columns: tuple[str, ...]) -> RuleKey:
        selector, inline, path, form, headers = columns
        try:
            rule = _rule(domain, selector, form.lower(), headers)
            return RuleKey(rule, self._required, self._reader(inline, path))
        except ValueError as error:
            unnamed = SignatureRule(domain=domain, selector=selector or "-", names=())
            return RuleKey(unnamed, self._required, _raising(str(error)))

    def _reader(self, inline: str, path: str) -> Callable[[], str]:
        if path:
            if not path.startswith("/"):
                raise ValueError("dkim_private_key_path is not a whole path, which begins with /")
            return self._file_reader(path)
        if not inline:
            raise ValueError("the row has neither dkim_private_key nor dkim_private_key_path")
        # In one line, as tools write it into a table.
        text = inline.replace("\\r", "").replace("\\n", "\n")
        return lambda: text


@frozen
class AzureKeyTable(KeyTable):
    """
    The keys of the table as it was read last.

    :ivar required: whose mail waits while it cannot be signed: ``"none"``; that of domains with a row
        (``"rows"``), or of all while it is not known which these are; ``"all"``.
    """

    source: TableKeySource
    required: str

    @property
    def failing(self) -> Sequence[str]:
        """That the table cannot be read, and the first of the rows that cannot sign."""
        trouble = self.source.reader.trouble
        keys = (self.source.latest.known or {}).values()
        texts = [each.failing for each in keys if each.failing]
        more = [f"{len(texts) - SHOWN} more rows of dkim_table cannot sign"] if len(texts) > SHOWN else []
        return [*([f"dkim_table cannot be read: {trouble}"] if trouble else ()), *texts[:SHOWN], *more]

    async def key_for(self, domain: str) -> RuleKey | None:
        """Return the key of a domain; it waits for the first reading."""
        try:
            keys = await self.source.latest.current()
        except NoAnswerError as error:
            if self.required == "none":
                return None
            why = f"it is not known how to sign for {domain}: dkim_table was not read yet: {error}"
            raise SigningFailed(Deferred(why, ours=True)) from error
        found = keys.get(domain)
        if found is None and self.required == "all":
            why = f"it cannot be signed: dkim_table has no row for {domain or 'mail without a domain'}"
            raise SigningFailed(Deferred(why, ours=True))
        return found


def _rule(domain: str, selector: str, form: str, headers: str) -> SignatureRule:
    if not _DNS_NAME.fullmatch(domain):
        raise ValueError("the RowKey is no domain")
    if not selector:
        raise ValueError("the row has no dkim_selector")
    if not _DNS_NAME.fullmatch(ascii_domain(selector)):
        raise ValueError("dkim_selector is not the name of a key in DNS")
    if form and form not in _FORMS:
        raise ValueError(f"dkim_canonicalization is none of {', '.join(_FORMS)}")
    names = [name for each in headers.split(",") if (name := each.strip())] or None
    for _, why in unfit_headers(names):
        raise ValueError(f"dkim_headers: {why}")
    return signature_rule(domain, selector, form or _FORMS[0], names)


def _raising(why: str) -> Callable[[], str]:
    def read() -> str:
        raise ValueError(why)

    return read


def _troubles(keys: Mapping[str, RuleKey]) -> Mapping[str, str]:
    """Return why keys cannot sign, by their domains; on a thread."""
    return {domain: _trouble(key) for domain, key in keys.items()}


def _trouble(key: RuleKey) -> str:
    try:
        key.signing_key()
    except (ValueError, OSError) as error:
        return str(error)
    return ""
