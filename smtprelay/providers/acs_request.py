"""
One mail as the JSON that Azure Communication Services takes.

The service knows no envelope: who stands in ``to``, ``cc`` and ``bcc`` gets the
mail. So these three are the delivery's recipients and nobody else; the mail's own
To and Cc only decide who of them is visible, and under which name.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from email.header import Header
from typing import Any, Final
from urllib.parse import quote

import orjson
from attrs import evolve, frozen

from smtprelay.mime.parse import Attachment, Mail
from smtprelay.mime.text import Address

#: The service requires a subject and some text; for mail that has none.
NO_SUBJECT: Final = "(no subject)"
NO_TEXT: Final = " "

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DROPPED: Final = frozenset(
    (
        "authentication-results",
        "bcc",
        "cc",
        "date",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "from",
        "mime-version",
        "received",
        "received-spf",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
        "x-original-to",
    )
)
_DROPPED_PREFIXES: Final = ("content-", "arc-", "resent-", "x-ms-exchange-", "x-microsoft-", "x-ms-acsemail-")

#: The service refuses types that it does not know, and this one says nothing; the name often does.
_TYPES: Final = {
    "application/octet-stream": {
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "gif": "image/gif",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "json": "application/json",
        "pdf": "application/pdf",
        "png": "image/png",
        "ppt": "application/vnd.ms-powerpoint",
        "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "rtf": "application/rtf",
        "tif": "image/tiff",
        "tiff": "image/tiff",
        "txt": "text/plain",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xml": "application/xml",
        "zip": "application/zip",
    },
    # The parts of a bounce.
    "message/delivery-status": {"txt": "text/plain"},
    "message/global": {"eml": "message/rfc822"},
    "text/rfc822-headers": {"txt": "text/plain"},
}


@frozen
class Visible:
    """A delivery's recipients, by how the mail shows them; each is in exactly one of the three."""

    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()

    @property
    def blind(self) -> bool:
        """Nobody is named in the mail."""
        return not (self.to or self.cc)


def narrowed(mail: Mail, recipients: Sequence[str]) -> Visible:
    """
    Sort ``recipients`` into to, cc and bcc.

    Addresses are compared without regard to case, and go out as the envelope spells
    them. If nobody is left in To, those in Cc take its place: the service wants a ``to``.
    """
    open_ones = {address.lower(): address for address in recipients}
    to = _taken(mail.to, open_ones)
    cc = _taken(mail.cc, open_ones)
    bcc = [Address(address) for address in open_ones.values()]
    return Visible(to or cc, cc if to else (), bcc)


def _taken(named: Sequence[Address], open_ones: dict[str, str]) -> list[Address]:
    """Move those who are ``named`` out of ``open_ones``, with their display names."""
    found = ((open_ones.pop(who.address.lower(), ""), who.name) for who in named)
    return [Address(address, name) for address, name in found if address]


def choose_sender(mail: Mail, envelope_sender: str, default: str, domains: Collection[str]) -> str:
    """Return the envelope's sender or the header's, if its domain is among ``domains``; else ``default``."""
    for address in (envelope_sender, *(who.address for who in mail.sender[:1])):
        if address.rpartition("@")[2].lower() in domains:
            return address
    return default


def reply_to(mail: Mail, envelope_sender: str, sender: str) -> Sequence[Address]:
    """Return whom an answer shall reach: what the mail says, else whoever ``sender`` stands in for."""
    if mail.reply_to:
        return mail.reply_to
    original = mail.sender or ((Address(envelope_sender),) if envelope_sender else ())
    if [who.address.lower() for who in original] == [sender.lower()]:
        return ()
    return original


def custom_headers(mail: Mail) -> Mapping[str, str]:
    """
    Return the headers that go along: all but those that the service writes itself.

    JSON has each name once: of several with one name the first one goes, and of
    ``References`` and ``Comments`` all, joined. Values that are not ASCII are encoded.
    """
    chosen: dict[str, tuple[str, str]] = {}
    for name, value in mail.headers:
        key = name.lower()
        if key in _DROPPED or key.startswith(_DROPPED_PREFIXES):
            continue
        clean = _CONTROL.sub("", value.replace("\t", " "))
        if not clean.strip():
            continue
        if key not in chosen:
            chosen[key] = (name, clean)
        elif key in ("references", "comments"):
            chosen[key] = (name, f"{chosen[key][1]} {clean}")
    return {name: value if value.isascii() else _encoded(value) for name, value in chosen.values()}


def _encoded(value: str) -> str:
    return Header(value, "utf-8", maxlinelen=10_000).encode(linesep="").replace("\n", "")


def attached(mail: Mail) -> Iterator[Attachment]:
    """
    Give the attachments as the service takes them.

    A content id makes a part invisible unless the HTML shows it, and must not occur
    twice: it is kept on the first part that the HTML refers to.
    """
    html, seen = mail.html or "", set()
    for attachment in mail.attachments:
        kind = attachment.content_type
        extension = attachment.name.rpartition(".")[2].lower()
        content_id = attachment.content_id
        shown = f"cid:{content_id}" in html or f"cid:{quote(content_id)}" in html
        if not shown or content_id in seen:
            content_id = ""
        seen.add(content_id)
        yield evolve(
            attachment, content_type=_TYPES.get(kind, {}).get(extension, kind), content_id=content_id
        )


def body_of(mail: Mail, sender: str, replies: Sequence[Address], recipients: Visible) -> bytes:
    """Return the request's body. Attachments are joined in as bytes: JSON would copy them again and again."""
    content = {"subject": mail.subject or NO_SUBJECT}
    if mail.text or not mail.html:
        content["plainText"] = mail.text or NO_TEXT
    if mail.html:
        content["html"] = mail.html
    request: dict[str, Any] = {
        "senderAddress": sender,
        "content": content,
        "recipients": {
            field: [_mailbox(who) for who in people]
            for field, people in (("to", recipients.to), ("cc", recipients.cc), ("bcc", recipients.bcc))
            if people
        },
    }
    if replies:
        request["replyTo"] = [_mailbox(who) for who in replies]
    headers = custom_headers(mail)
    if headers:
        request["headers"] = headers
    body = _json(request)
    if not mail.attachments:
        return body
    pieces = [body[:-1], b',"attachments":[']
    for attachment in attached(mail):
        pieces += (_described(attachment), attachment.base64, b'"},')
    pieces[-1] = b'"}]}'
    return b"".join(pieces)


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # half a character, which has no UTF-8
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _mailbox(who: Address) -> dict[str, str]:
    return {"address": who.address, "displayName": who.name} if who.name else {"address": who.address}


def _described(attachment: Attachment) -> bytes:
    """Return an attachment's JSON up to its content, which follows in base64."""
    described = {"name": attachment.name, "contentType": attachment.content_type}
    if attachment.content_id:
        described["contentId"] = attachment.content_id
    return _json(described)[:-1] + b',"contentInBase64":"'
