"""
The settings of a table of Azure Table Storage, or of Cosmos DB's API for tables, whose rows are read ahead.
"""

from collections.abc import Hashable, Iterator
from typing import Literal
from urllib.parse import urlsplit

from attrs import evolve, frozen

from smtprelay.model.network import is_plain_remote
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path, loopback_only
from smtprelay.settings.entra import EntraSettings, check_entra, check_identity_library
from smtprelay.settings.provider import HttpClientSettings
from smtprelay.settings.secret import Secret


@frozen(kw_only=True)
class AzureTableSettings(HttpClientSettings, EntraSettings):
    """
    A table, and who reads it: whoever has ``key`` or ``sas``, else an application of Entra, else the identity
    that Azure gave this machine.

    :ivar url: URL of the table. Example: ``https://contoso.table.core.windows.net/relay``.
    :ivar partition: the PartitionKey of the rows.
    :ivar key: a key of the storage account. Example: ``{file: /run/secrets/table_key}``.
    :ivar sas: a shared access signature (``sv=…&sig=…``). Example: ``{file: /run/secrets/table_sas}``.
    :ivar refresh: how often the rows are read again.
    :ivar tenant: id or domain of the tenant of the application that reads the table. Default: with
        ``workload`` that of ``AZURE_TENANT_ID``. Example: ``contoso.com``.
    :ivar client_id: id of that application. Default: with ``managed_identity`` the identity that the system
        assigned, with ``workload`` that of ``AZURE_CLIENT_ID``.
        Example: ``11111111-2222-3333-4444-555555555555``.
    :ivar credential: how the relay shows Entra who reads the table: ``application`` with ``client_secret``,
        ``certificate``, ``managed_identity`` of the machine in Azure, or ``workload`` in Kubernetes. All but
        the first need azure-identity: ``pip install smtprelay[azure]``. Default: ``application`` with
        ``client_secret``, else ``managed_identity``. Example: ``workload``.
    """

    url: values.Url
    partition: values.Text
    key: Secret | None = None
    sas: Secret | None = None
    refresh: values.TimeLimit = 300.0
    tenant: values.Name | None = None
    client_id: values.Name | None = None
    credential: Literal["application", "certificate", "managed_identity", "workload"] | None = None

    @property
    def reader(self) -> EntraSettings | None:
        """Whose token reads the table; ``None``: ``key`` or ``sas`` does."""
        if self.key is not None or self.sas is not None:
            return None
        return self if self.credential or self.client_secret else evolve(self, credential="managed_identity")

    @property
    def same_as(self) -> Hashable:
        """What is equal if the same rows are read in the same way."""
        given = [each for each in (self.key, self.sas) if each is not None]
        # All that stand in the configuration or its variables have the same place.
        inline = tuple(each.text() for each in given if " " not in each.place)
        return type(self), self, inline, self.application


def check_table_url(url: str, path: Path) -> Iterator[Complaint]:
    """The URL names a table, and nothing else."""
    if is_plain_remote(url):
        yield loopback_only(path)
    if "?" in url:
        text = "expected the URL of the table alone: a signature has a setting of its own, sas"
        yield Complaint(path, text, "CFG-VALUE")
    elif not urlsplit(url).path.strip("/"):
        text = "the name of the table is missing: expected https://ACCOUNT.table.core.windows.net/TABLE"
        yield Complaint(path, text, "CFG-VALUE")


def check_table(settings: AzureTableSettings, path: Path) -> Iterator[Complaint]:
    """It is clear where the table is and who reads it, and nobody on the network does."""
    yield from check_table_url(settings.url, (*path, "url"))
    if settings.key is not None and settings.sas is not None:
        yield Complaint((*path, "sas"), "sas is not used: there is key", "CFG-VALUE", "warning")
    if settings.reader is not None:
        yield from check_entra(settings.reader, path)


def check_table_library(settings: AzureTableSettings, path: Path) -> Iterator[Complaint]:
    """The library for all but secrets is there."""
    if settings.reader is not None:
        yield from check_identity_library(settings.reader, path)
