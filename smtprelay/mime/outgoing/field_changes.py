"""
The header of a mail that leaves: missing fields are added, private ones are removed.

A header of fields and nothing else keeps every octet of those that stay. One with other lines in it is
written anew from the fields that :func:`smtprelay.mime.headers.split` reads in it, so that a line that is no
field does not end the header for the next hop. Pure.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from smtprelay.mime.headers import NAME, SMALL_HEADER, split
from smtprelay.mime.known import is_certain
from smtprelay.mime.outgoing.header_fields import (
    FieldOptions,
    corrected,
    folded,
    has_long_line,
    read_parameters,
    unfolded,
    with_parameters,
    without_long_blanks,
)
from smtprelay.mime.parameters import content_type
from smtprelay.mime.text import Headers
from smtprelay.model.route import NextHop

#: Private fields, for the relay or the sender.
REMOVED: Final = frozenset({b"bcc", b"resent-bcc", b"return-path", b"content-length"})
#: Fields that a mail must have, in the order in which they are added.
NEEDED: Final = (b"message-id", b"date", b"from")
#: Octets in which a blank line is searched; a longer header is read line by line.
_MAX_BLOCK: Final = 1 << 16

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_FIELD: Final = re.compile(rb"^((%b)[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)" % NAME, re.MULTILINE)
_FIELDS: Final = re.compile(rb"(?:%b[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)*+" % NAME)
#: A first line with blanks before it, which folds nothing: behind our own Received, that ends with its date.
_INDENTED: Final = re.compile(
    rb"received:[^\r\n]*+(?:(?<![+-][0-9]{4})\r\n[ \t][^\r\n]*+)*+(?<=[+-][0-9]{4})\r\n[ \t]", re.IGNORECASE
)
_GIVEN: Final = re.compile(rb"\n(from|date|message-id):[ \t]*+[^ \t\r\n]")
_REMOVABLE: Final = re.compile(rb"\n(?:bcc|resent-bcc|return-path|content-length)")
_LINE_NAME: Final = re.compile(rb"\n(%b)[ \t]*+:" % NAME)
_SIGNED: Final = re.compile(rb"(?:[:;]|\A)\s*h\s*=([^;]*)")
_ENCODING: Final = "Content-Transfer-Encoding"


@frozen
class Header:
    """
    The header of a mail or part.

    :ivar fields: with their line ends.
    :ivar names: theirs, in lower case.
    :ivar clean: the fields and a blank line are all that there is.
    """

    fields: Sequence[bytes]
    names: Sequence[bytes]
    clean: bool = True

    def pairs(self) -> Headers:
        """Return the fields as :func:`smtprelay.mime.headers.split` has them."""
        return split(b"".join([*self.fields, _CRLF]))[0]


@frozen(kw_only=True)
class Additions:
    """
    The values of fields that a mail may lack.

    :ivar message_id: with angle brackets.
    :ivar sender: the value of From.
    :ivar recipients: for a next hop that knows them by the header only: who gets the mail, in ASCII.
    """

    message_id: str
    date: str
    sender: str
    recipients: Sequence[str] = ()


@frozen(kw_only=True)
class Changes:
    """
    What becomes of the fields that say how the content is encoded; ``""`` leaves them as they are.

    :ivar encoding: the transfer encoding.
    :ivar charset: of a text that names none, or a wrong one.
    :ivar kind: the type of what has none, or is not what it says.
    """

    encoding: str = ""
    charset: str = ""
    kind: str = ""


UNCHANGED: Final = Changes()


def read(octets: bytes) -> tuple[Header, int]:
    """Return the header of a mail, and where its content begins."""
    block = octets[: octets.find(_END, 0, _MAX_BLOCK) + 2]
    header = None if b"\n--" in block else _as_it_stands(block)
    # Our own Received field does not make a header of what a client sent.
    if header is not None and any(map(is_certain, header.names[header.names[:1] == [b"received"] :])):
        return header, len(block) + len(_CRLF)
    pairs, content = split(octets)
    return header_of(octets[:content], pairs), content


def header_of(block: bytes, pairs: Headers) -> Header:
    """Return the header that stands in ``block``, and has these fields."""
    header = _as_it_stands(block[:-2]) if block.endswith(_CRLF) else None
    if header is not None and len(header.fields) == len(pairs):
        return header
    # A line end is one for the next hop, whatever it was for the client.
    fields = [folded(name, without_long_blanks(value.replace("\r", " ")).split(" ")) for name, value in pairs]
    return Header(fields, [name.lower().encode("ascii") for name, _ in pairs], clean=not block)


def _as_it_stands(block: bytes) -> Header | None:
    found = _FIELD.findall(block)
    if sum([len(field) for field, _ in found]) != len(block) or _INDENTED.match(block):
        return None
    return Header([field for field, _ in found], [name.lower() for _, name in found])


def without_refused(header: Header, hop: NextHop) -> Header:
    """Return a header without the fields that ``hop`` must not get; it is not clean any more."""
    refused = list(hop.refused([name.decode("latin-1") for name in header.names]))
    if not any(refused):
        return header
    kept = [n for n, is_refused in enumerate(refused) if not is_refused]
    return Header([header.fields[n] for n in kept], [header.names[n] for n in kept], clean=False)


def is_finished(octets: bytes, hop: NextHop) -> bool:
    """
    Return whether the header of a mail is plainly what :func:`finished` would make of it for ``hop``.

    It costs a third of that; nearly all mail is like this. A long header is never plain.
    """
    block = octets[: octets.find(_END, 0, SMALL_HEADER) + 2]
    names = b"\n" + block.lower()
    return (
        len(set(_GIVEN.findall(names))) == len(NEEDED)
        and not _REMOVABLE.search(names)
        and b"\n--" not in block
        and not _INDENTED.match(block)
        and _FIELDS.fullmatch(block) is not None
        and (not (hop.commands or hop.once) or hop.takes_fields(_names(names)))
    )


def _names(block: bytes) -> list[str]:
    return [name.decode("latin-1") for name in _LINE_NAME.findall(block)]


def finished(
    header: Header,
    additions: Additions,
    options: FieldOptions | None,
    changes: Changes = UNCHANGED,
    last: Sequence[bytes] = (),
) -> bytes | None:
    """
    Return the header of a mail as it leaves, with the blank line; ``None`` if it is that already.

    :param options: ``None``: each field is known to be as the next hop wants it.
    :param last: fields that are put behind the others.
    :raises NotConvertible: of :mod:`smtprelay.mime.outgoing.header_fields`.
    """
    kept = list(_kept(header, options))
    names = {name for name, _ in kept}
    missing = [name for name in NEEDED if name not in names]
    added = [*(_added(header, additions, missing) if missing else []), *last]
    unchanged = changes is UNCHANGED and [field for _, field in kept] == list(header.fields)
    if header.clean and unchanged and not added:
        return None
    return _block(_with_changes(kept, changes, options.guess if options else "", version=True), added)


def finished_part(
    header: Header, octets: bytes, options: FieldOptions, changes: Changes = UNCHANGED, *, ends: bool = False
) -> bytes | None:
    """
    Return the header of a part, or of a mail within the mail; ``None`` if nothing about it changes.

    :param octets: of ``header`` as it stands. Lines in it that are no fields may stay.
    :param ends: a blank line has to end it, as what follows will not be what followed.
    """
    kept = [
        (name, corrected(field, options)) for name, field in zip(header.names, header.fields, strict=True)
    ]
    stays = header.clean or not (has_long_line(octets) or (options.ascii_only and not octets.isascii()))
    stays = stays and not (ends and octets != _CRLF and not octets.endswith(_END))
    if stays and changes is UNCHANGED and [field for _, field in kept] == list(header.fields):
        return None
    return _block(_with_changes(kept, changes, options.guess, version=False), ())


def _kept(header: Header, options: FieldOptions | None) -> Iterator[tuple[bytes, bytes]]:
    for name, octets in zip(header.names, header.fields, strict=True):
        if name in REMOVED or (name in NEEDED and not octets.partition(b":")[2].strip()):
            continue
        field = octets if options is None else corrected(octets, options)
        if field:
            yield name, field


def _added(header: Header, additions: Additions, missing: Sequence[bytes]) -> list[bytes]:
    values = {b"message-id": additions.message_id, b"date": additions.date, b"from": additions.sender}
    labels = {b"message-id": "Message-ID", b"date": "Date", b"from": "From"}
    unwanted = _signed_to_be_missing(header)
    return [
        f"{labels[name]}: {values[name]}\r\n".encode("utf-8", "replace")
        for name in missing
        if name == b"from" or name not in unwanted
    ]


def _signed_to_be_missing(header: Header) -> set[bytes]:
    """Return the names that a client's DKIM-Signature covers: with a field more it would not be valid."""
    return {
        name.strip().lower()
        for label, octets in zip(header.names, header.fields, strict=True)
        if label == b"dkim-signature"
        for names in _SIGNED.findall(octets)
        for name in names.split(b":")
    }


