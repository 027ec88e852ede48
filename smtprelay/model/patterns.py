"""
Address patterns: one of the ways in which a rule names people.

An address is judged by what follows its last ``@`` and never taken apart further, and only ASCII letters are
folded: folding more would make one mailbox look like another. Pure.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from attrs import field, frozen

from smtprelay.model.address import ascii_domain

_ASCII_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


def lowered(text: str) -> str:
    """Return ``text`` with its ASCII letters in lower case, and no others changed."""
    return text.translate(_ASCII_LOWER)


def glob(pattern: str) -> re.Pattern[str]:
    """
    Return what matches ``pattern`` with :meth:`re.Pattern.fullmatch`, ASCII case apart.

    ``*`` stands for any text; nothing else is special. The time a match takes
    does not explode with the number of stars.
    """
    first, *rest = map(re.escape, pattern.split("*"))
    if rest:
        *middle, last = rest
        first += "".join(f"(?>.*?{piece})" for piece in middle) + ".*" + last
    return re.compile(first, re.IGNORECASE | re.ASCII | re.DOTALL)


def _in_ascii(texts: Iterable[str]) -> tuple[str, ...]:
    """Return patterns with domains in ASCII, as the envelopes have them."""
    return tuple(text if text.isascii() else _ascii(text) for text in texts)


def _ascii(text: str) -> str:
    local, at, domain = text.rpartition("@")
    return f"{local}{at}{ascii_domain(domain)}"


@frozen
class Patterns:
    """
    Address patterns: ``*``, ``*@example.com``, ``scan@example.com``, ``*@*.example.com``, ``<>``.

    Only ``*`` and ``<>`` match the null sender. A domain may be written in UTF-8. Raises :exc:`ValueError`
    for a pattern that could never match an address.
    """

    texts: tuple[str, ...] = field(converter=_in_ascii)

    def __attrs_post_init__(self) -> None:
        for text in self.texts:
            if "@" not in text and text not in ("*", "<>"):
                raise ValueError(f"{text!r} is no address pattern; a domain is written *@{text}")

    def match(self, address: str) -> bool:
        """Say whether one of the patterns matches ``address``; none do if there are none."""
        if self.anything:
            return True
        address = lowered(address) or "<>"
        if address in self._exact:
            return True
        local, at, domain = address.rpartition("@")
        return at == "@" and (
            domain in self._domains
            or any(locals_.fullmatch(local) and domains.fullmatch(domain) for locals_, domains in self._globs)
        )

    @cached_property
    def anything(self) -> bool:
        """Whether every address is matched."""
        return "*" in self.texts or "*@*" in self.texts

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(lowered(text) for text in self.texts if "*" not in text)

    @cached_property
    def _domains(self) -> frozenset[str]:
        split = [lowered(text).rpartition("@") for text in self.texts]
        return frozenset(domain for local, _, domain in split if local == "*" and "*" not in domain)

    @cached_property
    def _globs(self) -> Sequence[tuple[re.Pattern[str], re.Pattern[str]]]:
        split = [text.rpartition("@") for text in self.texts if "*" in text]
        return [(glob(local), glob(domain)) for local, _, domain in split if domain not in self._domains]
