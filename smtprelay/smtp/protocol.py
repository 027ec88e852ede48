"""
The server protocol: the one loop between a transport, a session and its dialogue.

Each event of the session gets one answer before the next is asked for. The loop does
not call itself, so a client that sends thousands of commands at once costs no stack;
replies are collected while it runs and leave in one write. It stops while an
answer is pending or the client does not read, and when it has done enough for one turn
of the reactor; and then so does reading.
"""

from collections import Counter
from typing import Any, Final

from OpenSSL.SSL import Error as TLSError
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHandshakeListener, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtprelay.interfaces import Events
from smtprelay.message import Client, Reply
from smtprelay.model.network import counted_as
from smtprelay.smtp import reply
from smtprelay.smtp.body import BodyDecoder
from smtprelay.smtp.command import Command
from smtprelay.smtp.deadline import Deadline
from smtprelay.smtp.dialogue import Dialogue
from smtprelay.smtp.elsewhere import Elsewhere, Nowhere
from smtprelay.smtp.event import END_OF_DATA, UNKNOWN, Answered, Content, Event, Foreign, Signal
from smtprelay.smtp.foreign import failed_handshake
from smtprelay.smtp.refusals import Refusals
from smtprelay.smtp.session import Session
from smtprelay.smtp.settings import Settings
from smtprelay.smtp.turn import CONTENT, Turn
from smtprelay.wire import Wire

#: Seconds that a client has to read our last words.
LINGER: Final = 10.0

_GOODBYE, _NEGATIVE = 421, 400


