"""
Delivery by Amazon SES: a mail is sent raw, to the recipients of its envelope.

SES knows no idempotency: a lost answer is ``Uncertain``. Rate and quota are the account's own and count
recipients.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import evolve

from smtprelay.http.base64_upload import base64_size
from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import ServiceError, words
from smtprelay.http.renewed import Renewed
from smtprelay.http.upload import RequestBody
from smtprelay.interfaces import Attempt, Body, Events
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders
from smtprelay.mime.address import ascii_address
from smtprelay.model.message import Envelope
from smtprelay.model.outcome import Blocked, Delivered, Failed, Outcome, Results
from smtprelay.model.route import Limits, NextHop, Window
from smtprelay.model.shape import Shape
from smtprelay.providers.call import Caller
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.outcomes import sender_lane, taken
from smtprelay.providers.ses.errors import (
    CREDENTIALS,
    YOUNG,
    about_recipients,
    error_of,
    lane_of,
    table_of,
)
from smtprelay.providers.ses.identity import identities_for, identity_path, read_identity
from smtprelay.providers.ses.request import (
    API_V1,
    API_V2,
    ApiVersion,
    EncodedMail,
    Quota,
    SesOptions,
)

if TYPE_CHECKING:
    from smtprelay.providers.ses.credentials import AwsAccess

_OK: Final = 200
#: A request up to this size is held while it is sent.
_WHOLE: Final = 256 * 1024
#: No account may send more in a second.
_MOST: Final = 1_000_000
#: Fields that SES takes once only (its developer guide, "header fields"), beside those that it replaces.
_ONCE: Final = """
    accept-language acceptlanguage archived-at auto-submitted bounces-to comments content-alternative
    content-base content-class content-description content-disposition content-duration content-id
    content-language content-location content-md5 content-transfer-encoding content-type date
    delivered-to disposition-notification-options disposition-notification-to dkim-signature
    domainkey-signature errors-to from importance in-reply-to keywords list-archive list-help list-id
    list-owner list-post list-subscribe list-unsubscribe list-unsubscribe-post message-context
    message-id mime-version organization original-from original-message-id original-recipient
    original-subject precedence priority references reply-to return-receipt-to sender solicitation
    sensitivity subject thread-index thread-topic user-agent vbr-info
