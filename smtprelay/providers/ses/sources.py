"""
Where the credentials come from, as the configuration says; the services behind that are imported when asked.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from smtprelay.http.renewed import Credential, CredentialService
from smtprelay.net.outbound import DIRECT, Outbound

if TYPE_CHECKING:
    from smtprelay.providers.ses.credentials import AwsAccess
    from smtprelay.providers.ses.vault import Vault


@frozen(kw_only=True)
class AwsSource:
    """
    What the configuration says; what is ``""`` is looked up by botocore.

    :ivar service: botocore's name of the API: ``ses`` or ``sesv2``.
    :ivar role: ARN of the role to send as.
    :ivar outbound: how the requests for credentials leave.
    """

    region: str = ""
    endpoint: str = ""
    service: str = "sesv2"
    role: str = ""
    external_id: str = ""
    session_name: str = ""
    outbound: Outbound = DIRECT


@frozen(kw_only=True)
class VaultServer:
    """
    Where Vault is, and how it is reached.

    :ivar ca: a file or folder of authorities to trust; ``""``: those that requests brings along.
    :ivar certificate: the files of the client's certificate and key, if there is one.
    :ivar proxies: as requests takes them.
    :ivar proxy: host and port of that proxy, for people; ``""``: there is none.
    :ivar timeout: seconds for each step of a request.
    """

    address: str = field(repr=False)
    namespace: str = ""
    proxies: Mapping[str, str] = field(factory=dict, repr=False)
    proxy: str = ""
    ca: str = ""
    certificate: tuple[str, str] | None = None
    timeout: float = 30.0


@frozen(kw_only=True)
class VaultSource:
    """
    What is read from Vault, and how we log in.

    :ivar path: ``aws/creds/mail``, ``secret/data/mail``.
    :ivar mount: where the method of the login is mounted; ``""``: there is a token.
    :ivar login: reads what the login sends, or ``{"token": …}``; it raises ``ValueError``.
    :ivar required_at_start: as of :class:`CredentialService`.
    """

    server: VaultServer
    path: str
    mount: str = ""
    login: Callable[[], Mapping[str, str]] = field(repr=False)
    required_at_start: bool = False


class AwsCredentialService(CredentialService["AwsAccess"]):
    """
    The credentials of botocore's chain, or of Vault.

    :param vault: ``None``: the chain.
    :param seconds: the time since the epoch.
    """

    def __init__(self, source: AwsSource, vault: VaultSource | None, seconds: Callable[[], float]) -> None:
        self.required_at_start = vault is not None and vault.required_at_start
        self._source = source
        self._vault_source = vault
        self._seconds = seconds
        self._vault: Vault | None = None

    def obtain(self, *, refused: bool) -> "Credential[AwsAccess]":
        """Return them; the libraries are very slow to import, and we are on a thread."""
        from smtprelay.providers.ses.credentials import access_of  # noqa: PLC0415

        if self._vault_source is None:
            return access_of(self._source)
        if self._vault is None:
            from smtprelay.providers.ses.vault import Vault  # noqa: PLC0415

            self._vault = Vault(self._vault_source, self._seconds)
        return access_of(self._source, self._vault.obtain(refused=refused))

    def revoke(self) -> None:
        """Revoke those of Vault."""
        if self._vault is not None:
            self._vault.revoke()
