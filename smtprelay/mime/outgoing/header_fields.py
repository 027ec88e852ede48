"""
Header fields that the next hop would not take as they stand: too long for a line, or not ASCII.

A field is spelled anew by what it holds: text and names as encoded words, parameters as RFC 2231 has them.
An address or a message id is never changed: where it cannot be carried it is left out, or the mail is
refused. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final
from urllib.parse import quote

from attrs import frozen

from smtprelay.mime.address import ascii_address
from smtprelay.mime.kinds import OCTETS
from smtprelay.mime.outgoing.words import encoded_words, parameters
from smtprelay.mime.parameters import ContentType, comment_end, content_type, disposition
from smtprelay.mime.text import decoded
from smtprelay.model.shape import MAX_LINE

#: A word of a field that is longer cannot stand on one line with anything else.
MAX_WORD: Final = 900
_WIDTH: Final = 76
_MAX_BLANKS: Final = 100
#: Characters of an address that are shown.
_SHOWN: Final = 100
#: With more separators than these, and less between them than any address has, it is no list of addresses.
_FEW: Final = 200
_SHORTEST: Final = 6

_holds_addresses: Final = re.compile(
    "(?:resent-)?(?:from|sender|reply-to|to|cc|bcc)|errors-to|return-receipt-to|disposition-notification-to"
    "|mail-(?:followup|reply)-to|apparently-to|list-id"
).fullmatch
_IDS: Final = frozenset(
    {"message-id", "resent-message-id", "in-reply-to", "references", "content-id", "supersedes"}
)
_PARAMETERS: Final = {"content-type": content_type, "content-disposition": disposition}
_FILE_NAMES: Final = frozenset({"name", "filename"})
#: Fields in which an encoded word would be read as it stands.
_STRUCTURED: Final = re.compile(
    r"received|(?:resent-)?date|mime-version|content-transfer-encoding|return-path|auto-submitted|path|expires"
    r"|(?:dkim|domainkey)-signature|arc-.*|(?:.*-)?authentication-results|received-.*"
)
#: Those that hold addresses of the web, which have a spelling in ASCII (RFC 3987 §3.1).
_LINKS: Final = re.compile("list-.*|content-location")
_ASCII: Final = bytes(range(128))
#: Fields that people read: a word of any length can be encoded words there.
_TEXTS: Final = frozenset({"subject", "comments", "keywords", "content-description", "thread-topic"})

#: Conversion required but not supported (RFC 3463 §3.7).
NO_CONVERSION: Final = "5.6.3"

_FOLD: Final = re.compile(rb"\r?\n[ \t]*+")
_BLANKS: Final = re.compile(rf"[ \t]{{{_MAX_BLANKS},}}+")
_ID: Final = re.compile(r"<[^<>]*+>|[^<>\s]++")
_ADDRESS_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|<[^>]*+>?|[(),:;>]|[^"<>(),:;]++', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class NotConvertible(Exception):  # noqa: N818 -- it says what the mail is
    """The mail cannot be made what the next hop takes. ``code``: the enhanced status code for it."""

    def __init__(self, why: str, code: str) -> None:
        super().__init__(why)
        self.code = code


@frozen(kw_only=True)
class FieldOptions:
    """
    How fields have to be.

    :ivar ascii_only: the next hop takes no others.
    :ivar guess: the charset of what is not ASCII and not UTF-8.
    :ivar kind: what the part is, if its Content-Type does not tell.
    :ivar embedded: they are those of a part, or of a mail within the mail: an address that is not ASCII is no
        reason to refuse the mail there, but made text (RFC 6857 §3.1.8).
    """

    ascii_only: bool = False
    guess: str = ""
    kind: str = ""
    embedded: bool = False


def corrected(field: bytes, options: FieldOptions) -> bytes:
    """
    Return a field, with its line ends, as ``options`` and the length of a line want it: mostly itself.

    ``b""``: nothing of it can be kept.

    :raises NotConvertible: it has an address that is not ASCII.
    """
    if (not options.ascii_only or field.isascii()) and not has_long_line(field):
        return field
    label = field.partition(b":")[0].decode("ascii").rstrip(" \t")
    value = unfolded(field)
    if label.lower() in _PARAMETERS:
        return _field(label, _with_parameters(label.lower(), value, options))
    text = without_long_blanks(value.replace("\t", " "))
    if options.ascii_only and not text.isascii():
        text = _in_ascii(label.lower(), text, options)
    words = text.split(" ")
    if any(len(word) > MAX_WORD for word in words):
        words = _divided(label.lower(), text, options)
    return _field(label, words)


def _field(label: str, words: Sequence[str]) -> bytes:
    return folded(label, words) if any(words) else b""


def unfolded(field: bytes) -> str:
    """Return the value of a field as :func:`smtprelay.mime.headers.split` has it."""
    return _FOLD.sub(b" ", field.partition(b":")[2]).decode("ascii", "surrogateescape").strip(" \t")


def has_long_line(lines: bytes) -> bool:
    """Return whether a line is longer than SMTP carries."""
    return len(lines) > MAX_LINE and any(
        len(line) > MAX_LINE for line in lines.replace(b"\r\n", b"\n").split(b"\n")
    )


def without_long_blanks(text: str) -> str:
    """Return ``text`` with one blank instead of a run of blanks that hardly fits a line."""
    return _BLANKS.sub(" ", text)


def folded(label: str, words: Sequence[str]) -> bytes:
    """Return a field of ``words``, folded between them."""
    pieces, width, begun = [f"{label}:"], len(label) + 1, False
    for word in words:
        if begun and word and width + 1 + len(word) > _WIDTH:
            pieces.append("\r\n")
            width = 0
        pieces += (" ", word)
        width += 1 + len(word)
        begun = begun or bool(word)
    return "".join([*pieces, "\r\n"]).encode("ascii", "surrogateescape")


def with_parameters(label: str, kind: str, given: Mapping[str, str]) -> bytes:
    """Return a field of a kind and its parameters, in ASCII."""
    return folded(label, _parameter_words(kind, given))


def _parameter_words(kind: str, given: Mapping[str, str]) -> list[str]:
    words = [*filter(None, (kind,)), *parameters(given)]
    return [*(f"{each};" for each in words[:-1]), *words[-1:]]


# --- what is not ASCII


def _in_ascii(name: str, text: str, options: FieldOptions) -> str:
    is_list = _holds_addresses(name) is not None
    if is_list and sum(map(text.count, "<,:;(")) <= max(_FEW, len(text) // _SHORTEST):
        return "".join(_address_pieces(text, options))
    if name in _IDS:
        return " ".join(each for each in _ID.findall(text) if each.isascii())
    if is_list:
        # An address that is changed is another one.
        return ""
    if _LINKS.fullmatch(name):
        return quote(text.encode("ascii", "surrogateescape"), safe=_ASCII)
    if _STRUCTURED.fullmatch(name):
        return text.encode("ascii", "replace").decode("ascii")
    return " ".join(_text_words(decoded(text, options.guess)))


def read_parameters(name: str, value: str, guess: str) -> ContentType:
    """Read a field as mail programs do: the charset is only guessed for the file's name."""
    read = _PARAMETERS[name](value)
    if value.isascii():
        return read
    named = _PARAMETERS[name](value, guess).parameters
    given = {key: text for key, text in read.parameters.items() if key not in _FILE_NAMES}
    names = {key: text for key, text in named.items() if key in _FILE_NAMES}
    return ContentType(read.kind, {**given, **names})


