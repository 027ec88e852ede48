"""
The ``Received:`` header that we put before every message (RFC 5321 §4.4).

What the client says of itself goes into it, so everything but the harmless
characters is replaced: no greeting can add a line, a comment or a clause. The
recipient is named only when there is one: with several it would tell the others. Pure.
"""

import re
from functools import lru_cache
from typing import Final

from smtprelay.mime.date import date
from smtprelay.model.message import Draft

_UNTOLD: Final = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
_PLAIN_MAILBOX: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,255}")
_LONGEST_HELO: Final = 255


def received(draft: Draft, hostname: str) -> bytes:
    """Return the header field for ``draft``, folded, with its final CRLF."""
    client = draft.client
    protocol = client.protocol
    if "SMTPUTF8" in draft.envelope.parameters:
        protocol = f"UTF8SMTP{protocol.partition('SMTP')[2]}"  # RFC 6531 §4.3
    lines = [
        _from(client.helo, client.address),
        f"by {hostname} (smtprelay) with {protocol} id {draft.id}",
    ]
    addresses = draft.envelope.addresses
    if len(addresses) == 1 and _PLAIN_MAILBOX.fullmatch(addresses[0]):
        lines.append(f"for <{addresses[0]}>")
    lines[-1] += ";"
    lines.append(date(draft.received))
    return ("\r\n\t".join(lines) + "\r\n").encode("ascii", "replace")


@lru_cache(maxsize=256)
def _from(helo: str, address: str) -> str:
    """Return the first line; a client sends many messages."""
    return f"Received: from {_UNTOLD.sub('?', helo[:_LONGEST_HELO]) or 'unknown'} ({_literal(address)})"


def _literal(address: str) -> str:
    """Return the client's address as RFC 5321 §4.1.3 writes it, or a word for what is none."""
    address = _UNTOLD.sub("?", address)
    if ":" in address:
        return f"[IPv6:{address}]"
    return f"[{address}]" if "." in address else address or "unknown"
