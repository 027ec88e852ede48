"""
An SMTP server that takes everything, remembers it, and misbehaves on request.

It shares no code with the relay's own server and client, so that a mistake of
theirs is not made twice. Use it in place of a smarthost::

    sink = SmtpSink(users={"u": "p"}, certificate=make_certificate(folder))
    port = await sink.listen(reactor)
    sink.script("RCPT", "550 5.1.1 no such user")      # the next RCPT only
    sink.script("END", CUT)                            # take the message, say nothing, hang up
    ...
    assert sink.messages[0].recipients == ("r@example.com",)
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IOpenSSLContextFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from smtprelay.testing.certificates import Certificate
from smtprelay.testing.smtp_script import CUT, SILENCE, Pause, ReceivedMessage, ReplyAction
from smtprelay.testing.smtp_session import SmtpSinkSession

__all__ = ["CUT", "KEYWORDS", "SILENCE", "Pause", "ReceivedMessage", "ReplyAction", "SmtpSink"]

#: What is offered in the answer to EHLO when nothing else is asked for.
KEYWORDS: Final = ("PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")


class SmtpSink(Factory):
    """
    The server.

    :ivar messages: what was taken, in order.
    :ivar lines: every command line of every connection, in order.
    :ivar connections: how many were made.
    :ivar talks: the connections that are open.

    :param keywords: what EHLO offers; STARTTLS and AUTH are added where they apply. ``None``: only
        HELO is known.
    :param certificate: for TLS; without one STARTTLS is not offered.
    :param implicit: :meth:`listen` speaks TLS from the first byte.
    :param users: passwords by name; AUTH is offered if there are any.
    :param required: MAIL needs a login.
    :param mechanisms: what AUTH offers; only PLAIN and LOGIN are spoken.
    :param clock: for :class:`Pause`.
    """

    noisy = False

    def __init__(
        self,
        *,
        keywords: Sequence[str] | None = KEYWORDS,
        certificate: Certificate | None = None,
        implicit: bool = False,
        users: Mapping[str, str] | None = None,
        required: bool = False,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
        clock: IReactorTime | None = None,
    ) -> None:
        self.keywords = keywords
        self.certificate = certificate
        self.implicit = implicit
        self.users = users or {}
        self.required = required
        self.mechanisms = mechanisms
        self.clock = clock
        self._next: defaultdict[str, deque[ReplyAction]] = defaultdict(deque)
        self._always: dict[str, ReplyAction | None] = {}
        self.messages: list[ReceivedMessage] = []
        self.lines: list[str] = []
        self.connections = 0
        self.talks: list[SmtpSinkSession] = []

    def script(self, verb: str, *actions: ReplyAction) -> None:
        """
        Do ``actions`` in turn, the next times that ``verb`` comes.

        Verbs are those of SMTP, and ``CONNECT`` (the greeting), ``BODY`` (the first
        bytes of a message have come) and ``END`` (its final dot has come). A message
        is kept unless END is answered 4xx or 5xx: also when the answer is lost.
        """
        self._next[verb].extend(actions)

    def always(self, verb: str, action: ReplyAction | None) -> None:
        """Do ``action`` whenever ``verb`` comes and nothing else waits; ``None``: the usual again."""
        self._always[verb] = action

    def take(self, verb: str) -> ReplyAction | None:
        """Return what is to be done for ``verb`` now, and strike it out."""
        waiting = self._next[verb]
        return waiting.popleft() if waiting else self._always.get(verb)

    def hang_up(self) -> None:
        """Close every connection, as a restart would."""
        for talk in tuple(self.talks):
            talk.hang_up()

    def buildProtocol(self, _addr: IAddress | None) -> SmtpSinkSession:
        """Make the protocol of one connection."""
        self.connections += 1
        return SmtpSinkSession(self, self.connections)

    def tls_options(self) -> IOpenSSLContextFactory:
        """Return the server's side of TLS. Needs ``certificate``."""
        assert self.certificate is not None
        return DefaultOpenSSLContextFactory(str(self.certificate.key), str(self.certificate.certificate))

    async def listen(self, reactor: Any, port: int = 0) -> IListeningPort:
        """Listen on 127.0.0.1, with TLS from the first byte if ``implicit``."""
        factory = TLSMemoryBIOFactory(self.tls_options(), False, self) if self.implicit else self
        endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        listening: IListeningPort = await endpoint.listen(factory)
        return listening
