"""
Settings of providers: one class for each type.
"""

from typing import Literal

from attrs import field, frozen

from smtprelay.config import values
from smtprelay.config.secret import Secret
from smtprelay.model.route import Limits, RateLimit


@frozen(kw_only=True)
class ProviderSettings:
    """
    Settings of all providers.

    :ivar type: the kind of provider; it decides which other settings there are.
    :ivar rate: most requests (a smarthost: mails) per time; with several rates, all of them
        apply.
    :ivar concurrency: most requests, or connections, at once.
    :ivar timeout: time limit for each step of a request: connect, wait for the answer, read it.
    :ivar limits: limits of one message. Default: those that the provider documents.
    """

    rate: tuple[values.Rate, ...] = ()
    concurrency: values.Count = 10
    timeout: values.TimeLimit = 30.0
    limits: Limits = field(factory=Limits)

    @property
    def rate_limit(self) -> RateLimit:
        """``rate`` and ``concurrency`` as the spool uses them."""
        return RateLimit(concurrency=self.concurrency, windows=self.rate)


@frozen(kw_only=True)
class HttpProviderSettings(ProviderSettings):
    """
    Settings of all providers with an HTTP API.

    :ivar endpoint: URL of the API. Default: the provider's own. ``http://`` only on loopback.
    :ivar ca: PEM file with certificates to trust in addition to those of the system.
    """

    endpoint: values.Url | None = None
    ca: values.FilePath | None = None


@frozen(kw_only=True)
class AcsSettings(HttpProviderSettings):
    """
    Azure Communication Services.

    :ivar connection_string: of the resource (Azure portal: Settings, Keys). Or give ``endpoint`` and
        ``access_keys``.
    :ivar access_keys: one or two access keys of the resource; the second is used when the first is refused.
    :ivar sender: the address that mail is sent from, unless its sender is in ``sender_domains``.
    :ivar sender_domains: domains connected to the resource; mail from their addresses keeps its sender.
    :ivar blind: mail whose recipients are neither in To nor in Cc: ``single`` sends a request for each
        recipient, ``together`` one request with all of them in Bcc.
    :ivar blind_to: the address in To of such mail, with ``blind: together``. It receives the mail, too.
    :ivar accept_on: a mail counts as delivered when its operation has succeeded, or already when the
        request is answered with ``202``.
    """

    type: Literal["acs"]
    connection_string: Secret | None = None
    access_keys: tuple[Secret, ...] = ()
    sender: values.Address
    sender_domains: tuple[values.Domain, ...] = ()
    blind: Literal["single", "together"] = "single"
    blind_to: values.Address | None = None
    accept_on: Literal["succeeded", "202"] = "succeeded"


@frozen(kw_only=True)
class SmarthostSettings(ProviderSettings):
    """
    Another SMTP server.

    :ivar host: name or address of the server.
    :ivar port: default: 587 with ``starttls``, 465 with ``implicit``, 25 with ``none``.
    :ivar tls: ``starttls`` requires STARTTLS, ``implicit`` starts with TLS, ``none`` does not encrypt.
    :ivar verify: the server's certificate must be valid for ``host``.
    :ivar ca: PEM file with certificates to trust in addition to those of the system.
    :ivar username: log in with this name.
    :ivar password: the password for ``username``.
    :ivar helo: the name in EHLO. Default: the relay's ``hostname``.
    :ivar timeout: time limit for each step: connect, the reply to each command, a piece of the message.
        The reply to the message is awaited for at least ``10m``: to give up earlier may send the mail twice.
    """

    type: Literal["smarthost"]
    host: values.Host
    port: values.Port | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    verify: values.Flag = True
    ca: values.FilePath | None = None
    username: values.Text | None = None
    password: Secret | None = None
    helo: values.Domain | None = None


@frozen(kw_only=True)
class CaptureSettings(ProviderSettings):
    """
    A local Maildir: nothing leaves this machine.

    :ivar path: the folder; created if it is missing.
    :ivar timeout: not available for a folder.
    """

    type: Literal["capture"]
    path: values.FilePath


AnyProviderSettings = AcsSettings | SmarthostSettings | CaptureSettings
