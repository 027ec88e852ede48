"""A smarthost provider joined in memory with the scripted server."""

from collections.abc import AsyncIterator, Callable

from attrs import evolve
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smtprelay.http.credentials import StoredCredentials
from smtprelay.interfaces import Attempt
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.providers.smarthost.provider import Smarthost
from smtprelay.providers.smarthost.server_settings import ServerSettings
from smtprelay.testing.smtp import SmtpSink
from tests.recording import Recording

HOST = ServerSettings(host="smtp.example.com", tls="none", helo="relay.example.com")


def settings(base: ServerSettings = HOST, **changes: object) -> ServerSettings:
    """Return ``base`` with changes; ``password`` gives the password each time that it is read."""
    if "password" in changes:
        changes["credential"] = StoredCredentials(changes.pop("password"), maybeDeferred)
    return evolve(base, **changes)


class Stored:
    """A body in pieces, as the spool gives it."""

    def __init__(self, *pieces: bytes, size: int | None = None) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces)) if size is None else size

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the pieces."""
        for piece in self.pieces:
            yield piece

    async def whole(self) -> bytes:
        """Give all at once."""
        return b"".join(self.pieces)


def delivery(*recipients: str, sender: str = "a@example.com", **parameters: str) -> Delivery:
    """Make a delivery for ``recipients``, of ``b@example.net`` if there are none."""
    envelope = Envelope(
        sender=sender,
        recipients=tuple(Recipient(address=address) for address in recipients or ("b@example.net",)),
        parameters=parameters,
    )
    return Delivery(
        message="m1",
        n=1,
        generation=0,
        route="default",
        provider="host",
        lane="",
        envelope=envelope,
        size=10,
        received=1.7e9,
    )


@implementer(IStreamClientEndpoint)
class Wire:
    """Joins clients with ``sink`` in memory; ``refuse`` is what connecting fails with."""

    def __init__(self, sink: SmtpSink, clock: Clock) -> None:
        self.sink = sink
        self.clock = clock
        self.pumps: list[IOPump] = []
        self.refuse: Exception | None = None
        self.hang = False
        self.most = 0

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect at once."""
        if self.hang:
            return Deferred(lambda connecting: connecting.errback(ConnectingCancelledError(None)))
        if self.refuse is not None:
            return fail(self.refuse)
        client, server = factory.buildProtocol(None), self.sink.buildProtocol(None)
        transports = FakeTransport(server, isServer=True), FakeTransport(client, isServer=False)
        pump = connect(server, transports[0], client, transports[1], clock=self.clock, greet=False)
        self.pumps.append(pump)
        self.most = max(self.most, len(self.sink.talks))
        return succeed(client)

    def settle(self) -> None:
        """Carry everything that was written, on every connection, until nobody writes."""
        while sum(pump.flush() for pump in self.pumps):
            pass
        # Of a storm only those that still lead somewhere; each would cost with each write of another one.
        if len(self.pumps) > 20:
            self.pumps = [each for each in self.pumps if not each.clientIO.disconnected]


class Joined:
    """A provider, its clock, and the server it speaks to."""

    def __init__(self, sink: SmtpSink | None = None, **changes: object) -> None:
        self.clock = Clock()
        self.sink = sink or SmtpSink()
        self.sink.clock = self.clock
        self.wire = Wire(self.sink, self.clock)
        self.events = Recording()
        self.provider = Smarthost(
            "host", self.clock, settings(**changes), self.events, connect=lambda *_: self.wire
        )

    def start(self, item: Delivery | None = None, body: object = None) -> "Deferred[object]":
        """Begin to deliver, and carry what was written."""
        text = Stored(b"Subject: x\r\n\r\nhello\r\n") if body is None else body
        deferred = Deferred.fromCoroutine(self.provider.deliver(Attempt(item or delivery(), text)))
        self.wire.settle()
        return deferred

    def run(self, call: Callable[[], object]) -> "Deferred[object]":
        """Begin a coroutine of the provider, and carry what was written."""
        deferred = Deferred.fromCoroutine(call())
        self.wire.settle()
        return deferred

    def writes(self) -> list[bytes]:
        """Return a list that grows with each write on the last connection."""
        writes: list[bytes] = []
        transport = self.wire.pumps[-1].clientIO
        write = transport.write

        def listen(data: bytes) -> None:
            writes.append(data)
            write(data)

        transport.write = listen
        return writes

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.wire.settle()


def refused() -> Exception:
    """Return what connecting to a closed port fails with."""
    return Refused()


class Case(SynchronousTestCase):
    def one(self, joined: Joined, *args: object) -> object:
        """Deliver to one recipient and return what became of it."""
        results = self.successResultOf(joined.start(*args))
        [outcome] = results.values()
        return outcome

    def assert_outcome(self, outcome: object, kind: type, words: str) -> None:
        """Check the kind of an outcome, and that it tells the server's words."""
        self.assertIsInstance(outcome, kind)
        self.assertIn(words, outcome.why)
