"""
The connections of one provider to SMTP servers: begun when they are needed, kept for a while, used again.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import evolve
from OpenSSL.SSL import Error as TLSError
from twisted.internet import defer
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from smtprelay.http.client import NoAnswerError
from smtprelay.interfaces import Events
from smtprelay.model.outcome import Blocked, Deferred
from smtprelay.net.certificate import CertificateError
from smtprelay.net.reachability import Contact
from smtprelay.net.tls_client import unreached
from smtprelay.providers.smarthost.connection import Channel, Lost
from smtprelay.providers.smarthost.errors import LoginRefused, NotAccepted
from smtprelay.providers.smarthost.handshake import begin
from smtprelay.providers.smarthost.server_settings import ServerAddress, ServerSettings
from smtprelay.providers.smarthost.session import SmarthostSession
from smtprelay.providers.smarthost.tls import tls_creator

#: Seconds for which a server that fails within a group of commands gets them one by one.
_ONE_BY_ONE: Final = 3600.0
#: Servers of which something is remembered.
_MOST: Final = 1000
#: Seconds for which certificates are not read again: that takes 10 ms.
_FRESH: Final = 60.0

#: Makes the way to an address and a port.
ServerConnect = Callable[[str, int], IStreamClientEndpoint]


class SessionPool:
    """
    The sessions of the provider ``name``.

    :param reactor: also makes the connections, unless ``connect`` does.
    """

    def __init__(
        self,
        name: str,
        reactor: IReactorTime,
        settings: ServerSettings,
        events: Events,
        connect: ServerConnect | None = None,
    ) -> None:
        self._name = name
        self._clock = reactor
        self._settings = settings
        self._events = events
        self._connect_to = connect or self._by_name
        self._turns = defer.DeferredSemaphore(settings.connections)
        self._idle: list[SmarthostSession] = []
        self._channels: set[Channel] = set()
        self._closed: defer.Deferred[None] | None = None
        self._distrusted: dict[str, float] = {}
        self._creators: dict[str, IOpenSSLClientConnectionCreator] = {}
        self._creators_until = 0.0
        # What is wrong with the certificates is known at the start.
        self._tls(settings.host or "localhost")

    async def turn(self) -> Callable[[], None]:
        """Wait until one more connection may be in use; return what is called when it is not any more."""
        await self._turns.acquire()
        return self._turns.release

    def idle(self, server: ServerAddress) -> SmarthostSession | None:
        """Take an idle session with ``server``, the last one that was used; ``None`` if there is none."""
        found = next((each for each in reversed(self._idle) if each.channel.host == server.where), None)
        if found is not None:
            self._idle.remove(found)
        return found

    async def open(self, server: ServerAddress, contact: Contact) -> SmarthostSession:
        """
        Begin a session.

        :raises NotAccepted: the server refuses, or our settings are wrong.
        :raises Lost: the connection ended, or the server did not answer in time. A TLS failure that an
            operator must correct is NotAccepted.
        """
        credential = self._settings.credential
        if credential is None:
            return await self._begin(server, contact, "")
        secret = await _given(credential.current())
        contact.at("connect")
        try:
            return await self._begin(server, contact, secret)
        except LoginRefused:
            fresh = await _given(credential.again())
            if fresh == secret:
                raise
            return await self._begin(server, contact, fresh)

    def put_back(self, session: SmarthostSession) -> None:
        """Keep a session for the next message, if it is good for that."""
        channel = session.channel
        if session.out_of_step:
            self._distrust(channel.host)
        if not session.usable:
            channel.abort("the session is of no use any more")
        elif self._closed is not None or session.messages >= self._settings.messages:
            channel.quit()
        else:
            channel.rest(self._settings.timeouts.idle)
            self._idle.append(session)

    def tell(self, operation: str, code: int, began: float) -> None:
        """Tell how long an operation took, and the code of the last reply, 0 if there was none."""
        seconds, answer = self._clock.seconds() - began, code or "no answer"
        self._events(
            "provider.request", provider=self._name, operation=operation, code=answer, seconds=seconds
        )

    async def close(self) -> None:
        """Say goodbye on the idle connections, on others after their use; return when all are gone."""
        for session in tuple(self._idle):
            session.channel.quit()
        self._idle.clear()
        closed = self._closed = defer.Deferred()
        if self._channels:
            await closed

    # --- inside

    async def _begin(self, server: ServerAddress, contact: Contact, secret: str) -> SmarthostSession:
        began = self._clock.seconds()
        channel = session = None
        try:
            creator = self._creator(server)
            channel = await self._connect(server, contact, creator)
            starttls = None if self._settings.tls == "implicit" else creator
            extensions = await begin(channel, self._settings, starttls, secret)
            if self._distrusted.get(server.where, 0.0) > self._clock.seconds():
                extensions = evolve(extensions, pipelining=False)
            session = SmarthostSession(channel, extensions, self._settings.timeouts)
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
            self.tell("connect", 0 if channel is None else channel.last, began)
            if session is None and channel is not None:
                channel.abort("the session did not begin")
        return session

    def _creator(self, server: ServerAddress) -> IOpenSSLClientConnectionCreator | None:
        try:
            return self._tls(server.name)
        except (ValueError, TLSError, CertificateError) as error:
            raise NotAccepted(Blocked(f"TLS with {server.where}: {error}")) from error

    def _tls(self, host: str) -> IOpenSSLClientConnectionCreator | None:
        """Return what speaks TLS with ``host``; certificates are read anew after a while."""
        settings, now = self._settings, self._clock.seconds()
        if settings.tls == "none":
            return None
        if now >= self._creators_until or len(self._creators) >= _MOST:
            self._creators.clear()
            self._creators_until = now + _FRESH
        if host not in self._creators:
            verify = settings.verify and settings.tls != "opportunistic"
            self._creators[host] = tls_creator(host, settings.outbound, verify=verify)
        return self._creators[host]

    async def _connect(
        self, server: ServerAddress, contact: Contact, creator: IOpenSSLClientConnectionCreator | None
    ) -> Channel:
        timeouts, where = self._settings.timeouts, server.where
        secure = self._settings.tls == "implicit"
        self._make_room()
        factory = Factory.forProtocol(
            lambda: Channel(self._clock, where, timeouts.command, contact, secure=secure)
        )
        factory.noisy = False
        try:
            endpoint = self._connect_to(server.address, server.port)
            if secure and creator is not None:
                endpoint = wrapClientTLS(creator, endpoint)
            channel = await endpoint.connect(factory).addTimeout(
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

    def _by_name(self, address: str, port: int) -> IStreamClientEndpoint:
        timeout = self._settings.timeouts.connect
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._clock, address, port, timeout=timeout)
        return endpoint

    def _make_room(self) -> None:
        """Say goodbye on the connection that is idle longest, if there are as many as there may be."""
        if self._idle and len(self._channels) >= self._settings.connections:
            self._idle.pop(0).channel.quit()

    def _distrust(self, where: str) -> None:
        if len(self._distrusted) >= _MOST:
            self._distrusted.clear()
        self._distrusted[where] = self._clock.seconds() + _ONE_BY_ONE

    def _forget(self, channel: Channel) -> None:
        self._channels.discard(channel)
        self._idle = [session for session in self._idle if session.channel is not channel]
        if self._closed is not None and not self._channels and not self._closed.called:
            self._closed.callback(None)


async def _given(secret: Awaitable[str]) -> str:
    """Return a password or token; what it says if there is none, holds for the mail."""
    try:
        return await secret
    except NoAnswerError as error:
        raise NotAccepted(error.outcome) from error


def _too_slow(_cancelled: Any, seconds: float) -> Channel:
    raise TookTooLong(seconds)
