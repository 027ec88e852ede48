"""
One mail as the JSON that Azure Communication Services takes: the work that is done on a mail's content.

The recipients stand at the end of the request: of a mail that goes to each of them alone, all the rest
is made once. Pure.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from smtprelay.mime.address import Address
from smtprelay.mime.kinds import OCTETS
from smtprelay.mime.parse import Attachment, Mail, read
from smtprelay.providers.acs.attachment_types import attached
from smtprelay.providers.json_mail import (
    MAX_HEADERS,
    MAX_SUBJECT,
    NO_SUBJECT,
    NO_TEXT,
    Corrections,
    VisibleRecipients,
    choose_sender,
    custom_headers,
    grouped,
    json_octets,
    json_text,
    line,
    mailbox,
    replies,
    reply_to,
    short,
)

#: What a request can do without, by the names that the service has for it.
OPTIONAL: Final = (
    "headers",
    "replyTo",
    "displayName",
    "attachments.contentId",
    "attachments.contentType",
    "attachments.name",
)

#: The service's own header (API documentation, "Reserved custom headers"): with ``true`` it goes on without
#: the files that it does not take, instead of refusing the mail.
SUPPRESS_INVALID: Final = "x-ms-acsemail-suppress-invalid-attachment"

_RECIPIENTS: Final = b',"recipients":'

#: Files that one event names.
_MAX_NAMES: Final = 10


#: For each request: whether it is for one blind recipient, its recipients, and these as JSON.
_Groups = Sequence[tuple[bool, VisibleRecipients, bytes]]
_Pieces = Sequence[bytes | memoryview]


def map_mail(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Do the work: read a mail, and make its requests.

    Parameters: ``recipients`` and ``envelope_sender``; ``sends_as``, where a rule says whom From names;
    ``sender`` and ``domains`` for :func:`choose_sender`; ``blind_to`` if blind recipients go together, else
    ``""``; ``without``, those of :data:`OPTIONAL` that are left out; ``engagement_tracking``, as configured,
    or ``None``; ``largest``, the most octets of a request, or ``None``.

    Facts: ``size`` of the largest request; ``sender``; ``notes``, (field, reason) of what was corrected;
    ``requests``, each with its lists ``to``, ``cc`` and ``bcc``, whether it is for a blind one ``alone``, its
    ``recipients`` as JSON, and the ``digest`` of it all. A request is the octets, its ``recipients``, and a
    closing brace. Where the mail is too large there are no requests and no octets.

    :raises TooComplexError: it has more parts, or deeper ones, than are read.
    """
    facts, groups, pieces = _made(octets, parameters)
    if parameters["largest"] is not None and facts["size"] > parameters["largest"]:
        return {**facts, "requests": []}, b""
    body = b"".join(pieces)
    digest = hashlib.sha256(body)
    requests = [
        _described(alone, visible, recipients, digest.copy()) for alone, visible, recipients in groups
    ]
    return {**facts, "requests": requests}, body


def measure(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """Return no more than ``size`` of :func:`map_mail`; a task with the same parameters."""
    facts, _, _ = _made(octets, parameters)
    return {"size": facts["size"]}, b""


def _made(octets: bytes, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], _Groups, _Pieces]:
    """Return facts about a mail's requests, the recipients of each, and the rest, which is not joined yet."""
    mail, corrections, without = read(octets), Corrections(), parameters["without"]
    sent_by = parameters.get("sends_as") or parameters["envelope_sender"]
    sender = choose_sender(mail, sent_by, parameters["sender"], parameters["domains"])
    answer_to = () if "replyTo" in without else reply_to(mail, parameters["envelope_sender"], sender)
    tracking = parameters["engagement_tracking"]
    pieces = body_of(mail, sender, answer_to, corrections, without, tracking=tracking)
    groups = [
        (alone, visible, json_octets(_recipients(visible, corrections, names="displayName" not in without)))
        for alone, visible in grouped(mail, parameters["recipients"], parameters["blind_to"])
    ]
    size = sum(map(len, pieces)) + max(len(recipients) for _, _, recipients in groups) + 1
    return {"size": size, "sender": sender, "notes": corrections.notes}, groups, pieces


