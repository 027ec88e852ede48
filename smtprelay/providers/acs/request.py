"""
One mail as the JSON that Azure Communication Services takes: the work that is done on a mail's content.

The service knows no envelope: who stands in ``to``, ``cc`` and ``bcc`` gets the mail. So these three are the
delivery's recipients only; the mail's own To and Cc only decide which of them are visible, and under which
name. The recipients stand at the end of the request: of a mail that goes to each of them alone, all the rest
is made once. Pure.
"""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from mmap import mmap
from typing import Any, Final

import orjson
from attrs import evolve, frozen

from smtprelay.mime.address import Address, comparison_key
from smtprelay.mime.content_size import ANY
from smtprelay.mime.kinds import OCTETS
from smtprelay.mime.parse import Attachment, Mail, read
from smtprelay.model.shape import Shape
from smtprelay.providers.acs.attachment_types import attached
from smtprelay.providers.acs.request_fields import (
    MAX_SUBJECT,
    Corrections,
    custom_headers,
    line,
    mailbox,
    replies,
    sendable,
)

#: The service requires a subject and some text; for mail that has none.
NO_SUBJECT: Final = "(no subject)"
NO_TEXT: Final = " "

#: What a request can do without, by the names that the service has for it.
OPTIONAL: Final = (
    "headers",
    "replyTo",
    "displayName",
    "attachments.contentId",
    "attachments.contentType",
    "attachments.name",
)

#: No more than this is added to what a mail's content becomes: subject, custom headers, answers, the frame
#: of a thousand attachments and new names for what shows them, each of which is bounded.
_FRAME: Final = 384 * 1024
#: The same for each recipient: an address, and a name of as many characters as one may have.
_RECIPIENT: Final = 2 * 1024
#: Recipients of a request for which there is no limit: more than a mail has.
_MANY: Final = 10_000

#: Characters of a text that are encoded at a time, and octets of memory that are free before: orjson, which
#: takes half as many at most, ends the process if it does not get them.
_AT_ONCE: Final = 256 << 10
_ROOM: Final = 8 * _AT_ONCE

_RECIPIENTS: Final = b',"recipients":'
#: Half a character, which has no UTF-8.
_HALF: Final = re.compile("[\ud800-\udfff]")


@frozen
class VisibleRecipients:
    """
    A delivery's recipients, by how the mail shows them; each is in exactly one of the three.

    :ivar to: empty if the mail names none of them.
    """

    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()


#: For each request: whether it is for one blind recipient, its recipients, and these as JSON.
_Groups = Sequence[tuple[bool, VisibleRecipients, bytes]]
_Pieces = Sequence[bytes | memoryview]


def encoded_size(shape: Shape, recipients: int | None) -> tuple[int, int]:
    """
    Return the least and the most octets that the request for a mail may have; both hold for any mail.

    There is no least: what stands beside the parts of a mail does not go.

    :param recipients: the most that one request has.
    """
    content = ANY * shape.size if shape.in_json is None else shape.in_json
    return 0, content + _FRAME + _RECIPIENT * (recipients or _MANY)


def largest_mail(request: int | None) -> int | None:
    """
    Return the octets of the largest mail that is taken where requests have ``request`` octets at most.

    That is ten thirds of it: text whose every octet was written in quoted-printable. No honest mail that is
    larger becomes so small.
    """
    return None if request is None else request * 10 // 3


