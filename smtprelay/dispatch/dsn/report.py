"""
What a report says, as values: the recipients that the sender asked about, and their outcomes.

A report says one of three things of a recipient (RFC 3464 §2.3.3): the mail ``failed``, is ``delayed``, or
was ``relayed`` to a system that does not report further. ``text_part`` and ``status_part`` write them down,
for people and for programs; ``render`` makes them a mail. Pure.
"""

import re
from collections.abc import Sequence
from typing import Final

from attrs import field, frozen

from smtprelay.dispatch.dsn.original_part import NOTHING, Original
from smtprelay.model.message import Delivery, Recipient

FAILED: Final = "failed"
DELAYED: Final = "delayed"
RELAYED: Final = "relayed"

#: The order in reports; the keyword of NOTIFY; the subject of a report that begins with it.
ACTIONS: Final = (FAILED, DELAYED, RELAYED)
_OCCASIONS: Final = {FAILED: "FAILURE", DELAYED: "DELAY", RELAYED: "SUCCESS"}
_SUBJECTS: Final = {
    FAILED: "Undelivered Mail Returned to Sender",
    DELAYED: "Delayed Mail (still being retried)",
    RELAYED: "Mail Was Handed On",
}
#: What RFC 3463 calls the class of a status code.
_CLASSES: Final = {FAILED: "45", DELAYED: "4", RELAYED: "2"}


@frozen(kw_only=True)
class ReportedRecipient:
    """
    What became of one recipient.

    :ivar action: one of :data:`ACTIONS`.
    :ivar why: in the provider's words.
    :ivar code: the enhanced status code, ``4.4.7`` for a mail that expired.
    """

    recipient: Recipient
    action: str = FAILED
    why: str
    code: str

    @property
    def status(self) -> str:
        """The code if it has the grammar and fits the action; else the one that says nothing."""
        classes = _CLASSES[self.action]
        fits = re.fullmatch(rf"[{classes}]\.\d{{1,3}}\.\d{{1,3}}", self.code, re.ASCII)
        return self.code if fits else {FAILED: "5.0.0", DELAYED: "4.0.0", RELAYED: "2.0.0"}[self.action]


@frozen(kw_only=True)
class Report:
    """
    All that one report says. Times are seconds since the epoch.

    :ivar message: the id of the mail that it is about.
    :ivar reference: unique to this report; it names the parts' boundary and the Message-ID.
    :ivar provider: who spoke; ``remote``: the name of its host, where that is one.
    :ivar received: when the mail arrived; ``written``: when this is written.
    :ivar attempted: when it was last tried, ``None`` for never.
    :ivar until: when a delayed mail is given up; ``None`` if unknown.
    :ivar waits: in words, for what a delayed mail waits.
    :ivar envelope_id: the sender's ENVID in xtext, or ``""``.
    :ivar original: what goes back of the mail.
    """

    message: str
    reference: str
    to: str
    provider: str
    remote: str = ""
    received: float
    written: float
    attempted: float | None = None
    until: float | None = None
    waits: str = ""
    recipients: Sequence[ReportedRecipient]
    envelope_id: str = ""
    original: Original = field(default=NOTHING, repr=False)

    @property
    def actions(self) -> Sequence[str]:
        """What it tells, the worst first."""
        present = {reported.action for reported in self.recipients}
        return [action for action in ACTIONS if action in present]

    @property
    def subject(self) -> str:
        """The subject of the mail."""
        return _SUBJECTS[self.actions[0]]


def is_wanted(delivery: Delivery, recipient: Recipient, action: str) -> bool:
    """
    Tell whether the sender shall be told of ``action``.

    Never the null sender, never of a mail that is a report itself, else as NOTIFY says; who gave none wants
    to be told of failures and delays (RFC 3461 §4.1).
    """
    if not delivery.envelope.sender or delivery.bounce_of:
        return False
    if not recipient.notify:
        return action != RELAYED
    return _OCCASIONS[action] in recipient.notify.upper().split(",")
