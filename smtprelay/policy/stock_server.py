"""
Our avatar for the protocols of :mod:`twisted.mail.smtp`.

Those ask once for each recipient and hand over line by line; here the first recipient
carries the message and the others follow it. Imported lazily, and by
:mod:`smtprelay.policy.realm` alone: ``twisted.mail.smtp`` installs the reactor.
"""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.mail.smtp import (
    Address,
    IMessage,
    IMessageDelivery,
    SMTPBadRcpt,
    SMTPBadSender,
    SMTPServerError,
    User,
)
from zope.interface import implementer

from smtprelay.interfaces import Incoming
from smtprelay.model.message import Client, Refused, Reply
from smtprelay.policy.avatar import EnvelopeDelivery

#: Maximum number of bytes of lines that are gathered before they are passed on.
_CHUNK = 64 * 1024


@implementer(IMessageDelivery)
@define(eq=False)
class StockDelivery:
    """
    An :class:`EnvelopeDelivery` as the stock protocol wants it.

    That protocol does not tell about TLS, so a listener that requires it admits no client here.
    """

    _avatar: EnvelopeDelivery
    _carried: bool = field(init=False, default=False)

    def validateFrom(self, helo: tuple[bytes | None, bytes], origin: Address) -> Address:
        """Begin a transaction; :exc:`SMTPBadSender` has the policy's reply."""
        name, address = helo
        client = Client(
            address=address.decode("ascii", "replace"),
            helo=(name or b"").decode("ascii", "replace"),
            protocol="ESMTP",
        )
        self._avatar.client_is(client)
        self._carried = False
        try:
            self._avatar.mail(_text(origin), {})
        except Refused as refused:
            raise SMTPBadSender(origin, refused.reply.code, _words(refused.reply)) from refused
        return origin

    def validateTo(self, user: User) -> Callable[[], IMessage]:
        """Add a recipient; :exc:`SMTPBadRcpt` has the policy's reply."""
        try:
            self._avatar.rcpt(_text(user.dest), {})
        except Refused as refused:
            raise SMTPBadRcpt(user, refused.reply.code, _words(refused.reply)) from refused
        return self._message

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:  # noqa: ARG002
        """Return nothing: the avatar writes the header itself, once."""
        return b""

    def _message(self) -> IMessage:
        if self._carried:
            return _LaterRecipient()
        try:
            # The stock protocol cannot be asked to pause.
            incoming, _ = self._avatar.begin()
        except Refused as refused:
            reply = refused.reply
            raise SMTPServerError(reply.code, _words(reply).encode("ascii")) from refused
        self._carried = True
        return _FirstRecipient(incoming)


@implementer(IMessage)
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
            raise SMTPServerError(reply.code, _words(reply))


@implementer(IMessage)
class _LaterRecipient:
    """The same message at a later recipient: it gets the result of the first."""

    def lineReceived(self, line: bytes) -> None:
        pass

    def eomReceived(self) -> Deferred[None]:
        return succeed(None)

    def connectionLost(self) -> None:
        pass


def _text(address: Address) -> str:
    # What is no text becomes surrogates, which the rules refuse.
    return bytes(address).decode("utf-8", "surrogateescape")


def _words(reply: Reply) -> str:
    text = f"{reply.enhanced} {reply.text}".strip()
    return text.encode("ascii", "backslashreplace").decode("ascii")
