"""
Builds what reads the tables of a configuration; nothing is asked yet.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from smtprelay.azure.clouds import COSMOS, STORAGE, scope
from smtprelay.azure.tables import AccountKey, AzureTable, SharedAccessSignature, TableCredential, TableToken
from smtprelay.config.checkers import AzureTableChecker
from smtprelay.config.model import Config
from smtprelay.http.client import NoAnswerError
from smtprelay.http.credentials import CredentialSource, MappedSource, StoredCredentials
from smtprelay.policy.checkers.azure_table import LoginRows
from smtprelay.providers.context import ProviderContext
from smtprelay.service.errors import UNAVAILABLE, StartFailed

_COSMOS_HOST: Final = ".cosmos.azure."


@frozen
class LoginTables:
    """
    The tables of the checkers, by the names of these.

    :ivar required: without which of them the relay must not start.
    """

    rows: Mapping[str, LoginRows]
    required: frozenset[str]

    async def check_required(self) -> None:
        """Raise :class:`StartFailed` if one cannot be read that is required."""
        for name in sorted(self.required):
            try:
                await self.rows[name].check()
            except NoAnswerError as error:
                raise StartFailed(f"checker {name}: {error}", UNAVAILABLE) from error


def build_tables(config: Config, context: ProviderContext) -> LoginTables:
    """Return the tables of the checkers that a listener asks."""
    asked = {name for listener in config.listeners for name in listener.auth.checkers or ()}
    tables = {
        name: checker
        for name, checker in config.checkers.items()
        if name in asked and isinstance(checker, AzureTableChecker)
    }
    rows = {name: _rows(name, checker, context) for name, checker in tables.items()}
    required = frozenset(name for name, checker in tables.items() if checker.require_at_start)
    return LoginTables(rows, required)


def _rows(name: str, checker: AzureTableChecker, context: ProviderContext) -> LoginRows:
    credentials = _credentials(f"checkers.{name}", checker, context)
    outbound, reactor = checker.outbound, context.reactor

    def open_http() -> Any:
        return context.open_http(reactor, concurrency=1, timeout=checker.timeout, outbound=outbound)

    table = AzureTable(checker.url, credentials, open_http, reactor.seconds)
    return LoginRows(table, checker.partition, reactor.seconds, checker.cache)


def _credentials(
    name: str, checker: AzureTableChecker, context: ProviderContext
) -> CredentialSource[TableCredential]:
    """Return what opens a table: what is given, or tokens."""
    key, sas, reader = checker.key, checker.sas, checker.reader
    if key is not None:
        return StoredCredentials(lambda: _account_key(key.reveal()), context.defer_to_thread)
    if sas is not None:
        return StoredCredentials(lambda: SharedAccessSignature(sas.reveal()), context.defer_to_thread)
    assert reader is not None
    service = scope(COSMOS if _COSMOS_HOST in checker.url else STORAGE)
    tokens = context.token_source(name, reader.application, service, checker.outbound, checker.timeout)
    return MappedSource(tokens, TableToken)


def _account_key(text: str) -> AccountKey:
    """Return a key of the storage account; raises ``ValueError`` if it is none."""
    try:
        base64.b64decode(text.strip(), validate=True)
    except ValueError:
        raise ValueError("the key of the storage account is no base64") from None
    return AccountKey(text.strip())