def _with_parameters(name: str, value: str, options: FieldOptions) -> list[str]:
    read = read_parameters(name, value, options.guess)
    boundary = read.parameters.get("boundary", "")
    if not boundary.isascii() or len(boundary) > MAX_WORD:
        # It is in the delimiters, too, where nothing can be spelled anew.
        raise NotConvertible("the boundary of its parts is too long, or not ASCII", NO_CONVERSION)
    is_untold = name == "content-type" and read.kind == OCTETS
    return _parameter_words((is_untold and options.kind) or read.kind, read.parameters)


def _text_words(text: str) -> Iterator[str]:
    """Give the words of ``text``; all from the first to the last that must be encoded are."""
    words = text.split(" ")
    marked = [n for n, word in enumerate(words) if not word.isascii() or "=?" in word]
    if not marked:
        yield from words
        return
    first, behind = marked[0], marked[-1] + 1
    yield from words[:first]
    yield from encoded_words(" ".join(words[first:behind]))
    yield from words[behind:]


def _address_pieces(text: str, options: FieldOptions) -> Iterator[str]:
    """Give the pieces of a list of addresses, with the names and comments in it encoded."""
    at = 0
    phrase: list[str] = []
    while at < len(text):
        if text[at] == "(":
            end = comment_end(text, at) or len(text)
            yield _phrase("".join(phrase), options) + _comment(text[at:end], options)
            phrase.clear()
            at = end
            continue
        token = _ADDRESS_TOKEN.match(text, at)
        assert token is not None  # every character is in one
        at = token.end()
        if token[0][0] in "<,:;":
            yield _phrase("".join(phrase), options)
            yield token[0] if token[0].isascii() else _foreign(token[0], options)
            phrase.clear()
        else:
            phrase.append(token[0])
    yield _phrase("".join(phrase), options)


