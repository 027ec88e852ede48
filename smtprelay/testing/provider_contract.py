"""
What every provider promises, to be run against a fake of what is behind it.

A test module makes a :class:`FakedProvider` and joins it with the contracts that its provider can be brought
to break: a folder has no password to be wrong::

    class AcsDelivers(DeliveryContract, SynchronousTestCase):
        def faked(self): return FakedAcs()
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from smtprelay.interfaces import Attempt, Provider
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Results, Throttled, Uncertain

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as _TestCase
else:
    # A contract alone is no test.
    _TestCase = object

T = TypeVar("T")

MAIL = (
    b"From: Ann <ann@mail.example.com>\r\n"
    b"To: Stranger <stranger@example.org>, bob@example.net\r\n"
    b"Cc: another@example.org\r\n"
    b"Bcc: blind@example.org\r\n"
    b"Subject: Hi\r\n"
    b"\r\n"
    b"hello\r\n"
    b".\r\n"
)


class BodyInPieces:
    """A body in memory, as the spool gives it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content in two pieces."""
        yield self.content[:100]
        yield self.content[100:]

    async def whole(self) -> bytes:
        """Return the content."""
        return self.content


class FakedProvider(ABC):
    """
    A provider, and the fake behind it.

    :ivar words: what the fake says with its permanent refusal.
    """

    provider: Provider
    words: str = ""

    @abstractmethod
    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Carry a coroutine of the provider to its end, let time pass for it, and return its result."""

    @abstractmethod
    def play(self, scene: str) -> None:
        """
        Prepare the next attempt.

        ``transient`` and ``permanent`` refuse the mail; ``credentials`` refuses us, for
        good; ``lost`` takes the mail and cuts the connection instead of answering. ``throttled`` says that we
        ask for too much; so does ``retry-after``, and asks to wait for 7 seconds.
        """

    @abstractmethod
    def recipients(self) -> Sequence[str]:
        """Return whom the fake sent mail to, one entry for each copy."""

    @abstractmethod
    def leftovers(self) -> Sequence[object]:
        """Return the delayed calls and connections that are there."""


def delivery(*addresses: str, sender: str = "ann@mail.example.com") -> Delivery:
    """Make a delivery, always of the same operation."""
    envelope = Envelope(sender=sender, recipients=tuple(Recipient(address=address) for address in addresses))
    return Delivery(
        message="m1",
        n=1,
        generation=0,
        route="default",
        provider="p",
        lane="",
        envelope=envelope,
        size=len(MAIL),
        received=1_800_000_000.0,
    )


BOB, CY = "bob@example.net", "cy@example.net"


class Contract(_TestCase):
    """The tools of all contracts; mixed into a ``SynchronousTestCase``."""

    def faked(self) -> FakedProvider:
        """Make a new provider."""
        raise AssertionError("it is made by the test module")

    def setUp(self) -> None:
        """Begin with a new provider."""
        self.at = self.faked()

    def deliver(self, item: Delivery, body: bytes = MAIL) -> Results:
        """Deliver once, and check that exactly the envelope's recipients have an outcome."""
        results: Results = self.at.run(self.at.provider.deliver(Attempt(item, BodyInPieces(body))))
        self.assertEqual(set(results), set(item.envelope.addresses))
        return results

    def lane(self) -> str:
        """Return the lane of a mail to Bob, which nobody logged in for."""
        envelope = delivery(BOB).envelope
        return self.at.provider.lane(envelope, envelope.sender, "")

    def assert_all(self, results: Results, kind: type[T]) -> list[T]:
        """Check that everybody's outcome is of one kind, and return the outcomes."""
        self.assertEqual({type(outcome) for outcome in results.values()}, {kind}, results)
        return [outcome for outcome in results.values() if isinstance(outcome, kind)]


class DeliveryContract(Contract):
    """Every provider."""

    def test_delivered_once(self) -> None:
        """A success is ``Delivered`` for each recipient, and one copy for each."""
        self.assert_all(self.deliver(delivery(BOB, CY)), Delivered)
        self.assertEqual(Counter(self.at.recipients()), {BOB: 1, CY: 1})

    def test_the_envelope_decides(self) -> None:
        """Whom the headers name and the envelope does not gets nothing."""
        self.assert_all(self.deliver(delivery(CY)), Delivered)
        self.assertEqual(list(self.at.recipients()), [CY])

    def test_strange_mail(self) -> None:
        """Nothing that a mail contains makes a provider raise, or loses a recipient."""
        for body in (
            b"",
            b"\r\n",
            b"no header at all",
            b"\0\xff\r\n\r\n\r\r\n",
            b": x\r\nTo: \xc3\x28\r\n\r\nx",
        ):
            self.deliver(delivery(BOB), body)
            self.at = self.faked()

    def test_strange_addresses(self) -> None:
        """An address that could smuggle something harms nobody but itself."""
        for bad in ("x@y\r\nRCPT TO:<evil@example.org>", "x> <evil@example.org", "ü@ü", "\0", "@"):
            self.at = self.faked()
            self.deliver(delivery(bad, BOB))
            self.assertNotIn("evil@example.org", self.at.recipients())
            self.deliver(delivery(BOB, sender=bad))
            self.assertNotIn("evil@example.org", self.at.recipients())

    def test_lane(self) -> None:
        """Its lane is text, and the same for the same mail."""
        lanes = {self.lane() for _ in range(2)}
        self.assertEqual([type(lane) for lane in lanes], [str])

    def test_probe(self) -> None:
        """A probe sends no mail, and says that a provider works that does, or that it cannot tell."""
        self.assertIsInstance(self.at.run(self.at.provider.probe("")), Delivered | None)
        self.assertEqual(list(self.at.recipients()), [])

    def test_close(self) -> None:
        """After close there is no connection and no delayed call left."""
        self.deliver(delivery(BOB))
        self.at.run(self.at.provider.close())
        self.assertEqual(list(self.at.leftovers()), [])


