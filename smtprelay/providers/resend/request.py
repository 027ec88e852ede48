"""
One mail as the JSON that Resend takes: the work that is done on a mail's content.

The recipients stand at the end of the request: of a mail that goes to each of them alone, all the rest is
made once. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from smtprelay.mime.address import Address
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.mime.parse import Attachment, Mail, read
from smtprelay.providers.inline_parts import shown
from smtprelay.providers.json_mail import (
    EMPTY_FILE,
    MAX_SUBJECT,
    NO_SUBJECT,
    NO_TEXT,
    Corrections,
    VisibleRecipients,
    custom_headers,
    grouped,
    json_octets,
    json_text,
    line,
    mailbox,
    replies,
    reply_to,
    sendable,
)

#: Resend takes ids of less than 128 characters.
_MAX_CONTENT_ID: Final = 127
#: Resend reads ``Name <address>``, and no quotes: a name with these is an encoded word.
_SPECIALS: Final = re.compile(r'[()<>\[\]:;@\\,"]|=\?')

_Pieces = list[bytes | memoryview]


def map_mail(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Do the work: read a mail, and make its requests.

    Parameters: ``recipients`` and ``envelope_sender``; ``largest``, the most octets of a
    request, or ``None``.

    Facts: ``size`` of the largest request; ``sender``, ``""`` if the mail names none that can send;
    ``notes``, (field, reason) of what was corrected; ``requests``, each with its ``addresses``, whether it is
    for a blind one ``alone``, and its ``recipients`` as JSON. A request is the octets and its ``recipients``.
    Where the mail is too large there are no requests and no octets.

    :raises TooComplexError: it has more parts, or deeper ones, than are read.
    """
    facts, pieces = _made(octets, parameters)
    if parameters["largest"] is not None and facts["size"] > parameters["largest"]:
        return {**facts, "requests": []}, b""
    return facts, b"".join(pieces)


def measure(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """Return no more than ``size`` of :func:`map_mail`; a task with the same parameters."""
    facts, _ = _made(octets, parameters)
    return {"size": facts["size"]}, b""


def _made(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], _Pieces]:
    mail, corrections = read(octets), Corrections()
    sender = _sender(mail, parameters["envelope_sender"])
    answer_to = reply_to(mail, parameters["envelope_sender"], sender.address)
    pieces = _body_of(mail, sender, answer_to, corrections)
    recipients = [
        (alone, visible, _recipients(visible, corrections))
        for alone, visible in grouped(mail, parameters["recipients"], "")
    ]
    requests = [
        {
            "alone": alone,
            "addresses": [visible.to[0].address] if alone else parameters["recipients"],
            "recipients": json.decode(),
        }
        for alone, visible, json in recipients
    ]
    size = sum(map(len, pieces)) + max(len(json) for _, _, json in recipients)
    return {"size": size, "sender": sender.address, "notes": corrections.notes, "requests": requests}, pieces


def _sender(mail: Mail, envelope_sender: str) -> Address:
    """Return who sends: the header's, if mail can be sent from it, else the envelope's; else nobody."""
    candidates = (*mail.sender[:1], Address(envelope_sender))
    return next((who for who in candidates if sendable(who.address)), Address(""))


def _recipients(visible: VisibleRecipients, corrections: Corrections) -> bytes:
    lists = {
        field: [_mailbox(who, field, corrections) for who in people]
        for field, people in (("to", visible.to), ("cc", visible.cc), ("bcc", visible.bcc))
        if people
    }
    return b"," + json_octets(lists)[1:]


def _mailbox(who: Address, field: str, corrections: Corrections) -> str:
    who = mailbox(who, field, corrections)
    if not who.name:
        return who.address
    name = " ".join(encoded_words(who.name)) if _SPECIALS.search(who.name) else who.name
    return f"{name} <{who.address}>"


def _body_of(mail: Mail, sender: Address, answer_to: Sequence[Address], corrections: Corrections) -> _Pieces:
    """Return the request up to its recipients, attachments as they are: each copy of them takes its time."""
    request: dict[str, Any] = {
        "from": _mailbox(sender, "from", corrections),
        "subject": line(mail.subject, MAX_SUBJECT, "subject", corrections) or NO_SUBJECT,
    }
    reachable = replies(answer_to, corrections)
    if reachable:
        request["reply_to"] = [_mailbox(who, "replyTo", corrections) for who in reachable]
    headers = custom_headers(mail.headers, corrections)
    if headers:
        request["headers"] = headers
    pieces: _Pieces = [json_octets(request)[:-1]]
    ids, html = shown(mail.attachments, mail.html or "", corrections, _MAX_CONTENT_ID)
    if mail.text or not html:
        pieces += json_text("text", mail.text or NO_TEXT)
    if html:
        pieces += json_text("html", html)
    if mail.attachments:
        pieces.append(b',"attachments":[')
        for number, part in enumerate(mail.attachments):
            pieces += (_file(part, ids.get(number, "")), part.base64 or EMPTY_FILE, b'"},')
        pieces[-1] = b'"}]'
    return pieces


def _file(attachment: Attachment, content_id: str) -> bytes:
    """
    Return an attachment's JSON up to its content, which follows in base64.

    It has no type: Resend takes that of the name, and loses a mail without a word where both differ.
    """
    described = {"filename": attachment.name}
    if content_id:
        described["content_id"] = content_id
    return json_octets(described)[:-1] + b',"content":"'
