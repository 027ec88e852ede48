"""
What Twisted's own server, :mod:`twisted.mail.smtp`, wants of our avatar in its own words.

It asks for a message for each recipient, and hands over line by line; here the message of the first recipient
carries the content, and the others follow it. Importing ``twisted.mail.smtp`` installs the reactor, so its
errors are imported when they are needed: whoever runs that server has imported it.
"""

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import implementer

from smtprelay.interfaces import Incoming
from smtprelay.model.message import Client, Refused, Reply

#: Maximum number of bytes of lines that are gathered before they are passed on.
_CHUNK = 64 * 1024


def client(helo: tuple[bytes | None, bytes]) -> Client:
    """Return the client with this name and address."""
    name, address = helo
    return Client(
        address=address.decode("ascii", "replace"),
        helo=(name or b"").decode("ascii", "replace"),
        protocol="ESMTP",
    )


def text(address: Any) -> str:
    """Return a stock ``Address``; what is no text becomes surrogates, which the rules refuse."""
    return bytes(address).decode("utf-8", "surrogateescape")


def bad_sender(origin: object, reply: Reply) -> Exception:
    """Return what refuses MAIL with our code and words."""
    from twisted.mail.smtp import SMTPBadSender  # noqa: PLC0415 -- installs the reactor

    return SMTPBadSender(origin, reply.code, _words(reply))


def bad_recipient(user: object, reply: Reply) -> Exception:
    """Return what refuses RCPT with our code and words."""
    from twisted.mail.smtp import SMTPBadRcpt  # noqa: PLC0415 -- installs the reactor

    return SMTPBadRcpt(user, reply.code, _words(reply))


def _failed(reply: Reply, words: str | bytes) -> Exception:
    from twisted.mail.smtp import SMTPServerError  # noqa: PLC0415 -- installs the reactor

    return SMTPServerError(reply.code, words)


def messages(begin: Callable[[], tuple[Incoming, object]]) -> Iterator[IMessageSMTP]:
    """
    Give a message for each recipient of a transaction.

    :param begin: gives where the content goes, or raises :class:`Refused`. When more may be written is of no
        use here: that server cannot be asked to pause.
    """
    try:
        incoming, _ = begin()
    except Refused as refused:
        raise _failed(refused.reply, _words(refused.reply).encode("ascii")) from refused
    yield _FirstRecipient(incoming)
    while True:
        yield _LaterRecipient()


@implementer(IMessageSMTP)
@define(eq=False)
class _FirstRecipient:
    """The message itself, at its first recipient."""

    _incoming: Incoming
    _lines: list[bytes] = field(init=False, factory=list)
    _gathered: int = field(init=False, default=0)

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= _CHUNK:
            self._write()

    def eomReceived(self) -> Deferred[None]:
        self._write()
        return Deferred.fromCoroutine(self._finish())

    def connectionLost(self) -> None:
        self._incoming.abort()

    def _write(self) -> None:
        if self._lines:
            self._incoming.write(b"\r\n".join([*self._lines, b""]))
        self._lines.clear()
        self._gathered = 0

    async def _finish(self) -> None:
        reply = await self._incoming.finish()
        if reply.code >= 400:  # noqa: PLR2004 -- RFC 5321 §4.2.1
            raise _failed(reply, _words(reply))


@implementer(IMessageSMTP)
class _LaterRecipient:
    """The same message at a later recipient: it gets the result of the first."""

    def lineReceived(self, line: bytes) -> None:
        pass

    def eomReceived(self) -> Deferred[None]:
        return succeed(None)

    def connectionLost(self) -> None:
        pass


def _words(reply: Reply) -> str:
    words = f"{reply.enhanced} {reply.text}".strip()
    return words.encode("ascii", "backslashreplace").decode("ascii")
