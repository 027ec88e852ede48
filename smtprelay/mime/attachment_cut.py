"""
A large mail without its large attachments, and where these lie: for an API that takes them one by one. Pure.

An attachment is cut out with its delimiter, all else stays octet for octet. What is signed or encrypted stays
whole.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import asdict, frozen

from smtprelay.mime import file_names
from smtprelay.mime.kinds import extension_for
from smtprelay.mime.outgoing.field_changes import read
from smtprelay.mime.parameters import content_type, disposition
from smtprelay.mime.parse import charset_guess
from smtprelay.mime.structure import Part, TooComplexError, given_name, parts_of
from smtprelay.mime.text import decoded

_SEALED: Final = frozenset({"multipart/signed", "multipart/encrypted"})
_TEXTS: Final = frozenset({"text/plain", "text/html", "text/calendar"})


@frozen(kw_only=True)
class CutAttachment:
    """
    An attachment that was cut out.

    :ivar begin: where its content begins in the mail, and ``end`` where it ends.
    :ivar is_base64: it is encoded so, in nothing but whole lines of it; else it is not encoded.
    :ivar size: octets of the content, decoded.
    :ivar inline: a text shows it by its ``content_id``.
    """

    begin: int
    end: int
    is_base64: bool
    size: int
    name: str
    kind: str
    inline: bool
    content_id: str


def cut_attachments(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Cut out attachments, the largest first, until ``most`` octets are left, as a task of a MIME worker.

    :return: Facts: ``parts``, the attributes of each :class:`CutAttachment`, in the order of the mail. And
        the mail without them, nothing if it cannot be made that small.
    """
    try:
        parts = parts_of(octets)
    except TooComplexError:
        return {"parts": []}, b""
    guess = charset_guess(octets, parts)
    left = len(octets)
    cut: list[tuple[int, CutAttachment]] = []
    for n in sorted(_attachments(parts), key=lambda n: parts[n].begin - parts[n].end):
        if left <= parameters["most"]:
            break
        found = _cut(octets, parts, n, f"attachment-{len(cut) + 1}", guess)
        if found is not None:
            cut.append((n, found))
            left -= found.end - found.begin
    if left > parameters["most"]:
        return {"parts": []}, b""
    cut.sort(key=lambda each: each[0])
    return {"parts": [asdict(found) for _, found in cut]}, _without(octets, parts, [n for n, _ in cut])


def _attachments(parts: Sequence[Part]) -> Sequence[int]:
    """Return the places of the parts that may be cut out."""
    sealed: set[int] = set()
    found = []
    for n, part in enumerate(parts):
        if part.parent in sealed or part.kind.kind in _SEALED:
            sealed.add(n)
        elif not part.is_multipart and (
            part.file_name or part.disposition.kind == "attachment" or part.kind.kind not in _TEXTS
        ):
            found.append(n)
    return found


def _cut(octets: bytes, parts: Sequence[Part], n: int, stem: str, guess: str) -> CutAttachment | None:
    part = parts[n]
    content = octets[part.begin : part.end]
    encoding = part.encoding(content)
    is_base64 = encoding == "base64"
    size = _size_of_base64(content) if is_base64 else len(content)
    if not size or encoding not in ("base64", "7bit"):
        return None
    content_id = decoded(part.first("content-id"), guess).strip().strip("<>")
    is_related = part.parent >= 0 and parts[part.parent].kind.kind == "multipart/related"
    given = (
        disposition(part.first("content-disposition"), guess),
        content_type(part.first("content-type"), guess),
    )
    return CutAttachment(
        begin=part.begin,
        end=part.end,
        is_base64=is_base64,
        size=size,
        name=file_names.clean(given_name(*given)) or stem + extension_for(part.kind.kind),
        kind=part.kind.kind,
        inline=bool(content_id) and (part.disposition.kind != "attachment" or is_related),
        content_id=content_id,
    )


def _size_of_base64(content: bytes) -> int:
    """Return the octets that it stands for, 0 if there is anything else in it."""
    try:
        return len(binascii.a2b_base64(content.translate(None, b"\r\n"), strict_mode=True))
    except binascii.Error:
        return 0


def _without(octets: bytes, parts: Sequence[Part], cut: Sequence[int]) -> bytes:
    if list(cut) == [0]:
        return _header_alone(octets)
    kept, at = [], 0
    gone = set(cut)
    stay = {part.parent for n, part in enumerate(parts) if n not in gone}
    for n in cut:
        part = parts[n]
        if part.parent in stay:
            kept.append(octets[at : octets.rfind(b"\n", 0, part.start - 1) + 1])
            at = octets.find(b"\n", part.last) + 1 or len(octets)
        else:
            # Something has to be in it: a part without a header is a text.
            stay.add(part.parent)
            kept += (octets[at : part.start], b"\r\n")
            at = part.last
    return b"".join([*kept, octets[at:]])


def _header_alone(octets: bytes) -> bytes:
    header, _ = read(octets)
    fields = zip(header.names, header.fields, strict=True)
    return b"".join([*(field for name, field in fields if not name.startswith(b"content-")), b"\r\n"])
