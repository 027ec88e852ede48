"""
Whether a mail is nothing but a text, told by its header alone.

The octets of such a mail are those of its text, so that it is known without a look at them how large the text
becomes elsewhere. Pure.
"""

from typing import Final

from smtprelay.mime import headers
from smtprelay.mime.charset.labels import ASCII, HZ, codec_of
from smtprelay.mime.structure import part_of
from smtprelay.mime.text import charsets_in
from smtprelay.mime.transfer import encoding_of

#: In these an octet of ASCII is always the character that it seems to be.
_PLAIN: Final = frozenset((ASCII, "utf-8", "cp1252"))


def is_plain(block: bytes) -> bool:
    """
    Tell whether each octet of a mail is a character of its text or of its header, if all are ASCII but ESC.

    ``False`` also where the header is not written as RFC 5322 wants it, and the mail must be read to know.

    :param block: the whole header, without the empty line.
    """
    header = block + b"\r\n"
    found = headers.regular(header)
    if found is None:
        return False
    part = part_of(*found)
    charset = part.kind.parameters.get("charset", "")
    return (
        part.kind.kind == "text/plain"
        and part.disposition.kind != "attachment"
        and not part.file_name
        and encoding_of(part.first("content-transfer-encoding")) == "7bit"
        and (codec_of(charset) or ASCII) in _PLAIN
        # Text without a charset may be in that of the header's words.
        and not any(codec_of(each) == HZ for each in charsets_in(part.headers))
    )
