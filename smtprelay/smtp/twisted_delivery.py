"""
Adapts any ``IMessageDelivery`` to what our server asks of an :class:`IEnvelopeDelivery`.

The calls have the order of the stock server (``validateFrom``, ``validateTo``, ``receivedHeader``, then one
``IMessage`` a recipient), but a 4xx at the end of data stays one, so no temporary failure becomes a bounce.
Importing ``twisted.mail.smtp`` installs the reactor; import this module late.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.mail.smtp import Address, AddressError, SMTPServerError, User
from twisted.python.failure import Failure

from smtprelay.model.message import Client, Refused, Reply
from smtprelay.smtp import reply

_TEMPORARY: Final = range(400, 500)


class TwistedDelivery:
    """
    Drives stock deliveries; it has the methods that :class:`IEnvelopeDelivery` adds to theirs.

    :param delivery: gives the ``IMessageDelivery`` for a message; asked at each MAIL.
    """

    def __init__(self, delivery: Callable[[], Any]) -> None:
        self._make = delivery
        self._delivery: Any = None
        self._client = Client(address="")
        self._origin: Any = None
        self._recipients: list[tuple[Any, Callable[[], Any]]] = []

    def client_is(self, client: Client) -> None:
        """Remember who speaks, for the calls that want to know."""
        self._client = client

    def mail(self, sender: str, parameters: Mapping[str, str]) -> Deferred[None]:  # noqa: ARG002
        """Ask ``validateFrom``; it may give another address than it was asked about."""
        return Deferred.fromCoroutine(self._mail(sender))

    def rcpt(self, recipient: str, parameters: Mapping[str, str]) -> Deferred[None]:  # noqa: ARG002
        """Ask ``validateTo``; keep what it gives to make the message with."""
        return Deferred.fromCoroutine(self._rcpt(recipient))

    def data(self) -> "Lines":
        """Make the messages and give each its ``Received:`` header."""
        recipients, self._recipients = self._recipients, []
        messages: list[Any] = []
        try:
            for user, make in recipients:
                message = make()
                messages.append(message)
                header = self._delivery.receivedHeader(self._helo(), self._origin, [user])
                if header:
                    message.lineReceived(header)
        except Exception as error:
            _disconnect(messages)
            raise _translated(error) from error
        return Lines(messages)

    async def _mail(self, sender: str) -> None:
        self._recipients = []
        self._delivery = self._make()
        origin = _parsed(lambda: _address(sender))
        self._origin = await _translating(self._delivery.validateFrom, self._helo(), origin)

    async def _rcpt(self, recipient: str) -> None:
        peer = SimpleNamespace(host=self._client.address.encode("ascii"))  # what it wants of its protocol
        user = _parsed(lambda: User(_address(recipient), self._helo(), peer, self._origin))
        self._recipients.append((user, await _translating(self._delivery.validateTo, user)))

    def _helo(self) -> tuple[bytes, bytes]:
        return self._client.helo.encode("ascii"), self._client.address.encode("ascii")


class Lines:
    """
    The :class:`smtprelay.interfaces.Incoming` that hands content to stock messages by lines.

    :ivar id: ``""``; these messages have none.
    """

    id = ""

    def __init__(self, messages: Sequence[Any]) -> None:
        self._messages = messages
        self._partial: list[bytes] = []
        self._begun = False
        self._error: Exception | None = None

    def write(self, chunk: bytes) -> None:
        """Hand on the lines that are complete. The first that is refused refuses the message."""
        if b"\n" not in chunk:
            # It is joined once, when its end comes: a line may be as long as the message.
            self._partial.append(chunk)
            return
        *lines, partial = b"".join([*self._partial, chunk]).split(b"\r\n")
        self._partial = [partial]
        if self._error is None:
            try:
                for line in lines:
                    self._line(line)
            except Exception as error:  # noqa: BLE001 -- code from outside; reported by finish
                self._error = error
                self.abort()

    async def finish(self) -> Reply:
        """
        Return 250 if all messages were taken; any 4xx beats any 5xx beats 250.

        An error that is no refusal is raised, for the session to tell; it means 451.
        """
        if self._error is not None:
            return _reply_to(self._error)
        ends = [maybeDeferred(message.eomReceived) for message in self._messages]
        results = await DeferredList(ends, consumeErrors=True)
        return worst([_reply_to(result.value) for _, result in results if isinstance(result, Failure)])

    def abort(self) -> None:
        """Tell the messages that the rest will not come."""
        messages, self._messages = self._messages, ()
        _disconnect(messages)

    def _line(self, line: bytes) -> None:
        # Without headers of its own the body must not become part of ours.
        if not self._begun and line and b":" not in line:
            self._tell(b"")
        self._begun = True
        self._tell(line)

    def _tell(self, line: bytes) -> None:
        for message in self._messages:
            message.lineReceived(line)


def worst(refusals: Sequence[Reply]) -> Reply:
    """Return the refusal that the client must get: a temporary one, else any, else ``Ok``."""
    return next(
        (refusal for refusal in refusals if refusal.code in _TEMPORARY), refusals[0] if refusals else reply.OK
    )


async def _translating(question: Callable[..., object], *values: object) -> Any:
    try:
        return await maybeDeferred(question, *values)
    except Exception as error:
        raise _translated(error) from error


def _address(text: str) -> Address:
    """Return a stock address; what Twisted reads has to be ASCII, what it carries has not."""
    local, _, domain = text.rpartition("@")
    address = Address(f"x@{domain}".encode() if not local.isascii() else text.encode())
    if not local.isascii():
        address.local = local.encode()
    return address


def _parsed(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except AddressError as error:
        raise Refused(reply.BAD_RECIPIENT) from error


def _translated(error: Exception) -> Exception:
    """Return the refusal that a stock error means; other errors are what they are."""
    return Refused(_reply_to(error)) if isinstance(error, SMTPServerError) else error


def _reply_to(error: BaseException | None) -> Reply:
    """Return what a stock error says; raise one that says nothing to the client."""
    if isinstance(error, Refused):
        return error.reply
    if not isinstance(error, SMTPServerError):
        assert error is not None
        raise error
    text = error.resp.decode("utf-8", "replace") if isinstance(error.resp, bytes) else str(error.resp)
    return Reply(code=error.code, enhanced=f"{error.code // 100}.0.0", text=text)


def _disconnect(messages: Sequence[Any]) -> None:
    for message in messages:
        message.connectionLost()
