"""
The states of an SMTP session, and where each reply leads. Pure.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from smtprelay.smtp import events


class State(Enum):
    """What the session waits for."""

    READY = "MAIL; what a client calls itself before it decides nothing"
    SENDER = "the first RCPT"
    RECIPIENTS = "RCPT, DATA or BDAT"
    CHALLENGED = "a response of AUTH"
    CONTENT = "content of a message, to the end of it or of a chunk"
    CHUNKS = "the next chunk of a message"
    UPGRADING = "the TLS handshake"
    CLOSING = "our closing of the connection"
    CLOSED = "nothing"

    # Enum's own is written in Python; the tables below are asked several times a command.
    __hash__ = object.__hash__


_ANEW: Final = {**dict.fromkeys(("EHLO", "HELO", "RSET"), State.READY), "STARTTLS": State.UPGRADING}

#: Which commands may come in a state, and where their success leads.
TRANSITIONS: Final[Mapping[State, Mapping[str, State]]] = {
    State.READY: {**_ANEW, "AUTH": State.READY, "XCLIENT": State.READY, "MAIL": State.SENDER},
    State.SENDER: {**_ANEW, "RCPT": State.RECIPIENTS},
    State.RECIPIENTS: {**_ANEW, "RCPT": State.RECIPIENTS, "DATA": State.CONTENT, "BDAT": State.CONTENT},
    State.CHALLENGED: {events.RESPONSE: State.READY},
    State.CONTENT: {events.END_OF_CHUNK: State.CHUNKS, events.END_OF_DATA: State.READY},
    State.CHUNKS: {**_ANEW, "BDAT": State.CONTENT},
}

#: Where a refusal leads, for the few that lead anywhere. Who refuses DATA closes the transaction.
AFTER_REFUSAL: Final = dict.fromkeys(
    ("DATA", events.RESPONSE, events.END_OF_CHUNK, events.END_OF_DATA), State.READY
)

#: Where an intermediate reply (3xx) leads.
HALF_WAY: Final = {"DATA": State.CONTENT, "AUTH": State.CHALLENGED, events.RESPONSE: State.CHALLENGED}
