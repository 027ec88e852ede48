"""Mails for the tests of reading, written from their parts, and what is looked for in them."""

import base64

from smtprelay.mime.parse import Attachment

#: Every byte there is.
BYTES = bytes(range(256))


def file(name: str, kind: str, content: bytes, content_id: str = "") -> Attachment:
    return Attachment(name, kind, base64.b64encode(content), content_id)


def bytes_of(attachment: Attachment) -> bytes:
    return base64.b64decode(attachment.base64, validate=True)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8")


def part(head: str, content: str | bytes = "") -> bytes:
    """Return a part with lines as given, and the delimiter before it."""
    content = content.encode() if isinstance(content, str) else content
    return crlf(f"--b\n{head}\n\n") + content + b"\r\n"


def multipart(*parts: bytes, subtype: str = "mixed") -> bytes:
    """Return a mail of ``parts``."""
    return crlf(f"Content-Type: multipart/{subtype}; boundary=b\n\n") + b"".join(parts) + b"--b--\r\n"


def within(mail: bytes, boundary: str = "i") -> bytes:
    """Return ``mail`` as a part of another one."""
    inner = mail.replace(b"boundary=b", b"boundary=" + boundary.encode()).replace(
        b"--b", b"--" + boundary.encode()
    )
    return b"--b\r\n" + inner


PLAIN, HTML = part("Content-Type: text/plain", "text"), part("Content-Type: text/html", "<p>html</p>")
ALTERNATIVE = multipart(PLAIN, HTML, subtype="alternative")
