from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.decision import (
    Decision,
    DecisionInput,
    crashed,
    delivered,
    provider_removed,
    reasons,
    resolved,
    returned,
    settle,
    unreadable,
    unresolved,
)
from smtprelay.dispatch.failover import NextProvider
from smtprelay.model.attempt import Block, Claim
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.route import Route, Schedule
from tests.dispatch.stage import MORNING, make_claim

A, B, C = "a@x.org", "b@x.org", "c@x.org"
ROUTE = Route(name="default", via=("one", "two"))
TWO = NextProvider(provider="two", lane="box")


def make_case(claim: Claim | None = None, place: NextProvider | None = None, **route: Any) -> DecisionInput:
    return DecisionInput(
        claim=claim or make_claim(A),
        route=evolve(ROUTE, **route),
        now=MORNING,
        chance=0.5,
        elsewhere=lambda: place,
    )


class OneRecipientTests(SynchronousTestCase):
    """What each outcome of a delivery to one recipient becomes."""

    def judge(
        self, outcome: Any, claim: Claim | None = None, place: NextProvider | None = None, **route: Any
    ) -> Decision:
        return settle(make_case(claim, place, **route), {A: outcome})

    def test_delivered_is_the_end(self) -> None:
        """The outcome is recorded and nothing is left open."""
        settlement = self.judge(Delivered("id-1")).settlement
        self.assertEqual((settlement.state, settlement.closed), ("delivered", {A: "delivered"}))
        self.assertEqual((settlement.outcomes, settlement.reason), ({A: Delivered("id-1")}, ""))

    def test_what_we_cannot_send(self) -> None:
        """It waits as other mail does, and neither expires nor uses up its attempts, however old it is."""
        ours = Deferred("no key", ours=True)
        for claim in (make_claim(A, age=1e9, tries=7), make_claim(A, deferrals=9, tries=1)):
            decided = self.judge(ours, claim, retry=Schedule(first=30.0, jitter=0.0, attempts=3))
            settlement = decided.settlement
            self.assertEqual((settlement.state, settlement.counts), ("deferred", False))
            self.assertGreater(settlement.due, MORNING)

    def test_the_fast_way_gives_the_same(self) -> None:
        """``delivered`` is nothing but a shortcut of ``settle``."""
        results = {A: Delivered("id-1")}
        self.assertEqual(delivered(make_claim(A).delivery, results), settle(make_case(), results))

    def test_the_fast_way_is_only_for_success(self) -> None:
        """Any other outcome, and a missing one, takes the long way."""
        for results in ({A: Failed("no")}, {}, {B: Delivered()}, {A: Delivered(), B: Delivered()}):
            self.assertIsNone(delivered(make_claim(A).delivery, results))

    def test_deferred_goes_again_by_the_schedule(self) -> None:
        """The first delay comes after the first try; the tries are counted."""
        settlement = self.judge(Deferred("busy"), make_claim(A, tries=1)).settlement
        self.assertEqual((settlement.state, settlement.due, settlement.tries), ("deferred", MORNING + 60, 2))
        self.assertEqual((settlement.reason, dict(settlement.closed)), ("busy", {}))

    def test_retry_after_is_never_undercut(self) -> None:
        """Not by the schedule, not by the jitter; a longer schedule holds."""
        for retry_after, wait in ((212.0, 212.0), (1.0, 30.0), (86400.0, 3600.0), (None, 30.0)):
            settlement = self.judge(Deferred("busy", retry_after)).settlement
            self.assertEqual(settlement.due, MORNING + wait)

    def test_after_enough_tries_the_next_provider_is_asked_at_once(self) -> None:
        """The tries begin anew there."""
        settlement = self.judge(Deferred("busy"), make_claim(A, tries=2), TWO).settlement
        self.assertEqual((settlement.provider, settlement.lane), ("two", "box"))
        self.assertEqual((settlement.state, settlement.due, settlement.tries), ("queued", MORNING, 0))

    def test_before_that_it_stays(self) -> None:
        """Two deferrals are not three."""
        settlement = self.judge(Deferred("busy"), make_claim(A, tries=1), TWO).settlement
        self.assertEqual((settlement.provider, settlement.tries), ("", 2))

    def test_a_new_round_begins_after_the_usual_delay(self) -> None:
        """When all providers defer, they are not asked in a circle without a pause."""
        settlement = self.judge(Deferred("busy"), make_claim(A, tries=2), evolve(TWO, wraps=True)).settlement
        self.assertEqual((settlement.provider, settlement.due), ("two", MORNING + 120))
        self.assertEqual(settlement.state, "deferred")

    def test_each_round_is_followed_by_a_longer_delay(self) -> None:
        """Though the tries begin anew with each provider."""
        waits = []
        for attempt in (6, 12, 60):
            claim = make_claim(A, tries=2, attempt=attempt)
            settlement = self.judge(Deferred("busy"), claim, evolve(TWO, wraps=True)).settlement
            waits.append((settlement.due or 0) - MORNING)
        self.assertEqual(waits, [960, 3600, 3600])

    def test_it_stays_where_it_is_when_there_is_nowhere_else(self) -> None:
        """Its tries and delays go on growing."""
        settlement = self.judge(Deferred("busy"), make_claim(A, tries=5)).settlement
        self.assertEqual((settlement.provider, settlement.tries, settlement.due), ("", 6, MORNING + 960))

    def test_failed_follows_the_route(self) -> None:
        """Bounce and discard end it, hold keeps it for an operator; only bounce is reported."""
        for policy, state, report in (
            ("bounce", "failed", [A]),
            ("discard", "failed", []),
            ("hold", "held", []),
        ):
            decision = self.judge(Failed("no such user", "5.1.1"), on_failed=policy)
            self.assertEqual((decision.settlement.state, list(decision.reported)), (state, report))
            self.assertEqual(dict(decision.settlement.closed), {} if policy == "hold" else {A: "failed"})

    def test_expiry_follows_the_route(self) -> None:
        """An old mail that is deferred once more ends, as the route says."""
        old = make_claim(A, age=3 * 86400.0)
        for policy, state, report in (
            ("bounce", "failed", [A]),
            ("discard", "failed", []),
            ("hold", "held", []),
        ):
            decision = self.judge(Deferred("busy"), old, TWO, on_expired=policy)
            self.assertEqual((decision.settlement.state, list(decision.reported)), (state, report))
            self.assertEqual(list(decision.groups), ["expired"])

    def test_mail_of_a_mailbox_that_is_gone_expires(self) -> None:
        """Not while another provider takes it, and not in a lane that is its whole provider."""
        old, gone = make_claim(A, age=1e9), Blocked("no such mailbox", "box")
        decision = self.judge(gone, old)
        self.assertEqual((decision.settlement.state, list(decision.groups)), ("failed", ["expired"]))
        self.assertEqual(dict(decision.reported), {A: gone})
        for outcome, claim, place, route in (
            (gone, make_claim(A, age=60.0), None, {}),
            (gone, old, TWO, {}),
            (gone, old, None, {"expire": None}),
            (Blocked("401"), old, None, {}),
        ):
            self.assertEqual(self.judge(outcome, claim, place, **route).settlement.state, "queued")

    def test_mail_that_waits_for_its_operator(self) -> None:
        """It waits in a lane of its own, however old it is, unless another provider takes it."""
        old, unverified = make_claim(A, age=1e9), Blocked("not verified", "setup:x.org")
        settlement = self.judge(unverified, old).settlement
        self.assertEqual((settlement.state, settlement.due, settlement.tries), ("queued", MORNING, 0))
        self.assertEqual((settlement.provider, settlement.lane), (old.delivery.provider, "setup:x.org"))
        self.assertEqual(self.judge(unverified, old, TWO).settlement.provider, "two")

    def test_only_a_deferral_expires(self) -> None:
        """However old it is, a blocked mail waits, and a delivered one is delivered."""
        old = make_claim(A, age=30 * 86400.0)
        states = [self.judge(each, old).settlement.state for each in (Blocked("x"), Delivered())]
        self.assertEqual(states, ["queued", "delivered"])

    def test_what_stays_uncertain_for_too_long_is_held(self) -> None:
        """It is neither sent again for ever nor bounced, for it may have arrived. An operator decides."""
        old = make_claim(A, age=3 * 86400.0, uncertain=True, attempt=9)
        decision = self.judge(Uncertain("cut"), old)
        self.assertEqual((decision.settlement.state, decision.settlement.uncertain), ("held", True))
        self.assertEqual((decision.reported, decision.settlement.reason), ({}, "cut"))
        self.assertEqual(self.judge(Uncertain("cut"), old, expire=None).settlement.state, "deferred")

    def test_never_is_never(self) -> None:
        """``expire: never`` keeps trying."""
        self.assertEqual(
            self.judge(Deferred("busy"), make_claim(A, age=1e9), expire=None).settlement.state, "deferred"
        )

    def test_the_limit_of_attempts_ends_it(self) -> None:
        """With three attempts, the third deferral is the last."""
        retry = Schedule(attempts=3)
        states = [
            self.judge(Deferred("busy"), make_claim(A, deferrals=before), retry=retry).settlement.state
            for before in (1, 2)
        ]
        self.assertEqual(states, ["deferred", "failed"])

    def test_one_attempt_is_one(self) -> None:
        """``attempts: 1``: the first deferral ends it, though another provider could be asked."""
        decision = self.judge(Deferred("busy"), place=TWO, retry=Schedule(attempts=1), failover_after=1)
        self.assertEqual((decision.settlement.state, list(decision.reported)), ("failed", [A]))

    def test_attempts_are_those_of_all_providers(self) -> None:
        """The tries of a provider begin anew after a failover; the attempts of the route do not."""
        retry = Schedule(attempts=5)
        for before, state in ((3, "queued"), (4, "failed")):
            decision = self.judge(
                Deferred("busy"), make_claim(A, tries=1, deferrals=before), TWO, retry=retry, failover_after=2
            )
            self.assertEqual((decision.settlement.state, decision.settlement.tries), (state, 0))
            self.assertEqual(decision.settlement.counts, state == "queued")

    def test_only_deferrals_count(self) -> None:
        """A blocked lane, a lost answer, a bug and a mail that came too fast are none of the attempts."""
        one_left = make_claim(A, deferrals=1)
        for outcome in (Blocked("x"), Uncertain("cut"), Throttled("429")):
            settlement = self.judge(outcome, one_left, retry=Schedule(attempts=2)).settlement
            self.assertIn(settlement.state, ("queued", "deferred"))
            self.assertFalse(settlement.counts)

    def test_expire_before_the_first_retry(self) -> None:
        """The first deferral never expires a young mail; the next one does, whenever it comes."""
        route = {"expire": 10.0, "retry": Schedule(first=30.0)}
        first = self.judge(Deferred("busy"), make_claim(A, age=0.0), **route).settlement
        self.assertEqual((first.state, first.due), ("deferred", MORNING + 30))
        second = self.judge(Deferred("busy"), make_claim(A, age=30.0, tries=1), **route)
        self.assertEqual((second.settlement.state, list(second.groups)), ("failed", ["expired"]))

    def test_what_came_too_fast_does_not_expire_by_that_alone(self) -> None:
        """A queue that stood still for days goes again, and faster than its provider bears."""
        too_fast = Throttled("429")
        first = self.judge(too_fast, make_claim(A, age=1e6))
        self.assertEqual((first.settlement.state, list(first.groups)), ("deferred", ["deferred"]))
        again = self.judge(too_fast, make_claim(A, age=1e6, tries=1))
        self.assertEqual((again.settlement.state, list(again.groups)), ("failed", ["expired"]))

    def test_what_came_too_fast_goes_when_its_lane_does(self) -> None:
        """It is due at once, or when the provider says; its tries count for the failover only."""
        for asked, due in ((None, MORNING), (7.0, MORNING + 7)):
            settlement = self.judge(Throttled("429", asked), make_claim(A, tries=1)).settlement
            self.assertEqual((settlement.state, settlement.due, settlement.tries), ("deferred", due, 2))

    def test_blocked_fails_over_at_once(self) -> None:
        """It costs no try, and it needs no number of them."""
        settlement = self.judge(Blocked("secret expired"), make_claim(A, tries=1), TWO).settlement
        self.assertEqual((settlement.state, settlement.due), ("queued", MORNING))
        self.assertEqual((settlement.provider, settlement.lane, settlement.tries), ("two", "box", 0))

    def test_blocked_waits_when_there_is_nowhere_else(self) -> None:
        """It is due now: the lane holds it back. The tries are what they were."""
        settlement = self.judge(Blocked("secret expired"), make_claim(A, tries=2)).settlement
        self.assertEqual((settlement.state, settlement.due), ("queued", MORNING))
        self.assertEqual((settlement.provider, settlement.tries), ("", 2))

    def test_uncertain_is_resolved_soon_and_does_not_fail_over(self) -> None:
        """However often it was tried: first it must be known what happened."""
        settlement = self.judge(Uncertain("cut"), make_claim(A, tries=9, attempt=10), TWO).settlement
        self.assertEqual((settlement.state, settlement.due), ("deferred", MORNING + 5))
        self.assertEqual((settlement.provider, settlement.tries, settlement.uncertain), ("", 9, True))

    def test_what_stays_uncertain_is_asked_for_by_the_schedule(self) -> None:
        """The delays grow with the attempts, while the tries count deferrals alone."""
        waits = [
            (self.judge(Uncertain("cut"), make_claim(A, attempt=n, uncertain=True)).settlement.due or 0)
            - MORNING
            for n in (2, 3, 4)
        ]
        self.assertEqual(waits, [30, 60, 120])

    def test_the_block_travels_with_the_settlement(self) -> None:
        """A lane is stopped in the transaction that records why."""
        block = Block(provider="one", until=MORNING + 30, reason="x")
        self.assertIs(settle(evolve(make_case(), block=block), {A: Blocked("x")}).settlement.block, block)