def _with_changes(
    kept: Sequence[tuple[bytes, bytes]], changes: Changes, guess: str, *, version: bool
) -> Iterator[bytes]:
    if changes is UNCHANGED:
        yield from (field for _, field in kept)
        return
    seen = set()
    typed = next((field for name, field in kept if name == b"content-type"), b"")
    is_text_now = changes.kind and content_type(unfolded(typed)).kind.startswith("multipart/")
    for name, field in kept:
        if name == b"content-transfer-encoding" or (is_text_now and name == b"content-disposition"):
            continue
        if name == b"content-type" and name not in seen:
            yield _typed(field, changes, guess)
        else:
            yield field
        seen.add(name)
    if version and b"mime-version" not in seen:
        yield b"MIME-Version: 1.0\r\n"
    if b"content-type" not in seen and (changes.kind or changes.charset):
        yield _typed(b"", changes, guess)
    yield folded(_ENCODING, [changes.encoding])


def _typed(field: bytes, changes: Changes, guess: str) -> bytes:
    if not changes.kind and not changes.charset:
        return field
    was = read_parameters("content-type", unfolded(field), guess)
    given = {name: text for name, text in was.parameters.items() if not (changes.kind and name == "boundary")}
    charset = {"charset": changes.charset} if changes.charset else {}
    return with_parameters("Content-Type", changes.kind or was.kind, {**given, **charset})


def _block(fields: Iterator[bytes], added: Sequence[bytes]) -> bytes:
    return b"".join([*fields, *added, b"\r\n"])
