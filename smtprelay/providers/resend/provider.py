"""
Delivery by Resend: a mail becomes one JSON request, or one for each blind recipient.

Each request has a key that is derived from the delivery, and for 24 hours Resend does not send twice what has
the same one. So a lost answer is ``Uncertain``, and the request is sent again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import ServiceError, json_object, text_in, unless_of_others, words
from smtprelay.interfaces import Attempt, Body, Events, MimeWorker
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Results
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape
from smtprelay.providers.call import Caller
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.json_mail import encoded_size, largest_mail, single_id, unsendable
from smtprelay.providers.mapped_mail import mapped_mail, measured_mail, tell_corrected
from smtprelay.providers.outcomes import obstacle, sender_lane, taken
from smtprelay.providers.resend.domains import domain_findings
from smtprelay.providers.resend.errors import (
    RESTRICTED,
    SENT_BEFORE,
    about_key,
    about_recipients,
    error_of,
    table_of,
)
from smtprelay.providers.resend.request import map_mail, measure

_OK: Final = 200


class Resend(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider`.

    :param worker: reads mail and makes the requests.
    """

    idempotent = True

    def __init__(
        self, caller: Caller[str], endpoint: str, *, limits: Limits, worker: MimeWorker, events: Events
    ) -> None:
        self.name = caller.name
        self.limits = evolve(limits, size=limits.size or largest_mail(limits.request))
        self._caller = caller
        self._url = f"{endpoint}/emails"
        self._domains_url = f"{endpoint}/domains?limit=100"
        self._worker = worker
        self._events = events

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the bounds of what a mail of this shape becomes as JSON."""
        return encoded_size(shape, self.limits.recipients)

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """Build the requests, and return the size of the largest."""
        parameters = self._parameters_of(envelope.sender, envelope.addresses)
        return await measured_mail(self._worker, measure, body, parameters)

    async def deliver(self, attempt: Attempt) -> Results:
        """
        Send the mail.

        If a mail names none of its recipients in To and Cc, each gets a request of its own; their outcomes
        may differ.
        """
        delivery = attempt.delivery
        results = unsendable(delivery.envelope.addresses)
        recipients = [address for address in delivery.envelope.addresses if address not in results]
        if not recipients:
            return results
        parameters = self._parameters_of(delivery.envelope.sender, recipients)
        mapped = await mapped_mail(self._worker, map_mail, attempt.body, parameters, provider=self.name)
        if not isinstance(mapped, tuple):
            return {**results, **dict.fromkeys(recipients, mapped)}
        facts, octets = mapped
        tell_corrected(self._events, delivery, self.name, facts["notes"])
        if not facts["sender"]:
            nobody = Failed("neither From nor the sender is an address that mail can be sent from", "5.1.7")
            return {**results, **dict.fromkeys(recipients, nobody)}
        return {**results, **await self._send_all(delivery, facts["requests"], octets)}

    async def probe(self, lane: str) -> Outcome | None:
        """Send a request without a mail: that it is not good is only said to a key that is."""
        if lane:
            return None
        outcome = await self._send("probe", b"{}", "")
        return None if isinstance(outcome, Failed) else outcome

    def online_checks(self, senders: Senders) -> OnlineChecks:
        """Ask for the domains of the account; a key that may only send cannot tell."""

        async def domains() -> Iterable[OnlineFinding]:
            answer = await self._request("domains", "GET", self._domains_url, {})
            if answer.status != _OK:
                return [_of_refusal(answer)]
            return [*domain_findings(senders.authors, json_object(answer.body))]

        return {"domains": domains}

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    def _parameters_of(self, sender: str, recipients: object) -> Mapping[str, Any]:
        return {"recipients": recipients, "envelope_sender": sender, "largest": self.limits.request}

    async def _send_all(
        self, delivery: Delivery, requests: Sequence[Mapping[str, Any]], octets: bytes
    ) -> Results:
        results: dict[str, Outcome] = {}
        stopped: Outcome | None = None
        for request in requests:
            addresses, body = request["addresses"], octets + request["recipients"].encode()
            key = single_id(delivery, addresses[0]) if request["alone"] else delivery.operation_id
            outcome = stopped or await self._send(
                "send", body, key, sender_lane(delivery), several=len(addresses) > 1
            )
            results.update(dict.fromkeys(addresses, outcome))
            stopped = obstacle(outcome)
        return results

    async def _send(
        self, operation: str, body: bytes, key: str, sender: str = "", *, several: bool = False
    ) -> Outcome:
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        try:
            answer = await self._request(operation, "POST", self._url, headers, body)
        except NoAnswerError as error:
            return error.outcome
        if answer.status != _OK:
            return self._refused(answer, _error(answer), sender, several=several)
        return taken(text_in(json_object(answer.body), "id"), "Resend")

    async def _request(
        self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Response:
        async def send(api_key: str) -> Response:
            authorized = {"Authorization": f"Bearer {api_key}", **headers}
            return await self._caller.request(operation, method, url, authorized, body)

        return await self._caller.call(send, lambda answer: about_key(_error(answer)))

    def _refused(self, answer: Response, error: ServiceError, sender: str, *, several: bool) -> Outcome:
        if error.code == SENT_BEFORE:
            return Delivered(why="sent before, by a request whose answer was lost")
        outcome = self._caller.refused(answer, table_of(error), error.code, error.message, sender=sender)
        if not (error.code or error.message):
            outcome = unless_of_others(outcome, answer.status)
        if isinstance(outcome, Failed) and about_recipients(error):
            return evolve(outcome, code="5.1.3", whole=several)
        if isinstance(outcome, Deferred | Blocked) and answer.status < 500:  # noqa: PLR2004
            # Nothing was sent, and Resend may repeat its answer to this key: the next attempt has another.
            return evolve(outcome, closed=True)
        return outcome


def _of_refusal(answer: Response) -> OnlineFinding:
    """Return what it means that Resend does not tell: a key that may only send can still send."""
    error = _error(answer)
    if error.code == RESTRICTED:
        return OnlineFinding("not known: the key may only send")
    return OnlineFinding(words(answer.status, error.code, error.message), "unknown")


def _error(answer: Response) -> ServiceError:
    return error_of(answer.status, answer.body)
