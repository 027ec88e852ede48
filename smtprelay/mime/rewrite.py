"""
Other addresses and other header fields for a mail that leaves: what the rules of a route say.

A field that no rule is about keeps its octets. Display names stay; an address is only replaced where a rule
says so. To rewrite twice is to rewrite once. Pure.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from attrs import asdict, field, frozen

from smtprelay.mime.address import Address, addresses, comparison_key
from smtprelay.mime.controls import in_one_line
from smtprelay.mime.outgoing.field_changes import Header, read
from smtprelay.mime.outgoing.header_fields import folded, has_long_line, unfolded
from smtprelay.mime.outgoing.recipients import MAX_NAME, address_field, unique
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.mime.parse import charset_guess
from smtprelay.mime.structure import part_of
from smtprelay.mime.text import decoded
from smtprelay.model.address import ascii_domain, has_control, is_mailbox
from smtprelay.model.patterns import Patterns, lowered
from smtprelay.model.shape import count_eight_bit

_QUOTED: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

#: Name in lower case, and the field with its line ends.
_Fields = list[tuple[bytes, bytes]]


@frozen
class AddressRules:
    """
    Which address takes the place of which.

    :ivar rules: an address or a pattern, and the address, or ``*@domain``, that replaces it. An address goes
        before patterns, and of these the first. What is found is looked for again, until nothing replaces it.
    """

    rules: Sequence[tuple[str, str]] = ()

    def replaced(self, address: str) -> str:
        """Return what takes the place of ``address``, which may be itself."""
        # Rules that lead back to themselves are no configuration.
        for _ in self.rules:
            before, address = address, self._once(address)
            if address == before:
                break
        return address

    def _once(self, address: str) -> str:
        target = self._exact.get(lowered(address))
        if target is None:
            place, target = self._domains.get(lowered(address.rpartition("@")[2]), (len(self.rules), address))
            before = (each for at, known, each in self._globs if at < place and known.match(address))
            target = next(before, target)
        return f"{address.rpartition('@')[0]}{target[1:]}" if target.startswith("*@") else target

    @cached_property
    def _exact(self) -> Mapping[str, str]:
        return {lowered(known): target for known, target in self.rules if "*" not in known}

    @cached_property
    def _domains(self) -> Mapping[str, tuple[int, str]]:
        """The rules for whole domains, each with its place: there may be hundreds, and as many recipients."""
        found: dict[str, tuple[int, str]] = {}
        for place, (known, target) in enumerate(self.rules):
            if _is_domain(known):
                found.setdefault(lowered(known[2:]), (place, target))
        return found

    @cached_property
    def _globs(self) -> Sequence[tuple[int, Patterns, str]]:
        return [
            (place, Patterns((known,)), target)
            for place, (known, target) in enumerate(self.rules)
            if "*" in known and not _is_domain(known)
        ]


def _is_domain(known: str) -> bool:
    return known.startswith("*@") and "*" not in known[2:]


def _pairs(recipients: Iterable[Sequence[str]]) -> Sequence[tuple[str, str]]:
    return tuple((known, target) for known, target in recipients)


@frozen(kw_only=True)
class RewriteRule:
    """
    How a mail is rewritten.

    :ivar author: the address that From gets; ``""`` leaves From as it is.
    :ivar kept_domains: From stays if its addresses are of these domains.
    :ivar reply_to: what becomes of Reply-To where From is replaced. ``"original"``: one that is there stays,
        else it is the From before; ``"header"``: it is the From before; ``"envelope"``: it is the envelope's
        sender; ``""``: nothing.
    :ivar recipients: those of :class:`AddressRules`.
    :ivar added: header fields, each in place of all of its name.
    :ivar removed: names of header fields.
    """

    author: str = ""
    kept_domains: Sequence[str] = ()
    reply_to: str = ""
    recipients: Sequence[tuple[str, str]] = field(default=(), converter=_pairs)
    added: Sequence[tuple[str, str]] = field(default=(), converter=_pairs)
    removed: Sequence[str] = ()

    @cached_property
    def address_rules(self) -> AddressRules:
        """Who gets the mail instead of whom."""
        return AddressRules(self.recipients)

    def keeps(self, address: str) -> bool:
        """Tell whether From may have ``address``."""
        domain = ascii_domain(address.rpartition("@")[2])
        return domain in self._kept or comparison_key(address) == comparison_key(self.author)

    @cached_property
    def _kept(self) -> Collection[str]:
        return frozenset(map(ascii_domain, self.kept_domains))


def parameters_of(rules: Sequence[RewriteRule], sender: str) -> Mapping[str, object]:
    """Return the parameters of :func:`rewrite_header`; ``sender`` is the envelope's."""
    return {"rules": [asdict(rule) for rule in rules], "sender": sender}