def map_mail(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Do the work: read a mail, and make its requests.

    Parameters: ``recipients`` and ``envelope_sender``; ``sender`` and ``domains`` for :func:`choose_sender`;
    ``blind_to`` if blind recipients go together, else ``""``; ``without``, those of :data:`OPTIONAL` that are
    left out; ``largest``, the most octets of a request, or ``None``.

    Facts: ``size`` of the largest request; ``sender``; ``notes``, (field, reason) of what was mended;
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
    sender = choose_sender(mail, parameters["envelope_sender"], parameters["sender"], parameters["domains"])
    answer_to = () if "replyTo" in without else reply_to(mail, parameters["envelope_sender"], sender)
    pieces = body_of(mail, sender, answer_to, corrections, without)
    groups = [
        (alone, visible, _json(_recipients(visible, corrections, names="displayName" not in without)))
        for alone, visible in _groups(mail, parameters["recipients"], parameters["blind_to"])
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


def _groups(mail: Mail, recipients: Sequence[str], blind_to: str) -> Iterator[tuple[bool, VisibleRecipients]]:
    """Give the recipients of each request, and whether it is for one blind recipient."""
    visible = narrowed(mail, recipients)
    if visible.to:
        yield False, visible
    elif blind_to:
        others = [who for who in visible.bcc if comparison_key(who.address) != comparison_key(blind_to)]
        yield False, VisibleRecipients(to=(Address(blind_to),), bcc=others)
    else:
        # Also the only one: he may be the last of several, and be known to the service by this operation.
        for address in recipients:
            yield True, VisibleRecipients(to=(Address(address),))


def narrowed(mail: Mail, recipients: Sequence[str]) -> VisibleRecipients:
    """
    Sort ``recipients`` into to, cc and bcc.

    Addresses are compared by :func:`comparison_key`, and stay as the envelope spells them. If nobody is
    left in To, those in Cc take its place: the service wants a ``to``.
    """
    open_ones = {comparison_key(address): address for address in recipients}
    to = _taken(mail.to, open_ones)
    cc = _taken(mail.cc, open_ones)
    bcc = [Address(address) for address in open_ones.values()]
    return VisibleRecipients(to or cc, cc if to else (), bcc)


def _taken(named: Sequence[Address], open_ones: dict[str, str]) -> list[Address]:
    """Move those who are ``named`` out of ``open_ones``, with their display names."""
    found = []
    # To compare a domain that is not ASCII takes its time, and a header may have many.
    ascii_only = not any("xn--" in key or not key.isascii() for key in open_ones)
    for who in named:
        if not open_ones:
            break
        if ascii_only and not who.address.isascii():
            continue
        address = open_ones.pop(comparison_key(who.address), "")
        if address:
            found.append(Address(address, who.name))
    return found


def choose_sender(mail: Mail, envelope_sender: str, default: str, domains: Collection[str]) -> str:
    """
    Return the envelope's sender or the header's, if its domain is among ``domains``; else ``default``.

    :param domains: in lower case and A-labels.
    """
    for address in map(sendable, (envelope_sender, *(who.address for who in mail.sender[:1]))):
        if address.rpartition("@")[2] in domains:
            return address
    return default


def reply_to(mail: Mail, envelope_sender: str, sender: str) -> Sequence[Address]:
    """
    Return the addresses for answers: the mail's own, else whom ``sender`` stands in for.

    Both, if no mail can be sent to the mail's own.
    """
    if any(sendable(who.address) for who in mail.reply_to):
        return mail.reply_to
    original = mail.sender or ((Address(envelope_sender),) if envelope_sender else ())
    if [comparison_key(who.address) for who in original] == [comparison_key(sender)]:
        original = ()
    return (*mail.reply_to, *original)


def _recipients(visible: VisibleRecipients, corrections: Corrections, *, names: bool) -> Mapping[str, Any]:
    return {
        field: [mailbox(who if names else Address(who.address), field, corrections) for who in people]
        for field, people in (("to", visible.to), ("cc", visible.cc), ("bcc", visible.bcc))
        if people
    }


# --- content


def body_of(
    mail: Mail,
    sender: str,
    answer_to: Sequence[Address],
    corrections: Corrections,
    without: Collection[str] = (),
) -> _Pieces:
    """Return the request up to its recipients, attachments as they are: each copy of them takes its time."""
    parts, html = mail.attachments, mail.html or ""
    if parts:
        inline, plain_names = "attachments.contentId" not in without, "attachments.name" in without
        parts, html = attached(parts, html, corrections, inline=inline, plain_names=plain_names)
        if "attachments.contentType" in without:
            # Those that the service does not document went as octets.
            parts = [
                evolve(part, content_type="text/plain") if part.content_type == OCTETS else part
                for part in parts
            ]
    request: dict[str, Any] = {"senderAddress": sender}
    subject = line(mail.subject, MAX_SUBJECT, "content.subject", corrections) or NO_SUBJECT
    reachable = replies(answer_to, corrections)
    if reachable and "displayName" in without:
        reachable = [{"address": each["address"]} for each in reachable]
    if reachable:
        request["replyTo"] = reachable
    headers = {} if "headers" in without else custom_headers(mail.headers, corrections)
    if headers:
        request["headers"] = headers
    pieces: list[bytes | memoryview] = [_json(request)[:-1], b',"content":', _json({"subject": subject})[:-1]]
    if mail.text or not html:
        pieces += _text("plainText", mail.text or NO_TEXT)
    if html:
        pieces += _text("html", html)
    pieces.append(b"}")
    if parts:
        pieces.append(b',"attachments":[')
        for part in parts:
            pieces += (_file(part), part.base64, b'"},')
        pieces[-1] = b'"}]'
    pieces.append(_RECIPIENTS)
    return pieces


def _text(field: str, text: str) -> Iterator[bytes]:
    """
    Give a field with a text of any length, behind another one.

    :raises MemoryError: there is no memory for it.
    """
    yield f',"{field}":'.encode()
    if len(text) <= _AT_ONCE:
        yield _json(text)
        return
    yield b'"'
    for at in range(0, len(text), _AT_ONCE):
        try:
            mmap(-1, _ROOM).close()
        except OSError as error:
            raise MemoryError from error
        yield _json(text[at : at + _AT_ONCE])[1:-1]
    yield b'"'


def _file(attachment: Attachment) -> bytes:
    """Return an attachment's JSON up to its content, which follows in base64."""
    described = {"name": attachment.name, "contentType": attachment.content_type}
    if attachment.content_id:
        described["contentId"] = attachment.content_id
    return _json(described)[:-1] + b',"contentInBase64":"'


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
