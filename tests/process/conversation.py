"""
An SMTP client that says exactly what a test wants, and waits for whole replies.
"""

from collections import deque

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from tests.process.program import PATIENCE


class Conversation(LineReceiver):
    """
    One session.

    :ivar gone: fires when the connection is closed.
    """

    MAX_LENGTH = 1 << 20

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self._lines: list[str] = []
        self._replies: deque[str] = deque()
        self._waiting: deque[Deferred[str]] = deque()

    @classmethod
    async def open(cls, port: int) -> "Conversation":
        """Connect, and take the banner."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        talk = await endpoint.connect(Factory.forProtocol(cls))
        try:
            banner = await talk.reply()
        except TookTooLong:
            talk.transport.abortConnection()
            raise
        if not banner.startswith("220"):
            raise AssertionError(f"no welcome: {banner}")
        return talk

    async def say(self, command: str) -> str:
        """Send one line and return the reply to it, its lines joined by newlines."""
        self.write(command.encode() + b"\r\n")
        return await self.reply()

    async def mail(self, content: bytes, *recipients: str, sender: str = "app@example.org") -> str:
        """Send one mail, whole lines, after hello; return the first reply that refuses, or the last."""
        commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA"]
        for command in commands:
            reply = await self.say(command)
            if reply[0] not in "23":
                return reply
        self.write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return await self.reply()

    def write(self, octets: bytes) -> None:
        """Send ``octets`` as they are."""
        self.transport.write(octets)

    def reply(self) -> "Deferred[str]":
        """Return the next reply; it fails when the connection is closed, or after a while."""
        waiting: Deferred[str] = Deferred()
        if self._replies:
            waiting.callback(self._replies.popleft())
        elif self.gone.called:
            waiting.errback(ConnectionLost())
        else:
            self._waiting.append(waiting)
            waiting.addTimeout(PATIENCE, reactor)
        return waiting

    async def close(self) -> None:
        """Hang up, and wait for it."""
        self.transport.abortConnection()
        if not self.gone.called:
            ended: Deferred[None] = Deferred()
            self.gone.chainDeferred(ended)
            await ended

    # --- called by Twisted

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        text = line.decode()
        self._lines.append(text)
        if text[3:4] != "-":
            whole = "\n".join(self._lines)
            self._lines.clear()
            self._give(whole)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.called:
                waiting.errback(ConnectionLost(reason.getErrorMessage()))

    def _give(self, reply: str) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.called:
                waiting.callback(reply)
                return
        self._replies.append(reply)
