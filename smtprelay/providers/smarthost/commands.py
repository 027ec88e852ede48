"""
The commands for an SMTP server, as bytes; pure.

Nothing that a client wrote may become a command: addresses are checked against a grammar.
"""

import re
from collections.abc import Mapping
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
