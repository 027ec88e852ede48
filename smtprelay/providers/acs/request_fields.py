"""
What Azure Communication Services takes in the fields of a request, and how those of a mail are made to fit.

For one field that it does not like the service refuses the whole mail. So every field that a request can do
without is checked before it goes, and mended or left out.
Where the service documents no limit, ours is far above what honest mail needs. Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from smtprelay.mime.address import Address, ascii_domain, comparison_key
from smtprelay.mime.controls import in_one_line
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.model.address import MAX_LABEL

#: Characters of a subject: as many as a line of a header has (RFC 5322 §2.1.1).
MAX_SUBJECT: Final = 998
MAX_NAME: Final = 256
MAX_REPLIES: Final = 10
MAX_HEADERS: Final = 50
MAX_HEADER_NAME: Final = 76
MAX_HEADER: Final = 2000
#: Octets of all custom headers together.
MAX_HEADERS_SIZE: Final = 32 * 1024

#: RFC 5321 §4.5.3.1.1 and §4.5.3.1.3, less the brackets.
_MAX_LOCAL: Final = 64
_MAX_ADDRESS: Final = 254

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = rf"[A-Za-z0-9](?:[A-Za-z0-9-]{{0,{MAX_LABEL - 2}}}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
#: The service drops any other one without a word.
_MESSAGE_ID: Final = re.compile(r"<[^\s<>@]+@[^\s<>@.]+(?:\.[^\s<>@.]+)+>")


#: What the service writes itself, or what would tell of blind recipients.
_is_dropped: Final = re.compile(
    "authentication-results|cc|date|(?:dkim|domainkey)-signature|from|mime-version|received(?:-spf)?|reply-to"
    "|return-path|sender|subject|to|(?:content|arc|resent|x-ms-exchange|x-microsoft|x-ms-acsemail)-.*"
    "|(?:x-)?(?:bcc|original-recipient|(?:apparently|delivered|envelope|forwarded|original|rcpt)-to)",
    re.DOTALL,
).fullmatch

#: These go first where not all fit: conversations, and what keeps machines from answering each other.
_FIRST: Final = ("message-id", "in-reply-to", "references", "auto-submitted", "importance", "x-priority")
_JOINED: Final = frozenset({"references", "comments"})


class Corrections:
    """
    What had to be changed in the fields of a mail.

    :ivar notes: each (field, reason) once, in order, and no more than :attr:`MAX_NOTES`.
    """

    MAX_NOTES: Final = 20

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, field: str, reason: str) -> None:
        """Remember that ``field`` was mended, or left out."""
        if len(self.notes) < self.MAX_NOTES and (field, reason) not in self.notes:
            self.notes.append((field, reason))


@lru_cache(maxsize=256)
def sendable(address: str) -> str:
    """
    Return ``address`` as the service takes it: dot-atoms, and a domain in A-labels that has a dot.

    ``""``: it is no such address.
    """
    local, at, domain = address.rpartition("@")
    if not at or len(address) > _MAX_ADDRESS or len(local) > _MAX_LOCAL:
        return ""
    domain = ascii_domain(domain)
    if not (_LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)):
        return ""
    return f"{local}@{domain}" if len(local) + len(domain) < _MAX_ADDRESS else ""


def line(text: str, longest: int, field: str, corrections: Corrections) -> str:
    """Return ``text`` as one line without control characters, of at most ``longest`` characters."""
    if len(text) <= longest and text.isprintable():
        return text.strip()
    # Only the beginning can be used, so the rest is not examined.
    begun = text[: 4 * longest].strip()
    clean = in_one_line(begun)
    if len(clean) > longest or len(text) > 4 * longest:
        corrections.note(field, f"cut to {longest} characters")
        clean = clean[:longest].strip()
    elif len(clean) < len(begun):
        corrections.note(field, "control characters dropped")
    return clean


def mailbox(who: Address, field: str, corrections: Corrections) -> dict[str, str]:
    """Return one entry of a list of people."""
    name = line(who.name, MAX_NAME, f"{field}.displayName", corrections) if who.name else ""
    address = sendable(who.address) or who.address
    return {"address": address, "displayName": name} if name else {"address": address}


def replies(people: Sequence[Address], corrections: Corrections) -> list[dict[str, str]]:
    """Return those of ``people`` whom an answer can reach, each once."""
    kept: dict[str, dict[str, str]] = {}
    for who in people:
        address = sendable(who.address)
        if not address:
            corrections.note("replyTo", f"left out, no mail address: {_short(who.address)}")
        elif len(kept) == MAX_REPLIES:
            corrections.note("replyTo", f"more than {MAX_REPLIES}: the rest is left out")
            break
        else:
            kept.setdefault(comparison_key(address), mailbox(who, "replyTo", corrections))
    return list(kept.values())


def custom_headers(headers: Iterable[tuple[str, str]], corrections: Corrections) -> Mapping[str, str]:
    """
    Return the headers that go along: all but those that the service writes itself, and no trace of Bcc.

    JSON has each name once: of several with one name the first one goes, and of ``References`` and
    ``Comments`` all, joined. Values that are not ASCII are encoded.
    """
    chosen = _chosen(headers)
    kept: dict[str, str] = {}
    octets = 0
    for key in sorted(chosen, key=lambda key: key not in _FIRST):
        name, values = chosen[key]
        value = _header_value(name, " ".join(values), corrections)
        if not value:
            continue
        octets += len(name) + len(value)
        if len(kept) == MAX_HEADERS or octets > MAX_HEADERS_SIZE:
            corrections.note("headers", f"left out, too many: {_short(name)} and others")
            break
        kept[name] = value
    return {name: kept[name] for name, _ in chosen.values() if name in kept}


def _chosen(headers: Iterable[tuple[str, str]]) -> dict[str, tuple[str, list[str]]]:
    """Return name and values of what is not dropped, by the name in lower case."""
    chosen: dict[str, tuple[str, list[str]]] = {}
    for name, value in headers:
        key = name.lower()
        if _is_dropped(key) or not value.strip():
            continue
        known = chosen.get(key)
        if known is None:
            chosen[key] = (name, [value])
        elif key in _JOINED and len(known[1]) < MAX_HEADERS:
            known[1].append(value)
    return chosen


def _header_value(name: str, value: str, corrections: Corrections) -> str:
    if len(name) > MAX_HEADER_NAME or not _HEADER_NAME.fullmatch(name):
        corrections.note("headers", f"left out, no name of a header: {_short(name)}")
        return ""
    field = f"headers.{_short(name)}"
    text = line(value, MAX_HEADER, field, corrections)
    key = name.lower()
    if key == "references":
        text = _whole_ids(text)
    elif key == "message-id" and not _MESSAGE_ID.fullmatch(text):
        corrections.note(field, "left out, not <local@domain.example>")
        return ""
    if text.isascii():
        return text
    encoded = " ".join(encoded_words(text))
    while len(encoded) > MAX_HEADER:
        corrections.note(field, f"cut to {MAX_HEADER} characters")
        text = text[: len(text) * MAX_HEADER // (len(encoded) + 1)]
        encoded = " ".join(encoded_words(text))
    return encoded


def _whole_ids(references: str) -> str:
    return (
        references[: references.rfind(">") + 1]
        if references.count("<") > references.count(">")
        else references
    )


def _short(text: str) -> str:
    """Return text from a mail as it may stand in a line of the log."""
    clean = in_one_line(text[:200])
    return clean if len(clean) <= 60 else f"{clean[:60]}…"  # noqa: PLR2004 -- it is to be recognised, no more
