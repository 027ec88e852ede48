"""
Settings of the checkers that a listener may ask besides the users of the configuration.
"""

from typing import Annotated, Literal

from attrs import evolve, frozen

from smtprelay.azure.token_request import TokenRequest
from smtprelay.model.units import shortened
from smtprelay.policy.checkers import entra_name
from smtprelay.settings import values
from smtprelay.settings.entra import CloudName, EntraSettings, login_request
from smtprelay.settings.provider import HttpClientSettings
from smtprelay.settings.secret import Secret


def parse_tenant_id(text: str) -> str:
    """A UUID, in lower case."""
    found = entra_name.parse_id(text)
    if not found:
        raise ValueError(f'"{shortened(text)}" is not the id of a tenant: expected a UUID')
    return found


TenantId = Annotated[str, values.Notation(parse_tenant_id, "UUID")]


@frozen(kw_only=True)
class AnyChecker:
    """
    Accepts every user name and password, from clients in ``allow_from`` only.

    For devices that insist on a login where none is needed.

    :ivar type: the kind of checker.
    """

    type: Literal["any"]


@frozen(kw_only=True)
class EntraChecker(HttpClientSettings):
    """
    Accepts applications of Microsoft Entra: the user name is ``TENANT@CLIENT``, the password the secret.

    Both are UUIDs, or their 16 octets in base64url; ``smtprelay entra-username`` prints both forms.

    :ivar type: the kind of checker.
    :ivar tenants: ids of the tenants whose applications may log in: anybody can have a tenant of his own.
        Default: any, for listeners with ``allow_recipients``, or if the login itself sends the mail.
        Example: ``[99999999-8888-7777-6666-555555555555]``.
    :ivar delimiter: what stands between tenant and client: ``@``, ``:`` or ``|``.
    :ivar cloud: Microsoft's cloud: ``global``, ``usgov`` (GCC High), ``dod`` or ``china``.
        Example: ``usgov``.
    :ivar authority: URL of Entra; ``http://`` only on loopback. Default: that of ``cloud``.
        Example: ``https://login.microsoftonline.us``.
    """

    type: Literal["entra"]
    tenants: tuple[TenantId, ...] = ()
    delimiter: Literal["@", ":", "|"] = "@"
    cloud: CloudName = "global"
    authority: values.Url | None = None

    @property
    def token_request(self) -> TokenRequest:
        """How the token of a login is asked for."""
        return login_request(self.cloud, self.authority, self.outbound, self.timeout)


@frozen(kw_only=True)
class AzureTableChecker(EntraSettings, HttpClientSettings):
    """
    Accepts ``NAME@lookup``: a row of an Azure table has the application of Entra, and as whom it sends.

    The password is the application's secret. Without ``key`` and ``sas`` the table is read as the application
    of these settings, or as the identity that Azure gave this machine.

    :ivar type: the kind of checker.
    :ivar url: URL of the table. Example: ``https://contoso.table.core.windows.net/logins``.
    :ivar partition: the PartitionKey of the rows.
    :ivar key: a key of the storage account. Example: ``{file: /run/secrets/table_key}``.
    :ivar sas: a shared access signature (``sv=…&sig=…``). Example: ``{file: /run/secrets/table_sas}``.
    :ivar delimiter: what stands before ``lookup``, and between tenant and client: ``@``, ``:`` or ``|``.
    :ivar required: applications that log in by their ids need a row, too.
    :ivar require_at_start: do not start while the table cannot be read.
    :ivar cache: how long a row is remembered.
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

    type: Literal["azure_table"]
    url: values.Url
    partition: values.Text = "user"
    key: Secret | None = None
    sas: Secret | None = None
    delimiter: Literal["@", ":", "|"] = "@"
    required: values.Flag = False
    require_at_start: values.Flag = False
    cache: values.Duration = 300.0
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
    def token_request(self) -> TokenRequest:
        """How the token of a login is asked for."""
        return login_request(self.cloud, self.authority, self.outbound, self.timeout)


Checker = AnyChecker | EntraChecker | AzureTableChecker
