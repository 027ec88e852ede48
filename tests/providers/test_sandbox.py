"""A sandbox between a delivery and its provider."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Delivered, Failed, Outcome, Results, Throttled, Uncertain
from smtprelay.model.outcome import Deferred as DeferredOutcome
from smtprelay.model.patterns import Patterns
from smtprelay.model.route import NextHop
from smtprelay.providers.sandbox import SandboxProvider
from smtprelay.testing.provider import ScriptedProvider
from tests.providers.smarthost_wiring import delivery

MAIL = b"Subject: x\r\n\r\nhi\r\n"


class SandboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.outer, self.local = (
            ScriptedProvider("outer", idempotent=True),
            ScriptedProvider("local", takes=True),
        )
        self.provider = SandboxProvider(self.outer, self.local, Patterns(("*@ok.test",)))
        self.released = 0

    def deliver(self, *recipients: str) -> Results:
        """Deliver a mail and return the outcomes."""
        attempt = Attempt(delivery(*recipients), MemoryBody(MAIL), self.release)
        return self.successResultOf(Deferred.fromCoroutine(self.provider.deliver(attempt)))

    def resolve(self, *recipients: str) -> Results | None:
        """Ask what became of it."""
        return self.successResultOf(Deferred.fromCoroutine(self.provider.resolve(delivery(*recipients))))

    def release(self) -> None:
        """Count that the slot was released."""
        self.released += 1

    def test_divided(self) -> None:
        """Each recipient's mail goes one way; the history tells what stayed. The slot is the provider's."""
        results = self.deliver("a@ok.test", "b@x.org", "c@ok.test.org")
        self.assertEqual(
            results,
            {
                "b@x.org": Delivered("scripted", "in the sandbox, by local", by="local"),
                "c@ok.test.org": Delivered("scripted", "in the sandbox, by local", by="local"),
                "a@ok.test": Delivered("scripted"),
            },
        )
        self.assertEqual(self.outer.sent[0][0].envelope.addresses, ("a@ok.test",))
        self.assertEqual(self.local.sent[0][0].envelope.addresses, ("b@x.org", "c@ok.test.org"))
        self.assertEqual(self.released, 0)

    def test_seam(self) -> None:
        """What the provider takes, and what it can be asked online, is known through it."""

        async def ask() -> Iterable[OnlineFinding]:
            return ()

        class Asked(ScriptedProvider):
            next_hop = NextHop(raw_fields=False)

            def online_checks(self, senders: Senders) -> OnlineChecks:
                return {senders.authors[0]: ask}

        provider = SandboxProvider(Asked("asked"), self.local, Patterns(()))
        self.assertEqual(provider.next_hop, Asked.next_hop)
        self.assertEqual(provider.online_checks(Senders(authors=("ann@x.org",))), {"ann@x.org": ask})

    def test_one_way(self) -> None:
        """A provider without anything to deliver is not asked."""
        self.deliver("a@ok.test")
        self.assertEqual(self.local.calls, [])
        self.deliver("b@x.org")
        self.assertEqual(len(self.outer.calls), 1)

    def test_trouble(self) -> None:
        """Trouble of the sandbox stops no lane of the provider that it stands before."""
        wanted: tuple[tuple[Outcome, Outcome], ...] = (
            (Blocked("no folder"), DeferredOutcome("in the sandbox, by local: no folder")),
            (Throttled("slow", 9.0), DeferredOutcome("in the sandbox, by local: slow")),
            (Failed("no"), Failed("no")),
            (Uncertain("?"), Uncertain("?")),
        )
        for outcome, seen in wanted:
            self.local.answers.append(outcome)
            self.assertEqual(self.deliver("b@x.org"), {"b@x.org": seen})

    def test_resolved(self) -> None:
        """Both are asked for what is their own; if one cannot tell, it is not known."""
        self.outer.resolutions.extend([Delivered("1"), Delivered("1")])
        self.local.resolutions.extend([Delivered("2"), None])
        both = ("a@ok.test", "b@x.org")
        self.assertEqual(
            self.resolve(*both),
            {"b@x.org": Delivered("2", "in the sandbox, by local", by="local"), "a@ok.test": Delivered("1")},
        )
        self.assertIsNone(self.resolve(*both))
        self.assertFalse(self.provider.idempotent)
