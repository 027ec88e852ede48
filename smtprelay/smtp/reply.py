"""
The server's own replies, by name and with the section that asks for them, and how any reply is written. Pure.
"""

import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from attrs import evolve

from smtprelay.model.message import Reply

#: A reply line is at most 512 octets with its code and CRLF (RFC 5321 §4.5.3.1.5).
LONGEST_LINE: Final = 480
#: Characters of all lines together; a text from outside may be a web page.
LONGEST_TEXT: Final = 4000

_UNPRINTABLE: Final = re.compile(r"[^ -~]")


def _reply(code: int, enhanced: str, text: str, rule: str = "") -> Reply:
    return Reply(code=code, enhanced=enhanced, text=text, rule=rule)


# Success and intermediate replies (RFC 5321 §4.2.3, RFC 3463 §3).
OK: Final = _reply(250, "2.0.0", "Ok")
SENDER_OK: Final = _reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = _reply(250, "2.1.5", "Ok")
START_MAIL: Final = _reply(354, "", "End data with <CR><LF>.<CR><LF>")
BYE: Final = _reply(221, "2.0.0", "Bye")
HELP: Final = _reply(214, "2.0.0", "See RFC 5321")
#: RFC 5321 §3.5.3: we neither confirm nor deny.
CANNOT_VERIFY: Final = _reply(252, "2.5.0", "Cannot verify; send some mail and see")
READY_FOR_TLS: Final = _reply(220, "2.0.0", "Ready to start TLS")
LOGGED_IN: Final = _reply(235, "2.7.0", "Authentication successful")

# Commands that are no good (RFC 5321 §4.2.4, RFC 2034).
UNKNOWN_COMMAND: Final = _reply(500, "5.5.1", "Command not recognized", "command")
NOT_OFFERED: Final = _reply(502, "5.5.1", "Command not available here", "not-offered")
LOGIN_NOT_OFFERED: Final = _reply(502, "5.5.1", "Command not available here", "auth-not-offered")
CONTROL_CHARACTER: Final = _reply(500, "5.5.2", "Control character in command", "syntax")
LINE_TOO_LONG: Final = _reply(500, "5.5.2", "Line too long", "line-length")
BARE_LINE_FEED: Final = _reply(
    500, "5.5.2", "Command lines end with CRLF, not with LF alone", "command-bare-newlines"
)
MIXED_LINE_ENDS: Final = _reply(
    500, "5.5.2", "Your lines ended with LF alone; this one does not", "mixed-newlines"
)
SYNTAX: Final = _reply(501, "5.5.4", "Syntax error in arguments", "syntax")
UNKNOWN_PARAMETER: Final = _reply(555, "5.5.4", "Parameter not recognized", "parameter")  # RFC 5321 §4.1.1.11
BAD_SENDER: Final = _reply(553, "5.1.7", "Bad sender address syntax", "address")
BAD_RECIPIENT: Final = _reply(553, "5.1.3", "Bad recipient address syntax", "address")
# RFC 6531 §3.5.
NOT_UTF8: Final = _reply(553, "5.6.7", "An address must be ASCII or UTF-8", "non-ascii")
NOT_ASCII: Final = _reply(553, "5.6.7", "Such an address needs MAIL with SMTPUTF8", "non-ascii")

# Commands at the wrong time (RFC 5321 §4.1.4).
MAIL_FIRST: Final = _reply(503, "5.5.1", "MAIL first", "sequence")
RECIPIENT_FIRST: Final = _reply(503, "5.5.1", "RCPT first", "sequence")
NO_VALID_RECIPIENTS: Final = _reply(554, "5.5.1", "No valid recipients", "sequence")
NESTED_MAIL: Final = _reply(503, "5.5.1", "A transaction is open already", "sequence")
NOT_NOW: Final = _reply(503, "5.5.1", "Not in this state", "sequence")

# Limits.
TOO_MANY_ERRORS: Final = _reply(421, "4.7.0", "Too many errors", "errors")
TOO_MANY_COMMANDS: Final = _reply(421, "4.7.0", "Too many commands", "commands")
TIMED_OUT: Final = _reply(421, "4.4.2", "Timeout", "timeout")
UNFINISHED: Final = _reply(421, "4.4.2", "The message has no end: it was not taken", "unfinished")
CHUNK_UNKNOWN: Final = _reply(421, "4.5.4", "Nobody knows where that chunk ends", "chunk")
EARLY_TALKER: Final = _reply(554, "5.5.1", "You spoke before the greeting", "early-talker")
TOO_SLOW: Final = _reply(421, "4.4.2", "The message arrives too slowly", "data-rate")
SHUTTING_DOWN: Final = _reply(421, "4.3.2", "Shutting down, try again later", "shutdown")


def too_many_recipients(limit: int) -> Reply:
    """Refuse a recipient beyond ``limit`` (RFC 5321 §4.5.3.1.10)."""
    return _reply(452, "4.5.3", f"Too many recipients, the limit is {limit}", "recipients")


def too_many_connections(limit: int) -> Reply:
    """Refuse a connection beyond ``limit``."""
    return _reply(421, "4.3.2", f"Too many connections, the limit is {limit}, try again later", "connections")


def too_many_from_client(limit: int) -> Reply:
    """Refuse a connection beyond those that one client may have."""
    text = f"Too many connections from your address, the limit is {limit}"
    return _reply(421, "4.7.0", text, "connections-per-client")


