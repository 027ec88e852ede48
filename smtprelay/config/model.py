"""
The whole configuration as values, and the help of each setting.

Names are the keys of the file (``from`` is ``from_``), lists are tuples, durations are seconds and sizes are
bytes. Values that the stations share come from :mod:`smtprelay.model.route`.
"""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from smtprelay.config.checkers import Checker
from smtprelay.config.endpoint import Endpoint
from smtprelay.config.listeners import Listener, PasswordHashText, UserSettings
from smtprelay.config.rewrite import RewriteSettings, SandboxSettings
from smtprelay.model import route as model_route
from smtprelay.model.privacy import PrivacyMask
from smtprelay.settings import values
from smtprelay.settings.azure_table import AzureTableSettings
from smtprelay.settings.entra import KeyVaultSettings
from smtprelay.settings.provider import HttpClientSettings, ProviderSettings
from smtprelay.settings.secret import Secret

Failure = Literal["bounce", "hold", "discard", "webhook"]
Level = Literal["debug", "info", "warn", "error", "critical"]


@frozen(kw_only=True)
class Match:
    """
    The mail that a route is for: all conditions given must match; of a list, one entry is enough.

    :ivar client: networks of the client. Example: ``[10.0.3.0/24]``.
    :ivar listener: names of listeners. Example: ``[lan]``.
    :ivar user: names of users who logged in. Example: ``[printer1]``.
    :ivar sender: envelope senders. Example: ``["*@example.com"]``.
    :ivar recipient: recipients. Example: ``["*@example.com"]``.
    :ivar header: header fields and patterns for their values. Example: ``{X-Env: test}``.
    :ivar size: range of the message's size, with <, <=, > or >=. Example: ``"<2MiB"``.
    """

    client: tuple[values.Network, ...] = ()
    listener: tuple[values.Name, ...] = ()
    user: tuple[values.Text, ...] = ()
    sender: tuple[values.Pattern, ...] = ()
    recipient: tuple[values.Pattern, ...] = ()
    header: Mapping[values.Text, values.Text] = field(factory=dict)
    size: values.Sizes | None = None


@frozen(kw_only=True)
class WebhookSettings(HttpClientSettings):
    """
    The HTTP endpoint that gets events of failed or expired mail (``on_failed`` or ``on_expired``:
    ``webhook``).

    :ivar url: ``https://``, or ``http://`` on loopback. It is a secret, because whoever knows it can often
        post. Example: ``{file: /run/secrets/hook}``.
    :ivar secret: signs the requests, see ``docs/delivery.rst``.
        Example: ``{file: /run/secrets/hook_secret}``.
    """

    url: Secret
    secret: Secret | None = None


@frozen(kw_only=True)
class RouteSettings:
    """
    Which mail goes to which providers; the first route that matches a recipient is used.

    :ivar name: the name in logs and filters. Default: ``route1``, by its position. Example: ``printers``.
    :ivar via: names of providers; the next one is used when the one before is blocked or keeps refusing.
        Example: ``[acs, smarthost]``.
    :ivar rewrite: what is changed in the mail before it leaves.
    :ivar failover_after: go to the next provider after this many refusals.
    :ivar expire: stop trying when the mail is this old; or ``never``.
    :ivar on_failed: what happens to mail that a provider refuses for good.
    :ivar on_expired: what happens to mail older than ``expire``.
    :ivar on_uncertain: what happens when a provider's answer is lost and it cannot be asked again:
        ``resend`` the mail, or ``hold`` it.
    :ivar webhook: the webhook of this route. Default: the relay's ``webhook``.
        Example: ``{url: {file: /run/secrets/printers_hook}}``.
    """

    name: values.Name = ""
    match: Match = Match()
    via: tuple[values.Name, ...]
    rewrite: RewriteSettings | None = None
    failover_after: values.Count = 3
    retry: model_route.Schedule = field(factory=model_route.Schedule)
    expire: values.Expiry = 2 * 86400.0
    on_failed: Failure = "bounce"
    on_expired: Failure = "bounce"
    on_uncertain: Literal["resend", "hold"] = "resend"
    webhook: WebhookSettings | None = None

    @property
    def dispatch_route(self) -> model_route.Route:
        """The route as ``dispatch`` uses it."""
        return model_route.Route(
            name=self.name,
            via=self.via,
            failover_after=self.failover_after,
            retry=self.retry,
            expire=self.expire,
            on_failed=self.on_failed,
            on_expired=self.on_expired,
            on_uncertain=self.on_uncertain,
        )

    @property
    def uses_webhook(self) -> bool:
        """Whether its mail may become an event for a webhook."""
        return "webhook" in (self.on_failed, self.on_expired)


