"""
The server protocol: one loop between a transport, a session and its responder.

Each event of the session gets one answer before the next is asked for. The loop does not call itself, so
thousands of commands at once cost no stack; the replies of one run leave in one write. The loop and reading
stop while an answer is pending, while the client does not read, and after enough work for one iteration of
the reactor. What has been received is worked on even if the client has closed its connection meanwhile.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from OpenSSL.SSL import Error as TLSError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtprelay.model.message import Client, Reply
from smtprelay.net.certificate import peer_names
from smtprelay.net.channel_binding import channel_bindings
from smtprelay.net.deadline import SilenceDeadline
from smtprelay.net.direct_write import DirectWriter
from smtprelay.net.reachability import connection_end
from smtprelay.smtp import reply
from smtprelay.smtp.command import Command
from smtprelay.smtp.events import (
    END_OF_CHUNK,
    END_OF_DATA,
    RESPONSE,
    UNKNOWN,
    Answered,
    Content,
    Event,
    Foreign,
    Signal,
)
from smtprelay.smtp.iteration_budget import CONTENT, MOST, IterationBudget
from smtprelay.smtp.responder import Responder
from smtprelay.smtp.session import Decoder, Session
from smtprelay.smtp.sniff import failed_handshake

if TYPE_CHECKING:
    from smtprelay.smtp.factory import ESMTPFactory

#: Seconds in which a client can read the last reply before the connection is cut.
LINGER: Final = 10.0

#: Seconds of silence after which a client is cut while the relay stops, also within a message.
SHORT_SILENCE: Final = 3.0

#: Commands whose refusal makes others be refused, too; and commands whose success ends that.
_CAUSES: Final = frozenset({"AUTH", RESPONSE, "MAIL", "RCPT", "DATA", END_OF_CHUNK})
_ANEW: Final = frozenset({"EHLO", "HELO", "STARTTLS", "AUTH", RESPONSE, "MAIL", "RSET", END_OF_DATA})

_GOODBYE, _NEGATIVE, _INTERMEDIATE = 421, 400, 300
_HALF_CLOSED: Final = "the client has closed the connection"


@implementer(IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
class ESMTP(Protocol):
    """One client's connection; :class:`smtprelay.smtp.factory.ESMTPFactory` makes it."""

    # Twisted's transports have more methods than ITransport, and which ones depends on TLS.
    transport: Any

    def __init__(self, factory: "ESMTPFactory") -> None:
        self.factory = factory
        self._settings = factory.settings
        self._events, self._clock = factory.events, factory.clock
        self._replies: list[bytes] = []
        self._looping = self._lost = False
        self._write_paused = False  # the client does not read
        self._read_paused = False  # we do not read
        self._silent = False  # the client sends no more
        self._why = ""
        self._cause = ""  # the command that was refused last, of which others may be a consequence
        self._greeting: IDelayedCall | None = None  # while the client must wait for it
        self._octets = 0  # received since the deadline looked
        self._watched: Decoder | None = None

    # --- called by Twisted -----------------------------------------------------------------

    def connectionMade(self) -> None:
        """Greet the client, or turn it away."""
        settings, clock = self._settings, self._clock
        self._began = clock.seconds()
        address = getattr(self.transport.getPeer(), "host", "unix")
        tls = "TLS" if settings.tls_implicit else ""
        client = Client(address=address, listener=settings.listener, tls=tls)
        bare = settings.bare_newlines == "accept" and address in settings.bare_newlines_from
        responder = self._responder = Responder(self.factory.portal, settings, self._events, client)
        secure, xclient = settings.tls_implicit, responder.xclient
        self._session = Session(settings, secure=secure, bare_newlines=bare, xclient=xclient)
        self._wire = DirectWriter(self.transport)
        self._deadline = SilenceDeadline(clock, settings.command_time, self._expired, self._check_rate)
        self._budget = IterationBudget(clock, self._advance)
        self.transport.registerProducer(self, True)
        self._tell("session.open")
        refusal = self.factory.enter(self, address)
        if refusal is not None:
            self._session.dismiss(refusal)
            self._advance()
        elif settings.greet_delay:
            self._greeting = clock.callLater(settings.greet_delay, self._greet)
        else:
            self._greet()

    def dataReceived(self, octets: bytes) -> None:
        """Take what the client sent, and answer what can be answered."""
        if self._session.closed:
            return
        self._octets += len(octets)
        if self._greeting is not None:
            self._cancel_greeting()
            self._interrupt(reply.EARLY_TALKER)
            return
        if self._session.decoder is not None:
            self._deadline.touch()  # of a command only its end counts
        self._session.receive(octets)
        if not self._responder.client.tls:
            # A socket is read once an iteration; what TLS reads at once comes here record by record.
            self._budget.left = MOST
        if self._write_paused or self._session.pending or self._budget.waiting:
            self._pause_reading()
        else:
            self._advance()

    def readConnectionLost(self) -> None:
        """Answer what has been received, then close: the client sends no more, but may still read."""
        self._silent = True
        self._advance()

    def writeConnectionLost(self) -> None:
        """Do nothing: we close both ways at once."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Finish messages that were received completely, and abort the rest."""
        self._silent = self._lost = True
        self._write_paused = False
        self._why = self._why or connection_end(reason.value)
        if reason.check(TLSError):
            self._why = failed_handshake(self._why, self._settings.tls_profile)
            self._refused("STARTTLS", reply.not_sent(self._why, "tls-handshake"))
        self._deadline.cancel()
        self._cancel_greeting()
        self._advance()
        if not self._session.input.octets:
            self._responder.lose()

    def handshakeCompleted(self) -> None:
        """Note which TLS is spoken."""
        handle = self.transport.getHandle()
        version = handle.get_protocol_version_name()
        self._responder.forget(version)
        self._responder.bindings = partial(channel_bindings, handle)
        self._responder.names = peer_names(handle)
        self._tell("session.tls", version=version)

    def pauseProducing(self) -> None:
        """Stop writing: the client does not read."""
        self._write_paused = True

    def resumeProducing(self) -> None:
        """Go on: the client reads again."""
        self._write_paused = False
        self._advance()

    def stopProducing(self) -> None:
        """Do nothing: :meth:`connectionLost` follows."""

    # --- called by the listener ------------------------------------------------------------

    def dismiss(self, farewell: Reply) -> None:
        """End the session with ``farewell`` once no message is being received or answered."""
        self._session.dismiss(farewell)
        self._advance()

    def limit_silence(self) -> None:
        """From now on cut the connection after a short silence."""
        self._deadline.limit_silence(SHORT_SILENCE)

    @property
    def concludes(self) -> bool:
        """Whether a message was received completely and is not answered yet."""
        return self._session.concludes

    def _greet(self) -> None:
        self._greeting = None
        if not self._session.closed:
            self._wire.write(reply.render(reply.welcome(self._settings.greeting)))

    def _cancel_greeting(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None

    # --- the loop --------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._looping or self._budget.waiting:
            return
        self._looping = True
        try:
            while not self._write_paused:
                if self._budget.left <= 0 and self._session.input.octets:
                    self._budget.wait()
                    self._pause_reading()
                    break
                event = self._session.next_event()
                if event is Signal.NEED_DATA or event is Signal.PAUSED:
                    break
                self._act(event)
        finally:
            self._looping = False
        self._flush()
        if self._write_paused or self._budget.waiting or self._session.pending:
            return
        if self._silent:
            self._end()
        elif self._read_paused:
            self._read_paused = False
            if not self._session.closed:
                self.transport.resumeProducing()

    def _end(self) -> None:
        """End the session: everything that was received has been answered."""
        if self._lost:
            self._leave()
        elif self._session.decoder is not None and self._session.decoder.size:
            self._interrupt(reply.UNFINISHED)
        elif not self._session.closed:
            self._session.close()
            self._close(_HALF_CLOSED)

    def _act(self, event: Event) -> None:
        if not isinstance(event, Content):
            self._deadline.touch()
            self._budget.left -= 1
        elif self._session.input.octets:
            # Else it was no more than the transport reads at once.
            self._budget.left -= CONTENT
        answer: Deferred[Reply] | Deferred[Reply | None] | Deferred[None] | Reply | None
        if isinstance(event, Command):
            verb, answer = event.verb, self._responder.answer(event)
        elif isinstance(event, Content):
            verb, answer = event.end, self._responder.handle_content(event)
        elif isinstance(event, Answered):
            verb, answer = event.verb, event.reply
        else:
            self._leave_smtp(event)
            return
        if isinstance(answer, Deferred):
            answer.addCallback(lambda response: self._answer(verb, response)).addErrback(self._broken)
        else:
            self._answer(verb, answer)

    def _leave_smtp(self, event: Foreign | Signal) -> None:
        if isinstance(event, Foreign):
            self._refused(UNKNOWN, reply.not_sent(event.reason, "protocol"))
            self._close(event.reason)
        elif event is Signal.UPGRADE:
            self._start_tls()
        elif event is Signal.CLOSE:
            self._close("")

    def _answer(self, verb: str, response: Reply | None) -> None:
        if response is None:
            self._session.proceed()
        else:
            if verb == "XCLIENT" and response.code < _NEGATIVE:
                response = self.factory.move(self, self._responder.client.address) or response
            if response.code == _GOODBYE:
                self._why = response.text
                self._forget_content(response.text)
            self._queue_reply(verb, response, self._session.answer(response))
        if not self._looping:
            # The answer came in a later iteration: the client's time begins now.
            self._budget.left = MOST
            self._deadline.touch()
            self._watched = None
            self._advance()

    def _queue_reply(self, verb: str, response: Reply, octets: bytes) -> None:
        self._events("smtp.reply", listener=self._settings.listener, command=verb, code=response.code)
        if response.code >= _NEGATIVE:
            self._refused(verb, response)
            if verb in _CAUSES:
                self._cause = verb
        elif response.code < _INTERMEDIATE and verb in _ANEW:
            self._cause = ""
        self._replies.append(octets)

    def _refused(self, verb: str, refusal: Reply) -> None:
        self.factory.refusals.tell(verb, refusal, self._session.last_line, self._responder, self._cause)

    def _flush(self) -> None:
        if self._replies:
            octets = b"".join(self._replies)
            self._replies.clear()
            if not self._lost:
                self._wire.write(octets)

    def _pause_reading(self) -> None:
        if not (self._read_paused or self._silent):
            self._read_paused = True
            self.transport.pauseProducing()

    # --- TLS and the end -------------------------------------------------------------------

    def _start_tls(self) -> None:
        self._flush()
        if self._silent:
            self._session.close()
            self._close(_HALF_CLOSED)
            return
        self._wire.through_transport()
        self._responder.forget("TLS")
        self._session.proceed()
        self.transport.startTLS(self._settings.tls)

    def _close(self, why: str) -> None:
        self._flush()
        self._why = self._why or why or "goodbye"
        if self._lost:
            return
        self._deadline.shorten(LINGER)
        # A registered producer keeps a transport from closing.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _expired(self) -> None:
        if self._session.closed:
            self.transport.abortConnection()
        elif self._write_paused:
            self.abort("timeout: the client does not read")
        elif self._session.decoder is not None and not self._session.pending:
            self._interrupt(reply.TIMED_OUT)
        elif not self._session.pending:
            self.dismiss(reply.TIMED_OUT)

    def _check_rate(self, elapsed: float) -> None:
        """Check the data rate, if one message was being received for the whole period."""
        octets, self._octets = self._octets, 0
        self._session.forgive(elapsed)
        watched, self._watched = self._watched, self._session.decoder
        if watched is None or watched is not self._session.decoder or self._session.pending:
            return
        if octets < self._settings.data_rate * elapsed:
            self._interrupt(reply.TOO_SLOW)

    def _interrupt(self, farewell: Reply) -> None:
        self._forget_content(farewell.text)
        self._queue_reply(UNKNOWN, farewell, self._session.interrupt(farewell))
        self._close(farewell.text)

    def abort(self, why: str) -> None:
        """Cut the connection, for the reason ``why``."""
        self._why = why
        self._budget.cancel()
        self.transport.abortConnection()

    def _broken(self, failure: Failure) -> None:
        self._tell("session.failed", exc=failure.value)
        self._session.close()
        if self._lost:
            self._leave()
        else:
            self.abort("unexpected error")

    def _forget_content(self, why: str) -> None:
        """Abort the message whose end was not received, and tell how much of it was."""
        decoder = self._session.decoder
        if decoder is not None:
            self._responder.abort_unfinished(decoder.size, why)

    def _leave(self) -> None:
        """End the session for the factory and the log; reported once."""
        self._forget_content(self._why)
        self._session.close()
        self._responder.leave()
        if self.factory.leave(self):
            self._tell("session.close", seconds=self._clock.seconds() - self._began, reason=self._why)

    def _tell(self, event: str, **fields: object) -> None:
        client = self._responder.client
        self._events(event, listener=client.listener, client=client.address, **fields)
