"""
A mail as the fields of a JSON API, and how they are made to fit: what such providers share.

Such an API knows no envelope: who stands in its lists of recipients gets the mail. So these are the
delivery's recipients only; the mail's own To and Cc only decide which of them are visible, and under which
name. For one field that it does not like an API may refuse the whole mail. So every field that a request can
do without is checked before it goes, and corrected or left out.
Where no limit is documented, ours is far above what honest mail needs. Pure.
"""

import json
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from mmap import mmap
from typing import Final

import orjson
from attrs import frozen

from smtprelay.mime.address import Address, comparison_key
from smtprelay.mime.content_size import ANY
from smtprelay.mime.controls import in_one_line
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.mime.parse import Mail
from smtprelay.model.address import MAX_LABEL, ascii_domain
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Failed, Outcome
from smtprelay.model.shape import Shape

#: Characters of a text that are encoded at a time, and octets of memory that are free before: orjson, which
#: takes half as many at most, ends the process if it does not get them.
_AT_ONCE: Final = 256 << 10
_ROOM: Final = 8 * _AT_ONCE

#: Half a character, which has no UTF-8.
_HALF: Final = re.compile("[\ud800-\udfff]")
#: Characters of a subject: as many as a line of a header has (RFC 5322 §2.1.1).
MAX_SUBJECT: Final = 998
MAX_NAME: Final = 256
MAX_REPLIES: Final = 10
MAX_HEADERS: Final = 50
MAX_HEADER_NAME: Final = 76
MAX_HEADER: Final = 2000
#: Octets of all custom headers together.
MAX_HEADERS_SIZE: Final = 32 * 1024

#: A service requires a subject and some text; for mail that has none.
NO_SUBJECT: Final = "(no subject)"
NO_TEXT: Final = " "
#: The content of a file that has none, in base64: one line end.
EMPTY_FILE: Final = b"Cg=="

#: No more than this is added to what a mail's content becomes: subject, custom headers, answers, the frame
#: of a thousand attachments and new names for what shows them, each of which is bounded.
_FRAME: Final = 384 * 1024
#: The same for each recipient: an address, and a name of as many characters as one may have.
_RECIPIENT: Final = 2 * 1024
#: Recipients of a request for which there is no limit: more than a mail has.
_MANY: Final = 10_000

#: RFC 5321 §4.5.3.1.1 and §4.5.3.1.3, less the brackets.
_MAX_LOCAL: Final = 64
_MAX_ADDRESS: Final = 254

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = rf"[A-Za-z0-9](?:[A-Za-z0-9-]{{0,{MAX_LABEL - 2}}}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
#: Some services drop any other one without a word.
_MESSAGE_ID: Final = re.compile(r"<[^\s<>@]+@[^\s<>@.]+(?:\.[^\s<>@.]+)+>")


#: What the service writes itself or takes as an order, or what would tell of blind recipients.
_is_dropped: Final = re.compile(
    "authentication-results|cc|date|(?:dkim|domainkey)-signature|from|mime-version|received(?:-spf)?|reply-to"
    "|return-path|sender|subject|to|(?:content|arc|resent|x-ms-exchange|x-microsoft|x-ms-acsemail)-.*"
    "|(?:x-)?(?:bcc|original-recipient|(?:apparently|delivered|envelope|forwarded|original|rcpt)-to)",
    re.DOTALL,
).fullmatch

#: These go first where not all fit: conversations, and what keeps machines from answering each other.
_FIRST: Final = ("message-id", "in-reply-to", "references", "auto-submitted", "importance", "x-priority")
_JOINED: Final = frozenset({"references", "comments"})


@frozen
class VisibleRecipients:
    """
    A delivery's recipients, by how the mail shows them; each is in exactly one of the three.

    :ivar to: empty if the mail names none of them.
    """

    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()


class Corrections:
    """
    What had to be changed in the fields of a mail.

    :ivar notes: each (field, reason) once, in order, and no more than :attr:`MAX_NOTES`.
    """

    MAX_NOTES: Final = 20

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def note(self, field: str, reason: str) -> None:
        """Remember that ``field`` was corrected, or left out."""
        if len(self.notes) < self.MAX_NOTES and (field, reason) not in self.notes:
            self.notes.append((field, reason))