"""
#: The body of a request, and its SHA-256 in hexadecimal.
_Hashed = tuple[bytes | RequestBody, str]


class Ses(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider`: one request for all recipients.

    :param renewed: the credentials that ``caller`` uses.
    :ivar next_hop: what SES takes.
    """

    def __init__(
        self,
        caller: "Caller[AwsAccess]",
        renewed: "Renewed[AwsAccess]",
        version: ApiVersion,
        options: SesOptions,
        *,
        limits: Limits,
        events: Events,
    ) -> None:
        self.name = caller.name
        self.limits = evolve(limits, request=min(limits.request or version.most, version.most))
        # It knows no SMTPUTF8, so header fields are ASCII.
        commands = () if options.keep_commands else ("x-ses-",)
        self.next_hop = NextHop(
            raw_fields=False, commands=commands, once=tuple(_ONCE.split()), replaced=("date", "message-id")
        )
        self._caller = caller
        self._renewed = renewed
        self._version = version
        self._options = options
        self._events = events
        self._has_warned = False

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the size in base64, which SES counts, twice."""
        size = base64_size(shape.size)
        return size, size

    async def measure(self, envelope: Envelope, body: Body) -> int:  # noqa: ARG002 -- the seam's signature
        """Return the size in base64."""
        return base64_size(body.size)

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the mail; the envelope says to whom, whatever its header says."""
        envelope = attempt.delivery.envelope
        sender = ascii_address(envelope.sender)
        if envelope.sender and not sender:
            return attempt.results(Failed(f"SES takes no such sender: <{envelope.sender}>", "5.6.7"))
        sendable = {address: ascii_address(address) for address in envelope.addresses}
        results: dict[str, Outcome] = {
            address: Failed(f"SES takes no such address: <{address}>", "5.6.7")
            for address, known in sendable.items()
            if not known
        }
        recipients = [known for known in sendable.values() if known]
        if recipients:
            outcome = await self._send(sender, recipients, attempt)
            results.update({address: outcome for address, known in sendable.items() if known})
        return results

    async def probe(self, lane: str) -> Outcome | None:
        """Ask for the quota; a key that may only send cannot tell, and only a mail whether its sender may."""
        if lane:
            return None
        try:
            quota, answer = await self._quota()
        except NoAnswerError as error:
            return error.outcome
        if quota is None:
            said = _error(answer)
            refused = said.code in CREDENTIALS and said.code != "AccessDenied"
            return self._refused(answer, said) if refused else None
        if not quota.enabled:
            return Blocked("the account may not send: see its status in the SES console")
        if quota.used_up:
            return Blocked(f"the quota of {quota.per_day:.0f} recipients in 24 hours is used up")
        return Delivered()

    async def rate(self) -> Sequence[Window] | None:
        """Return what the account may send in a second, in recipients; if it does not tell warn once."""
        try:
            quota, answer = await self._quota()
        except NoAnswerError:  # which is told of where it happens
            return None
        if quota is None:
            if not self._has_warned:
                why = _error(answer).message or f"status {answer.status}"
                text = f"{self.name}: how fast the account may send is not known, set rate: {why}"
                self._events("relay.warning", text=text)
            self._has_warned = True
            return None
        return [Window(count=int(min(max(1, quota.per_second), _MOST)), seconds=1.0, unit="recipients")]

    def online_checks(self, senders: Senders) -> OnlineChecks:
        """Ask for the quota, and for the identities of the senders, unless they are another account's."""

        async def quota() -> Iterable[OnlineFinding]:
            found, answer = await self._quota()
            return [_of_refusal(answer, "ses:GetAccount") if found is None else _of_quota(found)]

        async def identities() -> Iterable[OnlineFinding]:
            # One after the other: AWS takes few of these requests in a second.
            return [await self._of_sender(each) for each in senders.all]

        checks: OnlineChecks = {"quota": quota}
        return checks if self._options.identity_arn else {**checks, "identities": identities}

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    async def _send(self, sender: str, recipients: list[str], attempt: Attempt) -> Outcome:
        version, mail = self._version, attempt.body
        encoded = EncodedMail(version, sender, recipients, self._options, mail)
        hashed = await _hashed(encoded, mail.size)
        try:
            answer = await self._ask("send", "POST", version.target, version.content_type, hashed)
        except NoAnswerError as error:
            return error.outcome
        if answer.status != _OK:
            said = _error(answer)
            outcome = self._refused(answer, said, sender_lane(attempt.delivery))
            if isinstance(outcome, Failed) and len(recipients) > 1 and about_recipients(said):
                return evolve(outcome, whole=True)
            return outcome
        return taken(version.identify(answer.body), "SES", self._why)

    @property
    def _why(self) -> str:
        name = self._options.configuration_set
        return f"configuration set {name}" if name else ""

    async def _of_sender(self, sender: str) -> OnlineFinding:
        """Return whether SES lets an address send."""
        for name in identities_for(sender):
            hashed = b"", hashlib.sha256(b"").hexdigest()
            answer = await self._ask("identity", "GET", identity_path(name), API_V2.content_type, hashed)
            if answer.status == _OK:
                return read_identity(name, answer.body).finding
            if _error(answer).code != "NotFound":
                return _of_refusal(answer, "ses:GetEmailIdentity")
        domain = sender.rpartition("@")[2]
        return OnlineFinding(f"SES has no identity for <{sender}>: verify {domain} in this region", "error")

    async def _quota(self) -> tuple[Quota | None, Response]:
        """Return the quota, or ``None`` and the last refusal; raises :class:`NoAnswerError`."""
        versions = (API_V2, API_V1) if self._version is API_V2 else (API_V1,)
        for version in versions:
            asked = version.account
            hashed = (asked.body, hashlib.sha256(asked.body).hexdigest())
            answer = await self._ask("account", asked.method, asked.target, version.content_type, hashed)
            if answer.status == _OK:
                with suppress(ValueError):
                    return asked.read(answer.body), answer
        return None, answer

    async def _ask(self, operation: str, method: str, target: str, kind: str, hashed: _Hashed) -> Response:
        body, digest = hashed

        async def send(access: "AwsAccess") -> Response:
            # botocore was imported on a thread, with the credentials.
            from smtprelay.providers.ses.signature import signed_headers  # noqa: PLC0415

            url, now = access.endpoint + target, self._caller.seconds()
            headers = signed_headers(access, method, url, {"Content-Type": kind}, digest=digest, now=now)
            return await self._caller.request(operation, method, url, headers, body)

        return await self._caller.call(send, _refuses_us)

    def _refused(self, answer: Response, error: ServiceError, sender: str = "") -> Outcome:
        table = table_of(error, self._options)
        if error.code in CREDENTIALS and self._renewed.is_young:
            table = YOUNG
        lane = lane_of(table, error, self._options)
        return self._caller.refused(answer, table, error.code, error.message, lane=lane, sender=sender)


async def _hashed(body: EncodedMail, size: int) -> _Hashed:
    """Return a request, with its size, and its SHA-256; that of a small mail whole."""
    if size <= _WHOLE:
        whole = await body.whole()
        return whole, hashlib.sha256(whole).hexdigest()
    count, digest = 0, hashlib.sha256()
    async for piece in body.chunks():
        digest.update(piece)
        count += len(piece)
    body.size = count
    return body, digest.hexdigest()


def _of_quota(quota: Quota) -> OnlineFinding:
    if not quota.enabled:
        return OnlineFinding("the account may not send: see its status in the SES console", "error")
    per_day = "any number" if quota.per_day < 0 else f"{quota.per_day:.0f}"
    text = f"{quota.per_second:g} recipients a second, {quota.sent:.0f} of {per_day} in 24 hours are used"
    if quota.used_up:
        return OnlineFinding(text, "error")
    if quota.confined:
        text = f"{text}; the account is in the sandbox of SES: mail reaches verified recipients only"
        return OnlineFinding(text, "warning")
    return OnlineFinding(text)


def _of_refusal(answer: Response, permission: str) -> OnlineFinding:
    """Return what it means that SES does not tell: that does not keep it from sending."""
    said = _error(answer)
    if said.code == "AccessDenied":
        return OnlineFinding(f"not known: the policy does not allow {permission}")
    return OnlineFinding(words(answer.status, said.code, said.message), "unknown")


def _refuses_us(answer: Response) -> bool:
    """Whether new credentials may help: not against a policy; also if a 400 says that they expired."""
    return answer.status != _OK and _error(answer).code in CREDENTIALS - {"AccessDenied"}


def _error(answer: Response) -> ServiceError:
    return error_of(answer.status, answer.header("x-amzn-ErrorType"), answer.body)