def _described(alone: bool, visible: VisibleRecipients, recipients: bytes, digest: Any) -> Mapping[str, Any]:
    digest.update(recipients + b"}")
    return {
        "alone": alone,
        "to": [who.address for who in visible.to],
        "cc": [who.address for who in visible.cc],
        "bcc": [who.address for who in visible.bcc],
        "recipients": recipients.decode(),
        "digest": base64.b64encode(digest.digest()).decode(),
    }


# --- people


def _recipients(visible: VisibleRecipients, corrections: Corrections, *, names: bool) -> Mapping[str, Any]:
    return {
        field: [_entry(mailbox(who if names else Address(who.address), field, corrections)) for who in people]
        for field, people in (("to", visible.to), ("cc", visible.cc), ("bcc", visible.bcc))
        if people
    }


def _entry(who: Address) -> Mapping[str, str]:
    return {"address": who.address, "displayName": who.name} if who.name else {"address": who.address}


# --- content


def body_of(
    mail: Mail,
    sender: str,
    answer_to: Sequence[Address],
    corrections: Corrections,
    without: Collection[str] = (),
    *,
    tracking: bool | None = None,
) -> _Pieces:
    """Return the request up to its recipients, attachments as they are: each copy of them takes its time."""
    parts, html = mail.attachments, mail.html or ""
    if parts:
        inline, plain_names = "attachments.contentId" not in without, "attachments.name" in without
        parts, html = attached(parts, html, corrections, inline=inline, plain_names=plain_names)
    if "attachments.contentType" in without:
        corrections.notes.insert(0, ("attachments", _may_be_missing(parts)))
    request: dict[str, Any] = {"senderAddress": sender}
    if tracking is not None:
        request["userEngagementTrackingDisabled"] = not tracking
    subject = line(mail.subject, MAX_SUBJECT, "content.subject", corrections) or NO_SUBJECT
    reachable = replies(answer_to, corrections)
    if reachable:
        names = "displayName" not in without
        request["replyTo"] = [_entry(who if names else Address(who.address)) for who in reachable]
    headers = _headers(mail, corrections, without)
    if headers:
        request["headers"] = headers
    pieces: list[bytes | memoryview] = [
        json_octets(request)[:-1],
        b',"content":',
        json_octets({"subject": subject})[:-1],
    ]
    if mail.text or not html:
        pieces += json_text("plainText", mail.text or NO_TEXT)
    if html:
        pieces += json_text("html", html)
    pieces.append(b"}")
    if parts:
        pieces.append(b',"attachments":[')
        for part in parts:
            pieces += (_file(part), part.base64, b'"},')
        pieces[-1] = b'"}]'
    pieces.append(_RECIPIENTS)
    return pieces


def _headers(mail: Mail, corrections: Corrections, without: Collection[str]) -> Mapping[str, str]:
    headers = {} if "headers" in without else custom_headers(mail.headers, corrections)
    order = {SUPPRESS_INVALID: "true"} if "attachments.contentType" in without else {}
    return {**dict([*headers.items()][: MAX_HEADERS - len(order)]), **order}


def _may_be_missing(parts: Sequence[Attachment]) -> str:
    """Say which files the service may leave out: those of types that it does not document, else any."""
    names = [part.name for part in parts if part.content_type == OCTETS] or [part.name for part in parts]
    shown = ", ".join(short(name) for name in names[:_MAX_NAMES])
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"the service leaves out those that it does not take, of: {shown}{more}"


def _file(attachment: Attachment) -> bytes:
    """Return an attachment's JSON up to its content, which follows in base64."""
    described = {"name": attachment.name, "contentType": attachment.content_type}
    if attachment.content_id:
        described["contentId"] = attachment.content_id
    return json_octets(described)[:-1] + b',"contentInBase64":"'
