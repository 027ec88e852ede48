"""
What the fake of Graph makes of mail: from MIME, and from the JSON of its API.

The recipients are read by the standard library, which knows nothing of how the relay writes them.
"""

import base64
import binascii
import email
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import getaddresses
from typing import Any, Final

from attrs import field, frozen

_ADDRESS: Final = re.compile(r"[!#-'*+/-9=?A-Z^-~-]+(?:\.[!#-'*+/-9=?A-Z^-~-]+)*@[\w.-]+\.\w+")


@frozen
class GraphRefuses(Exception):  # noqa: N818 -- what it does
    """
    Refuse the request so.

    :ivar inner: the code of an error within this one.
    """

    status: int
    code: str = "ErrorInternalServerError"
    message: str = "as scripted"
    headers: Mapping[str, str] = field(factory=dict)
    inner: str = ""

    def answer(self, known: str, ours: str, now: float) -> Mapping[str, Any]:
        """Return the answer; the request is ``known`` by this id, and ``ours`` is the client's own."""
        date = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        inner = {"date": date, "request-id": known, "client-request-id": ours}
        if self.inner:
            inner["code"] = self.inner
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


@frozen(kw_only=True)
class UploadedFile:
    """A file of a draft, as it was attached."""

    name: str
    kind: str
    inline: bool
    content_id: str
    content: bytes = field(default=b"", repr=False)


@frozen(kw_only=True)
class GraphMail:
    """
    A mail, sent or a draft.

    :ivar id: the message's; ``request_id`` is that of the client.
    :ivar recipients: whom its header names.
    :ivar raw: as it came, ``b""`` if it came as JSON.
    :ivar files: those that were attached to a draft.
    """

    mailbox: str
    author: str
    recipients: Sequence[str]
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()
    message_id: str = ""
    subject: str = ""
    id: str = ""
    request_id: str = ""
    time: float = 0.0
    raw: bytes = field(default=b"", repr=False)
    files: Sequence[UploadedFile] = ()


def mail_from_mime(mailbox: str, content: bytes) -> GraphMail:
    """Return the mail that a request has in base64."""
    try:
        raw = base64.b64decode(content.translate(None, b"\r\n"), validate=True)
    except binascii.Error:
        raw = b""
    if not raw:
        text = "Invalid base64 string for MIME content."
        raise GraphRefuses(400, "ErrorMimeContentInvalidBase64String", text)
    head = email.message_from_bytes(raw)
    to, cc, bcc = (_addresses(head, name) for name in ("To", "Cc", "Bcc"))
    authors = _addresses(head, "From")
    return GraphMail(
        mailbox=mailbox,
        author=authors[0] if authors else mailbox,
        recipients=tuple(dict.fromkeys((*to, *cc, *bcc))),
        to=to,
        cc=cc,
        bcc=bcc,
        message_id=str(head["Message-ID"] or ""),
        subject=str(head["Subject"] or ""),
        raw=raw,
    )


def _addresses(head: Message, name: str) -> Sequence[str]:
    values = [str(value) for value in head.get_all(name, [])]
    found = [address for _, address in getaddresses(values) if address]
    for address in found:
        if not _ADDRESS.fullmatch(address):
            raise GraphRefuses(400, "ErrorInvalidRecipients", "At least one recipient isn't valid.")
    return tuple(found)


def mail_from_json(mailbox: str, message: Mapping[str, Any]) -> GraphMail:
    """Return the mail that a request has in JSON."""
    to, cc, bcc = (
        tuple(each["emailAddress"]["address"] for each in message.get(f"{name}Recipients") or ())
        for name in ("to", "cc", "bcc")
    )
    author = (message.get("from") or {}).get("emailAddress", {}).get("address", mailbox)
    return GraphMail(
        mailbox=mailbox,
        author=author,
        recipients=tuple(dict.fromkeys((*to, *cc, *bcc))),
        to=to,
        cc=cc,
        bcc=bcc,
        message_id=message.get("internetMessageId") or "",
        subject=message.get("subject") or "",
        files=tuple(file_of(each) for each in message.get("attachments") or ()),
    )


def file_of(given: Mapping[str, Any]) -> UploadedFile:
    """Return the file that JSON describes, with its content if it has it."""
    return UploadedFile(
        name=given["name"],
        kind=given.get("contentType") or "application/octet-stream",
        inline=bool(given.get("isInline")),
        content_id=given.get("contentId") or "",
        content=base64.b64decode(given.get("contentBytes") or ""),
    )


def message_json(mail: GraphMail, *, is_draft: bool = True) -> Mapping[str, Any]:
    """Return what the API says of a mail."""

    def people(addresses: Sequence[str]) -> list[Mapping[str, Any]]:
        return [{"emailAddress": {"name": each, "address": each}} for each in addresses]

    return {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/messages/$entity",
        "id": mail.id,
        "isDraft": is_draft,
        "internetMessageId": mail.message_id,
        "subject": mail.subject,
        "toRecipients": people(mail.to),
        "ccRecipients": people(mail.cc),
        "bccRecipients": people(mail.bcc),
    }
