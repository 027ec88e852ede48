"""
What an SMTP server says, read strictly; pure.

A server on the way out is as little to be trusted as a client on the way in: a reply has a bounded length,
and its words go into our log, our page and our bounces, so nothing unprintable comes through.
"""

import re
from functools import lru_cache
from typing import Final

from attrs import frozen

#: Bytes in one line without its end. RFC 5321 §4.5.3.1.5 asks for 512; some servers say more.
MAX_LINE: Final = 4096
#: Lines in one reply.
MAX_LINES: Final = 128

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n\0]*))?")
_ENHANCED: Final = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)")
_QUEUE_ID: Final = re.compile(r"\b(?:queued as |id=)([^\s>,;]+)", re.IGNORECASE)


class Garbled(Exception):  # noqa: N818 -- it says what the peer's bytes are
    """The peer does not speak SMTP; the text says what came instead."""


@frozen
class ServerReply:
    """
    One reply of a server (RFC 5321 §4.2).

    :ivar lines: the text of each line, without the code; printable.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def positive(self) -> bool:
        """Whether the command was carried out."""
        return 200 <= self.code < 300  # noqa: PLR2004 -- the 2xx replies

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), ``""`` if there is none or its class is another one."""
        found = _ENHANCED.match(self.lines[0])
        return found[0] if found and int(found[1]) == self.code // 100 else ""

    @property
    def queue_id(self) -> str:
        """The server's id of the accepted message, as far as its reply shows it."""
        text = " ".join(self.lines)
        found = _QUEUE_ID.search(text)
        return found[1] if found else text

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}".rstrip()


class AnswerReader:
    """Turns the bytes of a connection into :class:`ServerReply` values."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[str] = []
        self._code = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of an unfinished reply has come."""
        return not self._rest and not self._lines

    def feed(self, received: bytes) -> list[ServerReply]:
        """
        Return the replies that ``received`` completes.

        Raises :class:`Garbled`; the connection is of no use after that.
        """
        *lines, self._rest = (self._rest + received).split(b"\r\n")
        if len(self._rest) > MAX_LINE:
            raise Garbled("a reply line without end")
        answers = []
        for line in lines:
            answer = self._line(line)
            if answer is not None:
                answers.append(answer)
        return answers

    def _line(self, line: bytes) -> ServerReply | None:
        code, more, text = _read(line)
        if self._lines:
            if code != self._code:
                raise Garbled(f"a reply with two codes: {printable(line[:80])}")
        elif not more:
            return ServerReply(code, (text,))
        self._lines.append(text)
        if not more:
            answer = ServerReply(code, tuple(self._lines))
            self._lines.clear()
            return answer
        if len(self._lines) >= MAX_LINES:
            raise Garbled("a reply with too many lines")
        self._code = code
        return None


@lru_cache(maxsize=256)
def _read(line: bytes) -> tuple[int, bool, str]:
    """Return code, whether more lines follow, and text; servers repeat themselves, so it is remembered."""
    found = _LINE.fullmatch(line)
    if found is None or len(line) > MAX_LINE:
        raise Garbled(f"no SMTP reply: {printable(line[:80])}")
    code, mark, text = found.groups()
    return int(code), mark == b"-", printable(text or b"")


def printable(text: bytes) -> str:
    """Decode the text of a peer, with ``?`` for all that cannot be shown on one line."""
    decoded = text.decode("utf-8", "replace")
    if decoded.isprintable():
        return decoded
    return "".join(letter if letter.isprintable() else "?" for letter in decoded)
