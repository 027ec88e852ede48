"""
Content types and the file names that belong to them.

Programs attach files without a name, or under a type that says nothing, or that never existed: an
attachment gets an extension by its type, and a type by its extension. Pure.
"""

import re
from typing import Final

OCTETS: Final = "application/octet-stream"

_OFFICE: Final = "application/vnd.openxmlformats-officedocument."

#: By extensions: an unnamed file gets the first of them, and a file without a type the first type.
_TABLE: Final = {
    "7z": "application/x-7z-compressed",
    "asc": "application/pgp-encrypted application/pgp-keys application/pgp-signature",
    "dat": "application/ms-tnef application/vnd.ms-tnef",
    "doc": "application/msword",
    "docx": f"{_OFFICE}wordprocessingml.document",
    "eml": "message/rfc822 message/global",
    "epub": "application/epub+zip",
    "gz": "application/gzip application/x-gzip",
    "js": "application/javascript",
    "json": "application/json",
    "msg": "application/vnd.ms-outlook",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "p7m": "application/pkcs7-mime application/x-pkcs7-mime",
    "p7s": "application/pkcs7-signature application/x-pkcs7-signature",
    "pdf": "application/pdf application/x-pdf",
    "ppt": "application/vnd.ms-powerpoint application/mspowerpoint",
    "pptx": f"{_OFFICE}presentationml.presentation",
    "ps eps": "application/postscript",
    "rar": "application/vnd.rar application/x-rar-compressed",
    "rtf": "application/rtf application/x-rtf text/rtf",
    "tar": "application/x-tar",
    "xhtml": "application/xhtml+xml",
    "xls": "application/vnd.ms-excel application/xls application/x-msexcel",
    "xlsx": f"{_OFFICE}spreadsheetml.sheet",
    "xml": "application/xml text/xml",
    "zip": "application/zip application/x-zip-compressed application/x-zip",
    "aac": "audio/aac",
    "amr": "audio/amr",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg audio/mp3",
    "ogg": "audio/ogg",
    "wav": "audio/wav audio/x-wav audio/wave audio/vnd.wave",
    "bmp": "image/bmp image/x-ms-bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "ico": "image/vnd.microsoft.icon image/x-icon",
    "jpg jpeg": "image/jpeg image/jpg image/pjpeg",
    "png": "image/png image/x-png",
    "svg": "image/svg+xml",
    "tif tiff": "image/tiff image/tif",
    "webp": "image/webp",
    "css": "text/css",
    "csv": "text/csv text/comma-separated-values application/csv",
    "html htm": "text/html",
    "ics": "text/calendar application/ics",
    "md": "text/markdown",
    "rtx": "text/richtext",
    "txt log": "text/plain text/rfc822-headers message/delivery-status message/disposition-notification",
    "vcf": "text/vcard text/x-vcard text/directory",
    "3gp": "video/3gpp",
    "avi": "video/x-msvideo",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "mpg mpeg": "video/mpeg",
    "webm": "video/webm",
    "wmv": "video/x-ms-wmv",
}
#: The extension of each type that is known, with its dot.
EXTENSIONS: Final = {
    kind: f".{extensions.split()[0]}" for extensions, kinds in _TABLE.items() for kind in kinds.split()
}
_BY_EXTENSION: Final = {
    extension: kinds.split()[0] for extensions, kinds in _TABLE.items() for extension in extensions.split()
}
#: An unknown ``image/x-abc`` is most likely an abc file.
_SPEAKING: Final = re.compile(r"(?:audio|image|video)/(?:x-)?([a-z0-9]{2,4})")

#: What scripts write for a text that is nothing but that, and what they mean.
MISSPELT: Final = {
    "plain/text": "text/plain",
    "text/ascii": "text/plain",
    "text/text": "text/plain",
    "text/txt": "text/plain",
    "txt/plain": "text/plain",
    "html/text": "text/html",
    "text/htm": "text/html",
    "text/xhtml": "text/html",
}


def extension_for(kind: str) -> str:
    """Return the extension of a file of this type, with its dot."""
    speaking = _SPEAKING.fullmatch(kind)
    other = ".txt" if kind.startswith("text/") else ".bin"
    return EXTENSIONS.get(kind, f".{speaking[1]}" if speaking else other)


def kind_by_name(name: str) -> str:
    """Return the type of a file called ``name``, or the one that says nothing."""
    stem, _, extension = name.rpartition(".")
    return _BY_EXTENSION.get(extension.lower(), OCTETS) if stem else OCTETS
