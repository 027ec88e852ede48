"""
What goes back of a mail that is reported on: its header, or all of it where the sender asked for that.

A whole message can only be put into a report as it is (RFC 2046 §5.2.1). Of one that is no clean text the
header goes back instead, and the letter says why. Pure.
"""

import binascii
from typing import Final

from attrs import frozen

#: So much of the original's header block goes back.
MAX_HEADER: Final = 64 * 1024

LONGEST_LINE: Final = 998  # RFC 5322 §2.1.1


@frozen(kw_only=True)
class Original:
    """
    The last part of a report.

    :ivar kind: its content type; ``encoding``: its transfer encoding, in which ``content`` is already.
    :ivar remark: what the letter says of it.
    """

    kind: str
    encoding: str
    content: bytes
    remark: str = "The header of your message is attached."


#: For a message that is not to be had.
NOTHING: Final = Original(
    kind="text/rfc822-headers",
    encoding="7bit",
    content=b"",
    remark="Your message could not be read to be attached.",
)


def header_block(start: bytes) -> bytes:
    """Return the header block that ``start``, the beginning of a message, holds: whole lines, bounded."""
    if start.startswith(b"\r\n"):
        return b""
    end = start.find(b"\r\n\r\n", 0, MAX_HEADER)
    if end < 0:
        end = start.rfind(b"\r\n", 0, MAX_HEADER)
    return start[: end + 2] if end >= 0 else b""


def header_of(start: bytes, *, instead: str = "") -> Original:
    """
    Return the header block that ``start`` holds.

    What is not 7-bit text, or has overlong lines, is made quoted-printable, which RFC 6522 §3 allows.

    :param instead: why the whole message does not go back, though it was asked for.
    """
    block = header_block(start)
    remark = f"Your message is not attached: {instead}. Its header is." if instead else ""
    more = {"remark": remark} if remark else {}
    if block.isascii() and _is_text(block) and _has_short_lines(block):
        return Original(kind="text/rfc822-headers", encoding="7bit", content=block, **more)
    quoted = b"\r\n".join(map(quoted_printable, block.split(b"\r\n")))
    kind = "text/rfc822-headers; charset=utf-8"
    return Original(kind=kind, encoding="quoted-printable", content=quoted, **more)


def whole_message(content: bytes) -> Original:
    """
    Return all of ``content``, a message with CRLF line ends, if it can be a part of another one.

    With a header that is not ASCII it is a ``message/global`` (RFC 6532 §3.7).
    """
    if not _is_text(content) or not _has_short_lines(content):
        return header_of(content, instead="it has bytes or lines that no mail may have within another")
    encoding = "7bit" if content.isascii() else "8bit"
    header = content.partition(b"\r\n\r\n")[0]
    kind = "message/rfc822" if header.isascii() else "message/global"
    return Original(kind=kind, encoding=encoding, content=content, remark="Your message is attached.")


def quoted_printable(line: bytes) -> bytes:
    """Return a line as quoted-printable (RFC 2045 §6.7); binascii alone would break it with LF here."""
    return binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n")


def _is_text(content: bytes) -> bool:
    ends = content.count(b"\r\n")
    return b"\0" not in content and content.count(b"\r") == ends and content.count(b"\n") == ends


def _has_short_lines(content: bytes) -> bool:
    """Look at the last line end that a line may have, again and again: line by line it stalls the reactor."""
    begin = 0
    while len(content) - begin > LONGEST_LINE:
        end = content.rfind(b"\r\n", begin, begin + LONGEST_LINE + 2)
        if end < 0:
            return False
        begin = end + 2
    return True