class MixedTests(SynchronousTestCase):
    """Recipients settle one by one; the worst of what stays open decides how the rest goes on."""

    def judge(
        self, place: NextProvider | None = None, claim: Claim | None = None, **outcomes: Any
    ) -> Decision:
        results = {f"{name}@x.org": outcome for name, outcome in outcomes.items()}
        return settle(make_case(claim or make_claim(*results), place), results)

    def test_what_is_closed_is_closed(self) -> None:
        """Only the deferred recipient stays open; the failed one is reported now."""
        decision = self.judge(a=Delivered("1"), b=Failed("no"), c=Deferred("busy"))
        self.assertEqual(dict(decision.settlement.closed), {A: "delivered", B: "failed"})
        self.assertEqual((decision.settlement.state, list(decision.reported)), ("deferred", [B]))
        self.assertEqual(decision.outcome, "deferred+delivered+failed")

    def test_a_delivery_with_a_failed_recipient_ends_failed(self) -> None:
        """So that it is seen, although the others got it."""
        self.assertEqual(self.judge(a=Delivered(), b=Failed("no")).settlement.state, "failed")

    def test_uncertain_outweighs_the_rest(self) -> None:
        """No recipient may fail over while it is unknown whether another one has the mail."""
        settlement = self.judge(TWO, a=Deferred("busy"), b=Blocked("x"), c=Uncertain("cut")).settlement
        self.assertEqual((settlement.provider, settlement.uncertain), ("", True))

    def test_blocked_outweighs_deferred(self) -> None:
        """The lane is stopped: waiting in it would be pointless."""
        self.assertEqual(self.judge(TWO, a=Deferred("busy"), b=Blocked("x")).settlement.provider, "two")

    def test_the_longest_wait_holds(self) -> None:
        """Two recipients, two Retry-After."""
        settlement = self.judge(a=Deferred("busy", 100.0), b=Deferred("busy", 200.0)).settlement
        self.assertEqual(settlement.due, MORNING + 200)

    def test_an_expired_recipient_does_not_take_others_along(self) -> None:
        """The blocked one waits on: its time does not count."""
        decision = self.judge(claim=make_claim(A, B, age=1e9), a=Deferred("busy"), b=Blocked("x"))
        self.assertEqual(dict(decision.settlement.closed), {A: "failed"})
        self.assertEqual((decision.settlement.state, list(decision.reported)), ("queued", [A]))

    def test_silence_is_a_deferral(self) -> None:
        """A recipient that the provider left out is neither lost nor failed."""
        decision = settle(make_case(make_claim(A, B)), {A: Delivered()})
        self.assertEqual(decision.settlement.state, "deferred")
        self.assertIsInstance(decision.settlement.outcomes[B], Deferred)

    def test_strangers_are_ignored(self) -> None:
        """An address that is not of this delivery changes nothing."""
        decision = settle(make_case(make_claim(A)), {A: Delivered(), B: Failed("no")})
        self.assertEqual(
            (decision.settlement.state, dict(decision.settlement.closed)), ("delivered", {A: "delivered"})
        )

    def test_reasons_are_said_once_and_in_one_line(self) -> None:
        """Three recipients with two reasons, one of them from a web page."""
        said = {A: Failed("no\r\n  such user"), B: Failed("no\r\n  such user"), C: Deferred("busy")}
        self.assertEqual(reasons(said), "no such user; busy")


