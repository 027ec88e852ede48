"""
The event that tells a program of mail that failed or expired (``on_failed`` or ``on_expired``: ``webhook``).

It is a message of our own in the spool, accepted in the transaction that closes the recipients it tells of,
for the built-in provider ``webhook``: so it survives what mail survives, and is tried again as mail is. It
names who and why, and never holds the mail's content.
"""

import json
from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.defer import CancelledError

from smtprelay.interfaces import Body
from smtprelay.mime.head import head_of, subject_of
from smtprelay.model.attempt import Claim, NewMessage
from smtprelay.model.outcome import EXPIRED, Failed, Results
from smtprelay.model.privacy import NO_MASK, PrivacyMask

#: Makes a new message of ours: the route whose webhook it is for, the event, the id of the mail it is about.
PostEvent = Callable[[str, bytes, str], NewMessage]


@frozen(kw_only=True)
class WebhookNotifier:
    """Makes events; ``mask`` hides what they may not tell of the mail."""

    post: PostEvent
    mask: PrivacyMask = NO_MASK

    async def notify(
        self, claim: Claim, ended: Mapping[str, Results], body: Body, now: float
    ) -> NewMessage | None:
        """Return what tells of ``ended``, the recipients by how they ended; ``None`` if they are none."""
        if not any(ended.values()):
            return None
        subject = await _subject(body) if self.mask.subjects else None
        event = render(claim, ended, subject, now, self.mask)
        return self.post(claim.delivery.route, event, claim.delivery.message)


def render(
    claim: Claim, ended: Mapping[str, Results], subject: str | None, now: float, mask: PrivacyMask = NO_MASK
) -> bytes:
    """Return the event as JSON, in ASCII; ``subject`` is left out if it is ``None``."""
    delivery, envelope = claim.delivery, claim.delivery.envelope
    event = {
        "type": "delivery.ended",
        "time": now,
        "message": delivery.message,
        "delivery": delivery.id,
        "attempt": claim.attempt,
        "route": delivery.route,
        "provider": delivery.provider,
        "received": delivery.received,
        "size": delivery.size,
        "sender": envelope.sender,
        "envelope_id": envelope.parameters.get("ENVID", ""),
        "recipients": [
            {
                "address": address,
                "result": result,
                "reason": outcome.why,
                "code": outcome.code if isinstance(outcome, Failed) else EXPIRED,
            }
            for result, outcomes in ended.items()
            for address, outcome in outcomes.items()
        ],
    }
    if subject is not None:
        event["subject"] = subject
    return json.dumps(mask.value(event)).encode("ascii")


async def _subject(body: Body) -> str:
    """Return the mail's subject; ``""`` if it cannot be read."""
    try:
        return subject_of(head_of(await anext(body.chunks(), b"")))
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 -- the outcome is known, and must be recorded
        return ""
