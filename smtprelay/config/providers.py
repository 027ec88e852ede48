"""
Settings of the ways out: one class for each type of provider.
"""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from smtprelay.config.paths import FilePath
from smtprelay.config.secret import Secret
from smtprelay.config.values import Address, Count, Domain, Duration, Flag, Port, Rate, Text, Url
from smtprelay.message import Limits, Pace


@frozen(kw_only=True)
class Outlet:
    """
    What every provider has.

    :ivar rate: all windows hold at once.
    :ivar concurrency: requests, or connections, at once.
    :ivar timeout: for each step of a request: connect, answer, body.
    :ivar limits: what it takes in one message: ``size`` as the client counts it, ``request`` as it is sent,
        ``recipients``; when not given as it is documented for its type.
    """

    rate: tuple[Rate, ...] = ()
    concurrency: Count = 10
    timeout: Duration = 30.0
    limits: Limits = field(factory=Limits)

    @property
    def paced(self) -> Pace:
        """``rate`` and ``concurrency`` as the spool wants them."""
        return Pace(concurrency=self.concurrency, windows=self.rate)


@frozen(kw_only=True)
class HttpOutlet(Outlet):
    """
    What every HTTP API has.

    :ivar endpoint: of the API; ``None`` is the provider's own. ``http://`` on loopback only.
    :ivar proxy: an HTTPS proxy.
    :ivar ca: a file of certificates that are trusted besides the platform's.
    """

    endpoint: Url | None = None
    proxy: Url | None = None
    ca: FilePath | None = None


@frozen(kw_only=True)
class Acs(HttpOutlet):
    """
    Azure Communication Services.

    :ivar connection_string: or ``endpoint`` and one or two ``access_keys``.
    :ivar sender: the address that sends where the mail's own is not in ``sender_domains``.
    :ivar blind: mail to recipients whom it does not name: to each of them alone, or to all in one request.
    :ivar blind_to: who stands in To then.
    :ivar accept_on: when a mail counts as delivered.
    """

    type: Literal["acs"]
    connection_string: Secret | None = None
    access_keys: tuple[Secret, ...] = ()
    sender: Address
    sender_domains: tuple[Domain, ...] = ()
    blind: Literal["single", "together"] = "single"
    blind_to: Address | None = None
    accept_on: Literal["succeeded", "202"] = "succeeded"


@frozen(kw_only=True)
class Graph(HttpOutlet):
    """
    Microsoft Graph.

    :ivar mailbox: the sender of the ``envelope``, of the ``header``, or one fixed address.
    :ivar credential: the ``application``'s own, or the ``login`` of the client.
    :ivar upload_sessions: larger mail by a draft; needs Mail.ReadWrite.
    """

    type: Literal["graph"]
    tenant: Text
    client_id: Text
    client_secret: Secret | None = None
    cloud: Literal["global", "usgov", "usgov-dod", "china"] = "global"
    mailbox: Text = "envelope"
    credential: Literal["application", "login"] = "application"
    upload_sessions: Flag = False


@frozen(kw_only=True)
class AssumeRole:
    """A role of another AWS account."""

    arn: Text
    external_id: Text | None = None


@frozen(kw_only=True)
class AppRole:
    """How Vault knows us."""

    role_id: Text
    secret_id: Secret


@frozen(kw_only=True)
class Vault:
    """AWS credentials that HashiCorp Vault gives out."""

    path: Text
    approle: AppRole | None = None


@frozen(kw_only=True)
class Ses(HttpOutlet):
    """Amazon SES; credentials by the AWS chain, or by ``vault``."""

    type: Literal["ses"]
    region: Text
    configuration_set: Text | None = None
    tags: Mapping[Text, Text] = field(factory=dict)
    assume_role: AssumeRole | None = None
    vault: Vault | None = None


@frozen(kw_only=True)
class Smarthost(Outlet):
    """
    Another SMTP server.

    :ivar port: when not given 587 with ``starttls``, 465 with ``implicit``, 25 with ``none``.
    :ivar verify: its certificate must be valid for ``host``.
    :ivar helo: how we greet; when not given the relay's ``hostname``.
    """

    type: Literal["smarthost"]
    host: Domain
    port: Port | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    verify: Flag = True
    ca: FilePath | None = None
    username: Text | None = None
    password: Secret | None = None
    helo: Domain | None = None


@frozen(kw_only=True)
class Capture(Outlet):
    """A local Maildir: nothing leaves this machine."""

    type: Literal["capture"]
    path: FilePath


Provider = Acs | Graph | Ses | Smarthost | Capture