class OtherEndsTests(SynchronousTestCase):
    """Attempts that end without an outcome."""

    def test_a_crash_is_tried_again_and_resolved_first(self) -> None:
        """The exception may have come after the body was sent."""
        settlement = crashed(make_case(make_claim(A, tries=2)), {}, KeyError("id")).settlement
        self.assertEqual((settlement.state, settlement.due), ("deferred", MORNING + 30))
        self.assertEqual((settlement.errors, settlement.tries, settlement.uncertain), (1, 2, True))

    def test_the_third_crash_in_a_row_holds(self) -> None:
        """With what was raised as its reason."""
        settlement = crashed(make_case(make_claim(A, errors=2)), {}, KeyError("id")).settlement
        self.assertEqual(
            (settlement.state, settlement.due, settlement.reason), ("held", None, "KeyError: 'id'")
        )

    def test_an_answer_ends_the_row_of_crashes(self) -> None:
        """Only crashes in a row count."""
        self.assertEqual(
            settle(make_case(make_claim(A, errors=2)), {A: Deferred("busy")}).settlement.errors, 0
        )

    def test_a_body_that_is_gone_is_held_at_once(self) -> None:
        """Whatever the provider said without it; who has the mail already keeps it."""
        case = make_case(make_claim(A, B, tries=2))
        decision = unreadable(case, {A: Delivered("1"), B: Failed("empty")}, LookupError("gone"))
        settlement = decision.settlement
        self.assertEqual((settlement.state, settlement.due, settlement.tries), ("held", None, 2))
        self.assertEqual((dict(settlement.closed), decision.reported), ({A: "delivered"}, {}))
        self.assertEqual(settlement.reason, "the body cannot be read: LookupError: gone")

    def test_a_body_that_cannot_be_read_is_tried_again(self) -> None:
        """For as long as that takes: it is not this mail's fault, and it is as it was before."""
        settlement = unreadable(make_case(make_claim(A)), {}, OSError("busy")).settlement
        self.assertEqual((settlement.state, settlement.due), ("deferred", MORNING + 1))
        self.assertEqual((settlement.errors, settlement.uncertain), (0, False))
        later = make_claim(A, attempt=30, errors=2, uncertain=True)
        last = unreadable(make_case(later), {}, OSError("busy")).settlement
        self.assertEqual((last.state, last.due), ("deferred", MORNING + 60))
        self.assertEqual((last.errors, last.uncertain), (2, True))
        lost = unreadable(
            make_case(make_claim(A, B)), {A: Uncertain("lost"), B: Failed("x")}, OSError("busy")
        )
        self.assertTrue(lost.settlement.uncertain)

    def test_who_could_not_be_asked_has_said_nothing(self) -> None:
        """A refusal of our credentials leaves a lost attempt uncertain; what the provider knows counts."""
        known = {A: Blocked("401"), B: Failed("no such user"), C: Deferred("canceled")}
        self.assertEqual(resolved(known), {**known, A: Uncertain("401")})

    def test_undecided_is_held_and_can_be_released(self) -> None:
        """A released mail is sent: were it still uncertain, it would only be held again."""
        settlement = unresolved(make_claim(A, uncertain=True)).settlement
        self.assertEqual((settlement.state, settlement.uncertain), ("held", False))
        self.assertIn("not known whether one took", settlement.reason)

    def test_a_provider_that_is_gone_hands_over(self) -> None:
        """The mail goes to the next one of its route, else it is held with the reason."""
        moved = provider_removed(make_case(place=TWO)).settlement
        self.assertEqual((moved.state, moved.provider, moved.lane), ("queued", "two", "box"))
        held = provider_removed(make_case()).settlement
        self.assertEqual(
            (held.state, held.reason), ("held", "the configuration has no provider 'one' any more")
        )

    def test_a_provider_that_is_gone_cannot_be_asked(self) -> None:
        """Where the route holds what is uncertain, it is held."""
        case = make_case(make_claim(A, uncertain=True), TWO, on_uncertain="hold")
        self.assertEqual(provider_removed(case).settlement.state, "held")

    def test_a_claim_that_was_not_begun_is_given_back_unchanged(self) -> None:
        """As if it had never been taken."""
        settlement = returned(make_claim(A, tries=2, errors=1, uncertain=True), MORNING)
        self.assertEqual((settlement.state, settlement.due), ("queued", MORNING))
        self.assertEqual((settlement.tries, settlement.errors, settlement.uncertain), (2, 1, True))
