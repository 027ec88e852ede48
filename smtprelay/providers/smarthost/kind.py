"""
The settings of another SMTP server, and what must be right about them.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import evolve, frozen

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.clouds import OUTLOOK, scope
from smtprelay.model.network import is_loopback, is_plain_remote
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path, loopback_only
from smtprelay.settings.provider import ProxySettings, RemoteProviderSettings
from smtprelay.settings.proxy import proxy_of
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.http.credentials import CredentialSource
    from smtprelay.interfaces import Provider
    from smtprelay.net.outbound import Outbound
    from smtprelay.providers.context import ProviderContext

#: The word for ``host`` that stands for the servers of each recipient's domain.
MX: Final = "mx"
#: Where Google gives tokens.
GOOGLE: Final = "https://oauth2.googleapis.com/token"
PORTS: Final = {"starttls": 587, "implicit": 465, "opportunistic": 25, "none": 25}

_USUAL_TLS: Final = {25: "starttls", 465: "implicit", 587: "starttls"}


@frozen(kw_only=True)
class OauthSettings(ProxySettings):
    """
    How tokens for ``mechanism: xoauth2`` are obtained: by a refresh token, or in the client's own name.

    :ivar tenant: the tenant of Microsoft Entra. Default: the tokens are Google's, or those of
        ``token_endpoint``. Example: ``contoso.com``.
    :ivar token_endpoint: the URL that gives tokens. Default: that of Entra for ``tenant``, else Google's.
        Example: ``https://login.example.com/oauth2/token``.
    :ivar client_id: the id of the application. Example: ``11111111-2222-3333-4444-555555555555``.
    :ivar client_secret: its secret. Example: ``{file: /run/secrets/oauth}``.
    :ivar refresh_token: a refresh token of ``username``. Without one the application sends in its own name.
        Example: ``{file: /run/secrets/refresh_token}``.
    :ivar scope: what the token is for. Default: sending mail, with Entra; else that of the refresh token.
        Example: ``https://outlook.office365.com/.default``.
    """

    tenant: values.Name | None = None
    token_endpoint: values.Url | None = None
    client_id: values.Text
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    scope: values.Text | None = None


@frozen(kw_only=True)
class SmarthostSettings(RemoteProviderSettings):
    """
    Another SMTP server, or the mail servers of the recipients' domains.

    :ivar host: name or IP address of the server; ``mx``: the servers of each recipient's domain, by DNS.
        Example: ``smtp.example.com``.
    :ivar port: its port. Default: 587 with ``starttls``, 465 with ``implicit``, else 25.
        Example: ``587``.
    :ivar tls: ``starttls`` requires STARTTLS, ``implicit`` starts with TLS, ``none`` does not encrypt.
        ``opportunistic`` takes STARTTLS if the server offers it, with any certificate.
        Default: ``starttls``; with ``host: mx``, ``opportunistic``. Example: ``implicit``.
    :ivar verify: the server's certificate must be valid for its name; not asked for with ``opportunistic``.
    :ivar username: log in with this name. Example: ``relay``.
    :ivar password: the password for ``username``. Example: ``{env: SMARTHOST_PASSWORD}``.
    :ivar oauth: how tokens for ``username`` are obtained, instead of ``password``.
    :ivar mechanism: how to log in; ``auto`` is ``xoauth2`` with ``oauth``, else the first of ``plain``,
        ``login`` and ``cram-md5`` that the server offers; without TLS ``cram-md5`` is the first.
    :ivar connections: most connections that are open at once, those included that wait for the next mail;
        each worker and node counts its own.
    :ivar idle: how long a connection waits for the next mail.
    :ivar helo: the name in EHLO. Default: the relay's ``hostname``. Example: ``relay.example.com``.
    :ivar timeout: time limit for each step: connect, the reply to each command, a piece of the message.
        The reply to the message is awaited for at least ``10m``: to give up earlier may send the mail twice.
    """

    type: Literal["smarthost"]
    host: values.Host
    port: values.Port | None = None
    tls: Literal["starttls", "implicit", "opportunistic", "none"] | None = None
    verify: values.Flag = True
    username: values.Text | None = None
    password: Secret | None = None
    oauth: OauthSettings | None = None
    mechanism: Literal["auto", "plain", "login", "cram-md5", "xoauth2"] = "auto"
    connections: values.Count = 10
    idle: values.TimeLimit = 60.0
    helo: values.Domain | None = None

    @property
    def remote(self) -> str:
        """The server, if there is one for all mail."""
        return "" if self.host == MX else self.host

    @property
    def usual_tls(self) -> Literal["starttls", "implicit", "opportunistic", "none"]:
        """``tls``, or its default."""
        return self.tls or ("opportunistic" if self.host == MX else "starttls")

    def completed(self, hostname: str, environ: Mapping[str, str]) -> "SmarthostSettings":
        """Return these settings with the usual ``tls`` and port, our name, and the proxy to the tokens."""
        tls = self.usual_tls
        port = self.port or (25 if self.host == MX else PORTS[tls])
        oauth = self.oauth and self.oauth.with_environment(environ)
        return evolve(self, tls=tls, port=port, helo=self.helo or hostname, oauth=oauth)


def check_login(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """A login has a name and a password, or a token, which no one reads on the way."""
    oauth = settings.oauth is not None
    secrets = [key for key in ("password", "oauth") if getattr(settings, key) is not None]
    if len(secrets) > 1:
        text = "the password is not used: there is oauth"
        yield Complaint((*path, "password"), text, "CFG-VALUE", "warning")
    if (settings.username is None) != (not secrets):
        missing = "username" if settings.username is None else "password"
        text = f'"{missing}" is missing: username and {"".join(secrets[-1:]) or "password"} belong together'
        yield Complaint(path, text, "CFG-MISSING")
    elif settings.mechanism != "auto" and oauth != (settings.mechanism == "xoauth2"):
        wanted = "oauth" if settings.mechanism == "xoauth2" else "password"
        yield Complaint((*path, "mechanism"), f"{settings.mechanism} needs {wanted}", "CFG-VALUE")
    plain = settings.usual_tls in {"none", "opportunistic"}
    if secrets and plain and settings.host != MX and not is_loopback(settings.host.lower()):
        what = "token" if oauth else "password"
        text = f"the {what} {'may cross' if settings.tls != 'none' else 'crosses'} the network in clear text"
        yield Complaint((*path, "tls"), text, "CFG-CLEAR-TEXT", "warning")


def check_oauth(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """A token can be obtained, and no one reads the secrets for that on the way."""
    oauth = settings.oauth
    if oauth is None:
        return
    endpoint = oauth.token_endpoint
    if endpoint and is_plain_remote(endpoint):
        yield loopback_only((*path, "oauth", "token_endpoint"))
    if oauth.refresh_token is None and oauth.client_secret is None:
        yield Complaint((*path, "oauth"), "expected client_secret or refresh_token", "CFG-MISSING")
    elif oauth.refresh_token is None and not (oauth.tenant or endpoint):
        text = "Google gives tokens for a refresh_token only; for those of Entra set tenant"
        yield Complaint((*path, "oauth"), text, "CFG-MISSING")


def check_tls(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """The port and ``tls`` belong together, and the certificate is verified."""
    tls = settings.usual_tls
    usual = _USUAL_TLS.get(settings.port or 0, tls)
    if usual != tls and "implicit" in {usual, tls} and settings.host != MX:
        text = f"servers usually expect tls: {usual} at port {settings.port}"
        yield Complaint((*path, "port"), text, "CFG-TLS", "warning")
    if not settings.verify:
        text = "the server's certificate is not verified: anyone in between can read the mail"
        yield Complaint((*path, "verify"), text, "CFG-NO-VERIFY", "warning")


def check_mx(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """The servers of other people's domains know no login of ours, and speak TLS after STARTTLS only."""
    if settings.host == MX and settings.username is not None:
        yield Complaint((*path, "username"), "host: mx has no login", "CFG-VALUE")
    if settings.host == MX and settings.tls == "implicit":
        yield Complaint((*path, "tls"), "host: mx needs opportunistic, starttls or none", "CFG-TLS")


