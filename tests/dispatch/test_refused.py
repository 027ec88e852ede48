"""One refused recipient costs nobody else his mail: from the spool, and while a client waits."""

from collections import Counter as Count
from typing import Any

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.decision import Decision, DecisionInput, settle
from smtprelay.dispatch.failover import NextProvider
from smtprelay.model.attempt import Claim
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.model.queue import Selection
from smtprelay.model.route import Limits, Route
from smtprelay.model.shape import Shape
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.refusing import RefusingProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage, done, make_claim
from tests.dispatch.synchronous.test_incoming import Counter, CounterTestCase
from tests.listed import listed

A, B, C, D = "a@x.org", "b@x.org", "c@x.org", "d@x.org"
ROUTE = Route(name="default", via=("one", "two"))
TWO, ROUND = NextProvider(provider="two", lane="box"), NextProvider(provider="two", lane="box", wraps=True)
AGAIN = Deferred("400 for others", closed=True, again=True)
WHOLE = Failed("400 invalid", "5.6.0", whole=True)
LARGE = Failed("413 too large", "5.3.4")

#: What a provider may name of those at whom it takes offence.
NAMING = {
    "nobody": lambda _: (),
    "the first": lambda bad: bad[:1],
    "all": lambda bad: bad,
    "only in small requests": lambda bad: bad if len(bad) < 3 else (),
}


def judge(
    results: dict[str, Any],
    claim: Claim | None = None,
    place: NextProvider | None = None,
    roomier: NextProvider | None = None,
    **route: Any,
) -> Decision:
    case = DecisionInput(
        claim=claim or make_claim(*results, tries=1),
        route=evolve(ROUTE, **route),
        now=MORNING,
        chance=0.5,
        elsewhere=lambda: place,
        roomier=lambda: roomier,
    )
    return settle(case, results)


