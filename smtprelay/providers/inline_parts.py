"""
The pictures that the HTML of a mail shows, and the content ids by which it does.

A content id makes a part invisible unless the HTML shows it, and must not occur twice: it is kept on the
first part that the HTML refers to, spelled as the HTML spells it. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from smtprelay.mime.parse import Attachment
from smtprelay.providers.json_mail import Corrections

#: References in a text that are written anew: a mail shall not grow by many short ones.
MAX_RENAMED: Final = 1000

_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]+")
#: A ``cid:`` URL (RFC 2392): as the value of an attribute in quotes, or up to what ends it elsewhere.
_REFERENCE: Final = re.compile(
    r"""(?:(["'])\s{0,20}cid:(?P<quoted>[^"'<>]{1,1000}?)\s{0,20}\1|cid:(?P<bare>[^\s"'<>()]{1,1000}))""",
    re.IGNORECASE,
)
_ENTITY: Final = re.compile(
    r"&(?:#([0-9]{1,6})|#[xX]([0-9a-fA-F]{1,5})|(amp|lt|gt|quot|apos|commat|period))\b;?"
)
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "commat": "@", "period": "."}
#: A quote that was written as an entity ends a URL within an attribute.
_END: Final = re.compile(r"&(?:quot|apos|#0{0,4}3[49]|#[xX]0{0,4}2[27]);?")


def shown(
    attachments: Sequence[Attachment], html: str, corrections: Corrections, longest: int
) -> tuple[Mapping[int, str], str]:
    """
    Return the content ids of the parts that ``html`` shows, and the HTML with its strange ids renamed.

    :param longest: characters of an id.
    """
    exact: dict[str, int] = {}
    folded: dict[str, int] = {}
    for number, part in enumerate(attachments):
        if part.content_id:
            exact.setdefault(part.content_id, number)
            folded.setdefault(part.content_id.casefold(), number)
    if not exact:
        return {}, html
    ids: dict[int, str] = {}
    taken: set[str] = set()
    pieces: list[str] = []
    end = 0
    for start, stop, spelled, number in _references(html, exact, folded):
        if number not in ids:
            simple = len(spelled) <= longest and _CONTENT_ID.fullmatch(spelled)
            good = simple and spelled.casefold() not in taken
            ids[number] = spelled if good else f"part-{number + 1}"
            taken.add(ids[number].casefold())
            if not good:
                corrections.note("attachments.contentId", "renamed, with what refers to it")
        renamed = html[start:stop] != ids[number] and ids[number] != spelled
        if renamed and len(pieces) < 2 * MAX_RENAMED:
            pieces += (html[end:start], ids[number])
            end = stop
    return ids, "".join((*pieces, html[end:])) if pieces else html


def _references(
    html: str, exact: Mapping[str, int], folded: Mapping[str, int]
) -> Iterator[tuple[int, int, str, int]]:
    """Give where each reference to a part stands, how it spells the id, and the part's number."""
    for match in _REFERENCE.finditer(html):
        group = "quoted" if match["quoted"] is not None else "bare"
        written = match[group]
        over = _END.search(written)
        if over is not None:
            written = written[: over.start()]
        # In a list of them a blank ends each.
        for each in {written: None, written.partition(" ")[0]: None}:
            spelled = unquote(_ENTITY.sub(_character, each)).strip()
            number = exact.get(spelled, folded.get(spelled.casefold()))
            if number is not None:
                start = match.start(group)
                yield start, start + len(each), spelled, number
                break


def _character(match: re.Match[str]) -> str:
    if match[3]:
        return _ENTITIES[match[3]]
    point = int(match[1]) if match[1] else int(match[2], 16)
    return chr(point) if 0 < point < 0xD800 or 0xE000 <= point <= 0x10FFFF else "\ufffd"  # noqa: PLR2004 -- surrogates
