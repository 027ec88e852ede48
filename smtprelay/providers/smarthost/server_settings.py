"""
The server as a session needs it: where it is, how it wants to be spoken to, and how long to wait for it.
"""

from collections.abc import Callable
from typing import Literal

from attrs import field, frozen

from smtprelay.net.outbound import DIRECT, Outbound


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
    idle: float = 30.0

    @classmethod
    def of(cls, seconds: float) -> "Timeouts":
        """Return ``seconds`` for every step, but never less than is usual for the final dot."""
        return cls(connect=seconds, command=seconds, data=seconds, final=max(seconds, cls().final))


@frozen(kw_only=True)
class ServerSettings:
    """
    The server, and how it wants to be spoken to.

    :ivar port: ``None``: 587 with ``starttls``, 465 with ``implicit``, 25 with ``none``.
    :ivar tls: ``starttls`` and ``implicit`` never fall back to plain text; with ``none``
        a login goes over the wire as it is.
    :ivar verify: the certificate must be valid for ``host``.
    :ivar outbound: whom to trust, and which certificate to show.
    :ivar helo: our name.
    :ivar username: ``""`` is no login.
    :ivar password: called at each login; ``OSError``, ``LookupError`` and ``ValueError`` from
        it block the provider.
    :ivar concurrency: idle connections to keep at most.
    :ivar messages: the number after which a connection is not used again.
    """

    host: str
    port: int | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    verify: bool = True
    outbound: Outbound = DIRECT
    helo: str
    username: str = ""
    password: Callable[[], str] = field(default=lambda: "", repr=False)
    concurrency: int = 10
    messages: int = 100
    timeouts: Timeouts = field(factory=Timeouts)
