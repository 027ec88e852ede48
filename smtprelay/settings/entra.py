"""
The settings of an application of Microsoft Entra, for whatever has one, and what must be right about them.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final, Literal

from attrs import evolve, frozen

from smtprelay.azure.application import BY_IDENTITY, EntraApplication
from smtprelay.azure.clouds import CLOUDS, scope
from smtprelay.azure.token_request import TokenRequest
from smtprelay.model.network import is_plain_remote
from smtprelay.net.outbound import Outbound
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path, loopback_only
from smtprelay.settings.provider import HttpClientSettings, HttpProviderSettings
from smtprelay.settings.secret import Secret

_URL: Final = re.compile(
    r"(?P<vault>https?://[^/?#@\s]+)/(secrets|certificates)/(?P<name>[0-9A-Za-z-]{1,127}(/[0-9a-f]{32})?)/?"
)

#: The value of ``credential`` that a setting is for.
_USED_WITH: Final = {
    "client_secret": "application",
    "certificate": "certificate",
    "certificate_password": "certificate",
}
_TENANT: Final = re.compile("[a-z0-9][a-z0-9.-]*", re.IGNORECASE)

CloudName = Literal["global", "usgov", "dod", "china"]

#: The settings by which an application of Entra shows who it is.
ENTRA_KEYS: Final = (
    *("tenant", "client_id", "client_secret"),
    *("credential", "certificate", "certificate_password"),
)


@frozen(kw_only=True, slots=False)
class EntraSettings:
    """
    Settings of an application of Microsoft Entra.

    :ivar tenant: id or domain of the tenant of Microsoft Entra. Default: with ``workload`` that of
        ``AZURE_TENANT_ID``. Example: ``contoso.com``.
    :ivar client_id: id of the application. Default: with ``managed_identity`` the identity that the system
        assigned, with ``workload`` that of ``AZURE_CLIENT_ID``.
        Example: ``11111111-2222-3333-4444-555555555555``.
    :ivar client_secret: value of the application's secret (not its id).
        Example: ``{file: /run/secrets/entra, expires: 2027-01-31}``.
    :ivar credential: how the relay shows Entra who it is: ``application`` with ``client_secret``,
        ``certificate``, ``managed_identity`` of the machine in Azure, or ``workload`` in Kubernetes. All but
        the first need azure-identity: ``pip install smtprelay[azure]``. Default: ``application``.
        Example: ``managed_identity``.
    :ivar certificate: file with the certificate of the application and its RSA key, PEM or PKCS#12, for
        ``credential: certificate``. Example: ``application.pem``.
    :ivar certificate_password: the password of that file, if it has one.
        Example: ``{file: /run/secrets/certificate_password}``.
    :ivar cloud: Microsoft's cloud: ``global``, ``usgov`` (GCC High), ``dod`` or ``china``.
        Example: ``usgov``.
    :ivar authority: URL of Entra; ``http://`` only on loopback. Default: that of ``cloud``.
        Example: ``https://login.microsoftonline.us``.
    """

    tenant: values.Name | None = None
    client_id: values.Name | None = None
    client_secret: Secret | None = None
    credential: Literal["application", "certificate", "managed_identity", "workload"] | None = None
    certificate: values.FilePath | None = None
    certificate_password: Secret | None = None
    cloud: CloudName = "global"
    authority: values.Url | None = None

    @property
    def application(self) -> EntraApplication:
        """The application that tokens are asked for."""
        secret = self.client_secret or self.certificate_password
        place = "" if secret is None else secret.place
        return EntraApplication(
            credential=self.credential or "application",
            tenant=self.tenant or "",
            client_id=self.client_id or "",
            authority=(self.authority or CLOUDS[self.cloud].authority).rstrip("/"),
            certificate=self.certificate or "",
            # All that stand in the configuration or its variables have the same place.
            secret_place=place if secret is None or " " in place else secret.text(),
            read_secret=None if secret is None else secret.reveal,
        )


@frozen(kw_only=True)
class EntraProviderSettings(EntraSettings, HttpProviderSettings):
    """
    Settings of all providers that Microsoft Entra gives tokens for.
    """


@frozen(kw_only=True)
class KeyVaultSettings(HttpClientSettings, EntraSettings):
    """
    As whom Azure Key Vault is asked.

    :ivar refresh: how often secrets and certificates are read again.
    """

    refresh: values.TimeLimit = 900.0


#: As whom it is asked without the section ``key_vault``.
MACHINE: Final = KeyVaultSettings(credential="managed_identity")


def login_request(
    cloud: CloudName, authority: str | None, outbound: Outbound, timeout: float
) -> TokenRequest:
    """Return how the token of a client's login is asked for: it is for Graph, where its mail goes."""
    return TokenRequest(
        authority=(authority or CLOUDS[cloud].authority).rstrip("/"),
        scope=scope(CLOUDS[cloud].graph),
        outbound=evolve(outbound, client_certificate=None),
        timeout=timeout,
    )


def parse_secret_url(text: str) -> str:
    """
    Return where a secret is read, from its URL or that of a certificate.

    :raises ValueError: it is neither, or sends the secret in clear text over a network.
    """
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("expected https://NAME.vault.azure.net/secrets/NAME, or …/certificates/NAME")
    if is_plain_remote(text):
        raise ValueError("http:// is for loopback only: use https://")
    return f"{found['vault']}/secrets/{found['name']}"


def check_entra(settings: EntraSettings, path: Path) -> Iterator[Complaint]:
    """What an application needs to get a token is there."""
    credential = settings.credential or "application"
    needed = {
        "application": ("tenant", "client_id", "client_secret"),
        "certificate": ("tenant", "client_id", "certificate"),
    }.get(credential, ())
    missing = [key for key in needed if getattr(settings, key) is None]
    if missing:
        text = f"credential: {credential} needs {', '.join(needed)}: {' and '.join(missing)} missing"
        yield Complaint(path, text, "CFG-MISSING")
    if settings.tenant is not None and not _TENANT.fullmatch(settings.tenant):
        yield Complaint((*path, "tenant"), "expected the id or a domain of the tenant", "CFG-VALUE")
    for key, wanted in _USED_WITH.items():
        if credential != wanted and getattr(settings, key) is not None:
            text = f"{key} is not used with credential: {credential}"
            yield Complaint((*path, key), text, "CFG-VALUE", "warning")
    if settings.authority is not None:
        yield from check_authority(settings.authority, credential, (*path, "authority"))


def check_authority(authority: str, credential: str, path: Path) -> Iterator[Complaint]:
    """Entra is asked where nobody on the network reads it."""
    if is_plain_remote(authority):
        yield loopback_only(path)
    elif not authority.startswith("https://") and credential in BY_IDENTITY:
        yield Complaint(path, f"credential: {credential} needs https://", "CFG-VALUE")


def check_identity_library(settings: EntraSettings, path: Path) -> Iterator[Complaint]:
    """The library for all but secrets is there."""
    # Of a package whose parent is missing nothing can be found.
    is_there = find_spec("azure") is not None and find_spec("azure.identity") is not None
    if settings.credential in BY_IDENTITY and not is_there:
        text = f"credential: {settings.credential} needs azure-identity: pip install smtprelay[azure]"
        yield Complaint((*path, "credential"), text, "CFG-VALUE")
