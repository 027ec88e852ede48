"""
Creates the DSN for a mail's sender from the outcomes of its recipients.

It reads the stored body and gets a route for the new mail; :mod:`smtprelay.dispatch.dsn.render` is pure.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import define, evolve
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from smtprelay.dispatch.dsn.original_part import NOTHING, Original, header_of, whole_message
from smtprelay.dispatch.dsn.render import BounceSettings, render
from smtprelay.dispatch.dsn.report import DELAYED, FAILED, RELAYED, Report, ReportedRecipient, is_wanted
from smtprelay.dispatch.dsn.status_part import status_lines
from smtprelay.dispatch.dsn.text_part import text_lines
from smtprelay.interfaces import Body
from smtprelay.mime.author import domain_hint
from smtprelay.mime.head import Head, head_of
from smtprelay.model.attempt import Claim, NewMessage
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.outcome import EXPIRED, Delivered, Failed, Outcome, Results
from smtprelay.model.queue import Overdue

#: Creates the report's message from its envelope, its body, and the id of the mail that it reports on.
Post = Callable[[Envelope, bytes, str], NewMessage]

#: The kind of a report in the log and the metrics.
_KINDS: Final = {FAILED: "failure", DELAYED: "delay", RELAYED: "success"}

#: Maximum number of lines per iteration of the reactor; a mail may fail for a thousand recipients at once.
_LINES: Final = 200

_TRANSIENT: Final = re.compile(r"(?<![\d.])4\.\d{1,3}\.\d{1,3}(?![\d.])", re.ASCII)


@define(eq=False)
class DsnReporter:
    """
    Creates the reports (DSN) that a sender asked for.

    :param clock: for iterations of the reactor between the parts of a long report; ``None`` if the report may
        block.
    """

    _settings: BounceSettings
    _post: Post
    _clock: IReactorTime | None = None

    async def bounce(self, claim: Claim, reported: Results, body: Body, now: float) -> NewMessage | None:
        """
        Return the DSN about the outcomes in ``reported``, or ``None`` if no notification is wanted.

        Every recipient that is not ``Delivered`` in it has failed permanently. One mail reports failures and
        successes. If the original cannot be read, the DSN is sent without it. It raises what routing the new
        mail raises.
        """
        delivery = claim.delivery
        outcomes = ((each, reported.get(each.address)) for each in delivery.envelope.recipients)
        ends = [_ended(recipient, outcome) for recipient, outcome in outcomes if outcome is not None]
        report = self._report(delivery, ends, f"{delivery.id}.{claim.attempt}", now)
        if report is None or await _is_answer(report, body):
            return None
        return await self._write(delivery, evolve(report, attempted=now), body)

    async def delay(
        self, overdue: Overdue, body: Body, now: float, *, until: float | None
    ) -> NewMessage | None:
        """
        Return the DSN about a delayed mail, or ``None`` if no notification is wanted.

        :param until: when the mail expires, seconds since the epoch, if that is known.
        """
        delivery = overdue.delivery
        held = overdue.state == "held"
        # The reason for holding it is for the operator only.
        why = "held for the postmaster" if held else overdue.reason
        code = _TRANSIENT.search(why)
        ends = [
            ReportedRecipient(recipient=each, action=DELAYED, why=why, code=code[0] if code else "")
            for each in delivery.envelope.recipients
        ]
        report = self._report(delivery, ends, f"{delivery.id}.delay", now)
        if report is None or await _is_answer(report, body):
            return None
        waits = "it waits for a decision of the postmaster" if held else ""
        report = evolve(report, attempted=overdue.attempted, until=None if held else until, waits=waits)
        return await self._write(delivery, report, body)

    def _report(
        self, delivery: Delivery, ends: Sequence[ReportedRecipient | None], reference: str, now: float
    ) -> Report | None:
        recipients = [each for each in ends if each and is_wanted(delivery, each.recipient, each.action)]
        if not recipients:
            return None
        settings = self._settings
        return Report(
            message=delivery.message,
            reference=reference,
            to=delivery.envelope.sender if settings.to == "sender" else settings.to,
            provider=delivery.provider,
            remote=settings.remotes.get(delivery.provider, ""),
            received=delivery.received,
            written=now,
            recipients=recipients,
            envelope_id=delivery.envelope.parameters.get("ENVID", ""),
        )

    async def _write(self, delivery: Delivery, report: Report, body: Body) -> NewMessage:
        failed, settings = FAILED in report.actions, self._settings
        # RFC 3461 §4.3: RET is for failures only.
        full = failed and delivery.envelope.parameters.get("RET", "") == "FULL"
        report = evolve(report, original=await self._original(delivery, body, full=full))
        text = await self._written(text_lines(report, settings.hostname))
        fields = await self._written(status_lines(report, settings.hostname))
        copies = (settings.copy, await self._domain_copy(delivery, body)) if failed else ()
        envelope = self._envelope(report.to, *copies)
        new = self._post(envelope, render(report, settings, text, fields), delivery.message)
        return evolve(new, kind=_KINDS[report.actions[0]])

    async def _written(self, lines: Iterator[str]) -> list[str]:
        written: list[str] = []
        for line in lines:
            written.append(line)
            if len(written) % _LINES == 0 and self._clock is not None:
                await deferLater(self._clock, 0)
        return written

    def _envelope(self, *people: str) -> Envelope:
        """Return an envelope with the null sender, so that no bounce causes another (RFC 5321 §4.5.5)."""
        addresses = dict.fromkeys(address for address in people if address)
        international = not all(address.isascii() for address in addresses)
        return Envelope(
            sender="",
            recipients=tuple(Recipient(address=address) for address in addresses),
            parameters={"SMTPUTF8": ""} if international else {},
        )

    async def _domain_copy(self, delivery: Delivery, body: Body) -> str:
        """Return who is told of failed mail of a domain, ``""`` for nobody."""
        copies = self._settings.copies.get(delivery.provider)
        return copies.get(domain_hint(delivery, await _head(body)), "") if copies else ""

    async def _original(self, delivery: Delivery, body: Body, *, full: bool) -> Original:
        try:
            if full and delivery.size <= self._settings.largest:
                return whole_message(await body.whole())
            instead = f"with {delivery.size} bytes it is too large for that" if full else ""
            return header_of(await anext(body.chunks(), b""), instead=instead)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 -- the outcome must be reported even if the spool fails
            return NOTHING


async def _is_answer(report: Report, body: Body) -> bool:
    """
    Tell whether a mail is marked as an automatic reply (RFC 3834 §5) and requests no reports.

    A relay whose provider cannot send from ``<>`` marks its reports so: else two relays would loop.
    """
    if any(reported.recipient.notify for reported in report.recipients):
        return False
    head = await _head(body)
    return head.first("Auto-Submitted").partition(";")[0].strip().lower() == "auto-replied"


async def _head(body: Body) -> Head:
    """Return the header of a mail; an empty one if it cannot be read."""
    try:
        return head_of(await anext(body.chunks(), b""))
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 -- the outcome must be reported even if the spool fails
        return head_of(b"")


def _ended(recipient: Recipient, outcome: Outcome) -> ReportedRecipient | None:
    """Return the report on a recipient; ``None`` if the next server reports on it."""
    if isinstance(outcome, Delivered):
        if outcome.reports:
            return None
        why = outcome.why or (f"taken as {outcome.id}" if outcome.id else "")
        return ReportedRecipient(recipient=recipient, action=RELAYED, why=why, code="2.0.0")
    code = outcome.code if isinstance(outcome, Failed) else EXPIRED
    return ReportedRecipient(recipient=recipient, action=FAILED, why=outcome.why, code=code)
