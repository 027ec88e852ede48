"""What every part of the dispatcher works with."""

from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.interfaces import Events, Provider
from smtprelay.interfaces.spool import Spool
from smtprelay.model.route import Route


@frozen(kw_only=True)
class DispatchContext:
    """
    The spool, the ways out of it, and the clock of both.

    :ivar providers: by name; the same for ``routes``.
    :ivar lanes: the lanes that are stopped, as far as this process knows.
    :ivar clock: usually the reactor; its seconds are since the epoch.
    :ivar jitter: gives a number from 0 to 1, as :func:`random.random`.
    """

    spool: Spool
    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]
    lanes: LaneStates
    clock: IReactorTime
    events: Events
    jitter: Callable[[], float]
