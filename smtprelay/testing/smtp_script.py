"""What the SMTP server for tests is told to do, and what it remembers."""

from typing import Final

from attrs import frozen


@frozen
class Cut:
    """Cut the connection instead of answering, or behind ``begun``, the first octets of an answer."""

    begun: bytes = b""


@frozen
class Silence:
    """Never answer."""


@frozen
class Pause:
    """Answer after ``seconds``; ``""`` is the usual answer. Needs the sink's ``clock``."""

    seconds: float
    reply: str = ""


#: What a scripted verb gets: a reply (lines joined by ``"\n"``), raw bytes, or one of the above.
ReplyAction = str | bytes | Cut | Silence | Pause
CUT: Final = Cut()
SILENCE: Final = Silence()


@frozen(kw_only=True)
class ReceivedMessage:
    """
    One message that came whole and was not refused; perhaps its answer was lost.

    :ivar mail: the whole MAIL line, with its parameters; ``rcpts`` so.
    :ivar body: without dot-stuffing, with its last CRLF.
    :ivar wire: the bytes as they came, with the final dot.
    :ivar connection: the number of its connection, from 1.
    """

    sender: str
    recipients: tuple[str, ...]
    body: bytes
    wire: bytes
    mail: str
    rcpts: tuple[str, ...]
    user: str
    tls: bool
    connection: int
