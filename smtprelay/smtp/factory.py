"""
A listener's sessions: makes and counts them, turns clients away, and ends them at shutdown.
"""

from collections import Counter

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from smtprelay.interfaces import Events
from smtprelay.model.message import Reply
from smtprelay.model.network import counted_as
from smtprelay.net.worker_memory import WorkerMemory
from smtprelay.smtp import reply
from smtprelay.smtp.protocol import ESMTP
from smtprelay.smtp.refusals import Refusals
from smtprelay.smtp.settings import ListenerSettings


class ESMTPFactory(ServerFactory):
    """
    One listener: makes a session for each client and knows those that are there.

    :ivar portal: where sessions log in, for ``IEnvelopeDelivery``, ``IMessageDeliveryFactory``
        or ``IMessageDelivery``, with the credentials of :mod:`smtprelay.model.credentials`.
    :ivar settings: taken by each session when it begins; it may be replaced, as may ``portal``.
    :param memory: counts the connections of all workers at the same listener; the limits are of all together.
    :param refusals: of all listeners, and stopped by whoever made it; by default of this one.
    """

    noisy = False

    def __init__(
        self,
        portal: Portal,
        settings: ListenerSettings,
        clock: IReactorTime,
        events: Events,
        *,
        memory: WorkerMemory | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._memory = memory
        self.portal = portal
        self.settings = settings
        self.clock = clock
        self.events = events
        self.refusals = refusals or Refusals(clock, events)
        self._own_refusals = refusals is None
        self._sessions: dict[ESMTP, str] = {}
        self._turned_away: set[ESMTP] = set()
        self._clients: Counter[str] = Counter()
        self._stopped: Deferred[None] | None = None
        self._closed = False

    @property
    def sessions(self) -> int:
        """How many sessions there are; those that are being turned away do not count."""
        return len(self._sessions)

    def buildProtocol(self, addr: IAddress | None) -> ESMTP:  # noqa: ARG002
        """Return the protocol for a client; it is greeted, or turned away, when it is connected."""
        return ESMTP(self)

    def enter(self, session: ESMTP, address: str) -> Reply | None:
        """Count a session in; return the 421 that it must be ended with, or ``None``."""
        address = counted_as(address)
        refusal = self._refusal(address)
        if refusal is None:
            self._sessions[session] = address
            self._clients[address] += 1
            if self._memory is not None:
                self._memory.count(self.settings.listener, address, 1)
        else:
            # It does not count towards the limits.
            self._turned_away.add(session)
        return refusal

    def leave(self, session: ESMTP) -> bool:
        """Count a session out; return whether it was in."""
        if session in self._turned_away:
            self._turned_away.remove(session)
            return True
        address = self._sessions.pop(session, None)
        if address is None:
            return False
        self._clients[address] -= 1
        if self._memory is not None:
            self._memory.count(self.settings.listener, address, -1)
        if not self._clients[address]:
            del self._clients[address]
        if self._stopped is not None and not self._sessions and not self._stopped.called:
            self._stopped.callback(None)
        return True

    def move(self, session: ESMTP, address: str) -> Reply | None:
        """Count a session under another address, as :meth:`enter`."""
        self.leave(session)
        return self.enter(session, address)

    def turn_away(self) -> None:
        """End each session with 421 4.3.2 once it receives no message, and refuse new clients with it."""
        self._closed = True
        for session in list(self._sessions):
            session.dismiss(reply.SHUTTING_DOWN)

    def admit(self) -> None:
        """Let clients in again after :meth:`turn_away`."""
        self._closed = False

    def stop_sessions(self) -> Deferred[None]:
        """
        Refuse new clients for good; a silent client, also within a message, is disconnected after a moment.

        The Deferred fires when all sessions have ended, which may take long; :meth:`abort_sessions` cuts
        them.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            self.turn_away()
            self._stopped.addCallback(lambda _: self._stop_refusals())
            for session in [*self._sessions, *self._turned_away]:
                session.limit_silence()
            if not self._sessions and not self._stopped.called:
                self._stopped.callback(None)
        waiting: Deferred[None] = Deferred()
        self._stopped.chainDeferred(waiting)
        return waiting

    def abort_sessions(self, *, concluding: bool = True) -> None:
        """
        Cut all connections; messages that were received completely are finished.

        :param concluding: also the connections of clients that wait for the reply to such a message.
        """
        self._stop_refusals()
        for session in [*self._sessions, *self._turned_away]:
            if concluding or not session.concludes:
                session.abort("aborted at shutdown")

    def _stop_refusals(self) -> None:
        if self._own_refusals:
            self.refusals.stop()

    def _refusal(self, address: str) -> Reply | None:
        if self._closed or self._stopped is not None:
            return reply.SHUTTING_DOWN
        settings, memory = self.settings, self._memory
        connections, of_client = len(self._sessions), self._clients[address]
        if memory is not None:
            connections += memory.elsewhere(settings.listener)
            of_client += memory.elsewhere(settings.listener, address)
        if connections >= settings.connections:
            return reply.too_many_connections(settings.connections)
        if of_client >= settings.connections_per_client:
            return reply.too_many_from_client(settings.connections_per_client)
        return None
