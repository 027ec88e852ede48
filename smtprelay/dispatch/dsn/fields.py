"""
Words that came from anywhere, made fit for one line of a report.

What a provider said, what a client put into ENVID: nothing of it may end a line or hide in one. Pure.
"""

import binascii
import re
from typing import Final

#: Maximum length of a provider's reason; it may have answered with a web page.
_LONGEST_REASON: Final = 500

_WIDTH: Final = 76

_not_ascii: Final = re.compile(r"[^\x00-\x7f]+").sub
_encoded_octets: Final = re.compile(r"(?:\+[0-9A-F]{2})+").sub


def lines(*text: str) -> bytes:
    """Join with CRLF; an empty last line ends the one before it."""
    return "\r\n".join(text).encode("utf-8", "replace")


def clean(text: str) -> str:
    """Make one line of it, without control characters."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c for c in line if c.isprintable())


def reason(why: str) -> str:
    """Return the reason of a provider, cut to what a person reads."""
    return clean(why[: 4 * _LONGEST_REASON])[:_LONGEST_REASON] or "no reason was given"


def ascii_only(text: str) -> str:
    r"""Write what is not ASCII as ``\x{HEX}`` (RFC 6533 §3)."""
    line = clean(text)
    return line if line.isascii() else _not_ascii(_hexadecimal, line)


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
    return _encoded_octets(_decoded, text) if "+" in text else text


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """
    Return ``text`` in lines, the first indented by ``first``; a long word stays whole.

    A mail may fail for a thousand recipients at once: :mod:`textwrap` would stall the reactor.
    """
    line = first + " ".join(text.split())
    rows: list[str] = []
    # Of the first row the indent is in the line already.
    start, indent, skipped, width = 0, "", len(first), _WIDTH
    while len(line) - start > width:
        end = line.rfind(" ", start + skipped, start + width + 1)
        if end < 0:
            end = line.find(" ", start + max(skipped, width))
        if end < 0:
            break
        rows.append(indent + line[start:end])
        start, indent, skipped, width = end + 1, rest, 0, _WIDTH - len(rest)
    last = line[start:]
    return [*rows, indent + last] if last.strip() else rows


def _decoded(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("+", "")).decode("latin-1")


def _hexadecimal(found: re.Match[str]) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in found[0])
