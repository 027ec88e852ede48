"""
The whole configuration, as values.

Names are the keys of the file (``from`` is ``from_``), lists are tuples, durations
are seconds and sizes are bytes; where another station has a value for it already
(:class:`smtprelay.message.Schedule`, :class:`smtprelay.message.Window`), it is that one.
"""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from smtprelay import message
from smtprelay.config.endpoint import Endpoint
from smtprelay.config.listeners import Checker, Listener, User
from smtprelay.config.paths import FilePath
from smtprelay.config.providers import Provider
from smtprelay.config.secret import Secret
from smtprelay.config.values import (
    Address,
    Count,
    Domain,
    Duration,
    Expiry,
    Flag,
    Name,
    Network,
    PasswordHash,
    Pattern,
    Share,
    Size,
    Sizes,
    Text,
)

Failure = Literal["bounce", "hold", "discard", "webhook"]
Level = Literal["debug", "info", "warn", "error", "critical"]


@frozen(kw_only=True)
class Dkim:
    """A signature for one sender domain."""

    domain: Domain
    selector: Domain
    key: Secret
    canonicalization: Literal["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"] = (
        "relaxed/relaxed"
    )
    required: Flag = False


@frozen(kw_only=True)
class Match:
    """What a route is for: every condition that is given must hold, one entry of each is enough."""

    client: tuple[Network, ...] = ()
    listener: tuple[Name, ...] = ()
    user: tuple[Text, ...] = ()
    sender: tuple[Pattern, ...] = ()
    recipient: tuple[Pattern, ...] = ()
    header: Mapping[Text, Text] = field(factory=dict)
    size: Sizes | None = None


@frozen(kw_only=True)
class Rewrite:
    """What is changed in a message when it is delivered."""

    from_: Address | None = None
    keep_from_domains: tuple[Domain, ...] = ()
    reply_to: Text | None = None
    recipients: Mapping[Address, Address] = field(factory=dict)
    add_headers: Mapping[Text, Text] = field(factory=dict)
    remove_headers: tuple[Text, ...] = ()


@frozen(kw_only=True)
class Webhook:
    """
    Where ``on_failed: webhook`` and ``on_expired: webhook`` tell of mail that ended badly.

    :ivar url: ``https://``, or ``http://`` on loopback; often whoever knows it may post to it: a secret.
    :ivar secret: what the requests are signed with.
    :ivar timeout: for each step of a request: connect, answer, body.
    :ivar ca: a file of certificates that are trusted besides the platform's.
    """

    url: Secret
    secret: Secret | None = None
    timeout: Duration = 30.0
    ca: FilePath | None = None