@lru_cache(maxsize=256)
def sendable(address: str) -> str:
    """
    Return ``address`` as an API takes it: dot-atoms, and a domain in A-labels that has a dot.

    ``""``: it is no such address.
    """
    local, at, domain = address.rpartition("@")
    if not at or len(address) > _MAX_ADDRESS or len(local) > _MAX_LOCAL:
        return ""
    domain = ascii_domain(domain)
    if not (_LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)):
        return ""
    return f"{local}@{domain}" if len(local) + len(domain) < _MAX_ADDRESS else ""


def unsendable(addresses: Sequence[str]) -> dict[str, Outcome]:
    """Return the outcomes of those of ``addresses`` that no API takes: they must not cost others the mail."""
    return {
        address: Failed(f"the provider takes no such address: <{address}>", "5.1.3")
        for address in addresses
        if not sendable(address)
    }


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


def mailbox(who: Address, field: str, corrections: Corrections) -> Address:
    """Return a person as the API takes one."""
    name = line(who.name, MAX_NAME, f"{field}.displayName", corrections) if who.name else ""
    return Address(sendable(who.address) or who.address, name)


def replies(people: Sequence[Address], corrections: Corrections) -> list[Address]:
    """Return those of ``people`` whom an answer can reach, each once."""
    kept: dict[str, Address] = {}
    for who in people:
        address = sendable(who.address)
        if not address:
            corrections.note("replyTo", f"left out, no mail address: {short(who.address)}")
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
            corrections.note("headers", f"left out, too many: {short(name)} and others")
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
        corrections.note("headers", f"left out, no name of a header: {short(name)}")
        return ""
    field = f"headers.{short(name)}"
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


def short(text: str) -> str:
    """Return text from a mail as it may stand in a line of the log."""
    clean = in_one_line(text[:200])
    return clean if len(clean) <= 60 else f"{clean[:60]}…"  # noqa: PLR2004 -- it is to be recognised, no more


def narrowed(mail: Mail, recipients: Sequence[str]) -> VisibleRecipients:
    """
    Sort ``recipients`` into to, cc and bcc.

    Addresses are compared by :func:`comparison_key`, and stay as the envelope spells them. If nobody is
    left in To, those in Cc take its place: an API wants a ``to``.
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


def grouped(mail: Mail, recipients: Sequence[str], blind_to: str) -> Iterator[tuple[bool, VisibleRecipients]]:
    """Give the recipients of each request, and whether it is for one blind recipient."""
    visible = narrowed(mail, recipients)
    if visible.to:
        yield False, visible
    elif blind_to:
        others = [who for who in visible.bcc if comparison_key(who.address) != comparison_key(blind_to)]
        yield False, VisibleRecipients(to=(Address(blind_to),), bcc=others)
    else:
        # Also the only one: it may be the last of several, and be known to the service by this operation.
        for address in recipients:
            yield True, VisibleRecipients(to=(Address(address),))


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


def json_text(field: str, text: str) -> Iterator[bytes]:
    """
    Give a field with a text of any length, behind another one.

    :raises MemoryError: there is no memory for it.
    """
    yield f',"{field}":'.encode()
    if len(text) <= _AT_ONCE:
        yield json_octets(text)
        return
    yield b'"'
    for at in range(0, len(text), _AT_ONCE):
        try:
            mmap(-1, _ROOM).close()
        except OSError as error:
            raise MemoryError from error
        yield json_octets(text[at : at + _AT_ONCE])[1:-1]
    yield b'"'


def json_octets(value: object) -> bytes:
    """Return ``value`` as JSON; half a character, which has no UTF-8, is replaced."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _HALF.sub("\ufffd", json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()


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


def single_id(delivery: Delivery, address: str) -> str:
    """
    Return the operation id of the request for one recipient of a mail that names none of them.

    It is known by the address that the client named: a rule that replaces that may change.
    """
    recipients = delivery.envelope.recipients
    named = next((each.named for each in recipients if each.address == address), "")
    return str(uuid.uuid5(uuid.UUID(delivery.operation_id), named or address))
