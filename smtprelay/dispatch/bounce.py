"""
The report to a sender that his mail was not delivered: RFC 3464, in three parts.

What a person reads, what a program reads, and the header of the mail that it is about. Bytes in, bytes
out: dates, ids and texts come in with the :class:`Notice`. The result is 7-bit, so that every provider
takes it.
"""

import binascii
import re
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from attrs import field, frozen

from smtprelay.message import Delivery, Recipient

#: So much of the original's header block goes back.
HEADER_LIMIT: Final = 64 * 1024

#: So much of what a provider said; it may have answered with a web page.
_LONGEST_REASON: Final = 500

_WIDTH: Final = 76
_LONGEST_LINE: Final = 998  # RFC 5322 §2.1.1

#: RFC 3463 in plain words: the whole code, else its subject, else nothing.
_PLAIN: Final = {
    "1.1": "The address does not exist.",
    "1.2": "The domain of the address does not exist.",
    "1.8": "The sender's address is not accepted.",
    "2.1": "The mailbox is disabled.",
    "2.2": "The mailbox is full.",
    "2.3": "The mail is too large for this mailbox.",
    "3.4": "The mail is too large.",
    "4.7": "It was tried again and again, until its time had run out.",
    "7.1": "The sending of this mail is not allowed.",
    "1": "Something is wrong with the address.",
    "2": "Something is wrong with the mailbox.",
    "3": "The mail system at the destination does not take this mail.",
    "4": "The destination could not be reached.",
    "5": "The dialogue with the destination failed.",
    "6": "The content of the mail cannot be converted or is not accepted.",
    "7": "The mail was refused for a reason of security or policy.",
}


@frozen(kw_only=True)
class BounceSettings:
    """
    How bounces are made.

    :ivar sender: the address in their From header; the envelope's sender is always ``<>``.
    :ivar hostname: the name of this relay.
    :ivar to: ``"sender"``, or the one address that gets them all instead.
    :ivar copy: an address that gets each bounce too, or ``""``.
    """

    sender: str
    hostname: str
    to: str = "sender"
    copy: str = ""


@frozen(kw_only=True)
class Undelivered:
    """
    One recipient who does not get the mail.

    :ivar why: in the provider's words.
    :ivar code: the enhanced status code, ``4.4.7`` for a mail that expired.
    """

    recipient: Recipient
    why: str
    code: str


@frozen(kw_only=True)
class Notice:
    """
    All that a bounce says.

    :ivar message: the id of the mail that it is about.
    :ivar reference: unique to this bounce; it names the parts' boundary and the Message-ID.
    :ivar provider: who refused.
    :ivar received: when the mail arrived, seconds since the epoch; ``written``: when this is written.
    :ivar envelope_id: the sender's ENVID in xtext, or ``""``.
    :ivar headers: the original's header block, as stored.
    """

    message: str
    reference: str
    to: str
    provider: str
    received: float
    written: float
    undelivered: Sequence[Undelivered]
    envelope_id: str = ""
    headers: bytes = field(default=b"", repr=False)


def is_wanted(delivery: Delivery, recipient: Recipient) -> bool:
    """
    Tell whether the sender shall hear that ``recipient`` failed.

    Never for the null sender, never for a bounce, else as NOTIFY says (RFC 3461 §4.1).
    """
    if not delivery.envelope.sender or delivery.bounce_of:
        return False
    return not recipient.notify or "FAILURE" in recipient.notify.upper().split(",")


def header_block(start: bytes) -> bytes:
    """Return the header block that ``start``, the beginning of a message, holds: whole lines, bounded."""
    if start.startswith(b"\r\n"):
        return b""
    end = start.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    if end < 0:
        end = start.rfind(b"\r\n", 0, HEADER_LIMIT)
    return start[: end + 2] if end >= 0 else b""


def render(notice: Notice, settings: BounceSettings) -> bytes:
    """Return the bounce as a message with CRLF line ends, 7-bit, no line longer than RFC 5322 allows."""
    boundary = f"{notice.reference}/{settings.hostname}"
    parts = (
        _part("text/plain", _letter(notice, settings)),
        _part("message/delivery-status", _status(notice, settings)),
        _part("text/rfc822-headers", notice.headers),
    )
    delimiter = f"--{boundary}\r\n".encode()
    body = b"".join(delimiter + part + b"\r\n" for part in parts)
    head = _lines(
        f"From: Mail Delivery System <{_clean(settings.sender)}>",
        f"To: {_mailbox(notice.to)}",
        "Subject: Undelivered Mail Returned to Sender",
        f"Date: {_date(notice.written)}",
        f"Message-ID: <{notice.reference}@{settings.hostname}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
        "",
    )
    return head + body + f"--{boundary}--\r\n".encode()