class SettlementTests(SynchronousTestCase):
    def test_again(self) -> None:
        """Who was spared goes again at once, in the same lane; it is no try; the one at fault is closed."""
        decision = judge({A: AGAIN, B: Failed("400 b", "5.1.3"), C: AGAIN}, place=TWO, failover_after=1)
        settlement = decision.settlement
        self.assertEqual((settlement.state, settlement.due, settlement.provider), ("queued", MORNING, ""))
        self.assertEqual((settlement.tries, settlement.counts, settlement.split), (1, False, ()))
        self.assertEqual(settlement.closed, {B: "failed"})
        self.assertEqual(list(decision.reported), [B])

    def test_again_though_it_is_old(self) -> None:
        """Nobody has refused it: it does not expire of that."""
        for changes in ({"age": 10 * 86400.0}, {"deferrals": 9}):
            claim = make_claim(A, B, tries=1, **changes)
            retry = evolve(ROUTE.retry, attempts=3)
            decision = judge({A: AGAIN, B: Failed("400 b")}, claim, retry=retry)
            self.assertEqual(decision.settlement.state, "queued")

    def test_again_without_those_who_are_held(self) -> None:
        """Where the route holds what failed, those at fault leave: the next request is without them."""
        for results in ({A: AGAIN, B: Failed("400 b", "5.1.3"), C: AGAIN}, {A: AGAIN, B: Failed("400 b")}):
            settlement = judge(results, on_failed="hold").settlement
            self.assertEqual((settlement.state, settlement.split), ("queued", (B,)))
            self.assertEqual(dict(settlement.closed), {})

    def test_halved(self) -> None:
        """A refusal of the whole splits the delivery in two, at once and without a try; nobody has failed."""
        for addresses, half in (((A, B), (B,)), ((A, B, C), (B, C)), ((A, B, C, D), (C, D))):
            for policy in ("bounce", "hold", "discard", "webhook"):
                decision = judge(dict.fromkeys(addresses, WHOLE), on_failed=policy)
                settlement = decision.settlement
                self.assertEqual(
                    (settlement.state, settlement.due, settlement.split), ("queued", MORNING, half)
                )
                self.assertEqual(
                    (settlement.tries, settlement.counts, dict(settlement.closed)), (1, False, {})
                )
                self.assertEqual((dict(decision.reported), dict(decision.webhook_results)), ({}, {}))

    def test_halves_end_at_one(self) -> None:
        """For one alone a refusal of the whole is his own."""
        decision = judge({A: WHOLE})
        self.assertEqual((decision.settlement.state, decision.settlement.split), ("failed", ()))
        decision = judge({A: WHOLE, B: Delivered("x")})
        self.assertEqual(decision.settlement.closed, {A: "failed", B: "delivered"})

    def test_with_other_outcomes(self) -> None:
        """What must be waited for is waited for; nobody is lost over it."""
        for other, state in (
            (Uncertain("cut"), "deferred"),
            (Deferred("busy"), "deferred"),
            (Blocked("401"), "queued"),
        ):
            settlement = judge({A: WHOLE, B: WHOLE, C: AGAIN, D: other}).settlement
            self.assertEqual((settlement.state, dict(settlement.closed), settlement.split), (state, {}, ()))

    def test_too_large(self) -> None:
        """A mail that is too large for one provider goes to the next of the route at once, as no try."""
        settlement = judge({A: LARGE, B: LARGE}, roomier=TWO).settlement
        self.assertEqual((settlement.state, settlement.due), ("queued", MORNING))
        self.assertEqual((settlement.provider, settlement.lane, settlement.tries), ("two", "box", 0))
        self.assertEqual((dict(settlement.closed), settlement.counts), ({}, False))

    def test_too_large_for_all(self) -> None:
        """It fails when there is no other one, and when all have said so."""
        self.assertEqual(judge({A: LARGE}).settlement.state, "failed")
        passed = make_claim(A, attempt=2)
        self.assertEqual(judge({A: LARGE}, passed, place=ROUND, roomier=ROUND).settlement.state, "failed")

    def test_too_large_after_others_deferred_it(self) -> None:
        """Whoever may still take it is asked again after a pause, until it expires."""
        for claim, place in (
            (make_claim(A, attempt=4, deferrals=3), ROUND),
            (make_claim(A, attempt=4), None),  # its lane is stopped
            (make_claim(A, attempt=1), ROUND),
        ):
            settlement = judge({A: LARGE}, claim, place=place, roomier=ROUND).settlement
            self.assertEqual((settlement.state, settlement.provider), ("deferred", "two"))
            self.assertGreater(settlement.due or 0, MORNING)
            old = evolve(claim, age=3 * 86400.0)
            self.assertEqual(judge({A: LARGE}, old, place=place, roomier=ROUND).settlement.state, "failed")


def people(count: int) -> list[str]:
    return [f"p{number}@x.example" for number in range(count)]


CROWDS = st.integers(1, 50).flatmap(
    lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1), max_size=6))
)


#: Each example is a whole dispatcher.
FEW = settings(max_examples=20)


