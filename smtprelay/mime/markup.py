"""
As much of HTML as joining the texts of a mail takes.

A list's footer in plain text goes below an HTML text, and an HTML text without a plain one stands among
plain ones: so text becomes markup here, and markup text. Pure.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

_BODY: Final = re.compile(r"<body[\s>]", re.IGNORECASE)
_ENDS: Final = (("</body", "</BODY", "</Body"), ("</html", "</HTML", "</Html"))
_TAG: Final = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)|[/!?]")
_HIDDEN: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "template", "title")
}
#: These begin a line; the cells of a table are divided by a blank.
_begins_line: Final = re.compile(
    "address|article|aside|blockquote|br|div|d[dlt]|footer|form|h[1-6]|header|hr|li|main|ol|p|pre|section"
    "|table|tr|ul"
).fullmatch
_BLANKS: Final = re.compile(" {2,}")
_CELLS: Final = frozenset(("td", "th"))
_HUGE: Final = re.compile(r"&#(?:[0-9]{9,}|[xX][0-9a-fA-F]{9,});?")


@frozen
class Piece:
    """A text of a mail, plain or HTML."""

    text: str
    is_html: bool = False


def as_document(pieces: Sequence[Piece]) -> str:
    """Return ``pieces``, of which at least one is HTML, as one HTML text in their order."""
    main = next(n for n, piece in enumerate(pieces) if piece.is_html)
    document = pieces[main].text
    before = "".join(map(_marked_up, pieces[:main]))
    behind = "".join(map(_marked_up, pieces[main + 1 :]))
    if before:
        body = _BODY.search(document)
        at = document.find(">", body.start()) + 1 if body else 0
        document = document[:at] + before + document[at:]
    if behind:
        at = _body_end(document)
        document = document[:at] + behind + document[at:]
    return document


def as_text(pieces: Sequence[Piece]) -> str:
    """Return ``pieces`` as one plain text."""
    return "\n".join(_stripped(piece.text) if piece.is_html else piece.text for piece in pieces)


def _marked_up(piece: Piece) -> str:
    if piece.is_html:
        return piece.text
    return f'<pre style="white-space: pre-wrap">{html.escape(piece.text, quote=False)}</pre>\r\n'


def _body_end(document: str) -> int:
    for spellings in _ENDS:
        at = max(map(document.rfind, spellings))
        if at >= 0:
            return at
    return len(document)


def _stripped(document: str) -> str:
    """Return the words of an HTML text: no tags, no scripts, a line for each block."""
    text = html.unescape(_HUGE.sub("\ufffd", "".join(_words(document))))
    lines: list[str] = []
    for line in _BLANKS.sub(" ", text).split("\n"):
        line = line.strip(" ")  # noqa: PLW2901
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\r\n".join(lines).strip("\r\n")


def _words(document: str) -> Iterator[str]:
    at = 0
    while at < len(document):
        tag = document.find("<", at)
        if tag < 0:
            tag = len(document)
        yield _blanks_made_one(document[at:tag])
        found = _TAG.match(document, tag + 1)
        if found is None:  # nothing, or a sign that stands for itself
            yield document[tag : tag + 1]
            at = tag + 1
            continue
        name = (found[1] or "").lower()
        yield "\n" if _begins_line(name) else " " if name in _CELLS else ""
        at = _behind(document, tag, name)


def _behind(document: str, tag: int, name: str) -> int:
    """Return where the tag ends that begins at ``tag``, and what it hides."""
    close = "-->" if document.startswith("<!--", tag) else ">"
    end = document.find(close, tag)
    if end < 0:
        return len(document)
    hidden = _HIDDEN.get(name) if document[tag + 1] != "/" else None
    if hidden is not None:
        last = hidden.search(document, end)
        end = document.find(">", last.end()) if last else -1
    return end + len(close) if end >= 0 else len(document)


def _blanks_made_one(words: str) -> str:
    if not words or words.isspace():
        return words[:1] and " "
    inner = " ".join(words.split())
    return f"{' ' * words[0].isspace()}{inner}{' ' * words[-1].isspace()}"
