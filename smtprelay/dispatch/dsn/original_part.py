"""
What goes back of a mail that is reported on: its header, or all of it where the sender asked for that.

A whole message can only be put into a report as it is (RFC 2046 §5.2.1). Of one that is no clean text the
header goes back instead, and the text says why. Pure.
"""

from typing import Final

from attrs import frozen

from smtprelay.mime.head import block
from smtprelay.mime.outgoing.encoders import encoded
from smtprelay.model.shape import shape_of

#: Maximum size of the original's header block in a report, bytes.
MAX_HEADER: Final = 64 * 1024

_ATTACHED: Final = "The header of your message is attached."


@frozen(kw_only=True)
class Original:
    """
    The last part of a report.

    :ivar kind: its content type; ``encoding``: its transfer encoding, in which ``content`` is already.
    :ivar remark: what the text says of it.
    """

    kind: str
    encoding: str
    content: bytes
    remark: str


#: For a message that is not to be had.
NOTHING: Final = Original(
    kind="text/rfc822-headers",
    encoding="7bit",
    content=b"",
    remark="Your message could not be read to be attached.",
)


def header_of(start: bytes, *, instead: str = "") -> Original:
    """
    Return the header block that ``start`` holds.

    What is not 7-bit text, or has overlong lines, is made quoted-printable, which RFC 6522 §3 allows.

    :param instead: why the whole message does not go back, though it was asked for.
    """
    header = block(start, MAX_HEADER)
    remark = f"Your message is not attached: {instead}. Its header is." if instead else _ATTACHED
    if header.isascii() and _is_clean(header):
        return Original(kind="text/rfc822-headers", encoding="7bit", content=header, remark=remark)
    return Original(
        kind="text/rfc822-headers; charset=utf-8",
        encoding="quoted-printable",
        content=encoded("quoted-printable", header),
        remark=remark,
    )


def whole_message(content: bytes) -> Original:
    """
    Return all of ``content``, a message with CRLF line ends, if it can be a part of another one.

    With a header that is not ASCII it is a ``message/global`` (RFC 6532 §3.7).
    """
    if not _is_clean(content):
        return header_of(content, instead="it has bytes or lines that no mail may have within another")
    encoding = "7bit" if content.isascii() else "8bit"
    header = content.partition(b"\r\n\r\n")[0]
    kind = "message/rfc822" if header.isascii() else "message/global"
    return Original(kind=kind, encoding=encoding, content=content, remark="Your message is attached.")


def _is_clean(content: bytes) -> bool:
    """Tell whether there is no NUL in it, no bare CR or LF, and no line too long for SMTP."""
    ends = content.count(b"\r\n")
    bare = content.count(b"\r") + content.count(b"\n") - 2 * ends
    return b"\0" not in content and not bare and not shape_of(content).long_lines
