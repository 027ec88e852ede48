"""What the site reads from: the rest of the relay, as far as HTTP shows it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Events, Operator, RefusedMail
from smtprelay.interfaces.spool import Spool
from smtprelay.model.archive import RoutingTargets
from smtprelay.model.queue import Node, QueueStats
from smtprelay.model.refusal import RefusalFilter
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.telemetry.metrics import Metrics
from smtprelay.version import VERSION
from smtprelay.web.captured_mail import Mailbox
from smtprelay.web.drain import Draining

#: Each check by name, with the reason why the relay is not ready, or ``None``.
Checks = Mapping[str, str | None]


def _no_listeners() -> Sequence[Mapping[str, Any]]:
    return ()


@define
class SpoolState:
    """
    What the spool tells of itself; what it does not answer is ``None`` or empty.

    :ivar refused: how many rows the ledger of refused mail has.
    :ivar silent: why it does not answer; ``""`` if it does.
    """

    stock: QueueStats | None = None
    nodes: Sequence[Node] = ()
    refused: int | None = None
    silent: str = ""


@frozen(kw_only=True)
class Sources:
    """
    :ivar spool: ``None`` in a relay whose listeners are all synchronous.
    :ivar started: when the relay started, by ``clock``.
    :ivar clock: seconds since the epoch, as a reactor counts them.
    :ivar listeners: one JSON object for each listener.
    :ivar readiness: the checks behind ``/readyz``. One that is called ``recovery`` is behind
        ``/startupz``, too: the spool is being put in order after a crash.
    :ivar operator: what an operator may do beside changing the queue; ``None`` if nothing is delivered here.
    :ivar mailbox: what the demo's provider has taken.
    :ivar draining: what ``smtprelay drain`` turns; ``None`` where nothing can be drained.
    :ivar exposition: gives the metrics that are shown, brought up to date.
    :ivar targets: which way mail can go that is imported.
    :ivar permits: has the lanes: the spool, or without one what counts in memory.
    :ivar log_trouble: why the log cannot be written, if so.
    :ivar refusals: what clients were refused.
    """

    spool: Spool | None
    metrics: Metrics
    clock: IReactorTime
    started: float
    events: Events
    readiness: Callable[[], Awaitable[Checks]]
    refusals: RefusedMail
    listeners: Callable[[], Sequence[Mapping[str, Any]]] = _no_listeners
    version: str = VERSION
    operator: Operator | None = None
    mailbox: Mailbox | None = field(default=None)
    draining: Draining | None = field(default=None)
    targets: RoutingTargets = field(factory=RoutingTargets)
    log_trouble: Callable[[], LogTrouble | None] = lambda: None
    permits: Spool | None = field()
    exposition: Callable[[], Awaitable[CollectorRegistry]] = field()

    @permits.default
    def _spool(self) -> Spool | None:
        return self.spool

    @exposition.default
    def _own_metrics(self) -> Callable[[], Awaitable[CollectorRegistry]]:
        return self._counted

    async def _counted(self) -> CollectorRegistry:
        self.metrics.ready(not any((await self.readiness()).values()))
        stock = await self.counted()
        self.metrics.stock(None if self.spool is None else stock)
        return self.metrics.registry

    async def counted(self) -> QueueStats | None:
        """Return what lies in the spool; ``None`` where it cannot tell: all else is worth knowing then."""
        return (await self.of_spool()).stock

    async def of_spool(self, since: float | None = None) -> SpoolState:
        """
        Return what the spool tells of itself, up to the first question that it does not answer.

        :param since: also its nodes, and how many rows of refused mail there are of this time or later.
        """
        told = SpoolState()
        try:
            if self.permits is not None:
                told.stock = await self.permits.admin.stock()
            if since is not None:
                told.nodes = () if self.spool is None else await self.spool.admin.nodes()
                told.refused = len(await self.refusals.refused(RefusalFilter(since=since)))
        except Exception as error:  # noqa: BLE001 -- whatever the engine raises
            told.silent = str(error) or type(error).__name__
            self.events("spool.failed", operation="stock", reason=told.silent)
        return told

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self.clock.seconds() - self.started