@frozen(kw_only=True)
class Route:
    """
    Which mail goes which way; the first that matches a recipient has it.

    :ivar name: ``route1``, by its position, if none is given.
    :ivar expire: ``None`` is never.
    :ivar webhook: its own, instead of the relay's.
    """

    name: Name = ""
    match: Match = Match()
    rewrite: Rewrite | None = None
    via: tuple[Name, ...]
    failover_after: Count = 3
    retry: message.Schedule = field(factory=message.Schedule)
    expire: Expiry = 2 * 86400.0
    on_failed: Failure = "bounce"
    on_expired: Failure = "bounce"
    on_uncertain: Literal["resend", "hold"] = "resend"
    webhook: Webhook | None = None

    @property
    def rules(self) -> message.Route:
        """What dispatch must know of this route."""
        return message.Route(
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
    def announces(self) -> bool:
        """Whether a webhook may hear of its mail."""
        return "webhook" in (self.on_failed, self.on_expired)


@frozen(kw_only=True)
class Bounces:
    """
    How we tell a sender that mail failed.

    :ivar from_: when not given ``MAILER-DAEMON@<hostname>``.
    :ivar to: ``sender``, or the address that gets all of them instead.
    :ivar via: the providers that carry them; empty is by the routes.
    :ivar delay_notice: tell the sender after so many seconds that mail still waits.
    """

    from_: Address | None = None
    to: Text = "sender"
    copy: Address | None = None
    via: tuple[Name, ...] = ()
    delay_notice: Duration | None = None


@frozen(kw_only=True)
class SpoolLimit:
    """
    Beyond these nothing more is accepted (452), while delivery goes on.

    :ivar bytes: of what the spool holds, history included.
    :ivar deliveries: that wait; one with several routes, or more recipients than a provider takes at once,
        counts as the several deliveries it becomes.
    :ivar free: the part of the file system that stays free, where the spool is a file.
    """

    bytes: Size = 10 << 30
    deliveries: Count = 1_000_000
    free: Share = 0.05


@frozen(kw_only=True)
class RetentionSettings:
    """How long what is finished stays visible: metadata, and the bodies."""

    history: Duration = 3 * 86400.0
    bodies: Duration = 0.0


@frozen(kw_only=True)
class SpoolSettings:
    """
    Where accepted mail is safe.

    :ivar url: of the PostgreSQL, for the engine ``postgres``.
    :ivar lease: how long a node may hold a delivery without a sign of life.
    """

    engine: Literal["sqlite", "postgres", "memory"] = "sqlite"
    path: FilePath = "/var/lib/smtprelay"
    url: Secret | None = None
    limit: SpoolLimit = SpoolLimit()
    lease: Duration = 60.0
    seal_key: Secret | None = None
    retention: RetentionSettings = RetentionSettings()


@frozen(kw_only=True)
class Token:
    """One who may use the page and the API."""

    name: Name
    hash: PasswordHash = field(repr=False)
    role: Literal["viewer", "operator"] = "viewer"


@frozen(kw_only=True)
class HttpSite:
    """One place where HTTP is served."""

    endpoint: Endpoint
    serve: tuple[Literal["health", "metrics", "dashboard", "api"], ...]
    tokens: tuple[Token, ...] = ()


@frozen(kw_only=True)
class Supervise:
    """The relay runs as a child that is started again when it dies; more often than this it is given up."""

    restarts_per_hour: Count = 5


@frozen(kw_only=True)
class Logging:
    """What is logged; ``levels`` by logger; ``file`` ``None`` is the standard output."""

    level: Level = "info"
    levels: Mapping[Text, Level] = field(factory=dict)
    format: Literal["auto", "json", "text"] = "auto"
    file: FilePath | None = None


@frozen(kw_only=True)
class Privacy:
    """What the log and the history may hold of a mail."""

    subjects: Flag = True
    addresses: Literal["full", "masked"] = "full"


@frozen(kw_only=True)
class Sandbox:
    """For staging: mail to others than ``allow`` goes to one provider instead."""

    via: Name
    allow: tuple[Pattern, ...] = ()


@frozen(kw_only=True)
class Config:
    """
    Everything that an operator decides.

    :ivar hostname: when not given the machine's own name.
    :ivar control_socket: when not given ``$RUNTIME_DIRECTORY/control.sock``, else beside the spool,
        without one in ``/run/smtprelay``.
    :ivar webhook: for the routes that have none of their own.
    :ivar spool: when not given the usual one; none, if all listeners are synchronous.
    :ivar routes: when not given and there is one provider, everything goes there.
    :ivar supervise: when not given and there are several workers, as it is by default.
    """

    hostname: Domain = ""
    control_socket: FilePath = ""
    listeners: tuple[Listener, ...] = ()
    users: tuple[User, ...] = ()
    checkers: Mapping[Name, Checker] = field(factory=dict)
    providers: Mapping[Name, Provider] = field(factory=dict)
    dkim: tuple[Dkim, ...] = ()
    routes: tuple[Route, ...] = ()
    bounces: Bounces = Bounces()
    webhook: Webhook | None = None
    spool: SpoolSettings | None = None
    workers: Count = 1
    supervise: Supervise | None = None
    http: tuple[HttpSite, ...] = ()
    logging: Logging = Logging()
    privacy: Privacy = Privacy()
    sandbox: Sandbox | None = None
