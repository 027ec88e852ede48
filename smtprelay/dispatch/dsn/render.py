"""
The report to a sender of what became of the mail: RFC 3464, in three parts.

What a person reads, what a program reads, and the mail that it is about, or its header. Bytes in, bytes
out: dates, ids and texts come in with the :class:`Report`. The result is 7-bit, so that every provider
takes it, unless it returns a whole message that is not.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from smtprelay.dispatch.dsn.fields import clean, lines, mailbox
from smtprelay.dispatch.dsn.report import Report
from smtprelay.mime.date import date
from smtprelay.mime.outgoing.encoders import encoded
from smtprelay.model.shape import shape_of

#: A larger message does not go back whole, whatever its sender asked for; bytes.
LARGEST_RETURN: Final = 1024 * 1024

#: Octets of text that are not quoted any more.
_MUCH: Final = 64 * 1024


@frozen(kw_only=True)
class BounceSettings:
    """
    How reports are made.

    :ivar sender: the address in their From header; the envelope's sender is always ``<>``.
    :ivar hostname: the name of this relay.
    :ivar to: ``"sender"``, or the one address that gets them all instead.
    :ivar copy: an address that gets each bounce too, or ``""``; what reports no failure is not for it.
    :ivar largest: the largest message that goes back whole, bytes.
    :ivar remotes: the name of its host for each provider that is one.
    :ivar copies: by provider: who gets each bounce of its mail too, by the domain that the mail is from.
    """

    sender: str
    hostname: str
    to: str = "sender"
    copy: str = ""
    largest: int = LARGEST_RETURN
    remotes: Mapping[str, str] = field(factory=dict)
    copies: Mapping[str, Mapping[str, str]] = field(factory=dict)


def render(report: Report, settings: BounceSettings, text: Iterable[str], fields: Iterable[str]) -> bytes:
    """
    Return the report as a message with CRLF line ends, no line longer than RFC 5322 allows.

    :param text: the lines of the part for people, and ``fields`` of that for programs.
    """
    original = report.original
    parts = (
        _part("Notification", *_encoded("text/plain", lines(*text))),
        _part("Report", *_encoded("message/delivery-status", lines(*fields))),
        _part("Original", original.kind, original.encoding, original.content),
    )
    boundary = _boundary(report, settings, parts)
    delimiter = f"--{boundary}\r\n".encode()
    body = b"".join(delimiter + part + b"\r\n" for part in parts)
    head = lines(
        f"From: Mail Delivery System <{clean(settings.sender)}>",
        f"To: {mailbox(report.to)}",
        f"Subject: {report.subject}",
        f"Date: {date(report.written)}",
        f"Message-ID: <{clean(report.reference)}@{settings.hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        *(["Content-Transfer-Encoding: 8bit"] if original.encoding == "8bit" else ()),
        "",
        "",
    )
    return head + body + f"--{boundary}--\r\n".encode()


def _boundary(report: Report, settings: BounceSettings, parts: tuple[bytes, ...]) -> str:
    """Return what no part has in it, though a mail that is returned may try."""
    boundary = f"{clean(report.reference)}/{settings.hostname}"
    while any(f"--{boundary}".encode() in part for part in parts):
        boundary += "+"
    return boundary


def _part(described: str, kind: str, encoding: str, content: bytes) -> bytes:
    head = lines(
        f"Content-Type: {kind}",
        f"Content-Description: {described}",
        f"Content-Transfer-Encoding: {encoding}",
        "",
        "",
    )
    return head + content


def _encoded(kind: str, content: bytes) -> tuple[str, str, bytes]:
    """
    Return type, transfer encoding and content; what is not 7-bit or has overlong lines is quoted.

    Much of that is written in base64, which takes less time.
    """
    shape = shape_of(content)
    if not (shape.eight_bit or shape.long_lines):
        return kind, "7bit", content
    is_text = kind.startswith("text/")
    encoding = "base64" if is_text and len(content) > _MUCH else "quoted-printable"
    return f"{kind}{'; charset=utf-8' if is_text else ''}", encoding, encoded(encoding, content)
