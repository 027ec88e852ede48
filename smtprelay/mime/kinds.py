"""
Content types and the file names that belong to them.

Programs attach files without a name, or under a type that says nothing, or that never existed: an
attachment gets an extension by its type, and a type by its extension. Pure.
"""

import re
from typing import Final

OCTETS: Final = "application/octet-stream"

_OFFICE: Final = "application/vnd.openxmlformats-officedocument."

#: The first extension of a type is the one that an unnamed file gets; the first type of an extension counts.
_TABLE: Final = (
    ("application/epub+zip", "epub"),
    ("application/gzip", "gz"),
    ("application/x-gzip", "gz"),
    ("application/javascript", "js"),
    ("application/json", "json"),
    ("application/msword", "doc"),
    ("application/pdf", "pdf"),
    ("application/x-pdf", "pdf"),
    ("application/pgp-encrypted", "asc"),
    ("application/pgp-keys", "asc"),
    ("application/pgp-signature", "asc"),
    ("application/pkcs7-mime", "p7m"),
    ("application/x-pkcs7-mime", "p7m"),
    ("application/pkcs7-signature", "p7s"),
    ("application/x-pkcs7-signature", "p7s"),
    ("application/postscript", "ps eps"),
    ("application/rtf", "rtf"),
    ("application/ms-tnef", "dat"),
    ("application/vnd.ms-tnef", "dat"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-outlook", "msg"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.oasis.opendocument.presentation", "odp"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    (_OFFICE + "presentationml.presentation", "pptx"),
    (_OFFICE + "spreadsheetml.sheet", "xlsx"),
    (_OFFICE + "wordprocessingml.document", "docx"),
    ("application/vnd.rar", "rar"),
    ("application/x-7z-compressed", "7z"),
    ("application/x-rar-compressed", "rar"),
    ("application/x-tar", "tar"),
    ("application/xhtml+xml", "xhtml"),
    ("application/xml", "xml"),
    ("application/zip", "zip"),
    ("application/x-zip-compressed", "zip"),
    ("application/x-zip", "zip"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("audio/flac", "flac"),
    ("audio/mp4", "m4a"),
    ("audio/mpeg", "mp3"),
    ("audio/mp3", "mp3"),
    ("audio/ogg", "ogg"),
    ("audio/wav", "wav"),
    ("audio/x-wav", "wav"),
    ("audio/wave", "wav"),
    ("audio/vnd.wave", "wav"),
    ("image/bmp", "bmp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("image/jpeg", "jpg jpeg"),
    ("image/jpg", "jpg"),
    ("image/pjpeg", "jpg"),
    ("image/png", "png"),
    ("image/x-png", "png"),
    ("image/svg+xml", "svg"),
    ("image/tiff", "tif tiff"),
    ("image/vnd.microsoft.icon", "ico"),
    ("image/x-icon", "ico"),
    ("image/webp", "webp"),
    ("message/delivery-status", "txt"),
    ("message/disposition-notification", "txt"),
    ("message/global", "eml"),
    ("message/rfc822", "eml"),
    ("text/calendar", "ics"),
    ("text/css", "css"),
    ("text/csv", "csv"),
    ("text/comma-separated-values", "csv"),
    ("text/html", "html htm"),
    ("text/plain", "txt log"),
    ("text/richtext", "rtx"),
    ("text/rfc822-headers", "txt"),
    ("text/rtf", "rtf"),
    ("text/vcard", "vcf"),
    ("text/x-vcard", "vcf"),
    ("text/directory", "vcf"),
    ("text/markdown", "md"),
    ("text/xml", "xml"),
    ("video/3gpp", "3gp"),
    ("video/mp4", "mp4"),
    ("video/mpeg", "mpg mpeg"),
    ("video/quicktime", "mov"),
    ("video/webm", "webm"),
    ("video/x-ms-wmv", "wmv"),
    ("video/x-msvideo", "avi"),
)
_EXTENSIONS: Final = {kind: f".{extensions.split()[0]}" for kind, extensions in _TABLE}
_BY_EXTENSION: Final = {
    extension: kind for kind, extensions in reversed(_TABLE) for extension in extensions.split()
} | {"txt": "text/plain"}
#: An unknown ``image/x-abc`` is most likely an abc file.
_SPEAKING: Final = re.compile(r"(?:audio|image|video)/(?:x-)?([a-z0-9]{2,4})")

#: What scripts write for a text that is nothing but that.
_MISSPELT: Final = {
    "plain/text": "text/plain",
    "text/ascii": "text/plain",
    "text/text": "text/plain",
    "text/txt": "text/plain",
    "txt/plain": "text/plain",
    "html/text": "text/html",
    "text/htm": "text/html",
    "text/xhtml": "text/html",
}


def corrected(kind: str) -> str:
    """Return ``kind``, or what was meant by a well-known misspelling of a text's type."""
    return _MISSPELT.get(kind, kind)


def extension_for(kind: str) -> str:
    """Return the extension of a file of this type, with its dot."""
    speaking = _SPEAKING.fullmatch(kind)
    other = ".txt" if kind.startswith("text/") else ".bin"
    return _EXTENSIONS.get(kind, f".{speaking[1]}" if speaking else other)


def kind_by_name(name: str) -> str:
    """Return the type of a file called ``name``, or the one that says nothing."""
    stem, _, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension.lower(), OCTETS) if stem else OCTETS
