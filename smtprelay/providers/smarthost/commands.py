"""
The commands for an SMTP server, and the body, as bytes; pure.

Nothing that a client wrote may become a command: addresses are checked against a grammar, and a body is
stuffed and its line ends made CRLF, whatever it contained, also where two chunks meet.
"""

import re
from collections.abc import Mapping
from io import IncrementalNewlineDecoder
from typing import Final

from attrs import field, frozen

from smtprelay.mime.address import ascii_address
from smtprelay.model.message import Envelope, Recipient
from smtprelay.providers.smarthost.replies import ServerReply

_ATOM: Final = r'[^\x00-\x20\x7f-\x9f<>"]+'
_QUOTED: Final = r'"(?:[^\x00-\x1f\x7f-\x9f"\\]|\\[\x20-\x7e])*"'
_PATH: Final = re.compile(rf"{_ATOM}|{_QUOTED}(?:@{_ATOM})?")
_NAME: Final = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_VALUE: Final = re.compile(r"[!-<>-~]+")
_DOT: Final = re.compile(rb"\r\n\.").search


class Unsendable(Exception):  # noqa: N818 -- it says what the address is
    """An address that cannot be sent to this server. ``code``: the enhanced status code for it."""

    def __init__(self, why: str, code: str) -> None:
        super().__init__(why)
        self.code = code


@frozen(kw_only=True)
class Extensions:
    """
    What a server offered in its answer to EHLO (RFC 5321 §4.1.1.1).

    :ivar size: the largest message it takes, in bytes; 0 when it does not say.
    :ivar mechanisms: for AUTH, in upper case.
    """

    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    dsn: bool = False
    starttls: bool = False
    sizes: bool = False
    size: int = 0
    mechanisms: frozenset[str] = field(default=frozenset())


def read_extensions(answer: ServerReply) -> Extensions:
    """Read the 250 reply to EHLO; what is not understood is not offered."""
    keywords: dict[str, str] = {}
    for line in answer.lines[1:]:
        # Old servers write "AUTH=LOGIN PLAIN".
        keyword, _, value = line.upper().replace("AUTH=", "AUTH ", 1).strip().partition(" ")
        keywords[keyword] = f"{keywords.get(keyword, '')} {value}".strip()
    size = keywords.get("SIZE", "")
    return Extensions(
        pipelining="PIPELINING" in keywords,
        eight_bit="8BITMIME" in keywords,
        utf8="SMTPUTF8" in keywords,
        dsn="DSN" in keywords,
        starttls="STARTTLS" in keywords,
        sizes="SIZE" in keywords,
        size=int(size) if size.isascii() and size.isdigit() else 0,
        mechanisms=frozenset(keywords.get("AUTH", "").split()),
    )


def hello(verb: str, name: str) -> bytes:
    """Return the EHLO or HELO line. Raises :class:`ValueError` for what cannot be a host's name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a name for EHLO")
    return f"{verb} {name}\r\n".encode("ascii")


def mail(envelope: Envelope, extensions: Extensions, size: int, *, eight_bit: bool) -> bytes:
    """
    Return the MAIL line, with the parameters that the server offered to understand.

    Raises :class:`Unsendable`. What it does not understand is left out (RFC 3461 §5.2.2 for DSN).

    :param eight_bit: the message has octets that are not ASCII.
    """
    parameters = envelope.parameters
    line = b"MAIL FROM:<%b>" % (_path(envelope.sender, extensions, "5.1.7") if envelope.sender else b"")
    if extensions.sizes:
        line += b" SIZE=%d" % size
    if extensions.eight_bit and eight_bit:
        line += b" BODY=8BITMIME"
    addresses = (envelope.sender, *envelope.addresses)
    if extensions.utf8 and ("SMTPUTF8" in parameters or not all(map(str.isascii, addresses))):
        line += b" SMTPUTF8"
    if extensions.dsn and parameters:
        line += _parameters(parameters, ("RET", "ENVID"))
    return line + b"\r\n"


def rcpt(recipient: Recipient, extensions: Extensions) -> bytes:
    """Return the RCPT line. Raises :class:`Unsendable`."""
    line = b"RCPT TO:<%b>" % _path(recipient.address, extensions, "5.1.3")
    if extensions.dsn and (recipient.notify or recipient.orcpt):
        given = {"NOTIFY": recipient.notify, "ORCPT": recipient.orcpt}
        line += _parameters(given, ("NOTIFY", "ORCPT"))
    return line + b"\r\n"


def _path(address: str, extensions: Extensions, code: str) -> bytes:
    if not _PATH.fullmatch(address):
        raise Unsendable(f"{address!a} is no address that SMTP can carry", code)
    if not address.isascii() and not extensions.utf8:
        if in_ascii := ascii_address(address):
            return in_ascii.encode("ascii")
        raise Unsendable(f"{address!a} needs SMTPUTF8, which the server does not offer", "5.6.7")
    try:
        return address.encode("utf-8")
    except UnicodeEncodeError:
        raise Unsendable(f"{address!a} is no text", code) from None


def _parameters(given: Mapping[str, str], names: tuple[str, ...]) -> bytes:
    line = ""
    for name in names:
        value = given.get(name, "")
        if _VALUE.fullmatch(value):
            line += f" {name}={value}"
    return line.encode("ascii")


class DotStuffer:
    """
    Makes a message what may stand between 354 and the final dot (RFC 5321 §4.5.2).

    It works on whole chunks: a message without stray CR or LF costs three searches.
    """

    def __init__(self) -> None:
        self._at_line_start = True
        self._held = b""
        self._newlines = IncrementalNewlineDecoder(None, translate=False)

    def feed(self, chunk: bytes) -> bytes:
        """Return the next bytes to send; a CR at the end waits for what follows it."""
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if chunk.endswith(b"\r"):
            chunk, self._held = chunk[:-1], b"\r"
        if not chunk:
            return b""
        # The only single pass in C that tells CRLF from CR and LF: a third of counting each.
        self._newlines.reset()
        self._newlines.decode(chunk.decode("latin-1"), final=True)
        if self._newlines.newlines not in (None, "\r\n"):
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        dotted = self._at_line_start and chunk.startswith(b".")
        self._at_line_start = chunk.endswith(b"\n")
        # Most of a large message is base64, where no dot can be: found out at once. Searched for by an
        # expression, which goes from CR to CR, it takes half the time of the replacement.
        if b"." in chunk and _DOT(chunk):
            chunk = chunk.replace(b"\r\n.", b"\r\n..")
        return b"." + chunk if dotted else chunk

    def end(self) -> bytes:
        """Return the last line end, if it is missing, and the final dot."""
        return b".\r\n" if self._at_line_start and not self._held else b"\r\n.\r\n"
