"""
The part of a report that a person reads. Pure.
"""

from collections.abc import Iterator
from typing import Final

from smtprelay.dispatch.dsn.fields import clean, reason, wrapped
from smtprelay.dispatch.dsn.report import DELAYED, FAILED, RELAYED, Report, ReportedRecipient
from smtprelay.mime.date import date

#: The text above the recipients of each action.
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


def text_lines(report: Report, hostname: str) -> Iterator[str]:
    """Give the lines of what ``report`` says, the work for a recipient when its lines are asked for."""
    yield from (f"This is the mail relay at {hostname}.", "")
    for action in report.actions:
        yield from _section(report, action)
    yield from (
        f"Message id at this relay: {clean(report.message)}",
        f"Received:                 {date(report.received)}",
        *([f"Given up:                 {date(report.written)}"] if FAILED in report.actions else ()),
        *([f"Tried until:              {date(report.until)}"] if report.until is not None else ()),
        "",
        *wrapped(f"The postmaster finds it in the relay's log by that id. {report.original.remark}", "", ""),
        "",
    )


def _section(report: Report, action: str) -> Iterator[str]:
    waits = report.waits or "it is tried again"
    yield from (*wrapped(_OPENINGS[action].format(waits=waits), "", ""), "")
    for reported in report.recipients:
        if reported.action == action:
            yield from _paragraph(reported, report.remote or report.provider)


def _paragraph(reported: ReportedRecipient, provider: str) -> list[str]:
    label = "Last known" if reported.action == DELAYED else f"Reason ({provider})"
    words = [f"{_plain(reported)} ({reported.status})".lstrip(), f"{label}: {reason(reported.why)}"]
    if not reported.why and reported.action in _SILENT:
        words = [_SILENT[reported.action].format(provider=provider)]
    indented = [line for text in words for line in wrapped(text, "    ", "    ")]
    return [f"<{clean(reported.recipient.address)}>", *indented, ""]


def _plain(reported: ReportedRecipient) -> str:
    if reported.action == RELAYED:
        return ""
    detail = reported.status.partition(".")[2]
    return _PLAIN.get(detail) or _PLAIN.get(detail.partition(".")[0], "")