class DispatcherTests(DispatcherTestCase):
    def refused(self, provider: RefusingProvider, *addresses: str, **more: Any) -> Stage:
        stage = self.stage(provider, **more)
        stage.accept(*addresses)
        return stage

    @FEW
    @given(CROWDS, st.sampled_from(sorted(NAMING)))
    @example((50, {0}), "nobody")
    @example((50, set(range(50))), "nobody")
    @example((50, set(range(50))), "the first")
    def test_everyone_good_gets_one_mail(self, crowd: tuple[int, set[int]], naming: str) -> None:
        """
        Whoever is at fault, named or not: everyone else gets exactly one mail, at once; those at fault fail,
        each once, and are told to the sender.
        """
        count, at_fault = crowd
        everybody = people(count)
        bad = [everybody[number] for number in sorted(at_fault)]
        provider = RefusingProvider(bad, NAMING[naming])
        staged = Stage([provider], [evolve(ROUTE, via=("one",), on_failed="bounce")])
        provider.bad = bad
        try:
            staged.start()
            staged.accept(*everybody)
            for _ in range(200):
                staged.clock.advance(0)
            reached = Count(address for taken in provider.operations.values() for address in taken)
            reached.pop("scan@example.com", None)  # the bounces
            self.assertEqual(reached, Count(each for each in everybody if each not in bad))
            states = {
                recipient.address: recipient.state
                for detail in done(staged.spool.admin.show("M1"))
                for recipient in detail.summary.recipients
            }
            expected = {each: "failed" if each in bad else "delivered" for each in everybody}
            self.assertEqual(states, expected)
            self.assertEqual(done(listed(staged.spool, Selection())), [])
            told = b"".join(new.body for new in staged.posted)
            for address in everybody:
                self.assertEqual(
                    told.count(f"Final-Recipient: rfc822; {address}\r\n".encode()), address in bad
                )
            rounds = len(bad) * 2 * count.bit_length() + 2 * len(bad) + 1
            self.assertLessEqual(provider.requests - len(staged.posted), rounds)
        finally:
            stopped = staged.dispatcher.stop(0)
            staged.clock.advance(0)
            self.successResultOf(stopped)

    def test_a_bounce(self) -> None:
        """A bounce with a copy reaches the one whose address is good."""
        provider = RefusingProvider(["scan@nas"])
        stage = self.stage(provider)
        stage.accept("scan@nas", "postmaster@x.org", sender="", bounce_of="M0")
        self.assertEqual(list(provider.operations.values()), [("postmaster@x.org",)])
        self.assertEqual(stage.waiting(), [])

    def test_those_who_are_held(self) -> None:
        """Where the route holds what failed, the others get the mail and those at fault are held apart."""
        for naming in sorted(NAMING):
            provider = RefusingProvider([B, D], NAMING[naming])
            stage = self.stage(provider, route={"on_failed": "hold"})
            stage.accept(A, B, C, D)
            for _ in range(20):
                stage.clock.advance(0)
            reached = Count(address for taken in provider.operations.values() for address in taken)
            self.assertEqual(reached, Count([A, C]), naming)
            waiting = done(listed(stage.spool, Selection()))
            self.assertEqual({each.state for each in waiting}, {"held"}, naming)
            held = [who.address for each in waiting for who in each.recipients if who.state == "open"]
            self.assertEqual(sorted(held), [B, D], naming)

    def test_a_death_between(self) -> None:
        """A relay that dies after a refusal goes on where it was: nobody gets it twice."""
        provider = RefusingProvider([B], lambda _: ())
        stage = self.refused(provider, A, B, C, D)
        stage.restart()
        reached = Count(address for taken in provider.operations.values() for address in taken)
        reached.pop("scan@example.com", None)
        self.assertEqual(reached, Count([A, C, D]))

    def test_the_log(self) -> None:
        """It says of those who go again that they are deferred for no time, and why."""
        provider = RefusingProvider([B])
        stage = self.refused(provider, A, B, C)
        [told] = stage.events.of("message.deferred")
        self.assertEqual((told["recipients"], told["delay"]), (f"{A}, {C}", 0.0))
        self.assertIn("400 invalid for others", told["reason"])
        [failed] = stage.events.of("message.failed")
        self.assertEqual(failed["recipients"], B)

    def test_too_large_here(self) -> None:
        """A mail that one provider finds too large goes out by the next; the log has one delivery of it."""
        one = ScriptedProvider("one", [LARGE])
        two = ScriptedProvider("two")
        stage = self.stage(one, two)
        stage.accept(A)
        self.assertEqual((len(one.sent), len(two.sent)), (1, 1))
        self.assertEqual(stage.detail("M1").summary.state, "delivered")

    def test_too_large_for_the_next(self) -> None:
        """One whose request it cannot fit is not asked: the mail fails, in the words of the first."""

        class Small(ScriptedProvider):
            def encoded_size(self, shape: Shape) -> tuple[int, int]:
                return 2 * shape.size, 3 * shape.size

        one, two = ScriptedProvider("one", [LARGE]), Small("two", limits=Limits(request=90))
        stage = self.stage(one, two)
        stage.accept(A)
        self.assertEqual(two.sent, [])
        summary = stage.detail("M1").summary
        self.assertEqual((summary.state, summary.reason), ("failed", "413 too large"))


