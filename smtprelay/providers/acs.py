"""
Delivery by Azure Communication Services: one mail, one JSON request, one verdict.

Each request carries its operation id, made from the delivery: the service takes
the same operation twice without sending it twice, and can be asked about it after
a crash. So a lost answer is ``Uncertain`` here and never a second mail.
"""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from attrs import frozen
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Body, Events
from smtprelay.message import (
    Blocked,
    Deferred,
    Delivered,
    Delivery,
    Envelope,
    Failed,
    Limits,
    Outcome,
    Results,
    Uncertain,
)
from smtprelay.mime.parse import Mail, TooComplexError, read
from smtprelay.mime.text import Address
from smtprelay.providers.acs_api import (
    AcsApi,
    DeferToThread,
    NoCredentialsError,
    content,
    own_target,
    refusal,
)
from smtprelay.providers.acs_keys import Credentials, content_hash, parse_connection_string
from smtprelay.providers.acs_operation import follow, look
from smtprelay.providers.acs_request import Visible, body_of, choose_sender, narrowed, reply_to
from smtprelay.providers.classify import acs_refusal, retry_after
from smtprelay.providers.http import Answer, AnswerLost, Http, NotSent
from smtprelay.providers.raw import RawProvider

__all__ = ["ACS_LIMITS", "Acs", "Credentials", "parse_connection_string", "single_id"]

#: Documented by the service; the size is that of the whole request, after base64.
ACS_LIMITS: Final = Limits(size=10_000_000, recipients=50)

#: Work on more bytes than this goes to a thread.
_LARGE: Final = 1_000_000

_ACCEPTED: Final = 202
_REPEATED: Final = (400, 409)

T = TypeVar("T")


@frozen
class _Request:
    """One request of a delivery: the recipients whose outcome it decides, and how the mail shows them."""

    operation_id: str
    addresses: Sequence[str]
    visible: Visible


@frozen
class _Taken:
    """The service has the mail: where to ask for it, and how long to wait before."""

    request: _Request
    target: str
    pause: float | None


