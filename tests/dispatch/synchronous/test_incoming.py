"""A client waits for the provider's result: what it hears, when, and what becomes of the rest."""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from twisted.internet import defer
from twisted.internet.defer import CancelledError, execute, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.dispatch.synchronous.delivery import SynchronousDelivery
from smtprelay.dispatch.synchronous.incoming import SynchronousDeliveries
from smtprelay.dispatch.synchronous.partial import PartialSuccess
from smtprelay.dispatch.synchronous.permits import SynchronousPermits
from smtprelay.interfaces import Incoming, MimeWorkerUnavailable, Unmeasured
from smtprelay.interfaces.spool import Spool
from smtprelay.mime.head import Head
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Client, Draft, Envelope, Planned, Refused, Reply
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.model.queue import Selection, Summary
from smtprelay.model.route import Limits, RateLimit, Route, Window
from smtprelay.model.shape import Shape, shape_of
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MAIL, MORNING, Measured, done, make_context, make_end_reports, recipients
from tests.listed import listed
from tests.recording import Recording

CLIENT = Client(address="127.0.0.1", listener="lan")

Planner = Callable[[Any, Any, Any], Sequence[Planned]]


class Counter:
    """A relay with a synchronous listener, as far as its mail goes."""

    def __init__(
        self,
        *providers: ScriptedProvider,
        spool: bool = False,
        rate_limit: RateLimit | None = None,
        seconds: float = 60.0,
        **route: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(MORNING)
        self.events = Recording()
        self.seconds = seconds
        self.providers = {provider.name: provider for provider in providers}
        self.routes = {"default": evolve(Route(name="default", via=tuple(self.providers)), **route)}
        rate_limits = dict.fromkeys(self.providers, rate_limit or RateLimit())
        self.permits = open_memory(
            SpoolOptions(rate_limits=rate_limits, events=self.events), clock=self.clock
        )
        self.spool: Spool | None = self.permits if spool else None
        self.to_thread: Callable[..., defer.Deferred[Any]] = execute
        self._count = 0
        self.lanes = LaneStates(self.events)
        self.client_permits = SynchronousPermits(self.permits.permits, self.lanes, self.clock, self.events)
        delivery = SynchronousDelivery(
            providers=self.providers,
            routes=self.routes,
            permits=self.client_permits,
            clock=self.clock,
            events=self.events,
        )
        self.context = make_context(
            self.events,
            spool=self.permits,
            providers=self.providers,
            routes=self.routes,
            clock=self.clock,
            lanes=self.lanes,
        )
        partial_success = PartialSuccess(
            spool=self.spool,
            context=self.context,
            permits=self.client_permits,
            end_reports=make_end_reports(self.context, self._post),
        )
        self.synchronous = SynchronousDeliveries(
            delivery,
            partial_success,
            clock=self.clock,
            events=self.events,
            defer_to_thread=self._aside,
        )

    def incoming(self, *addresses: str, plan: Planner | None = None, notify: str = "") -> Incoming:
        self._count += 1
        to = recipients(*(addresses or ("a@x.org",)), notify=notify)
        draft = Draft(
            id=f"M{self._count}",
            envelope=Envelope(sender="scan@example.com", recipients=to),
            client=CLIENT,
            received=self.clock.seconds(),
        )
        name = next(iter(self.providers))
        planned = [Planned(route="default", provider=name, lane="", recipients=to)]
        return self.synchronous.within(self.seconds)(draft, plan or (lambda *_: planned))

    def mail(
        self, *addresses: str, body: bytes = MAIL, plan: Planner | None = None, notify: str = ""
    ) -> defer.Deferred[Reply]:
        """Send a mail; return what its client will hear."""
        incoming = self.incoming(*addresses, plan=plan, notify=notify)
        incoming.write(body)
        return defer.Deferred.fromCoroutine(incoming.finish())

    def queued(self) -> Sequence[Summary]:
        assert self.spool is not None
        found: Sequence[Summary] = done(listed(self.spool, Selection()))
        return found

    def _aside(self, *work: Any) -> defer.Deferred[Any]:
        return self.to_thread(*work)

    def _post(self, envelope: Envelope, body: bytes, bounce_of: str) -> NewMessage:
        draft = Draft(
            id="B1", envelope=envelope, client=CLIENT, received=self.clock.seconds(), bounce_of=bounce_of
        )
        name = next(iter(self.providers))
        planned = Planned(route="default", provider=name, lane="", recipients=envelope.recipients)
        return NewMessage(draft=draft, body=body, planned=(planned,))


class CounterTestCase(SynchronousTestCase):
    """Each test ends with nothing under way and no timer."""

    def counter(self, *providers: ScriptedProvider, **more: Any) -> Counter:
        self.counted = Counter(*(providers or (ScriptedProvider("one"),)), **more)
        self.addCleanup(self.check_rest)
        return self.counted

    def check_rest(self) -> None:
        self.successResultOf(self.counted.synchronous.stop(0))
        self.assertEqual(self.counted.clock.getDelayedCalls(), [])

    def assertReply(self, answer: defer.Deferred[Reply], code: int, enhanced: str, *words: str) -> None:
        reply = self.successResultOf(answer)
        self.assertEqual((reply.code, reply.enhanced), (code, enhanced), reply.text)
        for word in words:
            self.assertIn(word, reply.text)


class VerdictTests(CounterTestCase):
    def test_delivered(self) -> None:
        """250 comes after the provider's success, with both ids; the usual event, and none of a queue."""
        one = ScriptedProvider("one", [Delivered("op-7")])
        counter = self.counter(one)
        self.assertReply(counter.mail("a@x.org", "b@x.org"), 250, "2.0.0", "Ok: M1 delivered as op-7")
        [(delivery, body)] = one.sent
        self.assertEqual((delivery.id, delivery.envelope.addresses), ("M1.1", ("a@x.org", "b@x.org")))
        self.assertEqual((body, delivery.size), (MAIL, len(MAIL)))
        names = [name for name, _ in counter.events.heard]
        self.assertEqual(names, ["attempt.started", "attempt.ended", "message.delivered"])
        [told] = counter.events.of("message.delivered")
        self.assertEqual((told["delivery"], told["count"], told["provider_id"]), ("M1.1", 2, "op-7"))

    def test_not_before_the_verdict(self) -> None:
        """Nothing is answered while the provider has not answered."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        answer = self.counter(ScriptedProvider("one", [verdict])).mail()
        self.assertNoResult(answer)
        verdict.callback(Delivered())
        self.assertReply(answer, 250, "2.0.0")

    def test_refused(self) -> None:
        """What the provider will not take is a 5xx in its words, and no bounce of ours."""
        counter = self.counter(ScriptedProvider("one", [Failed("no such user", "5.1.1")]))
        self.assertReply(counter.mail(), 550, "5.1.1", "no such user", "M1")
        [told] = counter.events.of("message.failed")
        self.assertEqual((told["delivery"], told["reason"], told["count"]), ("M1.1", "no such user", 1))
        self.assertEqual(counter.events.of("message.bounced"), [])

    def test_deferred(self) -> None:
        """What may work later is a 451, and nothing of ours tries it again."""
        one = ScriptedProvider("one", [Deferred("busy")])
        counter = self.counter(one, spool=True)
        self.assertReply(counter.mail(), 451, "4.3.0", "busy")
        counter.clock.advance(86400)
        self.assertEqual((len(one.sent), counter.queued()), (1, []))
        self.assertEqual(counter.events.of("message.deferred")[0]["delay"], 0.0)

    def test_silence(self) -> None:
        """A recipient that the provider says nothing of is not delivered."""
        counter = self.counter(ScriptedProvider("one", [{}]))
        self.assertReply(counter.mail(), 451, "4.3.0", "said nothing about this recipient")

    def test_a_provider_that_breaks(self) -> None:
        """A bug is 451 for the client, and a traceback for us; another provider is not asked."""
        two = ScriptedProvider("two")
        counter = self.counter(ScriptedProvider("one", [ValueError("oops")]), two)
        self.assertReply(counter.mail(), 451, "4.4.2", "unexpected error")
        self.assertIn("oops", str(counter.events.of("attempt.crashed")))
        self.assertEqual(two.sent, [])

    def test_the_plan_has_it_measured(self) -> None:
        """Before anybody is asked; while nobody can say how large it becomes it is 452."""
        for size, reply in ((100, (250, "2.0.0")), (MimeWorkerUnavailable(), (452, "4.3.0"))):
            one = Measured("one", size)

            def plan(_: Any, shape: Shape, sizes: Any, one: Measured = one) -> Sequence[Planned]:
                self.assertEqual(shape, shape_of(MAIL))
                if "one" not in sizes:
                    raise Unmeasured("one", one.measure)
                self.assertEqual(sizes, {"one": 100})
                return [Planned(route="default", provider="one", lane="", recipients=recipients("a@x.org"))]

            answered = self.successResultOf(self.counter(one).mail(plan=plan))
            self.assertEqual((answered.code, answered.enhanced), reply)
            self.assertEqual((one.measured, len(one.sent)), ([MAIL], int(reply[0] == 250)))

    def test_refused_by_the_plan(self) -> None:
        """What header and size decide is refused before anybody is asked."""
        one = ScriptedProvider("one")
        counter = self.counter(one)
        refusal = Reply(code=552, enhanced="5.3.4", text="too large", rule="size")

        def refuse(head: Head, shape: Shape, _: Any) -> Sequence[Planned]:
            self.assertEqual((head.first("Subject"), shape.size), ("Scan", len(MAIL)))
            raise Refused(refusal)

        self.assertEqual(self.successResultOf(counter.mail(plan=refuse)), refusal)
        self.assertEqual(one.calls, [])

    def test_several_deliveries(self) -> None:
        """A transaction that turns out to be several deliveries is refused as a whole."""
        one = ScriptedProvider("one")
        each = [
            Planned(route="default", provider="one", lane="", recipients=recipients(to))
            for to in ("a@x", "b@x")
        ]
        self.assertReply(self.counter(one).mail("a@x", "b@x", plan=lambda *_: each), 452, "4.5.3")
        self.assertEqual(one.calls, [])

    def test_aborted(self) -> None:
        """A message whose end does not come is forgotten."""
        one = ScriptedProvider("one")
        incoming = self.counter(one).incoming()
        incoming.write(MAIL)
        incoming.abort()
        self.assertEqual((one.calls, self.counted.events.heard), ([], []))


class LargeTests(CounterTestCase):
    LARGE = MAIL + b"a" * (3 << 20)

    def test_large(self) -> None:
        """A mail that does not stay in memory arrives whole."""
        one = ScriptedProvider("one")
        counter = self.counter(one)
        self.assertReply(counter.mail(body=self.LARGE), 250, "2.0.0")
        self.assertTrue(one.sent[0][1] == self.LARGE)

    def test_full_disk(self) -> None:
        """Without room for it the client hears 452, and nothing was sent."""
        one = ScriptedProvider("one")
        counter = self.counter(one)
        counter.to_thread = lambda *_: fail(OSError(28, "No space left on device"))
        self.assertReply(counter.mail(body=self.LARGE), 452, "4.3.1")
        counter.to_thread = lambda *_: fail(OSError(5, "Input/output error"))
        self.assertReply(counter.mail(body=self.LARGE), 451, "4.3.0")
        self.assertEqual((one.calls, len(counter.events.of("spool.failed"))), ([], 2))


class PaceTests(CounterTestCase):
    def test_waits_for_a_slot(self) -> None:
        """More than the provider takes at once wait, and go when a slot is free."""
        first, second = defer.Deferred[Any](), defer.Deferred[Any]()
        one = ScriptedProvider("one", [first, second])
        counter = self.counter(one, rate_limit=RateLimit(concurrency=1))
        answers = [counter.mail(), counter.mail()]
        self.assertEqual(len(one.sent), 1)
        first.callback(Delivered())
        self.assertReply(answers[0], 250, "2.0.0")
        self.assertEqual(len(one.sent), 2)
        second.callback(Delivered())
        self.assertReply(answers[1], 250, "2.0.0")

    def test_slot_is_free_when_the_body_is_taken(self) -> None:
        """A provider that polls for its verdict takes the next one meanwhile."""
        verdicts = [defer.Deferred[Any](), defer.Deferred[Any]()]
        one = ScriptedProvider("one", verdicts, takes=True)
        counter = self.counter(one, rate_limit=RateLimit(concurrency=1))
        answers = [counter.mail(), counter.mail()]
        self.assertEqual(len(one.sent), 2)
        for verdict in verdicts:
            verdict.callback(Delivered())
        for answer in answers:
            self.assertReply(answer, 250, "2.0.0")

    def test_no_slot_in_time(self) -> None:
        """Without a slot before the deadline it is 451 4.3.2, and it was not sent."""
        first: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [first])
        counter = self.counter(one, rate_limit=RateLimit(concurrency=1), seconds=600.0)
        counter.mail()
        counter.seconds = 60.0
        answer = counter.mail()
        counter.clock.advance(50)
        self.assertNoResult(answer)
        counter.clock.advance(10)
        self.assertReply(answer, 451, "4.3.2")
        first.callback(Delivered())
        self.assertEqual(len(one.sent), 1)

    def test_pace(self) -> None:
        """Beyond the rate it waits; where that is certainly too long it hears so at once."""
        one = ScriptedProvider("one")
        counter = self.counter(one, rate_limit=RateLimit(windows=(Window(count=1, seconds=30.0),)))
        counter.mail()
        answer = counter.mail()
        self.assertNoResult(answer)
        counter.clock.pump([1.0] * 32)
        self.assertReply(answer, 250, "2.0.0")
        counter.seconds = 5.0
        self.assertReply(counter.mail(), 451, "4.3.2", "one takes no more")
        self.assertEqual(len(one.sent), 2)

    def test_a_long_line(self) -> None:
        """However many wait when there is room for all of them, each gets in."""
        counter = self.counter(rate_limit=RateLimit(windows=(Window(count=300, seconds=10.0),)))
        for _ in range(300):
            self.assertReply(counter.mail(), 250, "2.0.0")
        answers = [counter.mail() for _ in range(300)]
        counter.clock.pump([0.5] * 60)
        for answer in answers:
            self.assertReply(answer, 250, "2.0.0")


class FailoverTests(CounterTestCase):
    def pair(self, *answers: Any, **more: Any) -> tuple[Counter, ScriptedProvider, ScriptedProvider]:
        one, two = ScriptedProvider("one", answers), ScriptedProvider("two", [Delivered("op-2")])
        for name, value in more.items():
            setattr(two if name == "limits" else one, name, value)
        return self.counter(one, two), one, two

    def test_blocked(self) -> None:
        """A blocked provider is told of once, is not asked again, and the next one delivers."""
        counter, one, two = self.pair(Blocked("401 no such key"))
        self.assertReply(counter.mail(), 250, "2.0.0", "op-2")
        self.assertReply(counter.mail(), 250, "2.0.0")
        self.assertEqual((len(one.sent), len(two.sent)), (1, 2))
        [told] = counter.events.of("lane.blocked")
        self.assertEqual((told["provider"], told["reason"]), ("one", "401 no such key"))

    def test_deferred(self) -> None:
        """A provider that defers is not waited for when there is another one."""
        counter, _, two = self.pair(Deferred("busy"))
        self.assertReply(counter.mail(), 250, "2.0.0", "op-2")
        self.assertEqual(two.sent[0][0].id, "M1.1")

    def test_only_for_those_who_have_it_not(self) -> None:
        """Who is delivered or refused is not sent to again."""
        counter, _, two = self.pair(
            {"a@x": Delivered("op-1"), "b@x": Deferred("busy"), "c@x": Delivered("op-1")}
        )
        self.assertReply(counter.mail("a@x", "b@x", "c@x"), 250, "2.0.0", "op-1 op-2")
        self.assertEqual(two.sent[0][0].envelope.addresses, ("b@x",))

    def test_not_after_the_body_was_taken(self) -> None:
        """Who has the body decides: nobody else is asked."""
        counter, _, two = self.pair(Deferred("busy"), takes=True)
        self.assertReply(counter.mail(), 451, "4.3.0", "busy")
        self.assertEqual(two.sent, [])

    def test_not_in_doubt(self) -> None:
        """Whether the first one took it is not known, so no other one gets it."""
        counter, _, two = self.pair(Uncertain("cut"))
        self.assertReply(counter.mail(), 451, "4.4.2", "cut")
        self.assertEqual((two.sent, len(counter.events.of("message.uncertain"))), ([], 1))

    def test_not_one_that_it_does_not_fit(self) -> None:
        """A provider whose limit is too small is passed over."""
        counter, _, two = self.pair(Deferred("busy"), limits=Limits(size=10))
        self.assertReply(counter.mail(), 451, "4.3.0", "busy")
        self.assertEqual(two.sent, [])

    def test_one_that_must_be_measured(self) -> None:
        """Its request is measured, and decides; one that cannot be measured is passed over."""
        for size, reply in ((100, 250), (101, 451), (MimeWorkerUnavailable(), 451)):
            one, two = ScriptedProvider("one", [Deferred("busy")]), Measured("two", size)
            answer = self.counter(one, two).mail()
            self.assertEqual(self.successResultOf(answer).code, reply)
            self.assertEqual((two.measured, len(two.sent)), ([MAIL], int(reply == 250)))

    def test_none_is_left(self) -> None:
        """Each is asked once."""
        counter, one, two = self.pair(Deferred("busy"))
        two.answers.clear()
        two.answers.append(Blocked("disabled"))
        self.assertReply(counter.mail(), 451, "4.3.0", "disabled")
        self.assertEqual((len(one.sent), len(two.sent)), (1, 1))

    def test_blocked_while_waiting(self) -> None:
        """However many waited for a slot behind the one that found it blocked, none tries it again."""
        first: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [first])
        counter = self.counter(one, rate_limit=RateLimit(concurrency=1))
        answers = [counter.mail() for _ in range(300)]
        first.callback(Blocked("401"))
        for answer in answers:
            self.assertReply(answer, 451, "4.3.0", "401")
        self.assertEqual(len(one.sent), 1)


class DoubtTests(CounterTestCase):
    def test_resolved(self) -> None:
        """A provider that can tell is asked what became of the mail; nothing is sent again."""
        one = ScriptedProvider("one", [Uncertain("cut")], idempotent=True)
        one.resolutions += [Uncertain("no answer"), Delivered("op-1")]
        counter = self.counter(one)
        answer = counter.mail()
        counter.clock.advance(5)
        self.assertNoResult(answer)
        counter.clock.advance(10)
        self.assertReply(answer, 250, "2.0.0", "op-1")
        self.assertEqual([call for call, _ in one.calls], ["deliver", "resolve", "resolve"])

    def test_not_resolved_in_time(self) -> None:
        """When it is still not known before the deadline it is 451, and nobody is asked any more."""
        one = ScriptedProvider("one", [Uncertain("cut")], idempotent=True)
        one.resolutions += [Uncertain("no answer")] * 10
        counter = self.counter(one)
        answer = counter.mail()
        counter.clock.pump([5.0] * 12)
        self.assertReply(answer, 451, "4.4.2", "no answer")
        asked = len(one.calls)
        counter.clock.advance(600)
        self.assertEqual(len(one.calls), asked)

    def test_a_question_that_breaks(self) -> None:
        """Who is known to have the mail is not forgotten over a bug."""
        one = ScriptedProvider("one", [{"a@x": Delivered("op-1"), "b@x": Uncertain("cut")}], idempotent=True)
        one.resolutions.append(ValueError("oops"))
        counter = self.counter(one)
        answer = counter.mail("a@x", "b@x")
        counter.clock.advance(5)
        self.assertReply(answer, 250, "2.0.0", "not to 1 of 2 recipients: cut")
        self.assertIn("oops", str(counter.events.of("attempt.crashed")))

    def test_never_seen(self) -> None:
        """A provider that never saw it says nothing good: the client shall send it again."""
        counter = self.counter(ScriptedProvider("one", [Uncertain("cut")], idempotent=True))
        answer = counter.mail()
        counter.clock.advance(5)
        self.assertReply(answer, 451, "4.4.2", "cut")


class DeadlineTests(CounterTestCase):
    def test_late(self) -> None:
        """After the deadline it is 451; the outcome that comes later is told, and nothing else happens."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [verdict])
        counter = self.counter(one, spool=True)
        answer = counter.mail("a@x.org", "b@x.org")
        counter.clock.advance(59.9)
        self.assertNoResult(answer)
        counter.clock.advance(0.1)
        self.assertReply(answer, 451, "4.4.2")
        verdict.callback({"a@x.org": Delivered("op-1"), "b@x.org": Deferred("busy")})
        self.assertEqual(len(counter.events.of("message.delivered")), 1)
        self.assertIn("may arrive twice", str(counter.events.of("relay.warning")))
        self.assertEqual((counter.queued(), len(one.sent)), ([], 1))

    def test_nothing_is_begun_after_it(self) -> None:
        """A provider that defers after the deadline is not followed by another one."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        two = ScriptedProvider("two")
        counter = self.counter(ScriptedProvider("one", [verdict]), two)
        answer = counter.mail()
        counter.clock.advance(60)
        self.assertReply(answer, 451, "4.4.2")
        verdict.callback(Deferred("busy"))
        self.assertEqual(two.sent, [])

    def test_too_late_for_another(self) -> None:
        """Shortly before it no other provider is asked: the client hears what the first one said."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        two = ScriptedProvider("two")
        counter = self.counter(ScriptedProvider("one", [verdict]), two)
        answer = counter.mail()
        counter.clock.advance(56)
        verdict.callback(Deferred("busy"))
        self.assertReply(answer, 451, "4.3.0", "busy")
        self.assertEqual(two.sent, [])

    def test_per_listener(self) -> None:
        """The deadline is the listener's."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        counter = self.counter(ScriptedProvider("one", [verdict]), seconds=7.0)
        answer = counter.mail()
        counter.clock.advance(7)
        self.assertReply(answer, 451, "4.4.2")
        verdict.callback(Delivered())


class RestTests(CounterTestCase):
    """Some have the mail, others do not."""

    def mixed(self, outcome: Any, **more: Any) -> Counter:
        one = ScriptedProvider("one", [{"a@x.org": Delivered("op-1"), "b@x.org": outcome}])
        counter = self.counter(one, **more)
        self.assertReply(
            counter.mail("a@x.org", "b@x.org"), 250, "2.0.0", "M1 delivered as op-1", outcome.why
        )
        return counter

    def test_deferred_enters_the_spool(self) -> None:
        """Who may still get it waits in the spool, by the same id, and nobody else does."""
        counter = self.mixed(Deferred("busy"), spool=True)
        [line] = counter.queued()
        self.assertEqual((line.id, line.state, line.sender), ("M1.1", "deferred", "scan@example.com"))
        self.assertEqual(
            [(each.address, each.state) for each in line.recipients],
            [("a@x.org", "delivered"), ("b@x.org", "open")],
        )
        assert counter.spool is not None
        counter.clock.advance(30)
        [claim] = done(counter.spool.claim()).claims
        self.assertEqual(claim.delivery.envelope.addresses, ("b@x.org",))
        self.assertEqual((claim.attempt, claim.tries, claim.deferrals, claim.uncertain), (2, 1, 1, False))
        self.assertEqual(done(counter.spool.body(claim.delivery).whole()), MAIL)
        [first, _] = done(counter.spool.admin.show("M1"))[0].history
        self.assertEqual((first.outcome, first.reason), ("delivered+deferred", "busy"))
        self.assertEqual(counter.events.of("message.queued")[0]["recipients"], "b@x.org")

    def test_failed_bounces_into_the_spool(self) -> None:
        """Who will never get it is reported to the sender, at once."""
        counter = self.mixed(Failed("no such user", "5.1.1"), spool=True)
        [line] = counter.queued()
        self.assertEqual((line.message, line.sender), ("B1", ""))
        self.assertEqual([each.address for each in line.recipients], ["scan@example.com"])
        self.assertEqual(counter.events.of("message.bounced")[0]["bounce"], "B1")

    def test_failed_is_held_in_the_spool(self) -> None:
        """A route that holds what fails has it in the spool, held."""
        counter = self.mixed(Failed("no"), spool=True, on_failed="hold")
        [line] = counter.queued()
        self.assertEqual((line.state, line.reason), ("held", "no"))
        self.assertEqual(len(counter.events.of("message.held")), 1)

    def test_in_doubt(self) -> None:
        """Who may have it waits to be asked about: the next attempt resolves this one, as the route says."""
        for word in ("resend", "hold"):
            [line] = self.mixed(Uncertain("cut"), spool=True, on_uncertain=word).queued()
            self.assertEqual((line.state, line.uncertain, line.due), ("deferred", True, MORNING + 5))
            self.assertEqual([each.state for each in line.recipients], ["delivered", "open"])

    def test_in_doubt_at_the_next_provider(self) -> None:
        """The one that may have it is asked, and nobody else is before that."""
        one = ScriptedProvider("one", [{"a@x.org": Delivered(), "b@x.org": Deferred("busy")}])
        two = ScriptedProvider("two", [Uncertain("cut")])
        [line] = self.waiting(one, two)
        self.assertEqual((line.provider, line.state, line.uncertain), ("two", "deferred", True))

    def waiting(self, *providers: ScriptedProvider) -> Sequence[Summary]:
        counter = self.counter(*providers, spool=True)
        self.assertReply(counter.mail("a@x.org", "b@x.org"), 250, "2.0.0", "M1 delivered")
        return counter.queued()

    def test_the_next_provider_has_no_slot(self) -> None:
        """The rest goes on as a deferral, which is what it was."""
        one = ScriptedProvider("one", [{"a@x.org": Delivered(), "b@x.org": Deferred("busy")}])
        two = ScriptedProvider("two")
        counter = self.counter(
            one, two, spool=True, rate_limit=RateLimit(windows=(Window(count=1, seconds=600),))
        )
        assert counter.spool is not None
        done(counter.spool.permits.acquire("x", "two", ""))
        self.assertReply(counter.mail("a@x.org", "b@x.org"), 250, "2.0.0", "takes no more")
        [line] = counter.queued()
        self.assertEqual((line.provider, line.state), ("one", "deferred"))

    def test_the_next_provider_is_asked(self) -> None:
        """What both providers of the route deferred begins where it began, by the route's own rules."""
        two = ScriptedProvider("two", [Deferred("so busy")])
        one = ScriptedProvider("one", [{"a@x.org": Delivered(), "b@x.org": Deferred("busy")}])
        counter = self.counter(one, two, spool=True, failover_after=1)
        self.assertReply(counter.mail("a@x.org", "b@x.org"), 250, "2.0.0", "so busy")
        [line] = counter.queued()
        self.assertEqual((line.provider, line.state), ("two", "queued"))

    def test_failed_is_discarded(self) -> None:
        """A route that discards what fails has nothing in the spool."""
        counter = self.mixed(Failed("no"), spool=True, on_failed="discard")
        self.assertEqual((counter.queued(), len(counter.events.of("message.failed"))), ([], 1))

    def test_no_place(self) -> None:
        """If the spool does not take the rest nobody may think that it did: 451, and the log says why."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        counter = self.counter(ScriptedProvider("one", [verdict]), spool=True)
        answer = counter.mail("a@x.org", "b@x.org")
        assert counter.spool is not None
        done(counter.spool.close())
        verdict.callback({"a@x.org": Delivered(), "b@x.org": Deferred("busy")})
        self.assertReply(answer, 451, "4.3.0", "could not be stored")
        operations = [each["operation"] for each in counter.events.of("spool.failed")]
        self.assertEqual(operations, ["give_back", "accept"])

    def test_a_spool_that_fails_admits_nobody(self) -> None:
        """What it counts would not be true any more: the client shall come again."""
        one = ScriptedProvider("one")
        counter = self.counter(one, spool=True)
        assert counter.spool is not None
        done(counter.spool.close())
        self.assertReply(counter.mail(), 451, "4.3.2", "local error")
        self.assertEqual((one.sent, len(counter.events.of("spool.failed"))), ([], 1))

    def test_without_a_spool_it_bounces(self) -> None:
        """Who does not have it is reported to the sender by the same provider, once."""
        for outcome in (Failed("no such user", "5.1.1"), Deferred("busy"), Uncertain("cut")):
            counter = self.mixed(outcome)
            one = counter.providers["one"]
            (_, _), (bounce, report) = one.sent
            self.assertEqual((bounce.bounce_of, bounce.envelope.sender), ("M1", ""))
            self.assertEqual(bounce.envelope.addresses, ("scan@example.com",))
            self.assertIn(b"b@x.org", report)
            self.assertIn(outcome.why.encode(), report)
            self.assertNotIn(b"a@x.org", report)

    def test_a_success_is_told(self) -> None:
        """Who asked for it (RFC 3461) gets it by the spool, or without one at once; nobody else does."""
        counter = self.counter(spool=True)
        self.assertReply(counter.mail(notify="SUCCESS"), 250, "2.0.0")
        [line] = counter.queued()
        self.assertEqual((line.message, line.sender, line.subject), ("B1", "", "Mail Was Handed On"))
        counter = self.counter()
        self.assertReply(counter.mail(notify="SUCCESS"), 250, "2.0.0")
        self.assertReply(counter.mail(notify="FAILURE"), 250, "2.0.0")
        self.assertReply(counter.mail(), 250, "2.0.0")
        told = [body for delivery, body in counter.providers["one"].sent if delivery.bounce_of]
        self.assertEqual(len(told), 1)
        self.assertIn(b"Action: relayed", told[0])

    def test_failures_and_successes_in_one(self) -> None:
        """What a mixed result means for each is told in one report."""
        one = ScriptedProvider("one", [{"a@x.org": Delivered("op-1"), "b@x.org": Failed("no")}])
        for spool in (True, False):
            one.answers.append({"a@x.org": Delivered("op-1"), "b@x.org": Failed("no")})
            counter = self.counter(one, spool=spool)
            counter.mail("a@x.org", "b@x.org", notify="SUCCESS,FAILURE")
            if spool:
                [claim] = done(counter.spool.claim()).claims
                report = done(counter.spool.body(claim.delivery).whole())
            else:
                report = one.sent[-1][1]
            self.assertEqual((report.count(b"Action: relayed"), report.count(b"Action: failed")), (1, 1))

    def test_a_bounce_that_fails(self) -> None:
        """It is tried once, and then the log is all that knows."""
        one = ScriptedProvider("one", [{"a@x": Delivered(), "b@x": Failed("no")}, Deferred("busy")])
        counter = self.counter(one)
        self.assertReply(counter.mail("a@x", "b@x"), 250, "2.0.0")
        counter.clock.advance(600)
        self.assertEqual(len(one.sent), 2)
        self.assertIn("the bounce is lost: busy", str(counter.events.of("relay.warning")))


class StopTests(CounterTestCase):
    def test_waits(self) -> None:
        """What is under way may end, and its client hears of it."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        counter = self.counter(ScriptedProvider("one", [verdict]))
        answer = counter.mail()
        stopped = counter.synchronous.stop(25.0)
        self.assertNoResult(stopped)
        verdict.callback(Delivered())
        self.assertReply(answer, 250, "2.0.0")
        self.successResultOf(stopped)

    def test_bounded(self) -> None:
        """What does not end in time is given up: the client hears 451, and nobody else is asked."""
        cancelled: list[defer.Deferred[Any]] = []
        two = ScriptedProvider("two")
        counter = self.counter(ScriptedProvider("one", [defer.Deferred(cancelled.append)]), two)
        answer = counter.mail()
        stopped = counter.synchronous.stop(25.0)
        counter.clock.advance(25)
        self.successResultOf(stopped)
        self.assertReply(answer, 451, "4.3.2", "Shutting down")
        self.assertEqual((len(cancelled), two.sent), (1, []))

    def test_a_provider_that_makes_an_outcome_of_it(self) -> None:
        """Given up is given up, also where the provider calls it a deferral."""
        one, two = ScriptedProvider("one"), ScriptedProvider("two")
        waiting: defer.Deferred[Any] = defer.Deferred()
        one.answers.append(
            waiting.addErrback(lambda failure: failure.trap(CancelledError) and Deferred("cut"))
        )
        counter = self.counter(one, two)
        answer = counter.mail()
        counter.synchronous.stop(25.0)
        counter.clock.advance(25)
        self.assertEqual(self.successResultOf(answer).code, 451)
        self.assertEqual(two.sent, [])

    def test_what_comes_in_meanwhile(self) -> None:
        """It is delivered within the time that is left."""
        verdicts = [defer.Deferred[Any](), defer.Deferred[Any]()]
        counter = self.counter(ScriptedProvider("one", verdicts))
        first = counter.mail()
        counter.synchronous.stop(25.0)
        counter.clock.advance(20)
        second = counter.mail()
        verdicts[1].callback(Delivered())
        self.assertReply(second, 250, "2.0.0")
        verdicts[0].callback(Delivered())
        self.assertReply(first, 250, "2.0.0")
        counter.clock.advance(5)
        self.assertReply(counter.mail(), 451, "4.3.2")
