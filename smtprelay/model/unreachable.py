"""
A provider that nothing reaches. Pure.
"""

from attrs import frozen


@frozen
class Unreachable:
    """
    Since when nothing has reached a provider, and where that ends.

    :ivar since: when the first request that came to nothing came to a halt, seconds since the epoch.
    :ivar host: where it is looked for: a name or an address, and the port.
    :ivar stage: how far a request comes: ``resolve``, ``connect``, ``TLS``, ``greeting``, a verb of SMTP, or
        ``request``.
    :ivar reason: the last error in one line, with stage and host.
    """

    provider: str
    since: float
    host: str
    stage: str
    reason: str
