"""What the webhook hears of mail that ended badly, and when."""

import json
from typing import Any

from attrs import evolve
from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.decision import DecisionInput, settle
from smtprelay.dispatch.webhook import WebhookNotifier, render
from smtprelay.model.attempt import NewMessage
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed
from smtprelay.model.privacy import PrivacyMask
from smtprelay.model.route import WEBHOOK, Route
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import MORNING, DispatcherTestCase, Stage, done, make_claim

A, B, C = "a@x.org", "b@x.org", "c@x.org"


class RenderTests(SynchronousTestCase):
    def test_what_it_says(self) -> None:
        """Ids, the envelope, and for each recipient how it ended, why, and with which code."""
        ended = {"failed": {A: Failed("no such user", "5.1.1")}, "expired": {B: Deferred("busy")}}
        event = json.loads(render(make_claim(A, B, attempt=4), ended, "Grüße", MORNING))
        self.assertEqual(
            event,
            {
                "type": "delivery.ended",
                "time": MORNING,
                "message": "M1",
                "delivery": "M1.1",
                "attempt": 4,
                "route": "default",
                "provider": "one",
                "received": MORNING - 60,
                "size": 100,
                "sender": "scan@example.com",
                "envelope_id": "",
                "recipients": [
                    {"address": A, "result": "failed", "reason": "no such user", "code": "5.1.1"},
                    {"address": B, "result": "expired", "reason": "busy", "code": "4.4.7"},
                ],
                "subject": "Grüße",
            },
        )

    def test_a_subject_that_is_private_is_not_there(self) -> None:
        """Not even as an empty one."""
        self.assertNotIn("subject", json.loads(render(make_claim(A), {"failed": {A: Failed("x")}}, None, 0)))

    def test_hostile_words(self) -> None:
        """Whatever a client or a provider said, the event is ASCII and valid JSON."""
        event = render(make_claim("\ud800@x.org"), {"failed": {"x": Failed('\x00"\r\n')}}, "\udc80", 0)
        self.assertTrue(event.isascii())
        self.assertEqual(json.loads(event)["recipients"][0]["reason"], '\x00"\r\n')


class JudgementTests(SynchronousTestCase):
    def test_each_end_goes_its_own_way(self) -> None:
        """``on_failed`` and ``on_expired`` are asked for each recipient on its own."""
        route = Route(name="r", via=("one",), on_failed="webhook", on_expired="bounce", expire=10.0)
        results = {A: Failed("no"), B: Deferred("busy"), C: Delivered()}
        case = DecisionInput(
            claim=make_claim(A, B, C, age=99.0), route=route, now=MORNING, chance=0.5, elsewhere=lambda: None
        )
        decision = settle(case, results)
        self.assertEqual(
            (decision.webhook_results, decision.reported), ({"failed": {A: results[A]}}, {B: results[B]})
        )
        self.assertEqual(decision.settlement.closed, {A: "failed", B: "failed", C: "delivered"})
        decision = settle(evolve(case, route=evolve(route, on_expired="webhook", on_failed="hold")), results)
        self.assertEqual((decision.webhook_results, decision.reported), ({"expired": {B: results[B]}}, {}))


