"""What a story about a spool needs: somewhere to play, mail to send, and an end for it."""

from collections.abc import Awaitable, Callable

from twisted.internet import defer
from twisted.internet.task import Clock

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient, Reply
from smtprelay.model.message_id import new_id
from smtprelay.model.outcome import Delivered
from smtprelay.model.route import RateLimit

BODY = b"Subject: Scan\r\nMessage-ID: <1@printer>\r\n\r\nhello\r\n"
RATE_LIMITS = {"main": RateLimit(concurrency=2), "other": RateLimit(concurrency=5, per_lane=1)}


class SpoolStories:
    """What a story about a spool needs: somewhere to play, and mail to send."""

    clock: Clock

    def play(
        self,
        story: Callable[[Spool], Awaitable[None]],
        rate_limits: dict[str, RateLimit] = RATE_LIMITS,
        **opening: object,
    ) -> "defer.Deferred[None] | None":
        """
        Open a spool with ``rate_limits`` and what else is said (floors, budget), tell it ``story``, close it.
        """
        raise AssertionError("each engine says how a spool is opened")

    def draft(self, *recipients: str, sender: str = "scan@example.com", number: int = 1) -> Draft:
        """Return a draft whose id is made of ``number``."""
        return Draft(
            id=new_id(1000.0 + number, lambda _bits: number),
            envelope=Envelope(
                sender=sender, recipients=tuple(Recipient(address=each) for each in recipients)
            ),
            client=Client(address="192.0.2.1", listener="lan"),
            received=self.clock.seconds(),
        )

    def planned(self, draft: Draft, provider: str = "main", lane: str = "") -> Planned:
        """Return the one delivery that ``draft`` becomes."""
        return Planned(route="r", provider=provider, lane=lane, recipients=draft.envelope.recipients)

    async def send(
        self,
        spool: Spool,
        *recipients: str,
        sender: str = "scan@example.com",
        number: int = 1,
        provider: str = "main",
        lane: str = "",
        body: bytes = BODY,
    ) -> Reply:
        """Send one message on one route."""
        recipients = recipients or ("anna@example.com",)
        draft = self.draft(*recipients, sender=sender, number=number)
        planned = self.planned(draft, provider, lane)
        incoming = spool.incoming(draft, lambda *_: [planned])
        for start in range(0, len(body), 100_000):
            waiting = incoming.write(body[start : start + 100_000])
            if waiting is not None:
                await waiting
        return await incoming.finish()


def done(claim: Claim) -> Settlement:
    """Return the settlement of an attempt that delivered to everybody."""
    addresses = claim.delivery.envelope.addresses
    return Settlement(
        state="delivered",
        outcomes={each: Delivered("op-1") for each in addresses},
        closed=dict.fromkeys(addresses, "delivered"),
    )
