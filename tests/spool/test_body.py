"""A claim never fails over a body, for it is taken already."""

from collections.abc import Mapping

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.attempt import Claim, ClaimBatch
from smtprelay.model.message import Delivery, Envelope
from smtprelay.spool.body import with_bodies


def claim(message: str, size: int) -> Claim:
    delivery = Delivery(
        message=message,
        n=1,
        generation=1,
        route="r",
        provider="p",
        lane="",
        envelope=Envelope(sender=""),
        size=size,
        received=0.0,
    )
    return Claim(delivery=delivery, node="local", attempt=1)


class WithBodiesTests(SynchronousTestCase):
    def bodies(self, answer: "Deferred[Mapping[str, bytes]]", *claims: Claim) -> list[bytes | None]:
        work = ClaimBatch(claims=claims, waiting=True)
        given = self.successResultOf(Deferred.fromCoroutine(with_bodies(lambda _: answer, work)))
        self.assertEqual(evolve(work, claims=[]), evolve(given, claims=[]))
        return [each.body for each in given.claims]

    def test_what_is_whole_goes_along(self) -> None:
        """A body that is gone, or is not as long as it was, is left to whoever reads it."""
        answer = succeed({"M1": b"abc", "M2": b"ab"})
        self.assertEqual(
            self.bodies(answer, claim("M1", 3), claim("M2", 3), claim("M3", 3)), [b"abc", None, None]
        )

    def test_a_reader_that_fails_costs_no_claim(self) -> None:
        """They are attempted, and find out for themselves."""
        self.assertEqual(self.bodies(fail(OSError("I/O error")), claim("M1", 3)), [None])

    def test_nothing_is_asked_for_nothing(self) -> None:
        """Neither without claims nor for long bodies."""
        never: Deferred[Mapping[str, bytes]] = Deferred()
        self.assertEqual(self.bodies(never, claim("M1", 300_000)), [None])
        self.assertEqual(self.bodies(never), [])
