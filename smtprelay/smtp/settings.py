"""
The settings of one listener: name, limits, TLS. Values only, checked by their maker.
"""

from collections.abc import Container
from typing import Final

from attrs import field, frozen
from attrs.validators import in_
from twisted.internet.interfaces import IOpenSSLContextFactory

KIB: Final = 1024


@frozen(kw_only=True)
class ListenerSettings:
    """
    The settings of an :class:`smtprelay.smtp.factory.ESMTPFactory`.

    :ivar listener: its name, for the log and the routes.
    :ivar hostname: who we are, in the banner and the reply to EHLO.
    :ivar banner: the text behind ``220``; ``""`` is ``<hostname> ESMTP``, as :attr:`greeting` has it.
    :ivar size: of one message, octets; announced as SIZE.
    :ivar size_of: the provider whose limit ``size`` is, or ``ROUTES``; ``""``: the listener has it.
    :ivar recipients: of one transaction.
    :ivar connections: at once, from all clients; ``connections_per_client`` from one address.
    :ivar errors: bad commands since the last accepted message that end a session; those that bring no mail
        nearer are bad when there are too many of them.
    :ivar commands: that end a session; ``None`` is no limit.
    :ivar header_size: of one message, octets.
    :ivar hops: how many ``Received:`` headers a message may bring.
    :ivar bare_newlines: ``"fix"`` makes bare CR and LF in content CRLF and removes NULs,
        ``"refuse"`` answers 5.6.0, ``"accept"`` fixes and lets a client end its lines by LF alone.
    :ivar bare_newlines_from: the addresses of the clients that may do so.
    :ivar proxy_trust: the addresses of proxies, if clients come through one that says who they are; it is for
        who opens the port.
    :ivar xclient_from: the addresses of proxies that may say by XCLIENT who their client is.
    :ivar dsn: accept DSN parameters (RFC 3461); not for avatars that do not support them.
    :ivar command_time: seconds that a client may take for a command, or stay silent within a message.
    :ivar data_rate: octets a second that content must arrive at, averaged over a minute; over a few
        seconds while the relay stops.
    :ivar greet_delay: seconds before the greeting; who speaks before it is refused.
    :ivar tls: makes the contexts for STARTTLS, or ``None`` if it is not offered.
    :ivar tls_profile: of ``tls``, ``"modern"`` or ``"legacy"``: for the words when a handshake fails.
    :ivar tls_implicit: the endpoint speaks TLS itself: STARTTLS is not offered.
    :ivar tls_require: ``"never"``; ``"auth"``: for AUTH; ``"always"``: for everything.
    :ivar mechanisms: of AUTH, in the order they are announced; empty offers no AUTH.
    :ivar auth_allow_plaintext: offer AUTH in plain text too, unless TLS is required always.
    """

    listener: str = ""
    hostname: str = "localhost"
    banner: str = ""
    size: int = 25 * KIB * KIB
    size_of: str = ""
    recipients: int = 1000
    connections: int = 1000
    connections_per_client: int = 50
    errors: int = 20
    commands: int | None = None
    header_size: int = 256 * KIB
    hops: int = 50
    bare_newlines: str = field(default="fix", validator=in_(("fix", "refuse", "accept")))
    bare_newlines_from: Container[str] = ()
    proxy_trust: Container[str] | None = None
    xclient_from: Container[str] = ()
    dsn: bool = True
    command_time: float = 300.0
    data_rate: float = 100.0
    greet_delay: float = 0.0
    tls: IOpenSSLContextFactory | None = field(default=None, repr=False)
    tls_profile: str = field(default="modern", validator=in_(("modern", "legacy")))
    tls_implicit: bool = False
    tls_require: str = field(default="auth", validator=in_(("never", "auth", "always")))
    mechanisms: tuple[str, ...] = ()
    auth_allow_plaintext: bool = False

    @property
    def greeting(self) -> str:
        """The text behind ``220``."""
        return self.banner or f"{self.hostname} ESMTP"