class IdempotentContract(Contract):
    """Providers that say they are idempotent."""

    def test_repeated(self) -> None:
        """The same operation delivered twice is one mail."""
        self.assertTrue(self.at.provider.idempotent)
        self.assert_all(self.deliver(delivery(BOB)), Delivered)
        self.assert_all(self.deliver(delivery(BOB)), Delivered)
        self.assertEqual(list(self.at.recipients()), [BOB])


class ResolveContract(Contract):
    """Providers that can be asked what became of a delivery."""

    def test_resolved(self) -> None:
        """``resolve`` finds what was delivered, and ``None`` for what never was; it sends nothing."""
        self.assertIsNone(self.at.run(self.at.provider.resolve(delivery(BOB))))
        self.deliver(delivery(BOB))
        self.assert_all(self.at.run(self.at.provider.resolve(delivery(BOB))), Delivered)
        self.assertEqual(list(self.at.recipients()), [BOB])


class DeferredContract(Contract):
    """Providers that can fail for a while."""

    def test_deferred(self) -> None:
        """A transient refusal is ``Deferred`` with a reason, and the next attempt succeeds."""
        self.at.play("transient")
        results = self.deliver(delivery(BOB))
        self.assert_all(results, Deferred)
        self.assertTrue(results[BOB].why)
        self.assertEqual(list(self.at.recipients()), [])
        self.assert_all(self.deliver(delivery(BOB)), Delivered)
        self.assertEqual(list(self.at.recipients()), [BOB])


class ThrottledContract(Contract):
    """Providers that say when they are asked for too much."""

    def test_throttled(self) -> None:
        """It is ``Throttled``, in the mail's lane or as a whole, with no time; the next attempt succeeds."""
        self.at.play("throttled")
        [outcome] = self.assert_all(self.deliver(delivery(BOB)), Throttled)
        self.assertTrue(outcome.why)
        self.assertIsNone(outcome.retry_after)
        self.assertIn(outcome.lane, {"", self.lane()})
        self.assert_all(self.deliver(delivery(BOB)), Delivered)
        self.assertEqual(list(self.at.recipients()), [BOB])


class RetryAfterContract(Contract):
    """Those of them that say for how long."""

    def test_retry_after(self) -> None:
        """``Throttled`` has the seconds of ``Retry-After``."""
        self.at.play("retry-after")
        [outcome] = self.assert_all(self.deliver(delivery(BOB)), Throttled)
        self.assertEqual(outcome.retry_after, 7.0)


class FailedContract(Contract):
    """Providers that can refuse a mail."""

    def test_failed(self) -> None:
        """A permanent refusal is ``Failed``, in the provider's words and with a permanent code."""
        self.at.play("permanent")
        results = self.deliver(delivery(BOB))
        [outcome] = self.assert_all(results, Failed)
        self.assertIn(self.at.words, outcome.why)
        self.assertRegex(outcome.code, r"\A5\.\d{1,3}\.\d{1,3}\Z")


class CredentialsContract(Contract):
    """Providers that know who we are."""

    def test_blocked(self) -> None:
        """Refused credentials are ``Blocked``, never the mail's fault; a probe says the same."""
        self.at.play("credentials")
        [outcome] = self.assert_all(self.deliver(delivery(BOB)), Blocked)
        self.assertIn(outcome.lane, {"", self.lane()})
        self.assertIsInstance(self.at.run(self.at.provider.probe("")), Blocked)
        self.assertEqual(list(self.at.recipients()), [])


class LostAnswerContract(Contract):
    """Providers behind a network."""

    def test_uncertain(self) -> None:
        """
        An answer that is lost after the body was sent is ``Uncertain``.

        An idempotent provider then finds out, or sends the same operation again: it is one mail.
        """
        self.at.play("lost")
        self.assert_all(self.deliver(delivery(BOB)), Uncertain)
        found = self.at.run(self.at.provider.resolve(delivery(BOB)))
        if self.at.provider.idempotent:
            self.assert_all(found or self.deliver(delivery(BOB)), Delivered)
        self.assertEqual(list(self.at.recipients()), [BOB])

    def test_close_after_a_loss(self) -> None:
        """A lost connection leaves nothing behind."""
        self.at.play("lost")
        self.deliver(delivery(BOB))
        self.at.run(self.at.provider.close())
        self.assertEqual(list(self.at.leftovers()), [])
