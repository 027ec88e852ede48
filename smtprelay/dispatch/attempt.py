"""One attempt as values: what was claimed, with all that its request needs; and how that ended."""

from collections.abc import AsyncIterator

from attrs import field, frozen
from twisted.internet.defer import CancelledError

from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.failover import Failover
from smtprelay.interfaces import Body, Provider
from smtprelay.model.attempt import Block, Claim
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Results
from smtprelay.model.route import Route


class WatchedBody(Body):
    """A stored body; ``fault`` is what reading it raised, whatever the provider made of that."""

    __slots__ = ("_body", "fault", "size")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.fault: Exception | None = None
        self.size = body.size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the pieces of the body."""
        try:
            async for chunk in self._body.chunks():
                yield chunk
        except CancelledError:
            raise
        except Exception as exc:
            self.fault = exc
            raise


@frozen(kw_only=True)
class PreparedAttempt:
    """
    An attempt, from its claim to its settlement.

    :ivar route: the default rules, at the same provider, for a route that is not configured any more.
    :ivar failover: the delivery's place in ``via``, and where it may go from there.
    :ivar provider: ``None`` if the configuration does not have it any more.
    :ivar begun: seconds since the epoch.
    """

    claim: Claim
    route: Route
    failover: Failover
    provider: Provider | None
    body: MemoryBody | WatchedBody
    begun: float


@frozen(kw_only=True)
class AttemptEnd:
    """
    How the request ended.

    :ivar results: what the provider said of each recipient; ``None`` if nothing was sent: there is no such
        provider, or (``resolved``) it cannot tell of the attempt before and the route says ``hold``.
    :ivar resolved: the provider was asked about the attempt before this one.
    :ivar block: the lane that they stop; ``fault``: the stored body could not be read.
    :ivar error: an unexpected exception.
    """

    results: Results | None = field(factory=dict)
    resolved: bool = False
    block: Block | None = None
    fault: Exception | None = None
    error: Exception | None = None


def prepare(context: DispatchContext, claim: Claim) -> PreparedAttempt:
    """Return the attempt of ``claim``; nothing is sent or read yet."""
    delivery = claim.delivery
    route = context.routes.get(delivery.route) or Route(name=delivery.route, via=(delivery.provider,))
    return PreparedAttempt(
        claim=claim,
        route=route,
        failover=Failover(delivery, route.via, context.providers),
        provider=context.providers.get(delivery.provider),
        body=WatchedBody(context.spool.body(delivery)) if claim.body is None else MemoryBody(claim.body),
        begun=context.clock.seconds(),
    )
