"""The parts of the relay that HTTP shows and changes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import Factory, define, field, frozen
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
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

#: Each check by name, with the reason why the relay is not ready, or ``None``.
Checks = Mapping[str, str | None]

#: Seconds for what the spool says of itself; the rest of a status does not wait longer for it.
PATIENCE: Final = 4.0


@frozen(kw_only=True)
class Drained:
    """
    How far a drain is.

    :ivar sessions: clients with a message on its way.
    :ivar attempts: deliveries under way.
    :ivar waiting: deliveries that wait in the spool.
    :ivar shared: other nodes deliver them.
    """

    draining: bool
    sessions: int
    attempts: int
    waiting: int
    shared: bool


class Draining(Protocol):
    """What can be drained: a relay, or all its workers."""

    async def turn(self, on: bool, who: str) -> None:
        """
        Stop accepting and delivering mail, or start again.

        :param who: for the record.
        """

    async def state(self) -> Drained:
        """Return how far it is."""


@define
class SpoolState:
    """
    What the spool says of itself; what it does not answer is ``None`` or empty.

    :ivar refused: the number of rows of refused mail.
    :ivar silent: why the spool does not answer; ``""`` if it does.
    """

    stock: QueueStats | None = None
    nodes: Sequence[Node] = ()
    refused: int | None = None
    silent: str = ""


@frozen(kw_only=True)
class Sources:
    """
    The parts of the relay that the API and the pages read and change.

    :ivar spool: ``None`` in a relay whose listeners are all synchronous.
    :ivar started: when the relay started, by ``clock``.
    :ivar clock: seconds since the epoch, as a reactor counts them.
    :ivar listeners: one JSON object for each listener.
    :ivar readiness: the checks of ``/readyz``. The one called ``recovery`` is also that of ``/startupz``: the
        spool is being recovered after a crash.
    :ivar operator: what an operator may do beside changing the queue; ``None`` if nothing is delivered here.
    :ivar mailbox: the mail that the demo's provider has accepted.
    :ivar draining: what ``smtprelay drain`` drains; ``None`` if nothing can be drained.
    :ivar exposition: returns the current metrics.
    :ivar targets: the routes and providers of imported mail.
    :ivar permits: has the lanes: the spool, or a memory spool in a relay without one.
    :ivar log_trouble: why the log cannot be written, if so.
    :ivar refusals: refused mail.
    """

    spool: Spool | None
    metrics: Metrics
    clock: IReactorTime
    started: float
    events: Events
    readiness: Callable[[], Awaitable[Checks]]
    refusals: RefusedMail
    listeners: Callable[[], Sequence[Mapping[str, Any]]] = lambda: ()
    version: str = VERSION
    operator: Operator | None = None
    mailbox: Mailbox | None = None
    draining: Draining | None = None
    targets: RoutingTargets = field(factory=RoutingTargets)
    log_trouble: Callable[[], LogTrouble | None] = lambda: None
    permits: Spool | None = field(default=Factory(lambda sources: sources.spool, takes_self=True))
    exposition: Callable[[], Awaitable[CollectorRegistry]] = field(
        default=Factory(lambda sources: sources._counted, takes_self=True)  # noqa: SLF001
    )

    async def _counted(self) -> CollectorRegistry:
        self.metrics.ready(not any((await self.readiness()).values()))
        stock = await self.counted()
        self.metrics.stock(None if self.spool is None else stock)
        return self.metrics.registry

    async def counted(self) -> QueueStats | None:
        """Return what is in the spool; ``None`` if it does not answer."""
        return (await self.of_spool()).stock

    async def of_spool(self, since: float | None = None) -> SpoolState:
        """
        Return what the spool says of itself, up to the first question that it does not answer.

        :param since: also ask for its nodes, and for the rows of refused mail from this time on.
        """
        told = SpoolState()
        asking = Deferred.fromCoroutine(self._ask_spool(told, since))
        try:
            await asking.addTimeout(PATIENCE, self.clock)
        except TookTooLong:
            told.silent = f"no answer within {PATIENCE:g} s: look whether its database or disk hangs"
        except Exception as error:  # noqa: BLE001 -- whatever the engine raises
            told.silent = str(error) or type(error).__name__
        if told.silent:
            self.events("spool.failed", operation="stock", reason=told.silent)
        return told

    async def _ask_spool(self, told: SpoolState, since: float | None) -> None:
        if self.permits is not None:
            told.stock = await self.permits.admin.stock()
        if since is not None:
            told.nodes = () if self.spool is None else await self.spool.admin.nodes()
            told.refused = len(await self.refusals.refused(RefusalFilter(since=since)))

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self.clock.seconds() - self.started
