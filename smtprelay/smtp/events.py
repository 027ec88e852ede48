"""
What a session can say of its client: the events of :meth:`smtprelay.smtp.session.Session.next_event`.

Pure values; :class:`smtprelay.smtp.command.Command` is the most frequent of them.
"""

from enum import Enum
from typing import Final

from attrs import field, frozen

from smtprelay.model.message import Reply
from smtprelay.smtp.command import Command

#: The "verbs" of what is no command but is answered like one, where replies are counted.
END_OF_DATA: Final = "END-OF-DATA"
END_OF_CHUNK: Final = "END-OF-CHUNK"
RESPONSE: Final = "AUTH-RESPONSE"
UNKNOWN: Final = "UNKNOWN"


@frozen
class Answered:
    """The session knows the reply itself, and wants it back in ``Session.answer``."""

    verb: str
    reply: Reply


@frozen
class Content:
    """
    Content of a message. ``Session.proceed`` asks for more; at an end it wants a reply.

    :ivar data: to be stored; ``b""`` if there is nothing new, or it is refused.
    :ivar end: :data:`END_OF_DATA`, the message's; :data:`END_OF_CHUNK`: more of it may follow after other
        commands; ``""``: none.
    :ivar refusal: why the message cannot be stored, or ``None``.
    """

    data: bytes = field(repr=False)
    end: str
    refusal: Reply | None


@frozen
class Foreign:
    """The client does not speak SMTP; ``reason`` says what it speaks."""

    reason: str


class Signal(Enum):
    """Events that need no words. The first two end a loop and want no answer."""

    NEED_DATA = "nothing complete is here: Session.receive"
    PAUSED = "the event before waits for its answer, or all is over"
    UPGRADE = "start TLS, then Session.proceed"
    CLOSE = "close the connection"


Event = Command | Answered | Content | Foreign | Signal