def _letter(notice: Notice, settings: BounceSettings) -> bytes:
    said = [line for each in notice.undelivered for line in _paragraph(each, notice.provider)]
    return _lines(
        f"This is the mail relay at {settings.hostname}.",
        "",
        "Your message could not be delivered to the recipients below, and it will",
        "not be tried again.",
        "",
        *said,
        f"Message id at this relay: {notice.message}",
        f"Received:                 {_date(notice.received)}",
        f"Given up:                 {_date(notice.written)}",
        "",
        "The postmaster finds it in the relay's log by that id. The header of your",
        "message is attached.",
        "",
    )


def _paragraph(each: Undelivered, provider: str) -> list[str]:
    code = _code(each.code)
    detail = code.partition(".")[2]
    plain = _PLAIN.get(detail) or _PLAIN.get(detail.partition(".")[0], "")
    words = [f"{plain} ({code})".lstrip(), f"{provider} said: {_reason(each.why)}"]
    indented = [line for text in words for line in _wrapped(text, "    ", "    ")]
    return [f"<{_clean(each.recipient.address)}>", *indented, ""]


def _status(notice: Notice, settings: BounceSettings) -> bytes:
    """The part for programs (RFC 3464 §2.2, §2.3)."""
    envelope = (
        [f"Original-Envelope-Id: {_ascii(_from_xtext(notice.envelope_id))}"] if notice.envelope_id else []
    )
    return _lines(
        *envelope,
        f"Reporting-MTA: dns; {settings.hostname}",
        f"X-Smtprelay-Queue-Id: {notice.message}",
        f"Arrival-Date: {_date(notice.received)}",
        "",
        *[line for each in notice.undelivered for line in _recipient_fields(each)],
    )


def _recipient_fields(each: Undelivered) -> list[str]:
    kind, _, original = each.recipient.orcpt.partition(";")
    orcpt = [f"Original-Recipient: {_ascii(kind)}; {_ascii(_from_xtext(original))}"] if original else []
    diagnostic = _wrapped(f"Diagnostic-Code: X-Smtprelay; {_ascii(_reason(each.why))}", "", "    ")
    return [
        *orcpt,
        f"Final-Recipient: {_typed(each.recipient.address)}",
        "Action: failed",
        f"Status: {_code(each.code)}",
        *diagnostic,
        "",
    ]


def _part(kind: str, content: bytes) -> bytes:
    """One part; what is not 7-bit or has overlong lines is made quoted-printable (RFC 6522 §3 allows it)."""
    short = all(len(line) <= _LONGEST_LINE for line in content.split(b"\r\n"))
    if content.isascii() and short:
        return _lines(f"Content-Type: {kind}", "Content-Transfer-Encoding: 7bit", "", "") + content
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    head = _lines(f"Content-Type: {kind}{charset}", "Content-Transfer-Encoding: quoted-printable", "", "")
    return head + b"\r\n".join(map(_quoted, content.split(b"\r\n")))


def _quoted(line: bytes) -> bytes:
    """Return a line as quoted-printable (RFC 2045 §6.7); binascii alone would break it with LF here."""
    return binascii.b2a_qp(line).replace(b"=\n", b"=\r\n")


def _lines(*lines: str) -> bytes:
    """Join with CRLF; an empty last line ends the one before it."""
    return "\r\n".join(lines).encode("utf-8", "replace")


def _date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=0))


def _clean(text: str) -> str:
    """Make one line of it, without control characters: it may come from anywhere."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _reason(why: str) -> str:
    return _clean(why)[:_LONGEST_REASON] or "no reason was given"


def _code(code: str) -> str:
    return code if re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", code, re.ASCII) else "5.0.0"


def _ascii(text: str) -> str:
    r"""Write what is not ASCII as ``\x{HEX}`` (RFC 6533 §3)."""
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in _clean(text))


def _typed(address: str) -> str:
    return f"{'rfc822' if address.isascii() else 'utf-8'}; {_ascii(address)}"


def _mailbox(address: str) -> str:
    """An address for a header; RFC 6857 §3.1.8 names one that is not ASCII without making it an address."""
    address = _clean(address)
    if address.isascii():
        return f"<{address}>"
    encoded = binascii.b2a_base64(address.encode(), newline=False).decode()
    return f"=?utf-8?b?{encoded}?= :;"


def _from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4)."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
