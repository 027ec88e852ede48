"""
The connection under an SMTP client: lines out, counted replies in, one deadline.

It knows that replies come in the order of the commands, and nothing of mail. Commands of one group leave in
one write and their replies fire one Deferred; the deadline is one delayed call for a connection's whole life,
not one for each command, because those cost more than the commands.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtprelay.net.deadline import Deadline
from smtprelay.net.direct_write import DirectWriter
from smtprelay.net.producer import PausingProducer
from smtprelay.net.reachability import Contact, silence
from smtprelay.net.tls_client import tls_words
from smtprelay.providers.smarthost.replies import AnswerReader, Garbled, ServerReply

#: The code with which a server closes the channel, at any time (RFC 5321 §3.8).
CLOSING = 421
#: Seconds for the last bytes to leave after we closed.
LINGER = 5.0

_GREETING = "greeting"


class Lost(Exception):  # noqa: N818 -- it is what happened to the connection
    """
    The connection is of no use any more.

    The text has the stage and the host; it has the server's 421, if it sent one before it closed.

    :ivar untrusted: TLS came to no agreement, or the certificate did not convince.
    :ivar silent: the server did not answer in time.
    """

    def __init__(self, why: str, *, untrusted: bool = False, silent: bool = False) -> None:
        super().__init__(why)
        self.untrusted = untrusted
        self.silent = silent


@implementer(IHandshakeListener)
class Channel(PausingProducer, Protocol):
    """
    One connection to a server.

    :ivar host: where it leads, for people.
    :ivar contact: notes how far the conversation has come, until the server has given the answer that counts.
    :ivar gone: fires, with the channel, when the connection is no more.
    :ivar last: the code of the last reply, 0 before the first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        host: str,
        patience: float,
        contact: Contact | None = None,
        *,
        secure: bool = False,
    ) -> None:
        """
        :param host: where it leads, for people.
        :param patience: seconds to wait for the greeting.
        :param secure: TLS is spoken before that.
        """
        self.contact = contact
        self.host = host
        self.gone: Deferred[Channel] = Deferred()
        self.last = 0
        self._stage = _GREETING
        self._secure = secure
        self._lines: list[bytes] = []
        self._deadline = Deadline(clock, self._expired)
        self._patience = patience
        self._reader = AnswerReader()
        self._answers: list[ServerReply] = []
        self._wanted = 1
        self._waiting: Deferred[list[ServerReply]] | None = None
        self._lost: Lost | None = None
        self._over = False
        self._resting = False

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken to, as far as we know."""
        return self._lost is None

    # --- what a session does with it

    def ask(self, lines: bytes, count: int, seconds: float, stage: str = "") -> Deferred[list[ServerReply]]:
        """
        Send commands and return their ``count`` replies; fails with :class:`Lost`.

        ``lines`` may be empty. Cancelling it closes the connection.

        :param stage: what this is called; by default the verb that is not answered yet.
        """
        if self._lost is not None:
            return fail(self._lost)
        self._resting = False
        self._lines = [] if stage or not lines else lines.split(b"\r\n")
        self._come_to(stage or self._next_verb() or self._stage)
        self._wait(seconds)
        if lines:
            self._wire.write(lines)
        if len(self._answers) >= count:
            answers, self._answers = self._answers, []
            return succeed(answers)
        self._wanted = count
        self._waiting = Deferred(self._cancelled)
        return self._waiting

    async def stream(
        self, chunks: AsyncIterator[bytes], encode: Callable[[bytes], bytes], seconds: float
    ) -> bool:
        """
        Send ``chunks`` as fast as the server reads them, each within ``seconds``.

        ``False``: the server answered, or went away, before the end; the next
        :meth:`ask` tells.
        """
        self._lines = []
        self._come_to("message")
        self._transport.registerProducer(self, True)
        try:
            async for chunk in chunks:
                if self._lost is not None or self._answers:
                    break
                self._wait(seconds)
                self._wire.write(encode(chunk))
                await self.writable()
        finally:
            self._transport.unregisterProducer()
        return self._lost is None and not self._answers

    def start_tls(self, creator: IOpenSSLClientConnectionCreator) -> None:
        """
        Speak TLS from the next byte on.

        Raises :class:`Lost` if anything came after the reply to STARTTLS: it was
        not protected, and whoever put it there shall not be believed (RFC 3207 §6).
        """
        if not self._reader.empty:
            self.abort("the server spoke in plain text after STARTTLS")
        if self._lost is not None:
            raise self._lost
        self._wire.through_transport()
        self._secure = True
        self._transport.startTLS(creator)

    def answered(self) -> None:
        """Note that the server has answered a command, whatever the reply."""
        contact, self.contact = self.contact, None
        if contact is not None:
            contact.answered()

    def rest(self, seconds: float) -> None:
        """Nothing to do: quit after ``seconds``."""
        self._resting = True
        self._deadline.set(seconds)

    def quit(self) -> None:
        """Say goodbye and close, without waiting for an answer."""
        if self._lost is None:
            self._wire.write(b"QUIT\r\n")
            self._lost = Lost("we closed the connection")
            self._deadline.set(LINGER)
            self._transport.loseConnection()

    def abort(self, why: str) -> None:
        """Close at once; what is waited for fails with :class:`Lost`."""
        self._end(why)
        if not self._over:
            self._over = True
            self._transport.abortConnection()

    # --- what Twisted tells

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        # Any: ITCPTransport or TLS over it, which share no interface.
        transport: Any = self.transport
        self._transport = transport
        self._wire = DirectWriter(transport)
        # 40 ms for the end of each larger message otherwise (Nagle meets the delayed ACK).
        if ITCPTransport.providedBy(self._transport):
            self._transport.setTcpNoDelay(True)
        self._come_to(_GREETING)
        self._wait(self._patience)

    def handshakeCompleted(self) -> None:
        """TLS is up: now the server is waited for."""
        self._secure = False
        self._come_to(self._stage)

    def dataReceived(self, data: bytes) -> None:
        """Take replies."""
        if self._lost is not None:
            return
        try:
            answers = self._reader.feed(data)
        except Garbled as garbled:
            self.abort(str(garbled))
            return
        if answers:
            self._secure = False
            self._take(answers)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is waited for."""
        self._over = True
        self._deadline.stop()
        untrusted = reason.check(TLSError, VerificationError) is not None
        self._end(tls_words(reason), untrusted=untrusted)
        self.gone.callback(self)

    # --- inside

    def _take(self, answers: list[ServerReply]) -> None:
        last = answers[-1]
        self.last = last.code
        self._answers += answers
        if self._resting or len(self._answers) > self._wanted:
            self.abort(f"a reply to nothing: {last}")
        elif self._waiting is not None and len(self._answers) == self._wanted:
            waiting, self._waiting = self._waiting, None
            answers, self._answers = self._answers, []
            waiting.callback(answers)
        elif self._lines:
            self._come_to(self._next_verb() or self._stage)

    def _wait(self, seconds: float) -> None:
        self._patience = seconds
        self._deadline.set(seconds)

    def _come_to(self, stage: str) -> None:
        """Note what is waited for; the handshake comes before the reply to the command behind it."""
        self._stage = stage
        if self.contact is not None:
            self.contact.at(self._now_at)

    @property
    def _now_at(self) -> str:
        return "TLS" if self._secure else self._stage

    def _next_verb(self) -> str:
        """Return the verb of the first command that has no reply yet, ``""`` if that is none."""
        place = len(self._answers)
        line = self._lines[place] if place < len(self._lines) else b""
        verb = line.partition(b" ")[0]
        return verb.decode("ascii") if verb.isalpha() and verb.isupper() else ""

    def _expired(self) -> None:
        if self._resting and self.alive:
            self.quit()
            return
        why = f"{silence(self._now_at, self.host)} within {self._patience:g} s"
        self._end(why, silent=True, whole=True)
        self.abort("")

    def _cancelled(self, _waiting: Deferred[list[ServerReply]]) -> None:
        self._waiting = None
        self.abort("cancelled")

    def _end(self, why: str, *, untrusted: bool = False, silent: bool = False, whole: bool = False) -> None:
        """End it; ``whole``: the text says where it came to already."""
        if self._lost is None:
            if self._answers and self._answers[-1].code == CLOSING:
                why, whole = str(self._answers[-1]), False
            place = "" if whole else f"{self._now_at} at {self.host}: "
            self._lost = Lost(f"{place}{why}", untrusted=untrusted, silent=silent)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(self._lost)
        self.resumeProducing()
