"""
The part of a report that a person reads. Pure.
"""

from collections.abc import Iterator
from typing import Final

from smtprelay.dispatch.dsn.fields import clean, date, reason, wrapped
from smtprelay.dispatch.dsn.report import DELAYED, FAILED, RELAYED, Notice, Report

#: What is said above the recipients of each action.
_OPENINGS: Final = {
    FAILED: "Your message could not be delivered to the recipients below, and it will not be tried again.",
    DELAYED: "Your message could not be delivered yet to the recipients below. You need not send it again:"
    " {waits}.",
    RELAYED: "Your message was handed on for the recipients below. What has it now does not report"
    " whether it arrives, so this is the last that you hear of it.",
}

#: The text for a recipient without a reason.
_SILENT: Final = {DELAYED: "It had no turn yet.", RELAYED: "{provider} took it."}

#: RFC 3463 in plain words: the whole code, else its subject, else nothing.
_PLAIN: Final = {
    "1.1": "The address does not exist.",
    "1.2": "The domain of the address does not exist.",
    "1.8": "The sender's address is not accepted.",
    "2.1": "The mailbox is disabled.",
    "2.2": "The mailbox is full.",
    "2.3": "The mail is too large for this mailbox.",
    "3.4": "The mail is too large.",
    "4.7": "It was tried again and again, until its time had run out.",
    "7.1": "The sending of this mail is not allowed.",
    "1": "Something is wrong with the address.",
    "2": "Something is wrong with the mailbox.",
    "3": "The mail system at the destination does not take this mail.",
    "4": "The destination could not be reached.",
    "5": "The dialogue with the destination failed.",
    "6": "The content of the mail cannot be converted or is not accepted.",
    "7": "The mail was refused for a reason of security or policy.",
}


def letter(notice: Notice, hostname: str) -> Iterator[str]:
    """Give the lines of what ``notice`` says, the work for a recipient when its lines are asked for."""
    yield from (f"This is the mail relay at {hostname}.", "")
    for action in notice.actions:
        yield from _section(notice, action)
    yield from (
        f"Message id at this relay: {clean(notice.message)}",
        f"Received:                 {date(notice.received)}",
        *([f"Given up:                 {date(notice.written)}"] if FAILED in notice.actions else ()),
        *([f"Tried until:              {date(notice.until)}"] if notice.until is not None else ()),
        "",
        *wrapped(f"The postmaster finds it in the relay's log by that id. {notice.original.remark}", "", ""),
        "",
    )


def _section(notice: Notice, action: str) -> Iterator[str]:
    waits = notice.waits or "it is tried again"
    yield from (*wrapped(_OPENINGS[action].format(waits=waits), "", ""), "")
    for report in notice.reports:
        if report.action == action:
            yield from _paragraph(report, notice.remote or notice.provider)


def _paragraph(report: Report, provider: str) -> list[str]:
    said = "Last known" if report.action == DELAYED else f"Reason ({provider})"
    words = [f"{_plain(report)} ({report.status})".lstrip(), f"{said}: {reason(report.why)}"]
    if not report.why and report.action in _SILENT:
        words = [_SILENT[report.action].format(provider=provider)]
    indented = [line for text in words for line in wrapped(text, "    ", "    ")]
    return [f"<{clean(report.recipient.address)}>", *indented, ""]


def _plain(report: Report) -> str:
    if report.action == RELAYED:
        return ""
    detail = report.status.partition(".")[2]
    return _PLAIN.get(detail) or _PLAIN.get(detail.partition(".")[0], "")