def _phrase(phrase: str, options: FieldOptions) -> str:
    if phrase.isascii():
        return phrase
    parts = _ADDRESS_TOKEN.findall(phrase)
    if any("@" in part for part in parts if part[0] != '"'):
        return _foreign(phrase, options)
    name = "".join(_unquoted(part) if part[0] == '"' else part for part in parts)
    words = " ".join(encoded_words(decoded(name, options.guess).strip(" ")))
    before, behind = (" " if blank == " " else "" for blank in (phrase[0], phrase[-1]))
    return f"{before}{words}{behind}"


def _comment(comment: str, options: FieldOptions) -> str:
    if comment.isascii():
        return comment
    inner = _ESCAPED.sub(r"\1", comment[1:].removesuffix(")"))
    return f"({' '.join(encoded_words(decoded(inner, options.guess)))})"


def _unquoted(quoted: str) -> str:
    return _ESCAPED.sub(r"\1", quoted[1:].removesuffix('"'))


def _foreign(address: str, options: FieldOptions) -> str:
    """Spell an address that is not ASCII: its domain has another spelling, a local part has none."""
    shown = decoded(address, options.guess).strip(" <>")
    if known := ascii_address(shown):
        return f" <{known}>" if address.startswith("<") else f" {known} "
    if not options.embedded:
        raise NotConvertible(
            f"{shown[:_SHOWN]!a} in the header needs SMTPUTF8, which the next server does not offer", "5.6.7"
        )
    return f" {' '.join(encoded_words(shown))} :;"


# --- what is long


def _divided(name: str, text: str, options: FieldOptions) -> list[str]:
    """Return the words of a field that has one of them too long to stand on a line."""
    if _holds_addresses(name):
        return [word for each in _elements(text) for word in each.split(" ")]
    if name in _IDS:
        return [each for each in _ID.findall(text) if len(each) <= MAX_WORD]
    words: list[str] = []
    for is_long, run in groupby(text.split(" "), lambda word: len(word) > MAX_WORD):
        if not is_long:
            words += run
        elif name in _TEXTS:
            words += encoded_words(decoded(" ".join(run), options.guess))
        else:
            words += (piece for word in run for piece in _cut(word))
    return words


def _elements(text: str) -> list[str]:
    elements, at = [], 0
    element: list[str] = []
    while at < len(text):
        token = _ADDRESS_TOKEN.match(text, at)
        assert token is not None  # every character is in one
        end = comment_end(text, at) or len(text) if token[0] == "(" else token.end()
        if token[0] == ",":
            elements.append("".join(element))
            element.clear()
        else:
            element.append(text[at:end])
        at = end
    fitting = [
        each
        for each in (one.strip(" ") for one in [*elements, "".join(element)])
        if each and max(map(len, each.split(" "))) <= MAX_WORD
    ]
    return [f"{each}," for each in fitting[:-1]] + fitting[-1:]


def _cut(word: str) -> Iterator[str]:
    """Give a word in pieces, none of which begins within a character of UTF-8."""
    at = 0
    while len(word) - at > MAX_WORD:
        end = at + MAX_WORD
        while end > at + MAX_WORD - 4 and "\udc80" <= word[end] <= "\udcbf":
            end -= 1
        yield word[at:end]
        at = end
    yield word[at:]
