"""
What Twisted's own server, :mod:`twisted.mail.smtp`, wants of our avatar in its own words.

It asks for a message for each recipient, and hands over line by line; here the message of the first recipient
carries the content, and the others follow it. Importing ``twisted.mail.smtp`` installs the reactor, so its
errors are imported when they are needed: whoever runs that server has imported it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.mail.interfaces import IMessageSMTP
from zope.interface import implementer

from smtprelay.interfaces import Incoming
from smtprelay.model.message import Refused, Reply

#: Maximum number of bytes of lines that are gathered before they are passed on.
_CHUNK = 64 * 1024


@contextmanager
def refusing(error: str, *about: object, words: Callable[[Reply], object] | None = None) -> Iterator[None]:
    """Raise a refusal as ``error`` of that server, with our code and ``words``; by default text."""
    try:
        yield
    except Refused as refused:
        from twisted.mail import smtp  # noqa: PLC0415 -- installs the reactor

        reply = refused.reply
        raise getattr(smtp, error)(*about, reply.code, (words or _words)(reply)) from refused


def messages(begin: Callable[[], tuple[Incoming, object]]) -> Iterator[IMessageSMTP]:
    """
    Give a message for each recipient of a transaction.

    :param begin: gives where the content goes, or raises :class:`Refused`. When more may be written is of no
        use here: that server cannot be asked to pause.
    """
    # The words of this error alone must be bytes.
    with refusing("SMTPServerError", words=lambda reply: _words(reply).encode("ascii")):
        incoming, _ = begin()
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
        with refusing("SMTPServerError"):
            if reply.code >= 400:  # noqa: PLR2004 -- RFC 5321 §4.2.1
                raise Refused(reply)


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
