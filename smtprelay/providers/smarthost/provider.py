"""
Delivery to another SMTP server, over connections that are kept and used again.

SMTP itself is in the modules beside this one; here is which connection a message takes.
"""

from twisted.internet import defer
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from smtprelay.interfaces import Attempt, Body, Events
from smtprelay.model.message import Envelope
from smtprelay.model.network import host_and_port
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Results
from smtprelay.model.route import Limits
from smtprelay.net.reachability import Contact, Reachability
from smtprelay.net.tls_client import unreached
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.outgoing import FinishedBody
from smtprelay.providers.smarthost.commands import hello
from smtprelay.providers.smarthost.connection import Channel, Lost
from smtprelay.providers.smarthost.errors import NotAccepted
from smtprelay.providers.smarthost.handshake import begin
from smtprelay.providers.smarthost.kind import PORTS
from smtprelay.providers.smarthost.server_settings import ServerSettings
from smtprelay.providers.smarthost.session import SmarthostSession
from smtprelay.providers.smarthost.tls import tls_creator


class Smarthost(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider` that speaks SMTP.

    Not idempotent: when the answer to the final dot is lost the outcome is ``Uncertain``, and the server
    cannot be asked what became of the message.

    :param reactor: also makes the connections, unless there is an ``endpoint``.
    :param endpoint: the way to the server instead of TCP to ``host`` and ``port``; TLS,
        if any, is put over it.
    :param reachability: records whether the server can be reached.

    Raises :class:`ValueError` for a ``helo`` or a ``host`` that cannot be a name, and
    :class:`OpenSSL.SSL.Error` for a ``ca`` that holds no certificate.
    """

    idempotent = False

    def __init__(
        self,
        name: str,
        reactor: IReactorTime,
        host: ServerSettings,
        events: Events,
        *,
        limits: Limits | None = None,
        endpoint: IStreamClientEndpoint | None = None,
        reachability: Reachability | None = None,
    ) -> None:
        hello("EHLO", host.helo)
        self.name = name
        self.limits = limits or Limits()
        self._clock = reactor
        self._host = host
        self._events = events
        self._reachability = reachability or Reachability(name, reactor.seconds)
        self._starttls = _tls(host) if host.tls == "starttls" else None
        self._where = host_and_port(host.host, host.port or PORTS[host.tls])
        self._endpoint = self._way(reactor, endpoint)
        self._idle: list[SmarthostSession] = []
        self._channels: set[Channel] = set()
        self._closed: defer.Deferred[None] | None = None

    async def deliver(self, attempt: Attempt) -> Results:
        """
        Deliver once.

        What :meth:`FinishedBody.for_hop` raises comes through: nothing was sent then.
        """
        try:
            return await self._send(attempt.delivery.envelope, attempt.body)
        except NotAccepted as stopped:
            return attempt.results(stopped.outcome)

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Begin a session, log in, and leave."""
        contact = self._reachability.begin(self._where, "connect")
        try:
            session = await self._open(contact)
        except NotAccepted as stopped:
            return stopped.outcome
        except Lost as lost:
            return Deferred(str(lost))
        finally:
            contact.dropped()
        session.channel.answered()
        session.channel.quit()
        return Delivered()

    async def close(self) -> None:
        """Say goodbye on the idle connections, on others after their use; return when all are gone."""
        for session in tuple(self._idle):
            session.channel.quit()
        self._idle.clear()
        closed = self._closed = defer.Deferred()
        if self._channels:
            await closed

    # --- which connection a message takes

    async def _send(self, envelope: Envelope, body: Body) -> Results:
        while True:
            used = bool(self._idle)
            contact = self._reachability.begin(self._where, "MAIL" if used else "connect")
            try:
                session = self._taken_up(contact) if used else await self._open(contact)
                hop = session.next_hop(envelope)
                made = body.made_for(hop) if isinstance(body, FinishedBody) else body
                if made is not None:
                    return await self._sent(session, envelope, made)
                self._put_back(session)
            except Lost as lost:
                # An idle connection may have died unnoticed. Nothing was sent: take another one.
                if lost.silent or not used:
                    contact.failed(str(lost))
                if used:
                    continue
                raise NotAccepted(Deferred(str(lost))) from lost
            finally:
                contact.dropped()
            # To make it may take longer than a server, and the session's deadline, wait.
            assert isinstance(body, FinishedBody)
            body = await body.for_hop(hop)

    async def _sent(self, session: SmarthostSession, envelope: Envelope, body: Body) -> Results:
        began = self._clock.seconds()
        try:
            return await session.send(envelope, body)
        finally:
            self._put_back(session)
            self._tell("message", session.channel.last, began)

    def _taken_up(self, contact: Contact) -> SmarthostSession:
        session = self._idle.pop()
        session.channel.contact = contact
        return session

    def _put_back(self, session: SmarthostSession) -> None:
        channel = session.channel
        if not session.usable:
            channel.abort("the session is of no use any more")
        elif (
            self._closed is not None
            or session.messages >= self._host.messages
            or len(self._idle) >= self._host.concurrency
        ):
            channel.quit()
        else:
            channel.rest(self._host.timeouts.idle)
            self._idle.append(session)

    async def _open(self, contact: Contact) -> SmarthostSession:
        """
        Begin a session.

        :raises NotAccepted: the server refuses, or our settings are wrong.
        :raises Lost: the connection ended, or the server did not answer in time. A TLS failure that an
            operator must correct is NotAccepted.
        """
        began = self._clock.seconds()
        channel = session = None
        try:
            channel = await self._connect(contact)
            extensions = await begin(channel, self._host, self._starttls)
            session = SmarthostSession(channel, extensions, self._host.timeouts)
        except NotAccepted:
            # Our own settings are at fault, or the server has refused: it is reachable.
            if channel is not None:
                contact.answered()
            raise
        except Lost as lost:
            if lost.untrusted:
                raise NotAccepted(Blocked(str(lost))) from lost
            contact.failed(str(lost))
            raise
        finally:
            self._tell("connect", 0 if channel is None else channel.last, began)
            if session is None and channel is not None:
                channel.abort("the session did not begin")
        return session

    async def _connect(self, contact: Contact) -> Channel:
        timeouts, where = self._host.timeouts, self._where
        secure = self._host.tls == "implicit"
        factory = Factory.forProtocol(
            lambda: Channel(self._clock, where, timeouts.command, contact, secure=secure)
        )
        factory.noisy = False
        try:
            channel = await self._endpoint.connect(factory).addTimeout(
                timeouts.connect, self._clock, onTimeoutCancel=_too_slow
            )
        except ConnectingCancelledError as error:  # not by us: a timeout is reported below
            raise CancelledError from error
        except ValueError as error:
            raise NotAccepted(Blocked(f"{where}: {error}")) from error
        except (ConnectError, DNSLookupError, OSError, TookTooLong) as error:
            contact.stage, why = unreached(error, where, timeouts.connect)
            contact.failed(why)
            raise NotAccepted(Deferred(why)) from error
        assert isinstance(channel, Channel)
        self._channels.add(channel)
        channel.gone.addCallback(self._forget)
        return channel

    def _forget(self, channel: Channel) -> None:
        self._channels.discard(channel)
        self._idle = [session for session in self._idle if session.channel is not channel]
        if self._closed is not None and not self._channels and not self._closed.called:
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
        seconds, answer = self._clock.seconds() - began, code or "no answer"
        self._events(
            "provider.request", provider=self.name, operation=operation, code=answer, seconds=seconds
        )


def _too_slow(_cancelled: object, seconds: float) -> Channel:
    raise TookTooLong(seconds)


def _tls(host: ServerSettings) -> IOpenSSLClientConnectionCreator:
    return tls_creator(host.host, host.outbound, verify=host.verify)
