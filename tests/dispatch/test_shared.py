"""A synchronous listener beside the dispatcher: what the one finds out, the other knows."""

from typing import Any

from twisted.internet import defer

from smtprelay.dispatch.dispatcher import Dispatcher
from smtprelay.model.attempt import Block, NewMessage
from smtprelay.model.message import Client, Draft, Envelope, Planned
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Throttled, Uncertain
from smtprelay.model.queue import SUSPENDED
from smtprelay.model.route import RateLimit, Window
from smtprelay.spool.maintenance.check import check
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MAIL, done, make_end_reports, recipients
from tests.dispatch.synchronous.test_incoming import Counter, CounterTestCase


class Both(Counter):
    """A relay that has a dispatcher, too."""

    def __init__(self, *providers: ScriptedProvider, **more: Any) -> None:
        super().__init__(*providers, **{"spool": True, **more})
        self.dispatcher = Dispatcher(self.context, make_end_reports(self.context, self._never))
        self.dispatcher.start()
        self._queued = 0

    def _never(self, *_: Any) -> NewMessage:
        raise AssertionError("nothing bounces here")

    def queue(self, provider: str = "one") -> str:
        """Put a mail into the spool."""
        self._queued += 1
        message = f"Q{self._queued}"
        to = recipients("q@x.org")
        draft = Draft(
            id=message,
            envelope=Envelope(sender="scan@example.com", recipients=to),
            client=Client(address="127.0.0.1"),
            received=self.clock.seconds(),
        )
        planned = Planned(route="default", provider=provider, lane="", recipients=to)
        assert self.spool is not None
        done(self.spool.accept(draft, MAIL, [planned]))
        return message

    def state(self, message: str) -> str:
        assert self.spool is not None
        state: str = done(self.spool.admin.show(message))[0].summary.state
        return state