class AnnouncingTests(DispatcherTestCase):
    def notifying(self, *answers: Any, hook: ScriptedProvider | None = None, **route: Any) -> Stage:
        """Return a stage whose route tells a webhook, which is a scripted provider, too."""
        self.hook = hook or ScriptedProvider(WEBHOOK, idempotent=True)
        one = ScriptedProvider("one", answers)
        routes = [Route(name="default", via=("one",), **{"on_failed": "webhook", **route})]
        self.staged = stage = Stage([one, self.hook], routes, notifier=WebhookNotifier(post=self.post))
        self.addCleanup(self.stop)
        return stage.start()

    def post(self, route: str, event: bytes, about: str) -> NewMessage:
        recipients = (Recipient(address=route),)
        draft = Draft(
            id="E1",
            envelope=Envelope(sender="", recipients=recipients),
            client=Client(address="127.0.0.1"),
            received=self.staged.clock.seconds(),
            bounce_of=about,
        )
        planned = Planned(route=WEBHOOK, provider=WEBHOOK, lane=route, recipients=recipients)
        return NewMessage(draft=draft, body=event, planned=(planned,), subject="Event")

    def test_a_failure_is_told(self) -> None:
        """One event, with the mail's subject and nothing of its content, and no bounce."""
        stage = self.notifying(Failed("no such user", "5.1.1"))
        message = stage.accept(A)
        self.assertEqual((stage.summary(message).state, stage.summary("E1").state), ("failed", "delivered"))
        [(delivery, event)] = self.hook.sent
        self.assertEqual((delivery.lane, delivery.bounce_of), ("default", message))
        told = json.loads(event)
        self.assertEqual((told["message"], told["subject"]), (message, "Scan"))
        self.assertNotIn(b"Hello", event)
        self.assertEqual(stage.posted, [])
        self.assertEqual(
            stage.events.of("webhook.queued"),
            [{"message": message, "delivery": f"{message}.1", "report": "E1"}],
        )

    def test_an_expiry_is_told(self) -> None:
        """So with ``on_expired``, when the attempts are used up."""
        retry = Route(name="x", via=("x",)).retry
        stage = self.notifying(Deferred("busy"), on_expired="webhook", retry=evolve(retry, attempts=1))
        stage.accept(A)
        [recipient] = json.loads(self.hook.sent[0][1])["recipients"]
        self.assertEqual((recipient["result"], recipient["code"]), ("expired", "4.4.7"))

    def test_what_is_not_told_yet_survives_a_death(self) -> None:
        """The event is as safe as the failure it tells of, and goes again under the same operation."""
        hook = ScriptedProvider(WEBHOOK, [defer.Deferred()], idempotent=True)
        stage = self.notifying(Failed("no"), hook=hook)
        stage.accept(A)
        stage.restart()
        self.assertEqual(stage.summary("E1").state, "delivered")
        first, second = (delivery.operation_id for delivery, _ in hook.sent)
        self.assertEqual(first, second)

    def test_a_webhook_that_fails_ends_visibly(self) -> None:
        """It is in the list of what failed, and nobody gets a bounce or an event about it."""
        stage = self.notifying(Failed("no"), hook=ScriptedProvider(WEBHOOK, [Failed("400 what is this?")]))
        stage.accept(A)
        self.assertEqual(stage.summary("E1").state, "failed")
        self.assertEqual((stage.posted, stage.waiting()), ([], []))
        self.assertEqual(len(stage.events.of("message.failed")), 2)

    def test_a_webhook_that_is_broken_keeps_its_events(self) -> None:
        """Its lane is blocked, with an alarm; the events go when a trial succeeds."""
        hook = ScriptedProvider(WEBHOOK, [Blocked("404 no such hook", "default")])
        stage = self.notifying(Failed("no"), hook=hook)
        stage.accept(A)
        self.assertEqual(stage.events.of("lane.blocked")[0]["provider"], WEBHOOK)
        self.assertEqual(stage.summary("E1").state, "queued")
        stage.clock.advance(30)
        self.assertEqual(stage.summary("E1").state, "delivered")

    def test_an_event_that_cannot_be_made(self) -> None:
        """The mail ends failed all the same, and the log says why nobody was told."""
        self.post = lambda *_: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        stage = self.notifying(Failed("no"))
        message = stage.accept(A)
        self.assertEqual(stage.summary(message).state, "failed")
        self.assertIn("no event could be made: ZeroDivisionError", str(stage.events.of("relay.warning")))


class PrivacyTests(SynchronousTestCase):
    def test_a_private_subject(self) -> None:
        """It is not read at all."""
        claim = make_claim(A)
        body: Any = object()
        notifier = WebhookNotifier(post=self.remember, mask=PrivacyMask(subjects=False))
        done(notifier.notify(claim, {"failed": {A: Failed("no")}}, body, MORNING))
        self.assertNotIn(b"subject", self.remembered)

    def remember(self, route: str, event: bytes, about: str) -> Any:
        self.remembered = event
