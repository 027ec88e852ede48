"""
What a spool is opened with, whatever engine keeps it.
"""

from attrs import field, frozen

from smtprelay.interfaces import Events
from smtprelay.model.route import RateLimit
from smtprelay.net.buffer_budget import Budget
from smtprelay.spool.engines.transaction import SpoolNode
from smtprelay.spool.receive.capacity import CapacityLimits
from smtprelay.spool.seal import Sealer


@frozen(kw_only=True)
class SpoolOptions:
    """
    What the relay asks of its spool.

    :ivar rate_limits: how fast each provider may be asked, by its name; changed by ``change_rate``.
    :ivar lease: how long a claim holds without being renewed, seconds.
    :ivar floors: the limits beyond which nothing is accepted.
    :ivar budget: of memory for what is being received.
    :ivar keeps_bodies: bodies outlive their delivery, until they are swept.
    :ivar sealer: has the keys for logins that are stored.
    """

    rate_limits: dict[str, RateLimit]
    events: Events
    lease: float = 60.0
    floors: CapacityLimits = field(factory=CapacityLimits)
    budget: Budget = field(factory=Budget)
    keeps_bodies: bool = False
    sealer: Sealer = field(factory=Sealer)

    @property
    def node(self) -> SpoolNode:
        """The only node of a spool that is opened so."""
        return SpoolNode(rate_limits=self.rate_limits, lease=self.lease, keeps_bodies=self.keeps_bodies)