@implementer(IHandshakeListener, IPushProducer)
class ESMTP(Protocol):
    """One client's connection; :class:`ESMTPFactory` makes it."""

    # Twisted's transports have more methods than ITransport, and which ones depends on TLS.
    transport: Any

    def __init__(self, factory: "ESMTPFactory") -> None:
        self.factory = factory
        self._settings = factory.settings
        self._events, self._clock = factory.events, factory.clock
        self._replies: list[bytes] = []
        self._looping = self._lost = False
        self._choked = False  # the client does not read
        self._held = False  # we do not read
        self._why = ""
        self._octets = 0  # received since the deadline looked
        self._watched: BodyDecoder | None = None

    # --- called by Twisted -----------------------------------------------------------------

    def connectionMade(self) -> None:
        """Greet the client, or turn it away."""
        settings, clock = self._settings, self._clock
        self._began = clock.seconds()
        address = getattr(self.transport.getPeer(), "host", "unix")
        tls = "TLS" if settings.tls_implicit else ""
        client = Client(address=address, listener=settings.listener, tls=tls)
        bare = settings.takes_bare_newlines(address)
        self._session = Session(settings, secure=settings.tls_implicit, bare_newlines=bare)
        self._dialogue = Dialogue(self.factory.portal, settings, self._events, client)
        self._wire = Wire(self.transport)
        self._deadline = Deadline(clock, settings.command_time, self._expired, self._look)
        self._turn = Turn(clock, self._advance)
        self.transport.registerProducer(self, True)
        self._tell("session.open")
        refusal = self.factory.enter(self, address)
        if refusal is None:
            self._wire.write(reply.render(reply.welcome(settings.banner or f"{settings.hostname} ESMTP")))
        else:
            self._session.dismiss(refusal)
            self._advance()

    def dataReceived(self, octets: bytes) -> None:
        """Take what the client sent, and answer what can be answered."""
        if self._session.closed:
            return
        self._octets += len(octets)
        if self._session.decoder is not None:
            self._deadline.touch()  # of a command only its end counts
        self._session.receive(octets)
        if not self._dialogue.client.tls:
            # A socket is read once a turn; what TLS reads at once comes here record by record.
            self._turn.renew()
        if self._choked or self._session.waiting or self._turn.waiting:
            self._hold()
        else:
            self._advance()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what is incomplete; a message whose end has come is not."""
        self._lost = True
        self._why = self._why or reason.getErrorMessage()
        if reason.check(TLSError):
            self._why = failed_handshake(self._why, self._settings.tls_profile)
            self._refused("STARTTLS", reply.unsaid(self._why, "tls-handshake"))
        self._deadline.cancel()
        self._turn.cancel()
        if not self._session.waiting or self._dialogue.receiving:
            self._leave()

    def handshakeCompleted(self) -> None:
        """Note which TLS is spoken."""
        version = self.transport.getHandle().get_protocol_version_name()
        self._dialogue.forget(version)
        self._tell("session.tls", version=version)

    def pauseProducing(self) -> None:
        """Say nothing more: the client does not read."""
        self._choked = True

    def resumeProducing(self) -> None:
        """Go on where the client's not reading had stopped us."""
        self._choked = False
        self._advance()

    def stopProducing(self) -> None:
        """The transport is at its end; :meth:`connectionLost` follows."""

    # --- called by the listener ------------------------------------------------------------

    def dismiss(self, farewell: Reply) -> None:
        """End the session with ``farewell`` as soon as no message is on its way."""
        self._session.dismiss(farewell)
        self._advance()

    # --- the loop --------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._looping or self._lost or self._turn.waiting:
            return
        self._looping = True
        try:
            while not self._choked:
                if self._turn.over and self._session.unread:
                    self._turn.wait()
                    self._hold()
                    break
                event = self._session.next_event()
                if event is Signal.NEED_DATA or event is Signal.PAUSED:
                    break
                self._act(event)
        finally:
            self._looping = False
        self._flush()
        if self._held and not (self._choked or self._turn.waiting or self._session.waiting):
            self._held = False
            if not self._session.closed:
                self.transport.resumeProducing()

    def _act(self, event: Event) -> None:
        if not isinstance(event, Content):
            self._deadline.touch()
            self._turn.spend(1)
        elif self._session.unread:
            # Else it was no more than the transport reads at once.
            self._turn.spend(CONTENT)
        if isinstance(event, Command):
            self._await(event.verb, self._dialogue.answer(event))
        elif isinstance(event, Content):
            self._await(END_OF_DATA, self._dialogue.take(event))
        elif isinstance(event, Answered):
            self._answer(event.verb, event.reply)
        elif isinstance(event, Foreign):
            self._refused(UNKNOWN, reply.unsaid(event.reason, "protocol"))
            self._close(event.reason)
        elif event is Signal.UPGRADE:
            self._start_tls()
        elif event is Signal.CLOSE:
            self._close("")

    def _await(self, verb: str, answer: Deferred[Reply] | Deferred[Reply | None] | Reply | None) -> None:
        if isinstance(answer, Deferred):
            answer.addCallback(lambda response: self._answer(verb, response)).addErrback(self._broken)
        else:
            self._answer(verb, answer)

    def _answer(self, verb: str, response: Reply | None) -> None:
        if self._lost:
            self._leave()
            return
        if response is None:
            self._session.proceed()
        else:
            if response.code == _GOODBYE:
                self._why = response.text
            self._say(verb, response, self._session.answer(response))
        if not self._looping:
            # It came late, in another turn: the client's time begins now.
            self._turn.renew()
            self._deadline.touch()
            self._watched = None
            self._advance()

    def _say(self, verb: str, response: Reply, octets: bytes) -> None:
        self._events("smtp.reply", listener=self._settings.listener, command=verb, code=response.code)
        if response.code >= _NEGATIVE:
            self._refused(verb, response)
        self._replies.append(octets)

    def _refused(self, verb: str, refusal: Reply) -> None:
        self.factory.refusals.tell(verb, refusal, self._session, self._dialogue)

    def _flush(self) -> None:
        if self._replies:
            octets = b"".join(self._replies)
            self._replies.clear()
            self._wire.write(octets)

    def _hold(self) -> None:
        if not self._held:
            self._held = True
            self.transport.pauseProducing()

    # --- turns of the way ------------------------------------------------------------------

    def _start_tls(self) -> None:
        self._flush()
        self._wire.through_transport()
        self._dialogue.forget("TLS")
        self._session.proceed()
        self.transport.startTLS(self._settings.tls)

    def _close(self, why: str) -> None:
        self._flush()
        self._why = self._why or why or "goodbye"
        self._deadline.shorten(LINGER)
        # A registered producer keeps a transport from closing.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _expired(self) -> None:
        if self._session.closed:
            self.transport.abortConnection()
        elif self._choked:
            self.cut("timeout: the client does not read")
        elif self._session.decoder is not None and not self._session.waiting:
            self._interrupt(reply.TIMED_OUT)
        elif not self._session.waiting:
            self.dismiss(reply.TIMED_OUT)

    def _look(self, elapsed: float) -> None:
        """Judge how fast content came, if it was one message's for the whole time."""
        octets, self._octets = self._octets, 0
        self._session.forgive(elapsed)
        watched, self._watched = self._watched, self._session.decoder
        if watched is None or watched is not self._session.decoder or self._session.waiting:
            return
        if octets < self._settings.data_rate * elapsed:
            self._interrupt(reply.TOO_SLOW)

    def _interrupt(self, farewell: Reply) -> None:
        """End the session in the middle of content."""
        self._dialogue.abort()
        self._say(UNKNOWN, farewell, self._session.interrupt(farewell))
        self._close(farewell.text)

    def cut(self, why: str) -> None:
        """Cut the connection, for the reason ``why``."""
        self._why = why
        self._turn.cancel()
        self.transport.abortConnection()

    def _broken(self, failure: Failure) -> None:
        """A bug of ours: this session cannot go on."""
        self._tell("session.failed", exc=failure.value)
        self.cut("unexpected error")

    def _leave(self) -> None:
        """Say that the session is over; once, and not while a message is being finished."""
        self._dialogue.leave()
        if self.factory.leave(self):
            self._tell("session.close", seconds=self._clock.seconds() - self._began, reason=self._why)

    def _tell(self, event: str, **fields: object) -> None:
        client = self._dialogue.client
        self._events(event, listener=client.listener, client=client.address, **fields)