class Acs(RawProvider):
    """
    A :class:`smtprelay.interfaces.Provider`.

    :param credentials: reads the secrets, see :func:`parse_connection_string`; called in
        a thread, at first and after each 401.
    :param sender: the address that sends when the mail's own is not in ``sender_domains``.
    :param accept_on: ``"succeeded"`` waits for the service's verdict, ``"202"`` does not.
    :param clock: its seconds are those since the epoch.
    :param new_id: makes a random UUID, for probes.
    """

    idempotent = True

    def __init__(
        self,
        *,
        name: str,
        http: Http,
        credentials: Callable[[], Credentials],
        sender: str,
        clock: IReactorTime,
        events: Events,
        defer_to_thread: DeferToThread,
        sender_domains: Collection[str] = (),
        accept_on: str = "succeeded",
        limits: Limits = ACS_LIMITS,
        new_id: Callable[[], object] = uuid.uuid4,
    ) -> None:
        self.name = name
        self.limits = limits
        self._sender = sender
        self._sender_domains = frozenset(domain.lower() for domain in sender_domains)
        self._wait = accept_on == "succeeded"
        self._clock = clock
        self._defer_to_thread = defer_to_thread
        self._new_id = new_id
        self._api = AcsApi(
            name, http, credentials, clock=clock, events=events, defer_to_thread=defer_to_thread
        )

    def lane(self, envelope: Envelope) -> str:  # noqa: ARG002 -- the seam's signature
        """Return ``""``: one resource has one quota and one set of credentials."""
        return ""

    async def deliver(self, delivery: Delivery, body: Body, taken: Callable[[], None]) -> Results:
        """
        Send the mail and wait for the verdict; see :meth:`Provider.deliver`.

        A mail that names none of its recipients goes to each of them alone; their
        outcomes may differ.
        """
        stored = await body.whole()
        try:
            mail = await self._aside(len(stored), partial(read, stored))
        except TooComplexError as exc:
            return dict.fromkeys(delivery.envelope.addresses, Failed(str(exc), "5.6.0"))
        results: dict[str, Outcome] = {}
        pending: list[_Taken] = []
        obstacle: Outcome | None = None
        for request in _requests(delivery, mail):
            sent = obstacle or await self._send(delivery, mail, len(stored), request)
            if isinstance(sent, _Taken):
                pending.append(sent)
                continue
            results.update(dict.fromkeys(request.addresses, sent))
            obstacle = obstacle or _obstacle(sent)
        results.update(await self._verdicts(pending, taken))
        return results

    async def resolve(self, delivery: Delivery) -> Results | None:
        """
        Ask for the operations of an attempt; see :meth:`Provider.resolve`.

        Recipients that were to be served alone, and that the service never heard of,
        are ``Deferred`` if it heard of another one.
        """
        addresses = delivery.envelope.addresses
        whole = await self._resolve(delivery.operation_id)
        if whole is not None:
            return dict.fromkeys(addresses, whole)
        results: dict[str, Outcome] = {}
        for address in addresses:
            found = await self._resolve(single_id(delivery, address))
            if found is None:  # they go in this order, so that none after this one went either
                break
            results[address] = found
        if not results:
            return None
        never = Deferred("the service never saw the request for this recipient")
        return {address: results.get(address, never) for address in addresses}

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Ask for an operation that does not exist: that it does not is the good answer."""
        operation_id = str(self._new_id())
        seen = await look(self._api, self._clock, operation_id, own_target(operation_id))
        if isinstance(seen.outcome, Blocked):
            return seen.outcome
        return Delivered() if seen.known is not None else Deferred(seen.why, seen.pause)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _aside(self, size: int, work: Callable[[], T]) -> T:
        """Do ``work`` on ``size`` bytes, where it cannot stall the reactor."""
        return await self._defer_to_thread(work) if size > _LARGE else work()

    async def _send(self, delivery: Delivery, mail: Mail, size: int, request: _Request) -> "_Taken | Outcome":
        envelope_sender = delivery.envelope.sender
        sender = choose_sender(mail, envelope_sender, self._sender, self._sender_domains)
        replies = reply_to(mail, envelope_sender, sender)

        def build() -> tuple[bytes, str]:
            built = body_of(mail, sender, replies, request.visible)
            return built, content_hash(built)

        body, digest = await self._aside(size, build)
        if self.limits.size is not None and len(body) > self.limits.size:
            return Failed(
                f"too large: {len(body)} bytes as a request, {self.name} takes {self.limits.size} bytes",
                "5.3.4",
            )
        try:
            answer = await self._api.send(body, digest, request.operation_id)
        except NoCredentialsError as exc:
            return Blocked(str(exc))
        except NotSent as exc:
            return Deferred(str(exc))
        except AnswerLost as exc:
            return Uncertain(str(exc))
        return await self._judge(answer, request, own_sender=sender == self._sender)

    async def _judge(self, answer: Answer, request: _Request, *, own_sender: bool) -> "_Taken | Outcome":
        now = self._clock.seconds()
        pause = retry_after(answer.header("Retry-After"), now)
        if answer.status == _ACCEPTED:
            if not answer.header("Operation-Location") and "id" not in content(answer):
                # Some other program in between may say 202, too; only the service names an operation.
                return Uncertain("202 without the operation that the service names with it")
            return _Taken(request, self._api.target_of(answer, request.operation_id), pause)
        if answer.status in _REPEATED:
            # An operation id that was used before is refused too, if anything in the mail has changed.
            target = own_target(request.operation_id)
            if (await look(self._api, self._clock, request.operation_id, target)).known:
                return _Taken(request, target, pause)
        said = refusal(answer, now)
        return acs_refusal(answer.status, said.code, said.message, wait=pause, own_sender=own_sender)

    async def _verdicts(self, pending: Sequence[_Taken], taken: Callable[[], None]) -> Results:
        if not self._wait:
            return {
                address: Delivered(one.request.operation_id)
                for one in pending
                for address in one.request.addresses
            }
        if not pending:
            return {}
        taken()
        verdicts = await defer.gatherResults(
            [defer.Deferred.fromCoroutine(self._follow(one)) for one in pending], consumeErrors=True
        )
        return {address: outcome for verdict in verdicts for address, outcome in verdict.items()}

    async def _follow(self, one: _Taken) -> Mapping[str, Outcome]:
        outcome = await follow(self._api, self._clock, one.request.operation_id, one.target, pause=one.pause)
        return dict.fromkeys(one.request.addresses, outcome)

    async def _resolve(self, operation_id: str) -> Outcome | None:
        target = own_target(operation_id)
        seen = await look(self._api, self._clock, operation_id, target)
        if seen.outcome is not None:
            return seen.outcome
        if seen.known is None:
            return Uncertain(seen.why)
        if not seen.known:
            return None
        return await follow(self._api, self._clock, operation_id, target, pause=seen.pause)


def single_id(delivery: Delivery, address: str) -> str:
    """Return the operation id of the request for one recipient of a mail that names none of them."""
    return str(uuid.uuid5(uuid.UUID(delivery.operation_id), address))


def _requests(delivery: Delivery, mail: Mail) -> Iterator[_Request]:
    addresses = delivery.envelope.addresses
    visible = narrowed(mail, addresses)
    if not visible.blind:
        yield _Request(delivery.operation_id, addresses, visible)
    else:
        # Also the only one: he may be the last of several, and be known to the service by this id.
        for address in addresses:
            yield _Request(single_id(delivery, address), (address,), Visible(to=(Address(address),)))


def _obstacle(outcome: Outcome) -> Outcome | None:
    """Return what the recipients after this one get without asking; ``None``: they are asked for."""
    if isinstance(outcome, Uncertain):
        return Deferred(f"not tried after: {outcome.why}")
    return outcome if isinstance(outcome, Deferred | Blocked) else None