def rewrite_header(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Rewrite a header by several rules, one after the other, as a task of a MIME worker.

    :param octets: the beginning of a mail, with all of its header.
    :return: the new header with its blank line, nothing if it stays. Facts: ``content``, where the old one
        ends; ``grown``, how many octets more that are not ASCII the new one has; ``long_lines`` of it;
        ``author``, the address that From has by a rule, else ``""``.
    """
    header, content = read(octets)
    mail = _HeaderRewrite(header, parameters["sender"])
    for rule in parameters["rules"]:
        mail.apply(RewriteRule(**rule))
    new = mail.octets()
    if not new:
        return {"content": 0, "grown": 0, "long_lines": False, "author": mail.author}, b""
    grown = count_eight_bit(new) - count_eight_bit(octets[:content])
    return {"content": content, "grown": grown, "long_lines": has_long_line(new), "author": mail.author}, new


class _HeaderRewrite:
    """
    The fields of one header while they are rewritten.

    :ivar author: the address that a rule has put into From.
    """

    def __init__(self, header: Header, sender: str) -> None:
        self._before: _Fields = list(zip(header.names, header.fields, strict=True))
        self._fields = self._before
        self._guess = charset_guess(b"", [part_of(header.pairs(), 0)])
        self._sender = sender
        self.author = ""

    def octets(self) -> bytes:
        """Return the header with its blank line, nothing if it is what it was."""
        if self._fields == self._before:
            return b""
        return b"".join([*(octets for _, octets in self._fields), b"\r\n"])

    def apply(self, rule: RewriteRule) -> None:
        """Do what ``rule`` says."""
        self._drop(name.lower().encode("ascii") for name in rule.removed)
        if rule.author:
            self._replace_author(rule)
        if rule.recipients:
            self._replace_recipients(rule.address_rules)
        self._drop(name.lower().encode("ascii") for name, _ in rule.added)
        self._fields = [*self._fields, *(_added(name, value) for name, value in rule.added)]

    def _drop(self, names: Iterable[bytes]) -> None:
        dropped = frozenset(names)
        self._fields = [(name, octets) for name, octets in self._fields if name not in dropped]

    def _people(self, name: bytes) -> Sequence[Address]:
        values = [unfolded(octets) for each, octets in self._fields if each == name]
        return [who for who in addresses(values, self._guess) if "@" in who.address]

    def _set(self, name: str, people: Sequence[Address], behind: bytes = b"") -> None:
        """Have one field of this name, where the first one is; else behind another one, or at the end."""
        key = name.lower().encode("ascii")
        new = (key, address_field(name, people))
        present = [each for each, _ in self._fields]
        at = present.index(key) if key in present else len(present)
        if key not in present and behind in present:
            at = present.index(behind) + 1
        self._drop([key])
        self._fields = [*self._fields[:at], new, *self._fields[at:]]

    def _replace_author(self, rule: RewriteRule) -> None:
        people = self._people(b"from")
        if people and all(rule.keeps(who.address) for who in people):
            if self._is_ambiguous(b"from", people):
                self._set("From", people)
            return
        sender = self._sender if is_mailbox(self._sender) and not has_control(self._sender) else ""
        author = sender if not people and sender and rule.keeps(sender) else rule.author
        name = people[0].name if people else self._words(b"from")
        self.author = author
        # Some read what looks like an address in a name as the address.
        self._set("From", [Address(author, "" if "@" in name else name)])
        self._drop([b"sender"])
        before = unique(who for who in people if is_mailbox(who.address)) or (
            [Address(sender)] if sender else []
        )
        if rule.reply_to == "envelope":
            before = [Address(sender)] if sender else []
        elif rule.reply_to == "original" and self._people(b"reply-to"):
            return
        if rule.reply_to and before:
            self._set("Reply-To", before, behind=b"from")

    def _is_ambiguous(self, name: bytes, people: Sequence[Address]) -> bool:
        """Tell whether others may read other addresses than ``people``: there are more at signs."""
        values = [_QUOTED.sub("", unfolded(octets)) for each, octets in self._fields if each == name]
        return sum(decoded(value, self._guess).count("@") for value in values) > len(people)

    def _words(self, name: bytes) -> str:
        """Return what stands where an address should be."""
        value = next((unfolded(octets) for each, octets in self._fields if each == name), "")
        return in_one_line(decoded(value, self._guess)[:MAX_NAME]).strip(' <>:;,"')

    def _replace_recipients(self, address_rules: AddressRules) -> None:
        self._fields = [
            (name, self._with_recipients(name, octets, address_rules) if name in (b"to", b"cc") else octets)
            for name, octets in self._fields
        ]

    def _with_recipients(self, name: bytes, octets: bytes, address_rules: AddressRules) -> bytes:
        people = addresses([unfolded(octets)], self._guess)
        replaced = [Address(address_rules.replaced(who.address), who.name) for who in people]
        if replaced == list(people):
            return octets
        reachable = [who for who in replaced if is_mailbox(who.address)]
        return address_field(name.decode("ascii").capitalize(), unique(reachable))


def _added(name: str, value: str) -> tuple[bytes, bytes]:
    text = in_one_line(value)
    words = text.split(" ") if text.isascii() else encoded_words(text)
    return name.lower().encode("ascii"), folded(name, words)
