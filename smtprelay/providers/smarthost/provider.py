"""
Delivery to another SMTP server, or to the servers of each recipient's domain.

SMTP itself is in the modules beside this one; here is which server a message goes to.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Attempt, Body, Events
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders, of_outcome
from smtprelay.model.message import Envelope
from smtprelay.model.outcome import Deferred, Delivered, Failed, Outcome, Results
from smtprelay.model.route import Limits, NextHop
from smtprelay.net.reachability import Contact, Reachability
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.outgoing import FinishedBody, Unfinishable
from smtprelay.providers.smarthost.commands import hello
from smtprelay.providers.smarthost.connection import Lost
from smtprelay.providers.smarthost.errors import NotAccepted
from smtprelay.providers.smarthost.mx import MailExchangers, by_domain, domain_of, of_domain
from smtprelay.providers.smarthost.pool import ServerConnect, SessionPool
from smtprelay.providers.smarthost.server_settings import ServerAddress, ServerSettings
from smtprelay.providers.smarthost.session import SmarthostSession


class Smarthost(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider` that speaks SMTP.

    Not idempotent: when the answer to the final dot is lost the outcome is ``Uncertain``, and the server
    cannot be asked what became of the message.

    :param reactor: also makes the connections, unless ``connect`` does.
    :param connect: the way to a server instead of TCP; TLS, if any, is put over it.
    :param reachability: records whether the server can be reached.

    Raises :class:`ValueError` for a ``helo`` or a ``host`` that cannot be a name, and
    :class:`OpenSSL.SSL.Error` for a ``ca`` that holds no certificate.
    """

    idempotent = False

    def __init__(
        self,
        name: str,
        reactor: IReactorTime,
        settings: ServerSettings,
        events: Events,
        *,
        limits: Limits | None = None,
        connect: ServerConnect | None = None,
        reachability: Reachability | None = None,
    ) -> None:
        hello("EHLO", settings.helo)
        self.name = name
        self.limits = limits or Limits()
        self._clock = reactor
        self._settings = settings
        self._reachability = reachability or Reachability(name, reactor.seconds)
        self._pool = SessionPool(name, reactor, settings, events, connect)

    async def deliver(self, attempt: Attempt) -> Results:
        """
        Deliver once.

        What :meth:`FinishedBody.for_hop` raises comes through: nothing was sent then.
        """
        try:
            return await self._send(self._settings.server, attempt.delivery.envelope, attempt.body)
        except NotAccepted as stopped:
            return attempt.results(stopped.outcome)

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Begin a session, log in, and leave."""
        [outcome] = await self._tried([])
        return outcome

    def online_checks(self, senders: Senders) -> OnlineChecks:
        """Offer the senders to the server, in one session."""

        async def ask() -> Iterable[OnlineFinding]:
            offered = senders.envelope or ("",)
            _, *outcomes = await self._tried(offered)
            return [
                of_outcome(outcome, f"<{sender}>: {outcome.why}")
                for sender, outcome in zip(offered, outcomes, strict=False)
            ]

        return {"senders": ask}

    async def close(self) -> None:
        """Say goodbye on the idle connections, on others after their use; return when all are gone."""
        await self._pool.close()

    async def _tried(self, senders: Iterable[str]) -> Sequence[Outcome]:
        """
        Begin a session, log in, offer each of ``senders``, and leave.

        The first outcome is that of the session, the others are of the senders that were offered.
        """
        server = self._settings.server
        end_turn = await self._pool.turn()
        contact = self._begin(server, "connect")
        outcomes: list[Outcome] = []
        try:
            session = await self._pool.open(server, contact)
            session.channel.answered()
            outcomes.append(Delivered())
            for sender in senders:
                outcomes.append(await session.try_sender(sender))  # noqa: PERF401 -- what came is kept
            session.channel.quit()
        except NotAccepted as stopped:
            outcomes.append(stopped.outcome)
        except Lost as lost:
            outcomes.append(Deferred(str(lost)))
        finally:
            contact.dropped()
            end_turn()
        return outcomes

    async def _send(self, server: ServerAddress, envelope: Envelope, body: Body) -> Results:
        while True:
            end_turn = await self._pool.turn()
            try:
                found = await self._send_in_turn(server, envelope, body)
            finally:
                end_turn()
            if not isinstance(found, NextHop):
                return found
            # To make it may take longer than a server, and the session's deadline, wait.
            assert isinstance(body, FinishedBody)
            body = await body.for_hop(found)

    async def _send_in_turn(self, server: ServerAddress, envelope: Envelope, body: Body) -> Results | NextHop:
        """Send the mail once; return its next hop instead if it is not made for that one yet."""
        while True:
            session = self._pool.idle(server)
            used = session is not None
            contact = self._begin(server, "MAIL" if used else "connect")
            try:
                if session is None:
                    session = await self._pool.open(server, contact)
                session.channel.contact = contact
                hop = session.next_hop(envelope)
                made = body.made_for(hop) if isinstance(body, FinishedBody) else body
                if made is None:
                    self._pool.put_back(session)
                    return hop
                return await self._sent(session, envelope, made)
            except Lost as lost:
                # An idle connection may have died unnoticed. Nothing was sent: take another one.
                if lost.silent or not used:
                    contact.failed(str(lost))
                if not used:
                    raise NotAccepted(Deferred(str(lost))) from lost
            finally:
                contact.dropped()

    async def _sent(self, session: SmarthostSession, envelope: Envelope, body: Body) -> Results:
        began = self._clock.seconds()
        try:
            return await session.send(envelope, body)
        finally:
            self._pool.put_back(session)
            self._pool.tell("message", session.channel.last, began)

    def _begin(self, server: ServerAddress, stage: str) -> Contact:
        return self._reachability.begin(server.where, stage)


class DirectDelivery(Smarthost):
    """
    A smarthost without a host: mail goes to the servers of each recipient's domain.

    Each domain has a lane. A mail for several is sent to one after the other, and each recipient has the
    outcome of its own domain; a server that cannot be reached or refuses us stops no other domain.

    :param make_resolver: returns an ``IResolver``; called with the first delivery.
    """

    def __init__(self, *arguments: Any, make_resolver: Callable[[], Any], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._make_resolver = make_resolver
        self._resolver: Any = None

    @cached_property
    def _exchangers(self) -> MailExchangers:
        settings = self._settings
        # From here on it looks after its file from time to time.
        self._resolver = self._make_resolver()
        return MailExchangers(self._resolver, settings.helo, settings.port_number, self._reachability)

    def lane(self, envelope: Envelope, author: str, login: str) -> str:  # noqa: ARG002 -- the seam's signature
        """Return the domain of the recipients, ``""`` if they have several."""
        domains = {domain_of(address) for address in envelope.addresses}
        return domains.pop() if len(domains) == 1 else ""

    async def deliver(self, attempt: Attempt) -> Results:
        """Deliver once to each domain."""
        results: dict[str, Outcome] = {}
        delivery = attempt.delivery
        for domain, part in by_domain(delivery.envelope).items():
            try:
                found = await self._send_to_domain(domain, part, attempt.body)
            except (NotAccepted, Unfinishable) as stopped:
                found = dict.fromkeys(part.addresses, stopped.outcome)
            except CancelledError:
                raise
            except Exception as error:
                if not results:
                    raise
                # Others have the mail by now, so that what it is must be told by an attempt of its own.
                found = dict.fromkeys(part.addresses, Deferred(f"{domain}: {error}"))
            results.update({each: of_domain(outcome, delivery.lane) for each, outcome in found.items()})
        return results

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Return ``None``: only a mail can tell whether a domain takes mail."""
        return None

    def online_checks(self, senders: Senders) -> OnlineChecks:  # noqa: ARG002 -- the seam's signature
        """Return nothing: there is no server that all mail goes to."""
        return {}

    async def close(self) -> None:
        """Close the connections, and ask DNS no more."""
        if self._resolver is not None:
            self._resolver.resolv = None
        await super().close()

    async def _send_to_domain(self, domain: str, part: Envelope, body: Body) -> Results:
        """Try one server after the other, until one has an answer to the mail itself."""
        last = NotAccepted(Deferred(f"{domain}: no server"))
        async for server in self._exchangers.servers(domain):
            try:
                return await self._send(server, part, body)
            except NotAccepted as stopped:
                if isinstance(stopped.outcome, Failed):
                    raise
                last = stopped
        raise last

    def _begin(self, server: ServerAddress, stage: str) -> Contact:
        # That one server is out of reach says nothing of the others.
        return Reachability(self.name, self._clock.seconds).begin(server.where, stage)
