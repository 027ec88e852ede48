"""
The listeners that are open: their ports, and the sessions of their clients.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from smtprelay.config.endpoint import own_part, place_of
from smtprelay.interfaces import Events
from smtprelay.model.message import Client
from smtprelay.net.proxy_protocol import ProxyProtocol
from smtprelay.net.transports import read_to_the_end
from smtprelay.policy.avatar import ListenerRules
from smtprelay.service.build.listeners import ListenerSetup
from smtprelay.service.workers.sockets import Inherited, described, make_endpoint
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.refusals import Refusals
from smtprelay.smtp.reply import not_sent

_Place = tuple[str, str]


@define(eq=False)
class _Server(ServerFactory):
    """Speaks TLS from the first octet, and behind a header of a proxy, if the listener does so now."""

    noisy = False

    factory: ESMTPFactory
    reactor: Any

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        trust = self.factory.settings.proxy_trust
        if trust is None:
            return self._serve(addr)
        return ProxyProtocol(self._serve, trust, self.reactor, self._refused)

    def _refused(self, address: str, rule: str, text: str) -> None:
        client = Client(address=address, listener=self.factory.settings.listener)
        self.factory.refusals.turned_away(client, not_sent(text, rule))

    def _serve(self, addr: IAddress | None) -> Protocol | None:
        settings, server = self.factory.settings, self.factory
        if not settings.tls_implicit or settings.tls is None:
            return server.buildProtocol(addr)
        return TLSMemoryBIOFactory(settings.tls, False, server, self.reactor).buildProtocol(addr)


@frozen(eq=False)
class _Open:
    """A listener that is open, and what it does now."""

    factory: ESMTPFactory
    rules: ListenerRules
    port: IListeningPort


@define(eq=False)
class Listeners:
    """
    All listeners, to be closed in order.

    :param inherited: their sockets, where another process has opened them.
    """

    _reactor: Any
    _events: Events
    _refusals: Refusals
    _inherited: Inherited | None = None
    #: Those that are in force, by where they listen.
    _setups: dict[_Place, ListenerSetup] = field(factory=dict, init=False)
    _open: dict[_Place, _Open] = field(factory=dict, init=False)
    #: Of listeners that are closed: their sessions go on.
    _leaving: list[ESMTPFactory] = field(factory=list, init=False)
    _is_closed: bool = field(default=False, init=False)

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where mail is accepted, by the listeners' names."""
        ports = {setup.listener.name: self._open[place].port for place, setup in self._setups.items()}
        return {name: port.getHost() for name, port in ports.items()}

    def described(self) -> Sequence[Mapping[str, Any]]:
        """Return the listeners as JSON objects."""
        return [described(setup.listener, self._open[place].port) for place, setup in self._setups.items()]

    @property
    def factories(self) -> Sequence[ESMTPFactory]:
        """Who makes the SMTP sessions, of all listeners; also of those that are closed and have any."""
        return [*(each.factory for each in self._open.values()), *self._leaving]

    async def open(self, setups: Iterable[ListenerSetup]) -> None:
        """
        Listen where some of ``setups`` do and nobody does yet.

        :raises CannotListenError: what was opened before is closed again.
        """
        opened = []
        try:
            for setup in setups:
                place = _place(setup)
                if place not in self._open:
                    self._open[place] = await self._listen(setup)
                    self._setups[place] = setup
                    opened.append(place)
        except Exception:
            for place in opened:
                del self._setups[place]
                await maybeDeferred(self._open.pop(place).port.stopListening)
            raise

    def use(self, setups: Iterable[ListenerSetup]) -> Deferred[Any]:
        """
        Do what ``setups`` say from now on; all of them are open.

        Sessions take the new rules with their next transaction and login, and the rest when they begin.
        Listeners that are not among them are closed, and their sessions end with 421 when they receive no
        message; fires when they are closed.
        """
        self._setups = {_place(setup): setup for setup in setups}
        for place, setup in self._setups.items():
            current = self._open[place]
            current.rules.context = setup.context
            # In place: who logs in from now on is one of the users of now, however old the session.
            current.factory.portal.checkers = setup.portal(current.rules).checkers
            current.factory.settings = setup.settings
        closed = [self._open.pop(place) for place in self._open.keys() - self._setups.keys()]
        self._leaving = [factory for factory in self._leaving if factory.sessions]
        self._leaving += [each.factory for each in closed]
        for each in closed:
            each.factory.turn_away()
        return DeferredList([maybeDeferred(each.port.stopListening) for each in closed], consumeErrors=True)

    async def _listen(self, setup: ListenerSetup) -> _Open:
        listener, rules = setup.listener, ListenerRules(setup.context)
        factory = ESMTPFactory(
            setup.portal(rules),
            setup.settings,
            self._reactor,
            self._events,
            memory=None if self._inherited is None else self._inherited.memory,
            refusals=self._refusals,
        )
        text = own_part(listener.endpoint)
        if self._inherited is None:
            endpoint = make_endpoint(self._reactor, text)
        else:
            endpoint = self._inherited.endpoint(self._reactor, listener.name, text)
        if self._is_closed:
            factory.turn_away()
        port = await endpoint.listen(_Server(factory, self._reactor))
        read_to_the_end(port)
        tls: Any = setup.settings.tls
        if tls is not None:
            tls.tell(listener.name)
        return _Open(factory, rules, port)

    def turn_away(self) -> None:
        """End each session with 421 once it receives no message, and refuse new clients with it."""
        self._is_closed = True
        for factory in self.factories:
            factory.turn_away()

    def admit(self) -> None:
        """Let clients in again after :meth:`turn_away`."""
        self._is_closed = False
        for factory in self.factories:
            factory.admit()

    def end_sessions(self, bound: float, outcomes_bound: float) -> Deferred[Any]:
        """
        Refuse new clients; fires when all sessions are gone.

        That is after ``bound`` seconds at the latest; after ``outcomes_bound`` seconds if a client has sent
        its message and waits for what becomes of it.

        The ports stay open: a 421 tells a client more than a closed port.
        """
        factories = self.factories
        waiting = [factory.stop_sessions() for factory in factories]

        def abort(*, concluding: bool) -> None:
            for factory in factories:
                factory.abort_sessions(concluding=concluding)

        aborts = [
            self._reactor.callLater(bound, abort, concluding=False),
            self._reactor.callLater(outcomes_bound, abort, concluding=True),
        ]

        def ended(result: object) -> object:
            for each in aborts:
                if each.active():
                    each.cancel()
            return result

        return DeferredList(waiting, consumeErrors=True).addBoth(ended)

    def close(self) -> Deferred[Any]:
        """Stop listening; fires when all ports are closed."""
        ports = [each.port for each in self._open.values()]
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)


def _place(setup: ListenerSetup) -> _Place:
    return place_of(setup.listener.name, setup.listener.endpoint)
