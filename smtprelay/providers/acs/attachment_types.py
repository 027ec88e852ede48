"""
The files of a mail as Azure Communication Services takes them: type, name, content id.

The service publishes a list of the types that it takes, with the extensions that belong to them, and refuses
a mail for a type that it does not know or that does not fit the name. A file whose type is not in the list
goes as octets; its name tells the reader's program what it is. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

from attrs import evolve

from smtprelay.mime import file_names
from smtprelay.mime.kinds import EXTENSIONS, OCTETS
from smtprelay.mime.parse import Attachment
from smtprelay.providers.json_mail import Corrections

#: What the service documents, by extension.
TYPES: Final[Mapping[str, str]] = dict(
    re.findall(
        r"(\w+)=(\S+)",
        """
    3g2=video/3gpp2 3gp=video/3gpp 7z=application/x-7z-compressed aac=audio/aac avi=video/x-msvideo
    bmp=image/bmp csv=text/csv doc=application/msword docm=application/vnd.ms-word.document.macroEnabled.12
    docx=application/vnd.openxmlformats-officedocument.wordprocessingml.document
    eot=application/vnd.ms-fontobject epub=application/epub+zip gif=image/gif gz=application/gzip
    ico=image/vnd.microsoft.icon ics=text/calendar jpeg=image/jpeg jpg=image/jpeg json=application/json
    mid=audio/midi midi=audio/midi mp3=audio/mpeg mp4=video/mp4 mpeg=video/mpeg oga=audio/ogg ogv=video/ogg
    ogx=application/ogg one=application/onenote opus=audio/opus otf=font/otf pdf=application/pdf
    png=image/png ppsm=application/vnd.ms-powerpoint.slideshow.macroEnabled.12
    ppsx=application/vnd.openxmlformats-officedocument.presentationml.slideshow
    ppt=application/vnd.ms-powerpoint pptm=application/vnd.ms-powerpoint.presentation.macroEnabled.12
    pptx=application/vnd.openxmlformats-officedocument.presentationml.presentation
    pub=application/vnd.ms-publisher rar=application/x-rar-compressed rpmsg=application/vnd.ms-outlook
    rtf=application/rtf svg=image/svg+xml tar=application/x-tar tif=image/tiff tiff=image/tiff ttf=font/ttf
    txt=text/plain vsd=application/vnd.visio wav=audio/wav weba=audio/webm webm=video/webm webp=image/webp
    wma=audio/x-ms-wma wmv=video/x-ms-wmv woff=font/woff woff2=font/woff2 xls=application/vnd.ms-excel
    xlsb=application/vnd.ms-excel.sheet.binary.macroEnabled.12
    xlsm=application/vnd.ms-excel.sheet.macroEnabled.12
    xlsx=application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xml=application/xml
    zip=application/zip
    """,
    )
)

#: By their name in lower case, which is how :mod:`smtprelay.mime` gives types.
_KNOWN: Final = {kind.lower(): kind for kind in TYPES.values()}

#: An extension for those types that nothing else can be recognised by.
_EXTENSIONS: Final = {kind: extension for extension, kind in reversed([*TYPES.items()])} | {
    "image/jpeg": "jpg",
    "image/tiff": "tif",
    "audio/midi": "mid",
}

MAX_FILE_NAME: Final = 150
#: References in a text that are written anew: a mail shall not grow by many short ones.
MAX_RENAMED: Final = 1000
#: The service takes no file without content.
_ALMOST_EMPTY: Final = b"Cg=="

_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]{1,200}")
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


def attached(
    attachments: Sequence[Attachment],
    html: str,
    corrections: Corrections,
    *,
    inline: bool = True,
    plain_names: bool = False,
) -> tuple[list[Attachment], str]:
    """
    Return the attachments as the service takes them, and the HTML that refers to them.

    A content id makes a part invisible unless the HTML shows it, and must not occur twice: it is kept on the
    first part that the HTML refers to, spelled as the HTML spells it.

    :param inline: with ``False`` all of them are files beside the text.
    :param plain_names: with ``True`` they are numbered instead of named.
    """
    ids, html = _shown(attachments, html, corrections) if inline else ({}, html)
    parts = []
    for number, part in enumerate(attachments):
        named = _named(part, number + 1, corrections, plain=plain_names)
        if not part.base64:
            corrections.note("attachments.contentInBase64", "an empty file goes with one line end in it")
            named = evolve(named, base64=_ALMOST_EMPTY)
        parts.append(evolve(named, content_id=ids.get(number, "")))
    return parts, html


# --- type and name


def _named(part: Attachment, number: int, corrections: Corrections, *, plain: bool) -> Attachment:
    name = file_names.portable(file_names.clean(part.name), MAX_FILE_NAME)
    if name != part.name:
        corrections.note("attachments.name", "made a name that every system takes")
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    kind = _kind(part.content_type, extension, corrections)
    if plain or not name:
        ending = extension if extension in TYPES else _EXTENSIONS.get(kind, "bin")
        name = f"attachment-{number}.{ending}"
    return evolve(part, name=name, content_type=kind)


def _kind(given: str, extension: str, corrections: Corrections) -> str:
    """Return the type that belongs to the extension, else what the service calls the given one."""
    documented = _KNOWN.get(given) or TYPES.get(EXTENSIONS.get(given, "")[1:], OCTETS)
    kind = TYPES.get(extension, documented)
    if given != OCTETS and (documented == OCTETS or documented != kind):
        corrections.note("attachments.contentType", f"{given[:60]} goes as {kind}")
    return kind


# --- content ids


def _shown(
    attachments: Sequence[Attachment], html: str, corrections: Corrections
) -> tuple[dict[int, str], str]:
    """Return the content ids of the parts that ``html`` shows, and the HTML with its strange ids renamed."""
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
            good = _CONTENT_ID.fullmatch(spelled) and spelled.casefold() not in taken
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
