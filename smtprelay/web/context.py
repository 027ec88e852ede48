"""The parts of the relay that HTTP shows and changes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, field, frozen
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Events, Operator, RefusedMail
from smtprelay.interfaces.spool import QueueAdmin, Spool
from smtprelay.model.archive import RoutingTargets
from smtprelay.model.expiry import Expiries
from smtprelay.model.queue import Node, QueueStats
from smtprelay.model.refusal import RefusalFilter
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.telemetry.metrics import Metrics
from smtprelay.web.captured_mail import CapturedMail

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

    async def switch(self, on: bool, who: str) -> None:
        """
        Stop accepting and delivering mail, or start again.

        :param who: for the record.
        """

    async def state(self) -> Drained:
        """Return how far it is."""


class ReloadFailed(Exception):  # noqa: N818 -- it says what happened
    """
    The relay continues with the configuration that it had; the text says why.

    :ivar later: the configuration is not the reason: it may be tried again.
    """

    def __init__(self, why: str, *, later: bool = False) -> None:
        super().__init__(why)
        self.later = later


@frozen
class Reloaded:
    """
    What a reload has changed.

    :ivar changes: a setting each: its ``key``, the value ``before`` and ``after``, and all as ``text``.
    :ivar restart: the keys of the settings that a restart will change.
    """

    changes: Sequence[Mapping[str, Any]]
    restart: Sequence[str]


class Reloading(Protocol):
    """
    What reads the configuration again: a relay, or the supervisor of its workers.

    :ivar rejected: why the last time failed, and when, seconds since the epoch; ``None`` if it did not.
    """

    rejected: tuple[str, float] | None

    async def reload(self, who: str) -> Reloaded:
        """
        Put the configuration into force as its file is now; raises :class:`ReloadFailed`.

        :param who: for the record.
        """


@define
class SpoolState:
    """
    What the spool says of itself; what it does not answer is ``None`` or empty.

    :ivar refused: the number of rows of refused mail.
    :ivar silent: why the spool does not answer; ``""`` if it does.
    """

    stats: QueueStats | None = None
    nodes: Sequence[Node] = ()
    refused: int | None = None
    silent: str = ""


class RelayStatus(Protocol):
    """
    What a relay, or its supervisor, says of itself.

    :ivar since: when it was started, by the clock of the :class:`Sources`.
    """

    metrics: Metrics
    since: float

    def listeners(self) -> Sequence[Mapping[str, Any]]:
        """Return one JSON object for each listener."""

    def log_trouble(self) -> LogTrouble | None:
        """Return why the log cannot be written, if so."""

    def expiries(self) -> Expiries:
        """Return when secrets, certificates and logins end."""

    def failing_keys(self) -> Sequence[str]:
        """Return a sentence for each key that cannot sign mail."""

    async def readiness(self) -> Checks:
        """
        Return the checks of ``/readyz``.

        The one called ``recovery`` is also that of ``/startupz``: the spool is being recovered after a crash.
        """

    async def registry(self) -> CollectorRegistry:
        """Return the metrics of all its processes."""


@frozen(kw_only=True)
class Operations:
    """
    What an operator may do beside changing the queue.

    :ivar lanes: the spool, or a memory spool in a relay without one; ``None`` before it is open.
    :ivar operator: ``None`` if nothing is delivered here.
    :ivar draining: what ``smtprelay drain`` drains; ``None`` if nothing can be drained.
    :ivar reloading: ``None`` where the configuration does not come from a file.
    :ivar targets: the routes and providers of imported mail.
    """

    lanes: QueueAdmin | None = None
    operator: Operator | None = None
    draining: Draining | None = None
    reloading: Reloading | None = None
    targets: RoutingTargets = field(factory=RoutingTargets)


@frozen(kw_only=True)
class Sources:
    """
    The parts of the relay that the API and the pages read and change.

    :ivar clock: seconds since the epoch, as a reactor counts them.
    :ivar spool: ``None`` in a relay whose listeners are all synchronous.
    :ivar refusals: refused mail.
    :ivar captured: the mail that the demo's provider has accepted.
    """

    relay: RelayStatus
    clock: IReactorTime
    events: Events
    spool: Spool | None
    refusals: RefusedMail
    operations: Operations = field(factory=Operations)
    captured: CapturedMail | None = None

    async def exposition(self) -> CollectorRegistry:
        """Return the current metrics."""
        metrics = self.relay.metrics
        metrics.ready(not any((await self.relay.readiness()).values()))
        stats = await self.counted()
        metrics.stats(None if self.spool is None else stats)
        metrics.expiries(self.relay.expiries())
        return await self.relay.registry()

    async def counted(self) -> QueueStats | None:
        """Return what is in the spool; ``None`` if it does not answer."""
        return (await self.of_spool()).stats

    async def of_spool(self, since: float | None = None) -> SpoolState:
        """
        Return what the spool says of itself, up to the first question that it does not answer.

        :param since: also ask for its nodes, and for the rows of refused mail from this time on.
        """
        state = SpoolState()
        asking = Deferred.fromCoroutine(self._ask_spool(state, since))
        try:
            await asking.addTimeout(PATIENCE, self.clock)
        except TookTooLong:
            state.silent = f"no answer within {PATIENCE:g} s: look whether its database or disk hangs"
        except Exception as error:  # noqa: BLE001 -- whatever the engine raises
            state.silent = str(error) or type(error).__name__
        if state.silent:
            self.events("spool.failed", operation="stats", reason=state.silent)
        return state

    async def _ask_spool(self, state: SpoolState, since: float | None) -> None:
        if self.operations.lanes is not None:
            state.stats = await self.operations.lanes.stats()
        if since is not None:
            state.nodes = () if self.spool is None else await self.spool.admin.nodes()
            state.refused = len(await self.refusals.refused(RefusalFilter(since=since)))

    @property
    def uptime(self) -> float:
        """Seconds since the relay was started."""
        return self.clock.seconds() - self.relay.since
