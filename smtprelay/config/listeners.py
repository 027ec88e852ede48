"""
Settings of listeners, users and checkers.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from attrs import field, frozen

from smtprelay.config.endpoint import Endpoint
from smtprelay.model.route import Window
from smtprelay.policy import user_secret
from smtprelay.policy.password_hash import parse_hash
from smtprelay.settings import values
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.net.certificate import CertificateSource

#: The checker of the users in the configuration.
USERS: Final = "users"

LOOPBACK: Final[tuple[IPv4Network | IPv6Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1"))


def checked_hash(text: str) -> str:
    """The output of ``smtprelay hash-password``; the error does not repeat it."""
    parse_hash(text)
    return text


def checked_user_hash(text: str) -> str:
    """The output of ``smtprelay hash-password``, also with ``--scram``; the error does not repeat it."""
    user_secret.parse_user_hash(text)
    return text


PasswordHashText = Annotated[
    str,
    values.Notation(checked_hash, 'hash by "smtprelay hash-password"', hidden=True, json=values.STRING),
]

UserHashText = Annotated[
    str,
    values.Notation(checked_user_hash, 'hash by "smtprelay hash-password"', hidden=True, json=values.STRING),
]


#: A file in PEM form, or a secret that is one.
CertificateSetting = values.FilePath | Secret | None


@frozen(kw_only=True)
class CertificateFiles:
    """
    A certificate for clients that name its server (SNI).

    :ivar certificate: PEM file with the certificate and its chain; or ``{key_vault: URL}``, with the key.
        Example: ``rsa.pem``.
    :ivar key: PEM file with the private key. Default: the file of ``certificate``. Example: ``rsa.key``.
    """

    certificate: CertificateSetting = None
    key: values.FilePath | None = None


@frozen(kw_only=True)
class TlsSettings:
    """
    TLS of a listener.

    :ivar mode: ``starttls`` offers STARTTLS, ``implicit`` starts with TLS (port 465). Without the section
        ``tls`` it is ``off``.
    :ivar certificate: PEM file with the certificate and its chain; or ``{key_vault: URL}``, with the key.
        Example: ``cert.pem``.
    :ivar key: PEM file with the private key. Default: the file of ``certificate``. Example: ``key.pem``.
    :ivar certificates: more of them. A client gets the one with the server's name that it asks for, of the
        kind of key that it knows; else the first.
    :ivar client_ca: PEM file with authorities. Clients are asked for a certificate by one of them, but
        need not have one; ``EXTERNAL`` in ``auth.mechanisms`` lets them log in by it.
        Example: ``clients.pem``.
    :ivar require: what needs TLS: ``never``, ``auth`` (no login without TLS) or ``always``.
    :ivar profile: ``modern`` is TLS 1.2 and later with forward secrecy; ``legacy`` also takes TLS 1.0 and 1.1
        and RSA key exchange, for old devices. Most of them need a certificate with an RSA key.
    :ivar ciphers: OpenSSL cipher list, for TLS 1.2 and older. Default: that of the profile.
        Example: ``ECDHE+AESGCM``.
    """

    mode: Literal["starttls", "implicit", "off"] = "starttls"
    certificate: CertificateSetting = None
    key: values.FilePath | None = None
    certificates: tuple[CertificateFiles, ...] = ()
    client_ca: values.FilePath | None = None
    require: Literal["never", "auth", "always"] = "auth"
    profile: Literal["modern", "legacy"] = "modern"
    ciphers: values.Text | None = None

    @property
    def sources(self) -> "tuple[CertificateSource, ...]":
        """Where certificates and keys are, the default first; empty: there is no TLS."""
        if self.mode == "off":
            return ()
        from smtprelay.net.certificate import CertificateSource, PemText  # noqa: PLC0415 -- slow to import

        sources = []
        for each in (CertificateFiles(certificate=self.certificate, key=self.key), *self.certificates):
            given = each.certificate
            if given is not None:
                pem = PemText(given.place, given.reveal) if isinstance(given, Secret) else Path(given)
                sources.append(CertificateSource(pem, pem if each.key is None else Path(each.key)))
        return tuple(sources)


MechanismName = Literal["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL"]


@frozen(kw_only=True)
class Auth:
    """
    How clients log in.

    :ivar checkers: what checks a password, asked in this order: ``users``, or names from the section
        ``checkers``. One of the type ``any`` is the last. Default: ``users``, if there are any.
        Example: ``[users, any]``.
    :ivar mechanisms: the SASL mechanisms offered. Those of SCRAM need users with ``password``, or with a hash
        by ``smtprelay hash-password --scram``; ``CRAM-MD5``, which is weak, needs users with ``password``.
        ``EXTERNAL`` needs ``tls.client_ca``, and no password: the client's certificate names the user.
    :ivar required: clients must log in before they send, even those in ``allow_from``.
    :ivar allow_plaintext: allow logging in without TLS, so that passwords cross the network in clear text.
    """

    checkers: tuple[values.Name, ...] | None = None
    mechanisms: tuple[MechanismName, ...] = ("PLAIN", "LOGIN")
    required: values.Flag = False
    allow_plaintext: values.Flag = False


def parse_sending_rate(text: str) -> Window:
    """``60/min``, ``1000/h``."""
    rate = values.parse_rate(text)
    if rate.unit != "messages":
        raise ValueError(f'"{text}" counts {rate.unit}: expected a number, such as 60/min')
    return rate


Frequency = Annotated[
    Window,
    values.Notation(
        parse_sending_rate, "rate (60/min, 1000/h)", unit="s, min, h, d", spell=values.spell_rate
    ),
]


@frozen(kw_only=True)
class SendingLimit:
    """
    How fast clients may send. What is too fast is refused with 450: the client tries again.

    With ``workers`` each of them allows its share. Nodes that share a spool count each for itself.

    :ivar rate: how many on average. Example: ``60/min``.
    :ivar burst: how many may come at once. Default: as many as ``rate`` names. Example: ``10``.
    :ivar per: what counts together: a ``client`` (an IPv4 address or an IPv6 /64), a ``user`` (who has not
        logged in is a client), or the whole ``listener``.
    """

    rate: Frequency
    burst: values.Count | None = None
    per: Literal["client", "user", "listener"] = "client"


@frozen(kw_only=True)
class ListenerLimits:
    """
    Limits of a listener.

    :ivar size: largest message in bytes; announced as SIZE.
    :ivar recipients: most recipients of one message.
    :ivar connections: most open connections.
    :ivar connections_per_client: most open connections from one client: an IPv4 address or an IPv6 /64.
    :ivar messages: how fast messages may come. Default: no limit.
    :ivar recipients_rate: how fast recipients may be named. Default: no limit.
    :ivar commands: most commands of one session. Default: no limit. Example: ``10000``.
    :ivar errors: this many wrong commands and failed logins since the last message end the session.
    :ivar command_time: a client must send a whole command within this time, or some of its message.
    :ivar data_rate: bytes per second that a message must arrive with, averaged over a minute.
    :ivar greet_delay: wait so long before the greeting; a client that does not wait for it is refused.
    """

    size: values.Size = 25 << 20
    recipients: values.Count = 1000
    connections: values.Count = 1000
    connections_per_client: values.Count = 50
    messages: SendingLimit | None = None
    recipients_rate: SendingLimit | None = None
    commands: values.Count | None = None
    errors: values.Count = 20
    command_time: values.TimeLimit = 300.0
    data_rate: values.Count = 100
    greet_delay: values.Duration = 0.0


@frozen(kw_only=True)
class Listener:
    """
    A port that accepts mail over SMTP.

    :ivar endpoint: the port and address to listen on, as a Twisted server endpoint.
        Example: ``"tcp:2525:interface=127.0.0.1"``.
    :ivar name: the name in logs, and in ``match`` of routes. Default: the endpoint. Example: ``lan``.
    :ivar banner: the text of the 220 greeting. Default: ``<hostname> ESMTP``.
        Example: ``relay.example.com ESMTP``.
    :ivar allow_from: clients in these networks may send without logging in.
    :ivar proxy_trust: the networks of the proxies, if the endpoint begins with ``haproxy:``, or with
        ``xclient``. Behind ``haproxy:`` each connection begins with a PROXY header (version 1 or 2) that
        names the client. Example: ``[10.0.0.5]``.
    :ivar xclient: clients in ``proxy_trust`` may say by XCLIENT who their client is, as nginx does.
    :ivar open_relay: ``accepted`` lets any client send to any recipient, for tests; each start warns of it.
    :ivar allow_senders: allowed envelope senders. Default: any. Example: ``["*@example.com"]``.
    :ivar allow_recipients: allowed recipients. Default: any.
        Example: ``["*@example.com", "*@example.net"]``.
    :ivar bare_newlines: what happens to a message with bare CR or LF, or with NUL: ``fix`` or ``refuse`` it.
        ``accept`` fixes it, and lets clients in ``allow_from`` end all their lines with LF alone, as old
        scripts and UPS cards do.
    :ivar delivery: ``spool`` stores the message, then answers 250; ``synchronous`` delivers it first and
        answers with the provider's result.
    :ivar reply_deadline: with synchronous delivery, answer 451 if the provider has not answered by then. The
        client tries again, so the mail may arrive twice.
    """

    endpoint: Endpoint
    name: values.Name = ""
    banner: values.Text | None = None
    allow_from: tuple[values.Network, ...] = LOOPBACK
    proxy_trust: tuple[values.Network, ...] = LOOPBACK
    xclient: values.Flag = False
    open_relay: Literal["accepted"] | None = None
    tls: TlsSettings = TlsSettings(mode="off")
    auth: Auth = Auth()
    allow_senders: tuple[values.Pattern, ...] = ()
    allow_recipients: tuple[values.Pattern, ...] = ()
    bare_newlines: Literal["fix", "refuse", "accept"] = "fix"
    limits: ListenerLimits = ListenerLimits()
    delivery: Literal["spool", "synchronous"] = "spool"
    reply_deadline: values.TimeLimit = 60.0


@frozen(kw_only=True)
class UserSettings:
    """
    A user who may log in.

    :ivar name: the user name; logged with each message. Example: ``printer1``.
    :ivar password_hash: output of ``smtprelay hash-password``, for SCRAM with ``--scram``. Example:
        ``"$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="``.
    :ivar password: the password itself, instead of its hash; only CRAM-MD5 needs it. A user may have
        neither, and log in by a certificate. Example:
        ``{file: /run/secrets/printer1}``.
    :ivar senders: allowed envelope senders. Default: any. Example: ``["scan@example.com"]``.
    :ivar recipients: allowed recipients. Default: any. Example: ``["*@example.com"]``.
    :ivar force_from: use this sender, also in From, whatever the client says. Example: ``scan@example.com``.
    :ivar rate: how many messages on average, and at once. Default: no limit. Example: ``60/h``.
    """

    name: values.Name
    password_hash: UserHashText | None = field(default=None, repr=False)
    password: Secret | None = None
    senders: tuple[values.Pattern, ...] = ()
    recipients: tuple[values.Pattern, ...] = ()
    force_from: values.Address | None = None
    rate: Frequency | None = None
