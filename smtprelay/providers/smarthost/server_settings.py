"""
The server as a session needs it: where it is, how it wants to be spoken to, and how long to wait for it.
"""

from typing import Literal

from attrs import field, frozen

from smtprelay.http.credentials import CredentialSource
from smtprelay.model.network import host_and_port
from smtprelay.net.outbound import DIRECT, Outbound
from smtprelay.providers.smarthost.kind import PORTS


@frozen(kw_only=True)
class Timeouts:
    """
    How long to wait for a server, in seconds.

    :ivar connect: for the connection.
    :ivar command: for the greeting and for the reply to a command.
    :ivar data: for the server to read one piece of a body.
    :ivar final: for the reply to the final dot; who gives up sends twice (RFC 5321 §4.5.3.2.6).
    :ivar idle: how long a connection is kept for the next message.
    """

    connect: float = 30.0
    command: float = 30.0
    data: float = 30.0
    final: float = 600.0
    idle: float = 60.0

    @classmethod
    def of(cls, seconds: float, idle: float = 60.0) -> "Timeouts":
        """Return ``seconds`` for every step, but never less than is usual for the final dot."""
        return cls(connect=seconds, command=seconds, data=seconds, final=max(seconds, cls().final), idle=idle)


@frozen
class ServerAddress:
    """
    One server.

    :ivar name: which its certificate must be for.
    :ivar address: where to connect: an IP address, or the name.
    """

    name: str
    address: str
    port: int

    @property
    def where(self) -> str:
        """The server for people; no two servers are called the same."""
        where = host_and_port(self.name, self.port)
        return where if self.address == self.name else f"{where} ({self.address})"


@frozen(kw_only=True)
class ServerSettings:
    """
    How a server wants to be spoken to, and which one it is.

    :ivar host: ``""``: the servers are those of each recipient's domain.
    :ivar port: ``None``: 587 with ``starttls``, 465 with ``implicit``, else 25.
    :ivar tls: ``starttls`` and ``implicit`` never fall back to plain text; with ``none``
        a login goes over the wire as it is. ``opportunistic``: STARTTLS if the server offers it.
    :ivar verify: the certificate must be valid for the server; with ``opportunistic`` it never must.
    :ivar outbound: whom to trust, and which certificate to show.
    :ivar helo: our name.
    :ivar username: ``""`` is no login.
    :ivar mechanism: the word of the setting.
    :ivar credential: the password, or the token, of ``username``.
    :ivar connections: the number of connections that are open at once, at most.
    :ivar messages: the number after which a connection is not used again.
    """

    host: str
    port: int | None = None
    tls: Literal["starttls", "implicit", "opportunistic", "none"] = "starttls"
    verify: bool = True
    outbound: Outbound = DIRECT
    helo: str
    username: str = ""
    mechanism: str = "auto"
    credential: CredentialSource[str] | None = field(default=None, repr=False)
    connections: int = 10
    messages: int = 100
    timeouts: Timeouts = field(factory=Timeouts)

    @property
    def server(self) -> ServerAddress:
        """The server ``host``."""
        return ServerAddress(self.host, self.host, self.port_number)

    @property
    def port_number(self) -> int:
        """``port``, or the usual one."""
        return self.port or PORTS[self.tls]