class SharedTests(CounterTestCase):
    def both(self, *providers: ScriptedProvider, **more: Any) -> Both:
        self.counted = both = Both(*(providers or (ScriptedProvider("one"),)), **more)
        self.addCleanup(self.rest)
        return both

    def rest(self) -> None:
        """Nothing is left: no timer, no slot."""
        both = self.counted
        assert isinstance(both, Both)
        connection = both.permits._writer.writer.connection
        self.assertEqual(check(connection), [])
        self.assertEqual(connection.execute("SELECT * FROM permit").fetchall(), [])
        self.successResultOf(both.dispatcher.stop(0))
        self.check_rest()

    def test_a_client_waits_for_the_queue_and_goes_before_it(self) -> None:
        """Its slot is that of the attempt that ended, though other mail waited before it came."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred(), defer.Deferred(), defer.Deferred()]
        one = ScriptedProvider("one", answers)
        both = self.both(one, rate_limit=RateLimit(concurrency=1))
        first, second = both.queue(), both.queue()
        client = both.mail()
        self.assertEqual(len(one.sent), 1)
        answers[0].callback(Delivered())
        self.assertEqual([delivery.message for delivery, _ in one.sent], [first, "M1"])
        answers[1].callback(Delivered())
        self.assertReply(client, 250, "2.0.0")
        self.assertEqual([delivery.message for delivery, _ in one.sent], [first, "M1", second])
        answers[2].callback(Delivered())
        self.assertEqual(both.state(second), "delivered")

    def test_clients_come_in_their_order(self) -> None:
        """Who waits longest is first."""
        answers: list[defer.Deferred[Any]] = [defer.Deferred() for _ in range(4)]
        one = ScriptedProvider("one", answers)
        both = self.both(one, rate_limit=RateLimit(concurrency=1))
        clients = [both.mail() for _ in range(4)]
        for number, answer in enumerate(answers, start=1):
            self.assertEqual(one.sent[-1][0].message, f"M{number}")
            answer.callback(Delivered())
        for client in clients:
            self.assertReply(client, 250, "2.0.0")

    def test_the_pace_is_one(self) -> None:
        """What the queue has sent the client may not send; who would wait too long hears so at once."""
        both = self.both(rate_limit=RateLimit(windows=(Window(count=1, seconds=600),)))
        both.queue()
        self.assertReply(both.mail(), 451, "4.3.2", "takes no more")

    def test_the_pace_lets_it_in_later(self) -> None:
        """If it is within his patience he waits for the next token."""
        both = self.both(rate_limit=RateLimit(windows=(Window(count=1, seconds=10),)))
        both.queue()
        client = both.mail()
        self.assertNoResult(client)
        both.clock.pump([0.5] * 22)
        self.assertReply(client, 250, "2.0.0")

    def test_who_waits_in_vain_leaves_nothing(self) -> None:
        """His patience is over; the slot goes to somebody else."""
        answer: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [answer])
        both = self.both(one, rate_limit=RateLimit(concurrency=1))
        both.queue()
        clients = [both.mail(), both.mail()]
        both.clock.pump([1.0] * 60)
        for client in clients:
            self.assertReply(client, 451, "4.3.2")
        answer.callback(Delivered())
        self.assertEqual(len(one.sent), 1)

    def test_a_lane_that_the_client_found_blocked(self) -> None:
        """The queue does not try it again; the dispatcher probes it, and both go on."""
        one = ScriptedProvider("one", [Blocked("401")])
        one.verdicts += [Blocked("401 still"), Delivered()]
        both = self.both(one)
        self.assertReply(both.mail(), 451, "4.3.0", "401")
        message = both.queue()
        self.assertEqual((both.state(message), len(one.sent)), ("queued", 1))
        both.clock.advance(30)
        self.assertReply(both.mail(), 451, "4.3.0", "401 still")
        both.clock.advance(60)
        self.assertEqual(both.state(message), "delivered")
        self.assertReply(both.mail(), 250, "2.0.0")
        self.assertEqual(len(both.events.of("lane.blocked")), 1)

    def test_without_a_queue(self) -> None:
        """The reason comes at once, again and again, and the provider is left alone until it is probed."""
        one = ScriptedProvider("one", [Blocked("401")])
        both = self.both(one, spool=False)
        self.assertReply(both.mail(), 451, "4.3.0", "401")
        self.assertReply(both.mail(), 451, "4.3.0", "401")
        self.assertEqual(one.calls, [("deliver", "M1.1")])
        one.verdicts.append(Delivered())
        both.clock.advance(30)
        self.assertEqual(one.calls[1:], [("probe", "")])
        self.assertReply(both.mail(), 250, "2.0.0")
        self.assertEqual(len(both.events.of("lane.unblocked")), 1)

    def test_only_a_mail_can_tell(self) -> None:
        """One goes alone; when it is answered the lane is open."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [Blocked("535"), verdict])
        both = self.both(one, spool=False)
        self.assertReply(both.mail(), 451, "4.3.0", "535")
        both.clock.advance(30)
        client, other = both.mail(), both.mail()
        self.assertEqual(len(one.sent), 2)
        verdict.callback(Delivered())
        self.assertReply(client, 250, "2.0.0")
        self.assertReply(other, 250, "2.0.0")
        self.assertEqual(len(both.events.of("lane.unblocked")), 1)

    def test_a_lane_that_the_queue_found_blocked(self) -> None:
        """The client hears the reason at once, and another provider is asked where there is one."""
        one = ScriptedProvider("one", [Blocked("401")])
        both = self.both(one)
        both.queue()
        self.assertReply(both.mail(), 451, "4.3.0", "401")
        self.assertEqual(len(one.sent), 1)
        both.clock.advance(30)
        self.assertReply(both.mail(), 250, "2.0.0")

    def test_a_provider_that_has_us_wait(self) -> None:
        """A Retry-After that the one gets is kept by the other, and ends without a probe."""
        one = ScriptedProvider("one", [Throttled("429", 20.0)])
        both = self.both(one)
        self.assertReply(both.mail(), 451, "4.3.0", "429")
        message = both.queue()
        self.assertReply(both.mail(), 451, "4.3.0", "asked to wait")
        both.clock.advance(20)
        self.assertEqual(
            (both.state(message), [call for call, _ in one.calls]), ("delivered", ["deliver"] * 2)
        )

    def test_a_client_that_came_too_fast(self) -> None:
        """The lane closes for a moment, and mail that waited for his slot goes when it opens."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        both = self.both(ScriptedProvider("one", [verdict]), rate_limit=RateLimit(concurrency=1))
        client, message = both.mail(), both.queue()
        verdict.callback(Throttled("429"))
        self.assertReply(client, 451, "4.3.0", "429")
        self.assertEqual(both.state(message), "queued")
        both.clock.advance(0.25)
        self.assertEqual(both.state(message), "delivered")

    def test_a_provider_that_was_suspended(self) -> None:
        """It is asked again soon after an operator has resumed it, though nobody said when that would be."""
        one, two = ScriptedProvider("one", [Deferred("busy")] * 3), ScriptedProvider("two")
        both = self.both(one, two)
        assert both.spool is not None
        done(both.spool.block(Block(provider="two", until=SUSPENDED, reason="quota", operator=True)))
        self.assertReply(both.mail(), 451, "4.3.0")
        done(both.spool.block(Block(provider="two", operator=True)))
        both.clock.advance(10)
        self.assertReply(both.mail(), 250, "2.0.0")

    def test_a_slot_comes_back_with_the_body(self) -> None:
        """A provider that is polled for its verdict leaves room for the queue meanwhile."""
        verdict: defer.Deferred[Any] = defer.Deferred()
        one = ScriptedProvider("one", [verdict], takes=True)
        both = self.both(one, rate_limit=RateLimit(concurrency=1))
        client = both.mail()
        message = both.queue()
        self.assertEqual(both.state(message), "delivered")
        verdict.callback(Delivered())
        self.assertReply(client, 250, "2.0.0")

    def test_a_provider_that_breaks(self) -> None:
        """Its slot comes back all the same."""
        both = self.both(ScriptedProvider("one", [ValueError("oops")]), rate_limit=RateLimit(concurrency=1))
        self.assertReply(both.mail(), 451, "4.4.2")
        self.assertReply(both.mail(), 250, "2.0.0")

    def test_a_lane_that_is_found_blocked_by_a_question(self) -> None:
        """What became of a mail was asked, and the login refused: that stops the queue, too."""
        one = ScriptedProvider("one", [Uncertain("cut")], idempotent=True)
        one.resolutions.append(Blocked("401"))
        both = self.both(one)
        client = both.mail()
        both.clock.advance(5)
        self.assertReply(client, 451, "4.3.0", "401")
        message = both.queue()
        self.assertEqual((both.state(message), len(one.sent)), ("queued", 1))

    def test_what_it_costs(self) -> None:
        """One mail, two transactions: the permit before the request, its end after the reply."""
        both = self.both()
        spool: Any = both.spool
        operations: list[Any] = []
        real = spool._writer.do
        spool._writer.do = lambda operation: operations.append(operation) or real(operation)
        self.assertReply(both.mail(), 250, "2.0.0")
        self.assertEqual(len(operations), 2)
