"""
Delivery by Azure Communication Services: a mail becomes one JSON request, or one for each blind recipient.

Each request has an operation id that is derived from the delivery. The service does not send the same
operation twice, and reports its status after a crash. So a lost answer is ``Uncertain`` and never causes a
second mail.
"""

import uuid
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import json_object, retry_after, unless_of_others
from smtprelay.interfaces import Attempt, Body, Events, MimeWorker
from smtprelay.model.address import ascii_domain
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import (
    Blocked,
    Deferred,
    Delivered,
    Failed,
    Outcome,
    Results,
    Uncertain,
)
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape
from smtprelay.providers.acs.api import AcsApi, operation_url, refusal
from smtprelay.providers.acs.errors import NO_ERROR, ApiError, Sent, acs_refusal, field_named, results_of
from smtprelay.providers.acs.kind import ACS_LIMITS
from smtprelay.providers.acs.operation import OperationStatus, get_operation, wait_for_operation
from smtprelay.providers.acs.request import map_mail, measure
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.json_mail import encoded_size, largest_mail, single_id
from smtprelay.providers.mapped_mail import mapped_mail, measured_mail, tell_corrected
from smtprelay.providers.outcomes import obstacle

_ACCEPTED: Final = 202
_BAD: Final = 400
_REPEATED: Final = (_BAD, 409)

#: Maximum number of fields that are left out of one mail.
_MAX_LEFT_OUT: Final = 3


@frozen
class _Request:
    """
    One request of a delivery.

    :ivar operation_id: identifies it to the service.
    :ivar addresses: the recipients whose outcome it decides.
    :ivar sent: the recipient lists in it.
    :ivar recipients: its last part, for :class:`_Mapped`.
    """

    operation_id: str
    addresses: Sequence[str]
    sent: Sent
    recipients: str
    digest: str


@frozen
class _Mapped:
    """
    A mail as its requests.

    :ivar octets: the common beginning of all requests.
    :ivar notes: (field, reason) of each correction.
    """

    octets: bytes
    sender: str
    requests: Sequence[_Request]
    notes: Sequence[Sequence[str]]


@frozen
class _Accepted:
    """The service accepted the mail: where to query its status, and how long to wait before."""

    request: _Request
    target: str
    pause: float | None


@frozen
class _RefusedAttempt:
    """The service refused the mail. ``field``: the optional field that it names, if any."""

    outcome: Outcome
    api_error: ApiError = NO_ERROR
    field: str = ""


@frozen(kw_only=True)
class AcsOptions:
    """
    The provider's senders and limits.

    :ivar sender: the address that sends when the mail's own is not in ``sender_domains``.
    :ivar blind_to: the To address of one request for all blind recipients; ``""``: each gets a request.
    :ivar engagement_tracking: whether the service counts who opens the mail; ``None``: as its domain is set.
    :ivar accept_on: ``"succeeded"`` waits for the service's result, ``"202"`` does not.
    """

    sender: str
    sender_domains: Collection[str] = ()
    blind_to: str = ""
    engagement_tracking: bool | None = None
    accept_on: str = "succeeded"
    limits: Limits = ACS_LIMITS