class ESMTPFactory(ServerFactory):
    """
    One listener: makes a session for each client and knows those that are there.

    :ivar portal: where sessions log in, for ``IEnvelopeDelivery``, ``IMessageDeliveryFactory``
        or ``IMessageDelivery``, with :class:`smtprelay.credentials.AnonymousClient` or
        :class:`smtprelay.credentials.PasswordClient`.
    :ivar settings: taken by each session when it begins; it may be replaced, as may ``portal``.
    :param elsewhere: what other processes have at the same listener; the limits are of all together.
    """

    noisy = False

    def __init__(
        self,
        portal: Portal,
        settings: Settings,
        clock: IReactorTime,
        events: Events,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere or Nowhere()
        self.portal = portal
        self.settings = settings
        self.clock = clock
        self.events = events
        self.refusals = Refusals(clock, events)
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
            self._elsewhere.note(address, 1)
        else:
            # It takes nobody's place while it takes its leave.
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
        self._elsewhere.note(address, -1)
        if not self._clients[address]:
            del self._clients[address]
        if self._stopped is not None and not self._sessions and not self._stopped.called:
            self._stopped.callback(None)
        return True

    def turn_away(self) -> None:
        """Tell each session 421 4.3.2 when no message of it is on its way, and whoever comes, at once."""
        self._closed = True
        for session in list(self._sessions):
            session.dismiss(reply.SHUTTING_DOWN)

    def admit(self) -> None:
        """Let clients in again after :meth:`turn_away`."""
        self._closed = False

    def stop_sessions(self) -> Deferred[None]:
        """
        Turn everybody away, for good.

        The Deferred fires when all are gone; that may be long. Whoever cannot wait
        calls :meth:`abort_sessions`.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            self.turn_away()
            self._stopped.addCallback(lambda _: self.refusals.stop())
            if not self._sessions and not self._stopped.called:
                self._stopped.callback(None)
        waiting: Deferred[None] = Deferred()
        self._stopped.chainDeferred(waiting)
        return waiting

    def abort_sessions(self) -> None:
        """Cut all connections; messages that are being finished are finished."""
        self.refusals.stop()
        for session in [*self._sessions, *self._turned_away]:
            session.cut("aborted at shutdown")

    def _refusal(self, address: str) -> Reply | None:
        if self._closed or self._stopped is not None:
            return reply.SHUTTING_DOWN
        if len(self._sessions) + self._elsewhere.count("") >= self.settings.connections:
            return reply.too_many_connections(self.settings.connections)
        if self._clients[address] + self._elsewhere.count(address) >= self.settings.connections_per_client:
            return reply.too_many_from_client(self.settings.connections_per_client)
        return None