@frozen(kw_only=True)
class Bounces:
    """
    The reports that tell a sender about failed mail.

    :ivar from_: the address in From. Default: ``MAILER-DAEMON@<hostname>``.
        Example: ``MAILER-DAEMON@example.com``.
    :ivar to: ``sender``, or one address that gets all reports instead.
    :ivar copy: this address gets a copy of each report of a failure. Example: ``postmaster@example.com``.
    :ivar via: names of the providers that send reports. Default: the routes decide.
        Example: ``[smarthost]``.
    :ivar delay_notice: also tell the sender when mail has been waiting for this long. Default: do not.
        Example: ``4h``.
    """

    from_: values.Address = ""
    to: values.SenderOrAddress = "sender"
    copy: values.Address | None = None
    via: tuple[values.Name, ...] = ()
    delay_notice: values.Duration | None = None


@frozen(kw_only=True)
class DkimSettings:
    """
    A key that signs the mail of one domain. Several keys for a domain make a signature each.

    :ivar domain: mail with an address of this domain in From is signed. Example: ``example.com``.
    :ivar selector: the name of the key in DNS: its record is at ``SELECTOR._domainkey.DOMAIN``.
        Example: ``s2026``.
    :ivar key: the private key in PEM form, RSA or Ed25519. Example: ``{file: /run/secrets/dkim}``.
    :ivar canonicalization: what servers on the way may change in the header, and in the body, without
        breaking the signature: ``relaxed`` blanks, ``simple`` nothing.
    :ivar headers: the header fields to sign. Default: the usual ones, see ``docs/dkim.rst``.
        Example: ``[From, To, Subject, Date]``.
    :ivar required: mail that cannot be signed waits; ``false`` sends it without a signature.
    """

    domain: values.Domain
    selector: values.Domain
    key: Secret
    canonicalization: Literal["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] = (
        "relaxed/relaxed"
    )
    headers: tuple[values.FieldName, ...] | None = None
    required: values.Flag = True


@frozen(kw_only=True)
class DkimTableSettings(AzureTableSettings):
    """
    An Azure table with keys that sign mail, one row for each domain. Domains in ``dkim`` need none.

    :ivar required: whose mail waits while it cannot be signed: that of domains with a row (``rows``), which
        is all other mail, too, until the table was read; that of ``all`` domains; or ``none``.
    """

    partition: values.Text = "dkim"
    required: Literal["none", "rows", "all"] = "rows"


@frozen(kw_only=True)
class SpoolLimit:
    """
    Limits of the spool: beyond one, new mail is refused with 452, and delivery continues.

    :ivar bytes: most bytes in the spool, including the history.
    :ivar deliveries: most waiting deliveries. A message with several routes, or with more recipients than a
        provider takes at once, becomes several deliveries.
    :ivar free: share of the file system that stays free; for the engine ``sqlite`` only.
    """

    bytes: values.Size = 10 << 30
    deliveries: values.Count = 1_000_000
    free: values.Share = 0.05


@frozen(kw_only=True)
class RetentionSettings:
    """
    How long finished mail is kept.

    :ivar history: how long ``smtprelay history`` shows it.
    :ivar bodies: how long the content of delivered mail is kept; ``0`` deletes it at once.
    """

    history: values.Duration = 3 * 86400.0
    bodies: values.Duration = 0.0


@frozen(kw_only=True)
class SpoolSettings:
    """
    Where accepted mail is stored until it is delivered.

    :ivar engine: ``sqlite`` stores it in a folder, ``postgres`` in a database that several relays can share,
        ``memory`` only until the relay stops.
    :ivar path: the folder, for the engine ``sqlite``.
    :ivar url: URL of the database, for the engine ``postgres``. Example: ``{file: /run/secrets/spool_url}``.
    :ivar seal_key: encrypts the logins of clients that their waiting mail is sent with: a line
        ``ID:BASE64`` for each key, 32 octets in base64; the first one encrypts, all decrypt.
        ``openssl rand -base64 32`` makes one. Example: ``{file: /run/secrets/seal}``.
    :ivar lease: time after which other nodes take over the deliveries of a node that has stopped responding.
    """

    engine: Literal["sqlite", "postgres", "memory"] = "sqlite"
    path: values.FilePath = "/var/lib/smtprelay"
    url: Secret | None = None
    seal_key: Secret | None = None
    limit: SpoolLimit = SpoolLimit()
    lease: values.TimeLimit = 60.0
    retention: RetentionSettings = RetentionSettings()


@frozen(kw_only=True)
class TokenSettings:
    """
    A token that gives access to the page and the API.

    :ivar name: who uses it; recorded with each change. Example: ``ops``.
    :ivar hash: output of ``smtprelay hash-password``. Example:
        ``"$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="``.
    :ivar role: a ``viewer`` reads, an ``operator`` changes, too.
    """

    name: values.Name
    hash: PasswordHashText = field(repr=False)
    role: Literal["viewer", "operator"] = "viewer"