class Acs(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider`; one resource has one quota and one set of credentials: one lane.

    :param worker: reads mail and makes the requests.
    :param clock: its seconds are those since the epoch.
    """

    idempotent = True

    def __init__(
        self, api: AcsApi, options: AcsOptions, *, worker: MimeWorker, clock: IReactorTime, events: Events
    ) -> None:
        self.name = api.name
        limits = options.limits
        # The address ``blind_to`` counts as a recipient, too.
        together = limits.recipients if options.blind_to else None
        self.limits = evolve(
            limits,
            size=largest_mail(limits.request) if limits.size is None else limits.size,
            recipients=together - 1 if together else limits.recipients,
        )
        self._most_recipients = limits.recipients
        self._parameters = {
            "sender": options.sender,
            "domains": sorted(set(map(ascii_domain, options.sender_domains))),
            "blind_to": options.blind_to,
            "engagement_tracking": options.engagement_tracking,
            "largest": limits.request,
        }
        self._worker = worker
        self._wait = options.accept_on == "succeeded"
        self._clock = clock
        self._events = events
        self._api = api

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the bounds of what a mail of this shape becomes as JSON."""
        return encoded_size(shape, self._most_recipients)

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """Build the requests, and return the size of the largest."""
        return await measured_mail(self._worker, measure, body, self._parameters_of(envelope, ()))

    async def deliver(self, attempt: Attempt) -> Results:
        """
        Send the mail and wait for its outcome.

        If a mail names none of its recipients in To and Cc, each gets a request of its own, unless
        ``blind_to`` is set; their outcomes may differ.
        """
        results, pending = await self._send_all(attempt.delivery, attempt.body)
        return {**results, **await self._outcomes(pending, attempt.release_slot)}

    async def resolve(self, delivery: Delivery) -> Results | None:
        """
        Ask for the operations of an attempt.

        If each recipient has a request of its own, those that the service does not know are ``Deferred``, if
        it knows another one.
        """
        addresses = delivery.envelope.addresses
        whole = await self._resolve(delivery.operation_id, addresses)
        if whole is not None:
            return whole
        seen = []
        for address in addresses:
            operation_id, found = await self._find(single_id(delivery, address))
            if found.outcome is None and found.known is False:
                break  # requests are sent in this order, so no later one was sent either
            seen.append((operation_id, address, found))
        results = await self._all_of(
            self._resolved(found, operation_id, (address,)) for operation_id, address, found in seen
        )
        if not results:
            return None
        never = Deferred("the service never saw the request for this recipient")
        return {address: results.get(address, never) for address in addresses}

    async def probe(self, lane: str) -> Outcome | None:  # noqa: ARG002 -- the seam's signature
        """Query an operation that does not exist: a 404 shows that the service works."""
        operation_id = str(uuid.uuid4())
        seen = await get_operation(self._api, self._clock, operation_id, operation_url(operation_id))
        if isinstance(seen.outcome, Blocked):
            return seen.outcome
        return Delivered() if seen.known is not None else Deferred(seen.why, seen.pause)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    # --- making the requests

    def _parameters_of(self, envelope: Envelope, without: Sequence[str]) -> Mapping[str, Any]:
        return {
            **self._parameters,
            "recipients": list(envelope.addresses),
            "envelope_sender": envelope.sender,
            "without": list(without),
        }

    async def _map(self, delivery: Delivery, body: Body, without: Sequence[str]) -> _Mapped | Outcome:
        """
        Make the requests.

        :raises MimeWorkerTimeout: the dispatcher counts it.
        """
        parameters = {**self._parameters_of(delivery.envelope, without), "sends_as": delivery.sends_as}
        mapped = await mapped_mail(self._worker, map_mail, body, parameters, provider=self.name)
        if not isinstance(mapped, tuple):
            return mapped
        facts, octets = mapped
        requests = [_request(delivery, made, without) for made in facts["requests"]]
        recipients, most = len(delivery.envelope.addresses), self._most_recipients
        # A request has at most one more, ``blind_to``. If the limit was lowered, the mail is halved.
        if most and recipients >= most and any(len(each.sent.addresses) > most for each in requests):
            return Failed(f"more than {most} recipients in one request", "5.5.3", whole=recipients > 1)
        return _Mapped(octets, facts["sender"], requests, facts["notes"])

    async def _send_all(self, delivery: Delivery, body: Body) -> tuple[Results, Sequence[_Accepted]]:
        """Send every request. A field that the service refuses is left out of this and all later requests."""
        results: dict[str, Outcome] = {}
        pending: list[_Accepted] = []
        without: list[str] = []
        mapped = await self._map(delivery, body, without)
        done = 0
        while isinstance(mapped, _Mapped) and done < len(mapped.requests):
            request = mapped.requests[done]
            sent = await self._send(mapped, request)
            if isinstance(sent, _Accepted):
                pending.append(sent)
            elif sent.field and sent.field not in without and len(without) < _MAX_LEFT_OUT:
                without.append(sent.field)
                self._tell_corrected(delivery, ((sent.field, f"left out: {sent.outcome.why}"),))
                mapped = await self._map(delivery, body, without)
                continue
            else:
                results.update(results_of(sent.outcome, sent.api_error, request.addresses, request.sent))
                mapped = obstacle(sent.outcome) or mapped
            done += 1
        if isinstance(mapped, _Mapped):
            self._tell_corrected(delivery, mapped.notes)
        else:
            served = {*results, *(address for each in pending for address in each.request.addresses)}
            results.update({each: mapped for each in delivery.envelope.addresses if each not in served})
        return results, pending

    def _tell_corrected(self, delivery: Delivery, notes: Sequence[Sequence[str]]) -> None:
        tell_corrected(self._events, delivery, self.name, notes)

    async def _send(self, mapped: _Mapped, request: _Request) -> _Accepted | _RefusedAttempt:
        body = b"".join((mapped.octets, request.recipients.encode(), b"}"))
        try:
            answer = await self._api.send(body, request.digest, request.operation_id)
        except NoAnswerError as error:
            return _RefusedAttempt(error.outcome)
        return await self._classify(answer, request, own_sender=mapped.sender == self._parameters["sender"])

    async def _classify(
        self, answer: Response, request: _Request, *, own_sender: bool
    ) -> _Accepted | _RefusedAttempt:
        now = self._clock.seconds()
        pause = retry_after(answer.header("Retry-After"), now)
        if answer.status == _ACCEPTED:
            if not answer.header("Operation-Location") and "id" not in json_object(answer.body):
                # A proxy may answer 202, too; only the service names an operation.
                return _RefusedAttempt(Uncertain("202 without the operation that the service names with it"))
            return _Accepted(request, self._api.target_of(answer, request.operation_id), pause)
        if answer.status in _REPEATED:
            # A used operation id is refused, too, if anything in the mail has changed.
            target = operation_url(request.operation_id)
            if (await get_operation(self._api, self._clock, request.operation_id, target)).known:
                return _Accepted(request, target, pause)
        api_error = refusal(answer, now)
        outcome = acs_refusal(
            answer.status, api_error.code, api_error.message, wait=pause, own_sender=own_sender
        )
        if not api_error.code:
            outcome = unless_of_others(outcome, answer.status)
        return _RefusedAttempt(outcome, api_error, field_named(api_error) if answer.status == _BAD else "")

    async def _outcomes(self, pending: Sequence[_Accepted], release_slot: Callable[[], None]) -> Results:
        if not self._wait:
            return {
                address: Delivered(one.request.operation_id)
                for one in pending
                for address in one.request.addresses
            }
        if not pending:
            return {}
        release_slot()
        return await self._all_of(map(self._follow, pending))

    @staticmethod
    async def _all_of(asking: Iterable[Coroutine[Any, Any, Results]]) -> dict[str, Outcome]:
        """Wait for all in parallel: each may take as long as the service processes a mail."""
        found = await defer.gatherResults(map(defer.Deferred.fromCoroutine, asking), consumeErrors=True)
        return {address: outcome for results in found for address, outcome in results.items()}

    async def _follow(self, one: _Accepted) -> Results:
        request = one.request
        outcome, api_error = await wait_for_operation(
            self._api, self._clock, request.operation_id, one.target, pause=one.pause
        )
        return results_of(outcome, api_error, request.addresses, request.sent)

    async def _resolve(self, operation_id: str, addresses: Sequence[str]) -> Results | None:
        operation_id, seen = await self._find(operation_id)
        if seen.outcome is None and seen.known is False:
            return None
        return await self._resolved(seen, operation_id, addresses)

    async def _find(self, operation_id: str) -> tuple[str, OperationStatus]:
        """Ask for an operation, and if it is unknown for the one that followed the refusal of its files."""
        for each in (operation_id, _suppressing(operation_id)):
            seen = await get_operation(self._api, self._clock, each, operation_url(each))
            if seen.known is not False:
                break
        return each, seen

    async def _resolved(self, seen: OperationStatus, operation_id: str, addresses: Sequence[str]) -> Results:
        """Return the outcomes of an operation once they are known."""
        outcome, api_error = seen.outcome, seen.refusal
        if outcome is None and not seen.known:
            return dict.fromkeys(addresses, Uncertain(seen.why))
        if outcome is None:
            target = operation_url(operation_id)
            outcome, api_error = await wait_for_operation(
                self._api, self._clock, operation_id, target, pause=seen.pause
            )
        return results_of(outcome, api_error, addresses, Sent())


def _suppressing(operation_id: str) -> str:
    """
    Return the id of the operation in which the service leaves out the files that it does not take.

    It is another one: an id whose request was refused may be bound to that request.
    """
    return str(uuid.uuid5(uuid.UUID(operation_id), "invalid attachments suppressed"))


def _request(delivery: Delivery, made: Mapping[str, Any], without: Sequence[str]) -> _Request:
    """Return the request that :func:`map_mail` described: for one recipient, or for all."""
    sent = Sent(made["to"], made["cc"], made["bcc"])
    addresses = sent.to if made["alone"] else delivery.envelope.addresses
    operation_id = single_id(delivery, addresses[0]) if made["alone"] else delivery.operation_id
    if "attachments.contentType" in without:
        operation_id = _suppressing(operation_id)
    return _Request(operation_id, addresses, sent, made["recipients"], made["digest"])
