"""
The fields of a mail that name people, written anew; and those of a mail whose header is its envelope.

A next hop such as Microsoft Graph gets no envelope: whom To, Cc and Bcc name gets the mail. So these are the
recipients of the delivery and nobody else. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from smtprelay.mime.address import Address, addresses, ascii_address, comparison_key
from smtprelay.mime.controls import in_one_line
from smtprelay.mime.outgoing.field_changes import Additions, Header
from smtprelay.mime.outgoing.header_fields import folded, unfolded
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.mime.text import decoded

#: Characters of a display name, and of a word in it that is not encoded, at most.
MAX_NAME: Final = 256
_MAX_WORD: Final = 60

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9 !#$%&'*+/=?^_`{|}~-]+")
_QUOTED: Final = re.compile(r'["\\]')
_VISIBLE: Final = {b"to": "To", b"cc": "Cc"}


def by_envelope(header: Header, additions: Additions, guess: str) -> tuple[Header, Sequence[bytes]]:
    """
    Return a header whose To and Cc name recipients of the envelope only, and Bcc with all others of them.

    Names stay, groups become their members. From gets the sender if it has no address that Exchange can know,
    and loses a name that looks like one, which Exchange takes for the address.

    :param additions: its ``recipients`` are ASCII.
    :param guess: the charset of what is not ASCII and not UTF-8.
    """
    hidden = {comparison_key(address): address for address in additions.recipients}
    visible: dict[bytes, list[str]] = {name: [] for name in _VISIBLE}
    for name, octets in zip(header.names, header.fields, strict=True):
        if name in visible:
            visible[name].append(unfolded(octets))
    fields, names = [], []
    for name, octets in zip(header.names, header.fields, strict=True):
        new = octets
        if name in _VISIBLE:
            # All fields of a name become one, in the place of the first.
            people = addresses(visible.pop(name, ()), guess)
            known = [(hidden.pop(comparison_key(who.address), ""), who.name) for who in people]
            shown = [Address(address, label) for address, label in known if address]
            new = address_field(_VISIBLE[name], shown) if shown else b""
        elif name == b"from" and octets.partition(b":")[2].strip():
            new = _author(octets, additions.sender, guess)
        elif octets[len(name) : len(name) + 1] != b":":
            # Some take an old blank before the colon for the end of the header.
            new = octets[: len(name)] + octets[octets.index(b":") :]
        if new:
            fields.append(new)
            names.append(name)
    blind = [address_field("Bcc", [Address(each) for each in hidden.values()])] if hidden else []
    return Header(fields, names, clean=False), blind


def _author(octets: bytes, sender: str, guess: str) -> bytes:
    value = unfolded(octets)
    named = addresses([value], guess)
    people = [Address(who.address, "" if "@" in who.name else who.name) for who in named if _is_author(who)]
    if people:
        return address_field("From", people)
    words = named[0].name if named else in_one_line(decoded(value, guess)[:MAX_NAME]).strip(' <>:;,"')
    return address_field("From", [Address(sender.strip("<>"), "" if "@" in words else words)])


def _is_author(who: Address) -> bool:
    """Tell whether Exchange can know an author: a host alone, ``root@nas``, is no domain to it."""
    return "." in ascii_address(who.address).rpartition("@")[2]


def unique(people: Iterable[Address]) -> list[Address]:
    """Return the first of each two that have one address."""
    found: dict[str, Address] = {}
    for who in people:
        found.setdefault(comparison_key(who.address), who)
    return list(found.values())


def address_field(label: str, people: Sequence[Address]) -> bytes:
    """Return the field that names ``people``, folded, with its line end."""
    words: list[str] = []
    for who in people:
        words += _person(who)
        words[-1] += ","
    # An empty list is no value; an empty group is (RFC 5322 §3.4).
    text = " ".join(words).removesuffix(",") or "undisclosed-recipients:;"
    # Octets that are not ASCII travel as they do in the value of a field.
    return folded(label, text.encode("utf-8", "replace").decode("ascii", "surrogateescape").split(" "))


def _person(who: Address) -> Iterator[str]:
    """Give the words of a mailbox."""
    address = ascii_address(who.address) or in_one_line(who.address)
    name = " ".join(who.name[:MAX_NAME].split())
    if not name:
        yield address
        return
    if "=?" in name or not (name.isascii() and name.isprintable()) or max(map(len, name.split())) > _MAX_WORD:
        yield from encoded_words(name)
    elif _PLAIN_NAME.fullmatch(name):
        yield from name.split(" ")
    else:
        yield from f'"{_QUOTED.sub(_escaped, name)}"'.split(" ")
    yield f"<{address}>"


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
