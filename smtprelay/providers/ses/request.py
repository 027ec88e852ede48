"""
The requests of both versions of the API, and what their answers say. Pure.

A mail is base64 between two pieces of text. It is encoded while it is sent, so a large one is never held.
"""

import base64
import re
from collections.abc import AsyncIterator, Callable, Mapping
from html import unescape
from math import isfinite
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson
from attrs import evolve, field, frozen

from smtprelay.http.base64_upload import Base64Upload
from smtprelay.http.outcomes import json_object, text_in
from smtprelay.interfaces import Body

#: Octets of an element that are read.
_LONGEST: Final = 2000


@frozen(kw_only=True)
class SesOptions:
    """
    What the configuration says of all mail; ``""`` is nothing.

    :ivar keep_commands: fields ``X-SES-…`` of clients stay in the mail.
    """

    configuration_set: str = ""
    tags: Mapping[str, str] = field(factory=dict)
    identity_arn: str = ""
    tenant: str = ""
    contact_list: str = ""
    topic: str = ""
    feedback: str = ""
    keep_commands: bool = False


@frozen(kw_only=True)
class Quota:
    """
    What an account may send, in recipients.

    :ivar per_day: ``-1``: any number.
    :ivar enabled: whether it may send at all.
    :ivar confined: it is in the sandbox of SES: mail to verified recipients only.
    """

    per_second: float
    per_day: float
    sent: float
    enabled: bool = True
    confined: bool = False

    @property
    def used_up(self) -> bool:
        """Whether nothing more may be sent today."""
        return 0 <= self.per_day <= self.sent


@frozen
class QuotaRequest:
    """
    Asks for the quota.

    :ivar read: returns what an answer says; raises ``ValueError``.
    """

    method: str
    target: str
    body: bytes
    read: Callable[[bytes], Quota]


@frozen(kw_only=True)
class ApiVersion:
    """
    One version of the API.

    :ivar frame: what stands before and behind the mail.
    :ivar most: octets of a mail in base64.
    :ivar quoted: makes base64 what the request can carry.
    :ivar identify: returns the id of an accepted mail, ``""`` if the answer has none.
    """

    target: str
    content_type: str
    most: int
    frame: Callable[[str, list[str], SesOptions], tuple[bytes, bytes]]
    quoted: Callable[[bytes], bytes]
    identify: Callable[[bytes], str]
    account: QuotaRequest


class EncodedMail:
    """A :class:`smtprelay.http.upload.RequestBody`: a mail in a request of one version."""

    def __init__(
        self, version: ApiVersion, sender: str, recipients: list[str], options: SesOptions, mail: Body
    ) -> None:
        self._before, self._behind = version.frame(sender, recipients, options)
        self._quoted = version.quoted
        self._mail = mail
        #: Known when it was read once.
        self.size: int | None = None

    async def whole(self) -> bytes:
        """Give the request at once."""
        return self._before + self._quoted(base64.b64encode(await self._mail.whole())) + self._behind

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the request in pieces."""
        yield self._before
        async for piece in Base64Upload(self._mail).chunks():
            yield self._quoted(piece)
        yield self._behind


def _v2_frame(sender: str, recipients: list[str], options: SesOptions) -> tuple[bytes, bytes]:
    contacts = {"ContactListName": options.contact_list, "TopicName": options.topic}
    tags = [{"Name": name, "Value": value} for name, value in options.tags.items()]
    members: dict[str, Any] = {
        "FromEmailAddress": sender,
        "FromEmailAddressIdentityArn": options.identity_arn,
        "Destination": {"ToAddresses": recipients},
        "FeedbackForwardingEmailAddress": options.feedback,
        "ConfigurationSetName": options.configuration_set,
        "EmailTags": tags,
        "TenantName": options.tenant,
        "ListManagementOptions": _given(contacts) if options.contact_list else {},
    }
    return orjson.dumps(_given(members))[:-1] + b',"Content":{"Raw":{"Data":"', b'"}}}'


def _v1_frame(sender: str, recipients: list[str], options: SesOptions) -> tuple[bytes, bytes]:
    members = {"Action": "SendRawEmail", "Version": "2010-12-01", "Source": sender}
    members.update({f"Destinations.member.{n}": address for n, address in enumerate(recipients, 1)})
    for n, (name, value) in enumerate(options.tags.items(), 1):
        members.update({f"Tags.member.{n}.Name": name, f"Tags.member.{n}.Value": value})
    members["ConfigurationSetName"] = options.configuration_set
    members["SourceArn"] = members["FromArn"] = members["ReturnPathArn"] = options.identity_arn
    return urlencode(_given(members), quote_via=quote).encode() + b"&RawMessage.Data=", b""


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say something."""
    return {name: value for name, value in members.items() if value}


def _form(encoded: bytes) -> bytes:
    return encoded.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")


def member(answer: bytes, name: str) -> str:
    """Return the text of the first XML element of this name, ``""`` if there is none."""
    found = re.search(rb"<%b>([^<]*)</%b>" % (name.encode(), name.encode()), answer)
    # No element is long; of a number with thousands of digits Python makes an error.
    return unescape(found[1][:_LONGEST].decode("utf-8", "replace")).strip() if found else ""


def _v2_quota(answer: bytes) -> Quota:
    """Raise ``ValueError`` for an answer without a quota."""
    account = json_object(answer)
    quota = account.get("SendQuota")
    if not isinstance(quota, dict):
        raise ValueError("the answer has no SendQuota")  # noqa: TRY004 -- the answer is not good
    return evolve(
        _quota(quota.get),
        enabled=account.get("SendingEnabled") is not False,
        confined=account.get("ProductionAccessEnabled") is False,
    )


def _v1_quota(answer: bytes) -> Quota:
    """Raise ``ValueError`` for an answer without a quota."""
    return _quota(lambda name: member(answer, name) or None)


def _quota(get: Callable[[str], Any]) -> Quota:
    try:
        per_second, per_day, sent = map(float, map(get, ("MaxSendRate", "Max24HourSend", "SentLast24Hours")))
    except TypeError as error:
        raise ValueError("the answer has no complete quota") from error
    if not all(map(isfinite, (per_second, per_day, sent))):
        raise ValueError("the quota is no number")
    return Quota(per_second=per_second, per_day=per_day, sent=sent)


API_V2: Final = ApiVersion(
    target="/v2/email/outbound-emails",
    content_type="application/json",
    most=40_000_000,
    frame=_v2_frame,
    quoted=bytes,
    account=QuotaRequest("GET", "/v2/email/account", b"", _v2_quota),
    identify=lambda answer: text_in(json_object(answer), "MessageId"),
)
API_V1: Final = ApiVersion(
    target="/",
    content_type="application/x-www-form-urlencoded; charset=utf-8",
    most=10_000_000,
    frame=_v1_frame,
    quoted=_form,
    account=QuotaRequest("POST", "/", b"Action=GetSendQuota&Version=2010-12-01", _v1_quota),
    identify=lambda answer: member(answer, "MessageId"),
)