class SynchronousTests(CounterTestCase):
    @FEW
    @given(CROWDS, st.sampled_from(sorted(NAMING)))
    @example((50, set(range(50))), "nobody")
    def test_everyone_good_gets_one_mail(self, crowd: tuple[int, set[int]], naming: str) -> None:
        """
        While a client waits, too; it hears 250 if anybody has the mail, else the provider's words.
        """
        count, at_fault = crowd
        everybody = people(count)
        bad = [everybody[number] for number in sorted(at_fault)]
        provider = RefusingProvider(bad, NAMING[naming])
        counter = Counter(provider)
        reply = self.successResultOf(counter.mail(*everybody))
        reached = Count(address for taken in provider.operations.values() for address in taken)
        reached.pop("scan@example.com", None)  # the bounce
        self.assertEqual(reached, Count(each for each in everybody if each not in bad))
        if len(bad) == count:
            self.assertGreaterEqual(reply.code, 550)
            self.assertIn("400", reply.text)
        else:
            self.assertEqual(reply.code, 250)
        self.assertEqual(f"not to {len(bad)} of {count}" in reply.text, 0 < len(bad) < count)
        self.assertEqual(counter.clock.getDelayedCalls(), [])

    def test_no_time_is_left(self) -> None:
        """Halves that could not be asked for in time are no refusals: the client is to come again."""
        provider = RefusingProvider([D], lambda _: ())
        late: defer.Deferred[Any] = defer.Deferred()
        provider.answers.append(late)
        counter = self.counter(provider)
        answer = counter.mail(A, B, C, D)
        counter.clock.advance(56)
        late.callback(dict.fromkeys((A, B, C, D), WHOLE))
        self.assertReply(answer, 451, "4.3.0", "not tried in time")
        self.assertEqual(provider.requests, 1)

    def test_the_rest_goes_into_the_spool(self) -> None:
        """Some have it, a half is deferred: it is tried later, as an operation of its own."""
        provider = RefusingProvider([B], lambda _: ())
        provider.answers += [dict.fromkeys((A, B, C, D), WHOLE), {A: Deferred("busy"), B: Deferred("busy")}]
        counter = self.counter(provider, spool=True)
        self.assertReply(counter.mail(A, B, C, D), 250, "2.0.0", "not to 2 of 4")
        [summary] = counter.queued()
        states = {each.address: each.state for each in summary.recipients}
        self.assertEqual(states, {A: "open", B: "open", C: "delivered", D: "delivered"})
        [claim] = done(counter.spool.claim()).claims or [None]
        self.assertIsNone(claim)
        counter.clock.advance(60)
        [claim] = done(counter.spool.claim()).claims
        self.assertNotIn(
            claim.delivery.operation_id, {*provider.operations, provider.sent[0][0].operation_id}
        )

    def test_a_lost_answer_of_a_half(self) -> None:
        """It cannot be asked for later: the client, or the spool, sends it again."""
        provider = RefusingProvider([B], lambda _: ())
        provider.answers += [
            dict.fromkeys((A, B, C, D), WHOLE),
            {A: Uncertain("cut"), B: Uncertain("cut")},
        ]
        counter = self.counter(provider, spool=True)
        answer = counter.mail(A, B, C, D)
        counter.clock.advance(5)
        self.assertReply(answer, 250, "2.0.0", "cut")
        [summary] = counter.queued()
        self.assertFalse(summary.uncertain)

    def test_too_large_here(self) -> None:
        """The next provider of the route is asked; the client hears 552 when none takes it."""
        for answers, code in (([], 250), ([LARGE], 552)):
            one, two = ScriptedProvider("one", [LARGE]), ScriptedProvider("two", answers)
            self.assertEqual(self.successResultOf(Counter(one, two).mail(A)).code, code)
            self.assertEqual(len(two.sent), 1)
