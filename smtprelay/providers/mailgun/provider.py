"""
Delivery by Mailgun: a mail is sent raw, to the recipients of its envelope.

Mailgun knows no idempotency: a lost answer is ``Uncertain``.
"""

import base64
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import json_object, text_in, unless_of_others, words
from smtprelay.http.upload import RequestBody
from smtprelay.interfaces import Attempt, Body
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Failed, Outcome, Results, Throttled
from smtprelay.model.route import Limits, NextHop
from smtprelay.providers.call import Caller
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.json_mail import sendable, unsendable
from smtprelay.providers.mailgun.domain import domain_finding
from smtprelay.providers.mailgun.errors import WRONG_PATH, table_of, wait_of
from smtprelay.providers.outcomes import sender_lane, taken

_OK: Final = 200


class Mailgun(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider`: one request for all recipients.

    :param keep_commands: leave ``X-Mailgun-…`` fields of clients in the mail.
    :ivar next_hop: what Mailgun takes.
    """

    def __init__(
        self, caller: Caller[str], endpoint: str, domain: str, *, limits: Limits, keep_commands: bool = False
    ) -> None:
        self.name = caller.name
        self.limits = limits
        self.next_hop = NextHop(raw_fields=False, commands=() if keep_commands else ("x-mailgun-",))
        self._caller = caller
        self._domain = domain
        self._url = f"{endpoint}/v3/{domain}/messages.mime"
        self._domain_url = f"{endpoint}/v4/domains/{domain}"

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the mail; the envelope says to whom, whatever its header says."""
        addresses = attempt.delivery.envelope.addresses
        results = unsendable(addresses)
        to = {address: sendable(address) for address in addresses if address not in results}
        if not to:
            return results
        form = MultipartUpload(attempt.delivery.operation_id, [*to.values()], attempt.body)
        outcome = await self._send("send", form, sender_lane(attempt.delivery))
        if isinstance(outcome, Failed):
            outcome = evolve(outcome, whole=len(to) > 1 and outcome.code == "5.1.3")
        return {**results, **dict.fromkeys(to, outcome)}

    async def probe(self, lane: str) -> Outcome | None:
        """Send a form without recipients: that it is not good is only said to a key and domain that are."""
        if lane:
            return None
        outcome = await self._send("probe", MultipartUpload("probe", [""], MemoryBody(b"")))
        return None if isinstance(outcome, Failed) else outcome

    def online_checks(self, senders: Senders) -> OnlineChecks:  # noqa: ARG002 -- the seam's signature
        """Ask for the domain; a sending key cannot tell."""

        async def domain() -> Iterable[OnlineFinding]:
            answer = await self._request("domain", "GET", self._domain_url, {})
            if answer.status != _OK:
                return [_of_refusal(answer)]
            return [domain_finding(self._domain, json_object(answer.body))]

        return {"domain": domain}

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    async def _send(self, operation: str, form: "MultipartUpload", sender: str = "") -> Outcome:
        try:
            headers = {"Content-Type": form.content_type}
            answer = await self._request(operation, "POST", self._url, headers, form)
        except NoAnswerError as error:
            return error.outcome
        content = json_object(answer.body)
        if answer.status != _OK:
            return self._refused(answer, text_in(content, "message"), sender)
        text = answer.body[:200].decode("utf-8", "replace")
        if WRONG_PATH in text:
            return Blocked(f"200 {text.strip()} (check domain and endpoint)")
        return taken(text_in(content, "id"), "Mailgun")

    async def _request(
        self,
        operation: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: RequestBody | bytes = b"",
    ) -> Response:
        async def send(key: str) -> Response:
            credentials = base64.b64encode(f"api:{key}".encode()).decode()
            authorized = {"Authorization": f"Basic {credentials}", **headers}
            return await self._caller.request(operation, method, url, authorized, body)

        return await self._caller.call(send)

    def _refused(self, answer: Response, message: str, sender: str) -> Outcome:
        table = table_of(answer.status, message)
        outcome = self._caller.refused(answer, table, message=message, sender=sender)
        if not message:
            outcome = unless_of_others(outcome, answer.status)
        if isinstance(outcome, Throttled) and outcome.retry_after is None:
            return evolve(outcome, retry_after=wait_of(message, self._caller.seconds()))
        return outcome


def _of_refusal(answer: Response) -> OnlineFinding:
    """Return what it means that Mailgun does not tell: a key that may only send can still send."""
    if answer.status in {401, 403}:
        return OnlineFinding("not known: the key may not ask for the domain")
    said = words(answer.status, "", text_in(json_object(answer.body), "message"))
    return OnlineFinding(said, "error" if answer.status == 404 else "unknown")  # noqa: PLR2004


class MultipartUpload:
    """
    A :class:`smtprelay.http.upload.RequestBody`: recipients and a mail (RFC 7578).

    :param boundary: a word that no mail has.
    """

    def __init__(self, boundary: str, recipients: Sequence[str], mail: Body) -> None:
        self.content_type = f"multipart/form-data; boundary={boundary}"
        field = f'--{boundary}\r\nContent-Disposition: form-data; name="'
        to = "".join(f'{field}to"\r\n\r\n{address}\r\n' for address in recipients)
        file = f'{field}message"; filename="message.eml"\r\nContent-Type: message/rfc822\r\n\r\n'
        self._before, self._behind = (to + file).encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii")
        self._mail = mail
        self.size = len(self._before) + mail.size + len(self._behind)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the form in pieces."""
        yield self._before
        async for chunk in self._mail.chunks():
            yield chunk
        yield self._behind
