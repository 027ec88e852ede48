"""
The part of a report that a program reads: ``message/delivery-status`` (RFC 3464 §2). Pure.
"""

import re
from collections.abc import Iterator
from typing import Final

from smtprelay.dispatch.dsn.fields import ascii_only, clean, date, from_xtext, reason, typed, wrapped
from smtprelay.dispatch.dsn.report import DELAYED, RELAYED, Notice, Report

#: Characters of a diagnostic text: a single word must fit a line.
_LONGEST: Final = 900

#: The reply in what a provider that speaks SMTP said.
_REPLY: Final = re.compile(r"(?:^|: )([245]\d\d .*)", re.ASCII | re.DOTALL)


def status(notice: Notice, hostname: str) -> Iterator[str]:
    """
    Give the lines of the fields of ``notice``, a group for the message and one for each recipient.

    The work for a recipient is done when its lines are asked for.
    """
    envelope_id = ascii_only(from_xtext(notice.envelope_id))
    yield from (
        *([f"Original-Envelope-Id: {envelope_id}"] if envelope_id else ()),
        f"Reporting-MTA: dns; {hostname}",
        f"X-Smtprelay-Queue-Id: {clean(notice.message)}",
        f"Arrival-Date: {date(notice.received)}",
        "",
    )
    for report in notice.reports:
        yield from (*_recipient(notice, report), "")


def _recipient(notice: Notice, report: Report) -> list[str]:
    fields = [
        *_original(report.recipient.orcpt),
        f"Final-Recipient: {typed(report.recipient.address)}",
        f"Action: {report.action}",
        f"Status: {report.status}",
    ]
    reply = _REPLY.search(report.why) if notice.remote else None
    if reply:
        fields.append(f"Remote-MTA: dns; {ascii_only(notice.remote)}")
    # Of a success there is nothing to diagnose (RFC 3464 §2.3.6).
    if report.action != RELAYED and report.why:
        words = f"smtp; {reply[1]}" if reply else f"X-Smtprelay; {report.why}"
        fields += wrapped(f"Diagnostic-Code: {ascii_only(reason(words))[:_LONGEST]}", "", "    ")
    if notice.attempted is not None:
        fields.append(f"Last-Attempt-Date: {date(notice.attempted)}")
    if notice.until is not None and report.action == DELAYED:
        fields.append(f"Will-Retry-Until: {date(notice.until)}")
    return fields


def _original(orcpt: str) -> list[str]:
    kind, _, address = orcpt.partition(";")
    decoded = ascii_only(from_xtext(address))
    return [f"Original-Recipient: {ascii_only(kind)}; {decoded}"] if decoded else []
