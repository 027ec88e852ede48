"""
Settings of the way in: listeners, users, and what checks a login.

Names are the keys of the file. Durations are seconds, sizes are bytes.
"""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal

from attrs import field, frozen

from smtprelay.config.endpoint import Endpoint
from smtprelay.config.paths import FilePath
from smtprelay.config.values import (
    Address,
    Count,
    Duration,
    Flag,
    Name,
    Network,
    PasswordHash,
    Pattern,
    Rate,
    Size,
    Text,
    Url,
)

LOOPBACK: Final[tuple[IPv4Network | IPv6Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1"))


@frozen(kw_only=True)
class TlsSettings:
    """
    How a listener encrypts.

    :ivar key: ``None`` if the certificate's file holds the key too.
    :ivar ciphers: an OpenSSL cipher list, or ``None`` for the profile's own.
    :ivar client_ca: clients must show a certificate of this authority.
    """

    mode: Literal["starttls", "implicit", "off"] = "starttls"
    certificate: FilePath | None = None
    key: FilePath | None = None
    require: Literal["never", "auth", "always"] = "auth"
    profile: Literal["modern", "legacy"] = "modern"
    ciphers: Text | None = None
    client_ca: FilePath | None = None


@frozen(kw_only=True)
class Auth:
    """
    How clients log in.

    :ivar checkers: ``users``, or names of :attr:`Config.checkers`;
        when not given, ``users`` if there are any.
    :ivar required: without a login nothing is accepted, not even from ``allow_from``.
    :ivar allow_plaintext: passwords may cross the network in clear text.
    """

    checkers: tuple[Name, ...] | None = None
    mechanisms: tuple[Literal["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"], ...] = ("PLAIN", "LOGIN")
    required: Flag = False
    allow_plaintext: Flag = False


@frozen(kw_only=True)
class MessageRate:
    """How many messages a client, a user or the whole listener may send; ``burst`` more at once."""

    rate: Rate
    burst: Count = 1
    per: Literal["client", "user", "listener"] = "client"


@frozen(kw_only=True)
class ListenerLimits:
    """What a listener bears."""

    size: Size = 25 << 20
    recipients: Count = 1000
    connections: Count = 1000
    connections_per_client: Count = 50
    messages: MessageRate | None = None


@frozen(kw_only=True)
class Listener:
    """
    One place where mail comes in.

    :ivar name: the endpoint if none is given.
    :ivar banner: ``None`` is ``<hostname> ESMTP``.
    :ivar allow_from: may send without logging in.
    :ivar open_relay: ``"accepted"`` if anyone may send to anyone, on purpose.
    :ivar allow_senders: empty is no restriction; so also ``allow_recipients``.
    :ivar reply_deadline: for synchronous delivery.
    """

    endpoint: Endpoint
    name: Name = ""
    banner: Text | None = None
    allow_from: tuple[Network, ...] = LOOPBACK
    open_relay: Literal["accepted"] | None = None
    proxy_trust: tuple[Network, ...] = ()
    tls: TlsSettings = TlsSettings(mode="off")
    auth: Auth = Auth()
    allow_senders: tuple[Pattern, ...] = ()
    allow_recipients: tuple[Pattern, ...] = ()
    bare_newlines: Literal["fix", "refuse"] = "fix"
    limits: ListenerLimits = ListenerLimits()
    delivery: Literal["spool", "synchronous"] = "spool"
    reply_deadline: Duration = 60.0


@frozen(kw_only=True)
class User:
    """One who may log in, and the rights that come with it; empty patterns are no restriction."""

    name: Name
    password_hash: PasswordHash = field(repr=False)
    senders: tuple[Pattern, ...] = ()
    recipients: tuple[Pattern, ...] = ()
    force_from: Address | None = None
    rate: Rate | None = None


@frozen(kw_only=True)
class AnyChecker:
    """Takes every user name and password; only inside ``allow_from``."""

    type: Literal["any"]


@frozen(kw_only=True)
class EntraChecker:
    """User names are ``tenant@client``, passwords are client secrets of Microsoft Entra."""

    type: Literal["entra"]
    delimiter: Literal["@", ":", "|"] = "@"
    cloud: Literal["global", "usgov", "usgov-dod", "china"] = "global"


@frozen(kw_only=True)
class AzureTableChecker:
    """Looks users up in an Azure table."""

    type: Literal["azure_table"]
    url: Url
    partition: Text = "user"
    required: Flag = False
    cache: Duration = 300.0
    credential: Literal["default"] = "default"


Checker = AnyChecker | EntraChecker | AzureTableChecker
Checkers = Mapping[Name, Checker]