#: Instead of a provider's name: every route is for mail below a size.
ROUTES: Final = "each route"


def too_large(limit: int, provider: str = "", size: int = 0) -> Reply:
    """
    Refuse a message, declared or sent, that is larger than ``limit`` octets (RFC 1870 §6).

    :param provider: whose limit it is, or :data:`ROUTES`; ``""``: the listener's.
    :param size: of the message, if it is here.
    """
    whose = f"{provider} takes {limit} bytes" if provider else f"the limit is {limit} bytes"
    text = f"Message too large, {whose}{f', this one has {size}' if size else ''}"
    if provider == ROUTES:
        return _reply(552, "5.3.4", text, "route-size")
    return _reply(552, "5.3.4", text, "provider-size" if provider else "size")


# Content that is no good (RFC 3463 §3.7).
NUL_IN_CONTENT: Final = _reply(554, "5.6.0", "NUL in the message", "nul")
UTF_16: Final = _reply(
    554, "5.6.0", "The message is text in UTF-16, which mail does not carry; send it as UTF-8", "utf-16"
)
BARE_NEWLINES: Final = _reply(554, "5.6.0", "Bare CR or LF in the message", "bare-newlines")


def header_too_large(limit: int) -> Reply:
    """Refuse a message whose header block is larger than ``limit`` octets."""
    return _reply(552, "5.3.4", f"Message header too large, the limit is {limit} bytes", "header-size")


def too_many_hops(limit: int) -> Reply:
    """Refuse a message that has ``Received:`` more than ``limit`` times (RFC 5321 §6.3)."""
    return _reply(554, "5.4.6", f"Mail loop: more than {limit} Received headers", "hops")


# Login and TLS (RFC 4954 §4 and §6, RFC 3207 §4).
TLS_FIRST: Final = _reply(530, "5.7.0", "Must issue a STARTTLS command first", "tls")
TLS_FOR_LOGIN: Final = _reply(538, "5.7.11", "Encryption required for authentication", "tls-for-login")
#: As before, where STARTTLS is not offered.
NO_TLS_FOR_LOGIN: Final = _reply(538, "5.7.11", "Encryption required for authentication", "login-without-tls")
#: Said to who must log in, which needs TLS here.
LOGIN_IN_TLS: Final = _reply(530, "5.7.0", "Must issue a STARTTLS command first", "tls-for-login")
LOGIN_FIRST: Final = _reply(530, "5.7.0", "Authentication required", "auth-required")
LOGIN_CANCELLED: Final = _reply(501, "5.7.0", "Authentication cancelled", "cancelled")
NOT_BASE64: Final = _reply(501, "5.5.2", "Cannot decode the response as base64", "base64")
UNKNOWN_MECHANISM: Final = _reply(504, "5.5.4", "Authentication mechanism not supported", "mechanism")
LOGIN_FAILED: Final = _reply(535, "5.7.8", "Authentication credentials invalid", "auth")
#: As before, of a login by certificate.
NOT_CERTIFIED: Final = evolve(LOGIN_FAILED, rule="auth-certificate")
LOGIN_UNAVAILABLE: Final = _reply(454, "4.7.0", "Temporary authentication failure", "auth-unavailable")
LOGGED_IN_ALREADY: Final = _reply(503, "5.5.1", "Already authenticated", "sequence")
NOT_ALLOWED: Final = _reply(550, "5.7.1", "You may not send through this relay", "network")
LOCAL_ERROR: Final = _reply(451, "4.3.0", "Local error in processing", "internal")


def not_ready(hostname: str) -> Reply:
    """Refuse a client that cannot be served yet."""
    return _reply(421, "4.3.2", f"{hostname} Not ready yet, try again later", "not-ready")


def not_sent(text: str, rule: str) -> Reply:
    """Return what a client is refused without a word to it, for the record; its code is 0."""
    return _reply(0, "", text, rule)


def welcome(banner: str) -> Reply:
    """Greet a client (RFC 5321 §3.1)."""
    return Reply(code=220, enhanced="", text=banner)


def challenge(base64: str) -> Reply:
    """Ask for the next response of a SASL exchange (RFC 4954 §4)."""
    return _reply(334, "", base64)


def render(reply: Reply) -> bytes:
    """
    Return ``reply`` as it goes over the wire.

    Each line has the code and the enhanced code (RFC 2034 §4). A text can neither end a line nor exceed one:
    what is not printable ASCII becomes ``?``, a long text is wrapped, and a very long one is cut.
    """
    text = reply.text
    status = f"{reply.enhanced} " if reply.enhanced else ""
    if len(text) <= LONGEST_LINE and text.isascii() and text.isprintable():
        return f"{reply.code} {status}{text}\r\n".encode("ascii")
    return _in_lines(f"{reply.code}", status, text[:LONGEST_TEXT])


@lru_cache(maxsize=32)
def _in_lines(code: str, status: str, text: str) -> bytes:
    """Write a reply of several lines; the one to EHLO is the same for all clients of a listener."""
    lines = list(_lines(text)) or [""]
    written = [f"{code}-{status}{line}\r\n" for line in lines[:-1]]
    return "".join([*written, f"{code} {status}{lines[-1]}\r\n"]).encode("ascii")


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        plain = _UNPRINTABLE.sub("?", line)
        yield from [plain] if len(plain) <= LONGEST_LINE else textwrap.wrap(plain, LONGEST_LINE) or [""]