@frozen(kw_only=True)
class HttpSite:
    """
    A port that serves HTTP.

    :ivar endpoint: the port and address to listen on, as a Twisted server endpoint.
        Example: ``"tcp:8080:interface=127.0.0.1"``.
    :ivar serve: what it serves: ``health``, ``metrics``, ``api``, or the page (``dashboard``), which needs
        ``api``, too. Example: ``[dashboard, api]``.
    :ivar tokens: required for ``dashboard`` and ``api``, except on loopback.
    """

    endpoint: Endpoint
    serve: tuple[Literal["health", "metrics", "dashboard", "api"], ...]
    tokens: tuple[TokenSettings, ...] = ()


@frozen(kw_only=True)
class Supervise:
    """
    Run the relay in a worker process that is restarted when it dies.

    :ivar restarts_per_hour: stop the relay, with exit status 1, if workers die more often than this.
    """

    restarts_per_hour: values.Count = 5


@frozen(kw_only=True)
class Logging:
    """
    What is logged, and where.

    :ivar level: the lowest level that is logged.
    :ivar levels: levels of single loggers. Example: ``{smtprelay.smtp: debug}``.
    :ivar format: ``auto`` is text on a terminal, else JSON.
    :ivar file: where the log is written; SIGHUP opens it again. Default: standard output.
        Example: ``/var/log/smtprelay.log``.
    """

    level: Level = "info"
    levels: Mapping[values.Text, Level] = field(factory=dict)
    format: Literal["auto", "json", "text"] = "auto"
    file: values.FilePath | None = None


@frozen(kw_only=True)
class Privacy:
    """
    What the log, the lists, the page, the history and exports show of mail; the mail itself is not changed.

    :ivar subjects: ``false`` leaves subjects out, and does not store them.
    :ivar addresses: ``domain`` shows ``*@example.com`` for an address, ``hash`` a short hash, each time the
        same.
    """

    subjects: values.Flag = True
    addresses: Literal["full", "domain", "hash"] = "full"

    @property
    def mask(self) -> PrivacyMask:
        """What hides the rest."""
        return PrivacyMask(subjects=self.subjects, addresses=self.addresses)


@frozen(kw_only=True)
class Config:
    """
    All settings of the relay.

    :ivar hostname: the relay's name in greetings, EHLO and Received. Default: the name of the machine.
        Example: ``relay.example.com``.
    :ivar control_socket: the socket for the command line. Default: ``$RUNTIME_DIRECTORY/control.sock``, else
        in the folder of the spool, else in ``/run/smtprelay`` or another folder that the user can write to.
        Example: ``/run/smtprelay/control.sock``.
    :ivar listeners: the ports that accept mail over SMTP.
    :ivar users: those who may log in.
    :ivar checkers: other ways to check a login, by name.
    :ivar providers: the services and servers that mail is delivered through, by name.
    :ivar dkim: the keys that sign mail, by the domain in From.
    :ivar dkim_table: keys for more domains, by rows of an Azure table.
    :ivar sandbox: keeps mail from leaving, for tests and staging.
    :ivar webhook: the HTTP endpoint that gets a POST, with ids, envelope and reasons, for mail that failed or
        expired (``on_failed`` or ``on_expired``: ``webhook``) on a route without a ``webhook`` of its own.
    :ivar key_vault: as whom secrets and certificates are read that are ``{key_vault: URL}``. Default: the
        identity that Azure gave this machine.
    :ivar spool: where accepted mail is stored. Not needed if all listeners are synchronous: then there is no
        queue.
    :ivar routes: which mail goes to which providers; the first route that matches a recipient is used.
        Default: everything to the only provider.
    :ivar workers: number of processes that accept and deliver mail; more than one needs the engine
        ``postgres``, or only synchronous listeners and no spool. They share the listeners and their limits.
        Another process starts them, and restarts workers that die or hang.
    :ivar supervise: restart workers that die. Default: only with several workers.
    :ivar http: the ports that serve health, metrics, the page and the API over HTTP.
    """

    hostname: values.Domain = ""
    control_socket: values.FilePath = ""
    listeners: tuple[Listener, ...] = ()
    users: tuple[UserSettings, ...] = ()
    checkers: Mapping[values.Name, Checker] = field(factory=dict)
    providers: Mapping[values.Name, ProviderSettings] = field(factory=dict)
    dkim: tuple[DkimSettings, ...] = ()
    dkim_table: DkimTableSettings | None = None
    routes: tuple[RouteSettings, ...] = ()
    bounces: Bounces = Bounces()
    sandbox: SandboxSettings | None = None
    webhook: WebhookSettings | None = None
    key_vault: KeyVaultSettings | None = None
    spool: SpoolSettings | None = None
    workers: values.Count = 1
    supervise: Supervise | None = None
    http: tuple[HttpSite, ...] = ()
    logging: Logging = Logging()
    privacy: Privacy = Privacy()
