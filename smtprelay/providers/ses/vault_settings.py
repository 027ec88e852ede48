"""
The settings of Vault, or OpenBao, as where the AWS keys of SES come from.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from smtprelay.model.network import is_plain_remote
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path
from smtprelay.settings.secret import Secret, in_variable

if TYPE_CHECKING:
    from smtprelay.net.outbound import Outbound
    from smtprelay.providers.ses.sources import VaultSource

#: Ways to log in at Vault.
_LOGINS: Final = ("approle", "jwt", "token")


@frozen(kw_only=True)
class AppRoleSettings:
    """
    Log in at Vault by AppRole.

    :ivar role_id: the id of the role. Default: ``VAULT_APPROLE_ROLE_ID``. Example: ``mail``.
    :ivar secret_id: its secret id. Default: ``VAULT_APPROLE_SECRET_ID``.
        Example: ``{file: /run/secrets/vault}``.
    :ivar mount: where the method is mounted.
    """

    role_id: values.Text | None = None
    secret_id: Secret | None = None
    mount: values.Text = "approle"


@frozen(kw_only=True)
class JwtSettings:
    """
    Log in at Vault by a JWT, such as that of a service account.

    :ivar role: the role. Default: ``VAULT_JWT_ROLE``. Example: ``mail``.
    :ivar token: the JWT; its file is read for each login. Default: ``VAULT_JWT``.
        Example: ``{file: /var/run/secrets/tokens/vault}``.
    :ivar mount: where the method is mounted.
    """

    role: values.Text | None = None
    token: Secret | None = None
    mount: values.Text = "jwt"


@frozen(kw_only=True)
class VaultSettings:
    """
    AWS keys from Vault or OpenBao, instead of those that botocore finds.

    :ivar path: what is read: the credentials of a secrets engine for AWS, or a secret in KV with
        ``access_key`` and ``secret_key``; of KV version 2 with ``data`` in it. Example: ``aws/creds/mail``.
    :ivar address: URL of Vault; ``http://`` only on loopback. Default: ``VAULT_ADDR``.
        Example: ``https://vault.example.com:8200``.
    :ivar namespace: the namespace. Default: ``VAULT_NAMESPACE``. Example: ``mail``.
    :ivar approle: log in by AppRole.
    :ivar jwt: log in by a JWT. Instead of: ``approle``.
    :ivar token: a token. Instead of: ``approle``. Default: ``VAULT_TOKEN``, unless there are variables for
        AppRole or a JWT. Example: ``{file: /run/secrets/vault_token}``.
    :ivar ca: PEM file with the authorities to trust instead of those of Python's requests.
        Default: ``VAULT_CACERT``, or the folder ``VAULT_CAPATH``. Example: ``vault-ca.pem``.
    :ivar client_certificate: PEM file with our certificate for Vault. Default: ``VAULT_CLIENT_CERT``.
        Example: ``relay.pem``.
    :ivar client_key: PEM file with its key. Default: ``VAULT_CLIENT_KEY``, else the file of the certificate.
        Example: ``relay-key.pem``.
    :ivar require_at_start: do not start without credentials. Otherwise mail waits until there are some.
    """

    path: values.Text
    address: values.Url | None = None
    namespace: values.Text | None = None
    approle: AppRoleSettings | None = None
    jwt: JwtSettings | None = None
    token: Secret | None = None
    ca: values.FilePath | None = None
    client_certificate: values.FilePath | None = None
    client_key: values.FilePath | None = None
    require_at_start: values.Flag = False

    def completed(self, environ: Mapping[str, str]) -> "VaultSettings":
        """Return these settings with what the variables say."""
        given = partial(variable, environ, "VAULT_")
        secret = partial(_secret, environ, "VAULT_")
        approle, jwt, token = self.approle, self.jwt, self.token
        if not (approle or jwt or token):
            approle = AppRoleSettings() if given("APPROLE_ROLE_ID") else None
            jwt = JwtSettings() if given("JWT") and not approle else None
            token = None if approle or jwt else secret("TOKEN")
        return evolve(
            self,
            address=self.address or given("ADDR"),
            namespace=self.namespace or given("NAMESPACE"),
            approle=approle
            and evolve(
                approle,
                role_id=approle.role_id or given("APPROLE_ROLE_ID"),
                secret_id=approle.secret_id or secret("APPROLE_SECRET_ID"),
            ),
            jwt=jwt and evolve(jwt, role=jwt.role or given("JWT_ROLE"), token=jwt.token or secret("JWT")),
            token=token,
            ca=self.ca or given("CACERT", "CAPATH"),
            client_certificate=self.client_certificate or given("CLIENT_CERT"),
            client_key=self.client_key or given("CLIENT_KEY"),
        )


def variable(environ: Mapping[str, str], prefix: str, *names: str) -> str | None:
    """Return the value of the first variable that has one."""
    return next(filter(None, (environ.get(f"{prefix}{name}") for name in names)), None)


def _secret(environ: Mapping[str, str], prefix: str, name: str) -> Secret | None:
    value = environ.get(f"{prefix}{name}")
    return in_variable(value, f"env {prefix}{name}") if value else None


def check_vault(vault: VaultSettings, path: Path) -> Iterator[Complaint]:
    """There is one login at Vault, and nobody on the network can read it."""
    address = vault.address or ""
    if address and not re.match("https?://[^/]", address):
        yield Complaint((*path, "address"), f'"{address}" is not a URL: expected https://…', "CFG-VALUE")
    elif is_plain_remote(address):
        yield Complaint((*path, "address"), "http:// is for loopback only: use https://", "CFG-CLEAR-TEXT")
    given = [key for key in _LOGINS if getattr(vault, key) is not None]
    if len(given) > 1:
        text = f"of {' and '.join(given)} the first is used"
        yield Complaint((*path, given[-1]), text, "CFG-VALUE", "warning")


def check_access(vault: VaultSettings, path: Path) -> Iterator[Complaint]:
    """Vault has an address, and there is a login: in the settings, or in variables."""
    if not vault.address:
        yield Complaint(path, '"address" of Vault is missing: set it, or VAULT_ADDR', "CFG-MISSING")
    if not any(getattr(vault, key) for key in _LOGINS):
        text = "no login at Vault: set approle, jwt or token, or VAULT_TOKEN"
        yield Complaint(path, text, "CFG-MISSING")


def _vault_login(vault: VaultSettings) -> tuple[str, Callable[[], Mapping[str, str]]]:
    """Return where to log in, ``""`` with a token, and what reads what is sent."""
    approle, jwt = vault.approle, vault.jwt
    mount = ""
    sent: Mapping[str, Secret | str | None] = {"token": vault.token}
    if approle:
        mount, sent = approle.mount, {"role_id": approle.role_id, "secret_id": approle.secret_id}
    elif jwt:
        mount, sent = jwt.mount, {"role": jwt.role, "jwt": jwt.token}

    def login() -> Mapping[str, str]:
        texts = {key: each.reveal() if isinstance(each, Secret) else each for key, each in sent.items()}
        found = {key: text.strip() for key, text in texts.items() if text and text.strip()}
        if not found:
            raise ValueError("no login at Vault: set vault.approle, vault.jwt or vault.token, or VAULT_TOKEN")
        return found

    return mount, login


def vault_source(vault: VaultSettings, outbound: "Outbound", timeout: float) -> "VaultSource":
    """Return what the completed settings say; requests leave as those to SES do."""
    from smtprelay.providers.ses.sources import VaultServer, VaultSource  # noqa: PLC0415

    mount, login = _vault_login(vault)
    certificate, address = vault.client_certificate, vault.address or ""
    proxies = outbound.proxies(address)
    server = VaultServer(
        address=address,
        namespace=vault.namespace or "",
        ca=vault.ca or "",
        certificate=(certificate, vault.client_key or certificate) if certificate else None,
        proxies=proxies,
        proxy=str(outbound.proxy) if proxies else "",
        timeout=timeout,
    )
    return VaultSource(
        server=server,
        path=vault.path,
        mount=mount,
        login=login,
        required_at_start=vault.require_at_start,
    )
