"""
The part of a report that a program reads: ``message/delivery-status`` (RFC 3464 §2). Pure.
"""

import re
from collections.abc import Iterator
from typing import Final

from smtprelay.dispatch.dsn.fields import ascii_only, clean, from_xtext, reason, typed, wrapped
from smtprelay.dispatch.dsn.report import DELAYED, RELAYED, Report, ReportedRecipient
from smtprelay.mime.date import date

#: Characters of a diagnostic text: a single word must fit a line.
_LONGEST: Final = 900

#: The reply in the reason of a provider that speaks SMTP.
_REPLY: Final = re.compile(r"(?:^|: )([245]\d\d .*)", re.ASCII | re.DOTALL)


def status_lines(report: Report, hostname: str) -> Iterator[str]:
    """
    Give the lines of the fields of ``report``, a group for the message and one for each recipient.

    The work for a recipient is done when its lines are asked for.
    """
    envelope_id = ascii_only(from_xtext(report.envelope_id))
    yield from (
        *([f"Original-Envelope-Id: {envelope_id}"] if envelope_id else ()),
        f"Reporting-MTA: dns; {hostname}",
        f"X-Smtprelay-Queue-Id: {clean(report.message)}",
        f"Arrival-Date: {date(report.received)}",
        "",
    )
    for reported in report.recipients:
        yield from (*_recipient(report, reported), "")


def _recipient(report: Report, reported: ReportedRecipient) -> list[str]:
    fields = [
        *_original(reported.recipient.orcpt),
        f"Final-Recipient: {typed(reported.recipient.address)}",
        f"Action: {reported.action}",
        f"Status: {reported.status}",
    ]
    reply = _REPLY.search(reported.why) if report.remote else None
    if reply:
        fields.append(f"Remote-MTA: dns; {ascii_only(report.remote)}")
    # Of a success there is nothing to diagnose (RFC 3464 §2.3.6).
    if reported.action != RELAYED and reported.why:
        words = f"smtp; {reply[1]}" if reply else f"X-Smtprelay; {reported.why}"
        fields += wrapped(f"Diagnostic-Code: {ascii_only(reason(words))[:_LONGEST]}", "", "    ")
    if report.attempted is not None:
        fields.append(f"Last-Attempt-Date: {date(report.attempted)}")
    if report.until is not None and reported.action == DELAYED:
        fields.append(f"Will-Retry-Until: {date(report.until)}")
    return fields


def _original(orcpt: str) -> list[str]:
    kind, _, address = orcpt.partition(";")
    decoded = ascii_only(from_xtext(address))
    return [f"Original-Recipient: {ascii_only(kind)}; {decoded}"] if decoded else []
