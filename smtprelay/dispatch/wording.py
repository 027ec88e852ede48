"""
Words that came from anywhere, made fit for one line of a report.

What a provider said, what a client put into ENVID: nothing of it may end a line or hide in one. Pure.
"""

import binascii
import re
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

#: So much of what a provider said; it may have answered with a web page.
_LONGEST_REASON: Final = 500

_WIDTH: Final = 76


def lines(*text: str) -> bytes:
    """Join with CRLF; an empty last line ends the one before it."""
    return "\r\n".join(text).encode("utf-8", "replace")


def date(seconds: float) -> str:
    """Return a moment as RFC 5322 writes it, in UTC."""
    return format_datetime(datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=0))


def clean(text: str) -> str:
    """Make one line of it, without control characters."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def reason(why: str) -> str:
    """Return what was said, as much of it as a person reads."""
    return clean(why)[:_LONGEST_REASON] or "no reason was given"


def ascii_only(text: str) -> str:
    r"""Write what is not ASCII as ``\x{HEX}`` (RFC 6533 §3)."""
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in clean(text))


def typed(address: str) -> str:
    """Return an address with its type (RFC 3464 §2.3.2, RFC 6533 §3)."""
    return f"{'rfc822' if address.isascii() else 'utf-8'}; {ascii_only(address)}"


def mailbox(address: str) -> str:
    """An address for a header; RFC 6857 §3.1.8 names one that is not ASCII without making it an address."""
    address = clean(address)
    if address.isascii():
        return f"<{address}>"
    encoded = binascii.b2a_base64(address.encode("utf-8", "replace"), newline=False).decode()
    return f"=?utf-8?b?{encoded}?= :;"


def from_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4); what comes of it is as little to be trusted as before."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return ``text`` in lines, the first indented by ``first``; a long word stays whole."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