def build(name: str, settings: SmarthostSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.providers.smarthost.provider import DirectDelivery, Smarthost  # noqa: PLC0415
    from smtprelay.providers.smarthost.server_settings import ServerSettings, Timeouts  # noqa: PLC0415

    server = ServerSettings(
        host=settings.remote,
        port=settings.port,
        tls=settings.usual_tls,
        verify=settings.verify,
        outbound=settings.outbound,
        helo=settings.helo or context.hostname,
        username=settings.username or "",
        mechanism="xoauth2" if settings.oauth else settings.mechanism,
        credential=credential_source(name, settings, context),
        connections=settings.connections,
        timeouts=Timeouts.of(settings.timeout, settings.idle),
    )
    given = name, context.reactor, server, context.events
    options: dict[str, Any] = {"limits": settings.limits, "reachability": context.reachability(name)}
    if settings.remote:
        return Smarthost(*given, **options)
    # Slow to import.
    from smtprelay.net.dns_records import make_resolver  # noqa: PLC0415

    return DirectDelivery(*given, make_resolver=partial(make_resolver, context.reactor), **options)


def credential_source(
    name: str, settings: SmarthostSettings, context: "ProviderContext"
) -> "CredentialSource[str] | None":
    """Return what gives the password or the token."""
    from smtprelay.azure.errors import ENTRA_ERRORS  # noqa: PLC0415
    from smtprelay.http.credentials import StoredCredentials  # noqa: PLC0415
    from smtprelay.http.oauth import OauthTokens  # noqa: PLC0415

    oauth, password = settings.oauth, settings.password
    if oauth is None:
        return None if password is None else StoredCredentials(password.reveal, context.defer_to_thread)
    tokens = OauthTokens(
        _token_endpoint(oauth),
        lambda: context.open_http(
            context.reactor, concurrency=1, timeout=settings.timeout, outbound=_to_tokens(settings, oauth)
        ),
        lambda: context.defer_to_thread(_token_request(oauth)),
        context.reactor.seconds,
        ENTRA_ERRORS,
    )
    return context.renewing_credential(name, settings, tokens)


def _to_tokens(settings: SmarthostSettings, oauth: OauthSettings) -> "Outbound":
    """Return how a request for a token leaves: perhaps through a proxy, as mail itself cannot."""
    proxy, no_proxy = proxy_of(oauth.proxy), oauth.no_proxy
    return evolve(settings.outbound, client_certificate=None, proxy=proxy, no_proxy=no_proxy)


def _token_endpoint(oauth: OauthSettings) -> str:
    entra = EntraApplication(tenant=oauth.tenant).token_endpoint if oauth.tenant else ""
    return oauth.token_endpoint or entra or GOOGLE


def _token_request(oauth: OauthSettings) -> Callable[[], Mapping[str, str]]:
    """Return what makes the fields of the request for a token (RFC 6749 §4.4, §6); it reads the secrets."""
    asked = oauth.scope or ""
    if oauth.tenant and not asked:
        # All that the application may do, or to send in the name of its user.
        asked = scope(OUTLOOK) if oauth.refresh_token is None else f"{OUTLOOK}/SMTP.Send offline_access"
    grant = "client_credentials" if oauth.refresh_token is None else "refresh_token"

    def fields() -> Mapping[str, str]:
        secrets = {"client_secret": oauth.client_secret, "refresh_token": oauth.refresh_token}
        found = {key: secret.reveal().strip() for key, secret in secrets.items() if secret is not None}
        return {
            "grant_type": grant,
            "client_id": oauth.client_id,
            **found,
            **({"scope": asked} if asked else {}),
        }

    return fields


SMARTHOST: Final = ProviderKind(
    settings=SmarthostSettings,
    build=build,
    checks=(check_login, check_oauth, check_tls, check_mx),
    raw=True,
)
