"""
Who writes to the sender: from a verdict to the bounce that is accepted with it.

Here is what :mod:`smtprelay.dispatch.bounce` must not do itself: reading the stored body, and asking for
the route of the new mail.
"""

from collections.abc import Callable

from twisted.internet.defer import CancelledError

from smtprelay.dispatch.bounce import (
    BounceSettings,
    Notice,
    Undelivered,
    header_block,
    is_wanted,
    render,
)
from smtprelay.interfaces import Body
from smtprelay.message import Claim, Envelope, Failed, Recipient, Results
from smtprelay.queue import NewMessage

#: Makes a new message of ours: the envelope, the body, and the id of the mail that it reports on.
Post = Callable[[Envelope, bytes, str], NewMessage]

#: Delivery time expired (RFC 3463 §3.5).
EXPIRED = "4.4.7"


class Postmaster:
    """Makes bounces, for the recipients who failed and whose sender wants to know."""

    def __init__(self, settings: BounceSettings, post: Post) -> None:
        self._settings = settings
        self._post = post

    async def bounce(self, claim: Claim, report: Results, body: Body, now: float) -> NewMessage | None:
        """
        Return the bounce that tells of ``report``, or ``None`` if nobody is to be told.

        Without the original's header, if that cannot be read: the sender must hear of it all the same.
        It raises what routing the new mail raises.
        """
        delivery = claim.delivery
        undelivered = [
            _undelivered(recipient, report)
            for recipient in delivery.envelope.recipients
            if recipient.address in report and is_wanted(delivery, recipient)
        ]
        if not undelivered:
            return None
        to = delivery.envelope.sender if self._settings.to == "sender" else self._settings.to
        notice = Notice(
            message=delivery.message,
            reference=f"{delivery.id}.{claim.attempt}",
            to=to,
            provider=delivery.provider,
            received=delivery.received,
            written=now,
            undelivered=undelivered,
            envelope_id=delivery.envelope.parameters.get("ENVID", ""),
            headers=await _headers(body),
        )
        return self._post(self._envelope(to), render(notice, self._settings), delivery.message)

    def _envelope(self, to: str) -> Envelope:
        """The null sender, so that no bounce is ever answered with another (RFC 5321 §4.5.5)."""
        addresses = dict.fromkeys(address for address in (to, self._settings.copy) if address)
        international = not all(address.isascii() for address in addresses)
        return Envelope(
            sender="",
            recipients=tuple(Recipient(address=address) for address in addresses),
            parameters={"SMTPUTF8": ""} if international else {},
        )


async def _headers(body: Body) -> bytes:
    try:
        return header_block(await anext(body.chunks(), b""))
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 -- whatever is wrong with the spool, the outcome is known
        return b""


def _undelivered(recipient: Recipient, report: Results) -> Undelivered:
    outcome = report[recipient.address]
    code = outcome.code if isinstance(outcome, Failed) else EXPIRED
    return Undelivered(recipient=recipient, why=outcome.why, code=code)
