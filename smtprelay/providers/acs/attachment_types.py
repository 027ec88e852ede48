"""
The files of a mail as Azure Communication Services takes them: type, name, content id.

The service publishes a list of the types that it takes, with the extensions that belong to them, and refuses
a mail for a type that it does not know or that does not fit the name. A file whose type is not in the list
goes as octets; its name tells the reader's program what it is. Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve

from smtprelay.mime import file_names
from smtprelay.mime.kinds import EXTENSIONS, OCTETS
from smtprelay.mime.parse import Attachment
from smtprelay.providers.inline_parts import shown
from smtprelay.providers.json_mail import EMPTY_FILE, Corrections

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
_MAX_CONTENT_ID: Final = 200


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

    :param inline: with ``False`` all of them are files beside the text.
    :param plain_names: with ``True`` they are numbered instead of named.
    """
    ids, html = shown(attachments, html, corrections, _MAX_CONTENT_ID) if inline else ({}, html)
    parts = []
    for number, part in enumerate(attachments):
        named = _named(part, number + 1, corrections, plain=plain_names)
        if not part.base64:
            corrections.note("attachments.contentInBase64", "an empty file goes with one line end in it")
            named = evolve(named, base64=EMPTY_FILE)
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
