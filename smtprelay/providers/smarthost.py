"""
Delivery to another SMTP server, over connections that are kept and used again.

What SMTP itself asks for is in the ``smtp_*`` modules beside this one; here is
which connection a message takes, and what becomes of it afterwards.
"""

from collections.abc import Callable
from typing import Final, Literal

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from smtprelay import message
from smtprelay.interfaces import Body, Events
from smtprelay.message import Blocked, Delivered, Delivery, Envelope, Limits, Outcome, Results
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.outgoing import FinishedBody
from smtprelay.providers.smtp_channel import Channel, Lost
from smtprelay.providers.smtp_greeting import Manners, Timeouts, begin
from smtprelay.providers.smtp_session import Session
from smtprelay.providers.smtp_tls import tls_creator
from smtprelay.providers.smtp_verdict import NotSent
from smtprelay.providers.smtp_wire import hello

PORTS: Final = {"starttls": 587, "implicit": 465, "none": 25}


@frozen(kw_only=True)
class Host:
    """
    The server, and how it wants to be spoken to.

    :ivar port: ``None``: 587 with ``starttls``, 465 with ``implicit``, 25 with ``none``.
    :ivar tls: ``starttls`` and ``implicit`` never fall back to plain text; with ``none``
        a login goes over the wire as it is.
    :ivar verify: the certificate must be valid for ``host``.
    :ivar ca: a PEM file of certificates to trust besides the platform's.
    :ivar helo: our name.
    :ivar username: ``""`` is no login.
    :ivar password: called at each login; ``OSError``, ``LookupError`` and ``ValueError`` from
        it block the provider.
    :ivar concurrency: idle connections to keep at most.
    :ivar messages: after so many a connection is not used again.
    """

    host: str
    port: int | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    verify: bool = True
    ca: str = ""
    helo: str
    username: str = ""
    password: Callable[[], str] = field(default=lambda: "", repr=False)
    concurrency: int = 10
    messages: int = 100
    timeouts: Timeouts = field(factory=Timeouts)


class Smarthost(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider` that speaks SMTP.

    Not idempotent: when the answer to the final dot is lost the outcome is
    ``Uncertain``, and nobody can be asked what became of the message.

    :param reactor: also makes the connections, unless there is an ``endpoint``.
    :param endpoint: the way to the server instead of TCP to ``host`` and ``port``; TLS,
        if any, is put over it.

    Raises :class:`ValueError` for a ``helo`` or a ``host`` that cannot be a name, and
    :class:`OpenSSL.SSL.Error` for a ``ca`` that holds no certificate.
    """

    idempotent = False

    def __init__(
        self,
        name: str,
        reactor: IReactorTime,
        host: Host,
        events: Events,
        *,
        limits: Limits | None = None,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        hello("EHLO", host.helo)
        self.name = name
        self.limits = limits or Limits()
        self._clock = reactor
        self._host = host
        self._events = events
        self._manners = Manners(
            helo=host.helo,
            starttls=_tls(host) if host.tls == "starttls" else None,
            username=host.username,
            password=host.password,
            timeouts=host.timeouts,
        )
        self._where = f"{host.host}:{host.port or PORTS[host.tls]}"
        self._endpoint = self._way(reactor, endpoint)
        self._idle: list[Session] = []
        self._channels: set[Channel] = set()
        self._closed: Deferred[None] | None = None

    async def deliver(
        self,
        delivery: Delivery,
        body: Body,
        taken: Callable[[], None],  # noqa: ARG002 -- nothing comes after the answer to the body
    ) -> Results:
        """
        Attempt the delivery once; see :class:`smtprelay.interfaces.Provider`.

        What :meth:`FinishedBody.for_hop` raises comes through: nothing was sent then.
        """
        try:
            return await self._send(delivery.envelope, body)
        except NotSent as stopped:
            return dict.fromkeys(delivery.envelope.addresses, stopped.outcome)

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Begin a session, log in, and leave."""
        try:
            session = await self._open()
        except NotSent as stopped:
            return stopped.outcome
        session.channel.quit()
        return Delivered()

    async def close(self) -> None:
        """Say goodbye on the idle connections, and return when all are gone."""
        for session in tuple(self._idle):
            session.channel.quit()
        self._idle.clear()
        if self._channels:
            self._closed = Deferred()
            await self._closed

    # --- which connection a message takes

    async def _send(self, envelope: Envelope, body: Body) -> Results:
        while True:
            used = bool(self._idle)
            session = self._idle.pop() if used else await self._open()
            if isinstance(body, FinishedBody):
                hop = session.next_hop(envelope)
                made = body.made_for(hop)
                if made is None:
                    # To make it may take longer than a server, and the session's deadline, wait.
                    self._put_back(session)
                    body = await body.for_hop(hop)
                    continue
                body = made
            began = self._clock.seconds()
            try:
                return await session.send(envelope, body)
            except Lost as lost:
                # An idle connection may have died unnoticed. Nothing was sent: take another one.
                if not used:
                    raise NotSent(message.Deferred(f"{self._where}: {lost}")) from lost
            finally:
                self._put_back(session)
                self._tell("message", session.channel.last, began)

    def _put_back(self, session: Session) -> None:
        channel = session.channel
        if not session.usable:
            channel.abort("the session is of no use any more")
        elif session.messages >= self._host.messages or len(self._idle) >= self._host.concurrency:
            channel.quit()
        else:
            channel.rest(self._host.timeouts.idle)
            self._idle.append(session)

    async def _open(self) -> Session:
        began = self._clock.seconds()
        channel = await self._connect()
        session = None
        try:
            session = Session(channel, await begin(channel, self._manners), self._host.timeouts)
        finally:
            self._tell("connect", channel.last, began)
            if session is None:
                channel.abort("the session did not begin")
        return session

    async def _connect(self) -> Channel:
        timeouts = self._host.timeouts
        factory = Factory.forProtocol(lambda: Channel(self._clock, timeouts.command))
        factory.noisy = False
        try:
            channel = await self._endpoint.connect(factory).addTimeout(timeouts.connect, self._clock)
        except ValueError as error:
            raise NotSent(Blocked(f"{self._where}: {error}")) from error
        except (ConnectError, DNSLookupError, OSError, TookTooLong) as error:
            raise NotSent(message.Deferred(f"{self._where}: {error}")) from error
        assert isinstance(channel, Channel)
        channel.gone = lambda: self._forget(channel)
        self._channels.add(channel)
        return channel

    def _forget(self, channel: Channel) -> None:
        self._channels.discard(channel)
        self._idle = [session for session in self._idle if session.channel is not channel]
        if self._closed is not None and not self._channels:
            self._closed.callback(None)

    # --- the server

    def _way(self, reactor: IReactorTime, endpoint: IStreamClientEndpoint | None) -> IStreamClientEndpoint:
        host = self._host
        if endpoint is None:
            port = host.port or PORTS[host.tls]
            endpoint = HostnameEndpoint(reactor, host.host, port, timeout=host.timeouts.connect)
        if host.tls == "implicit":
            return wrapClientTLS(_tls(host), endpoint)
        return endpoint

    def _tell(self, operation: str, code: int, began: float) -> None:
        seconds = self._clock.seconds() - began
        self._events("provider.request", provider=self.name, operation=operation, code=code, seconds=seconds)


def _tls(host: Host) -> IOpenSSLClientConnectionCreator:
    return tls_creator(host.host, verify=host.verify, ca=host.ca)
