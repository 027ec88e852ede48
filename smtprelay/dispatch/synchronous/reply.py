"""
What a client of a synchronous listener reads: the provider's result as one SMTP reply.

A temporary refusal of any recipient beats a final one as long as no recipient has the mail; once one has it,
nothing but 250 keeps the client from sending it again. Pure.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from smtprelay.dispatch.decision import reasons
from smtprelay.model import message
from smtprelay.model.message import Reply
from smtprelay.model.outcome import (
    Blocked,
    Deferred,
    Delivered,
    Failed,
    Outcome,
    Results,
    Throttled,
    Uncertain,
)


@frozen
class ProvidersBusy(Deferred):
    """The relay's limits for the provider do not allow the request now; nothing was sent."""


def _temporary(code: int, enhanced: str, text: str) -> Reply:
    return Reply(code=code, enhanced=enhanced, text=text, rule="synchronous")


#: The result did not come within the listener's deadline (RFC 3463 §3.5: bad connection).
LATE: Final = _temporary(451, "4.4.2", "The provider did not answer in time, try again later")
#: RFC 3463 §3.4: system not accepting network messages.
STOPPING: Final = _temporary(451, "4.3.2", "Shutting down, try again later")
BROKEN: Final = _temporary(451, "4.3.0", "Local error in processing")
#: RFC 3463 §3.4, mail system full, and other or undefined mail system status.
FULL: Final = _temporary(452, "4.3.1", "There is no room for the message, try again later")
NOT_STORED: Final = evolve(message.NOT_STORED, rule="synchronous")
#: RFC 5321 §4.5.3.1.10 lets it come this late, too.
SEVERAL: Final = Reply(
    code=452, enhanced="4.5.3", text="These recipients need transactions of their own", rule="one-delivery"
)

#: The status of what is not final (RFC 3463 §3.4, §3.5), the one that decides first.
_TEMPORARY: Final[Mapping[type, str]] = {
    Uncertain: "4.4.2",
    Blocked: "4.3.0",
    Deferred: "4.3.0",
    Throttled: "4.3.0",
    ProvidersBusy: "4.3.2",
}

#: The reply codes of final refusals (RFC 5321 §4.2.3), by status, then by its subject; else 554.
_EXCEEDED: Final = frozenset({"5.2.2", "5.2.3", "5.3.4"})
_UNAVAILABLE: Final = ("5.1.", "5.2.", "5.7.")

_PERMANENT: Final = re.compile(r"5\.\d{1,3}\.\d{1,3}", re.ASCII)

#: Maximum length of a provider's reason, so that it fits into one reply line.
_LONGEST: Final = 300


def reply(message: str, outcomes: Results) -> Reply:
    """Return the reply to ``message``, none or all of whose recipients are delivered."""
    refused = [outcome for outcome in outcomes.values() if not isinstance(outcome, Delivered)]
    if not refused:
        return delivered(message, outcomes)
    text = f"{words(outcomes)} ({message})"
    for kind, enhanced in _TEMPORARY.items():
        if any(type(outcome) is kind for outcome in refused):
            return _temporary(451, enhanced, text)
    status = _status(refused[0])
    code = 552 if status in _EXCEEDED else 550 if status.startswith(_UNAVAILABLE) else 554
    return Reply(code=code, enhanced=status, text=text, rule="provider")


def delivered(message: str, outcomes: Results) -> Reply:
    """Return 250, with our id and the provider's, for those of ``outcomes`` who have the mail."""
    ids = {each.id: None for each in outcomes.values() if isinstance(each, Delivered) and each.id}
    as_what = f" as {_line(' '.join(ids))}" if ids else ""
    return Reply(code=250, enhanced="2.0.0", text=f"Ok: {message} delivered{as_what}")


def partly(message: str, outcomes: Results) -> Reply:
    """Return 250 for a message that some have, and that we provide for as to the others."""
    ok = delivered(message, outcomes)
    others = sum(not isinstance(outcome, Delivered) for outcome in outcomes.values())
    return evolve(ok, text=f"{ok.text}, not to {others} of {len(outcomes)} recipients: {words(outcomes)}")


def words(outcomes: Results) -> str:
    """Return the reasons of those that are not delivered, in one line that is safe to send."""
    return _line(reasons(outcomes)) or "no reason was given"


def final(outcome: Outcome) -> Failed:
    """Return ``outcome`` as a failure: it is not tried again."""
    if isinstance(outcome, Failed):
        return outcome
    return Failed(outcome.why, _TEMPORARY.get(type(outcome), "4.3.0"))


def _status(outcome: Outcome) -> str:
    code = outcome.code if isinstance(outcome, Failed) else ""
    return code if _PERMANENT.fullmatch(code) else "5.0.0"


def _line(text: str) -> str:
    """Make one short line of it, without control characters: it may come from anywhere."""
    # A thousand recipients may have been refused in as many words.
    start = " ".join(text[: 10 * _LONGEST].split())
    line = "".join(character for character in start if character.isprintable())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
