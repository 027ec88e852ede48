"""
The content of a message that comes in chunks (BDAT, RFC 3030): each is as long as its command says.

Nothing in it ends it, and no dot is stuffed; what is stored is the same as behind DATA otherwise, and it does
not depend on where chunks end. A chunk whose command is refused is read and dropped, for a client that
pipelines has sent it already. Pure.
"""

from typing import Final

from smtprelay.model.message import Reply
from smtprelay.smtp.data import BodyDecoder
from smtprelay.smtp.events import END_OF_CHUNK, END_OF_DATA
from smtprelay.smtp.settings import ListenerSettings

_CR, _LF, _CRLF = b"\r", b"\n", b"\r\n"


class ChunkDecoder(BodyDecoder):
    """
    Decodes the content of one message; :meth:`expect` comes before each chunk.

    :ivar ended: the end of the chunk was seen; ``ends`` says what that is.
    """

    def __init__(self, settings: ListenerSettings, *, bare: bool = False) -> None:
        super().__init__(settings, bare=bare)
        # What stands in front of the first line, as behind DATA.
        self._held = _CRLF

    def expect(self, octets: int, *, last: bool) -> None:
        """Begin a chunk of so many octets."""
        self.wanted = octets
        self.ended = False
        self.ends = END_OF_DATA if last else END_OF_CHUNK

    def feed(self, segment: bytes) -> bytes:
        """Take at most ``wanted`` octets; return what is to be stored."""
        self.wanted -= len(segment)
        self.ended = not self.wanted
        return super().feed(segment)

    def _cut(self, window: bytes) -> tuple[bytes, bool]:
        """Return all but a CR that may be half a line end; the end of the message is one of a line, too."""
        self._held = b""
        if self.ended and self.ends == END_OF_DATA:
            whole = (self._tail + window).endswith((_CR, _LF))
            return window if whole else window + _CRLF, False
        if window.endswith(_CR):
            self._held = _CR
            window = window[:-1]
        return window, False


class RefusedChunk:
    """A chunk that is not taken; the attributes are those of :class:`ChunkDecoder`."""

    ends: Final = END_OF_CHUNK
    rest: Final = b""
    size: Final = 0

    def __init__(self, octets: int, refusal: Reply) -> None:
        self.wanted = octets
        self.ended = False
        self.refusal = refusal

    def feed(self, segment: bytes) -> bytes:
        """Take at most ``wanted`` octets; nothing of them is stored."""
        self.wanted -= len(segment)
        self.ended = not self.wanted
        return b""
