"""
What an SMTP server's refusal means for the mail; pure.

Before a mail is offered every refusal is about us: our address, our name, our password. From MAIL on it is
about the mail, except where the server says that we had to log in, or that we come too often.
"""

import re
from collections.abc import Iterable
from typing import Final

from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled
from smtprelay.providers.smarthost.replies import ServerReply

#: Authentication required, mechanism too weak, refused, encryption required (RFC 4954 §6).
CREDENTIALS: Final = frozenset({530, 534, 535, 538})

#: The server closes the connection, which it does to those who ask for too much (RFC 5321 §3.8).
_CLOSING: Final = 421
#: What servers say when we are too fast. 4.7.x alone may be greylisting, which is about one recipient,
#: and "too many" with 452 or 4.5.3 are the recipients of this mail.
_TOO_FAST: Final = re.compile(r"too (many|much|fast)|throttl|\brate\b|\bbusy\b", re.IGNORECASE)
_POLICY: Final = ("4.7.", "4.3.")
_STORAGE: Final = 452
_PERMANENT: Final = range(500, 600)
_TOO_MANY_RECIPIENTS: Final = 552


class NotAccepted(Exception):  # noqa: N818 -- it is the end of an attempt, not an error
    """The attempt is over before any body was sent; ``outcome`` holds for every recipient."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class LoginRefused(NotAccepted):
    """The server does not take our password or token; another one may help."""


def of_session(host: str, stage: str, answer: ServerReply) -> Outcome:
    """
    Classify a refusal before the first MAIL: 5xx is ``Blocked``, all else as in :func:`of_mail`.

    :param host: the server, for people; the same for ``stage``: what it refused.
    """
    why = _words(host, stage, answer)
    return Blocked(why) if answer.code in _PERMANENT else _deferred(why, answer)


def of_mail(host: str, stage: str, answer: ServerReply) -> Outcome:
    """Classify a refusal of MAIL, DATA or the message: all but ``Delivered`` and ``Uncertain``."""
    why = _words(host, stage, answer)
    if answer.code in CREDENTIALS:
        return Blocked(why)
    if answer.code in _PERMANENT:
        return Failed(why, answer.enhanced or "5.0.0")
    return _deferred(why, answer)


def of_recipient(host: str, answer: ServerReply) -> Outcome:
    """
    Classify a refusal of RCPT.

    552 without a reason of its own, or with 5.5.3, means "too many recipients": to
    be sent again with fewer (RFC 5321 §4.5.3.1.10).
    """
    if answer.code == _TOO_MANY_RECIPIENTS and answer.enhanced in {"", "5.5.3"}:
        return Deferred(_words(host, "the recipient", answer))
    return of_mail(host, "the recipient", answer)


def of_message(host: str, answer: ServerReply, *, reports: bool = False) -> Outcome:
    """Classify the answer to the final dot; ``reports``: the server sends the DSNs that were asked for."""
    if answer.positive:
        return Delivered(answer.queue_id, str(answer), reports)
    return of_mail(host, "the message", answer)


def of_recipients(
    host: str, addresses: Iterable[str], answers: Iterable[ServerReply]
) -> tuple[list[str], dict[str, Outcome]]:
    """Return who was accepted, and what became of the others."""
    accepted: list[str] = []
    refused: dict[str, Outcome] = {}
    for address, answer in zip(addresses, answers, strict=True):
        if answer.positive:
            accepted.append(address)
        else:
            refused[address] = of_recipient(host, answer)
    return accepted, refused


def _deferred(why: str, answer: ServerReply) -> Outcome:
    of_policy = answer.enhanced.startswith(_POLICY) if answer.enhanced else answer.code != _STORAGE
    too_fast = of_policy and _TOO_FAST.search(" ".join(answer.lines)) is not None
    return Throttled(why) if answer.code == _CLOSING or too_fast else Deferred(why)


def _words(host: str, stage: str, answer: ServerReply) -> str:
    return f"{host} refused {stage}: {answer}"
