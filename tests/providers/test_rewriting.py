"""Mail that is rewritten before its provider gets it."""

import email
from collections import Counter

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt, Body, MailTooCostly, MimeWorkerUnavailable
from smtprelay.mime.rewrite import RewriteRule
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.outcome import Deferred as DeferredOutcome
from smtprelay.model.outcome import Delivered, Failed, Results
from smtprelay.model.route import Limits, Route
from smtprelay.model.shape import Shape, shape_of
from smtprelay.providers.rewriting import RewritingProvider
from smtprelay.testing.acs import EndedOperation, LostConnection
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import Stage, make_context, make_end_reports
from tests.mime.test_rewrite import DO_NOT_REPLY, MOVED
from tests.providers.acs_wiring import delivery as acs_delivery
from tests.providers.acs_wiring import joined_acs
from tests.providers.smarthost_wiring import Stored, delivery
from tests.providers.test_signer import Key, Signing, verified

MAIL = b"From: Ann <ann@x.org>\r\nTo: Old <old@x.example>\r\nSubject: Hi\r\n\r\nhello\r\n"
BOTH = evolve(DO_NOT_REPLY, recipients=MOVED.recipients)
NAMED = ("old@x.example", "new@x.example", "NEW@X.example", "a@old.example", "a@new.example", "b@y.org")
FORCED = {"printer1": RewriteRule(author="scan@mail.example.com")}


class Each(ScriptedProvider):
    """Answers for each recipient with its address."""

    async def deliver(self, attempt: Attempt) -> Results:
        """Deliver, and name the recipient in the id."""
        await super().deliver(attempt)
        return {address: Delivered(address) for address in attempt.delivery.envelope.addresses}


class Rewriting:
    """A provider that records, behind rules of the route ``default``."""

    def __init__(self, rule: RewriteRule | None = BOTH, *failures: Exception) -> None:
        self.inner = Each(limits=Limits(request=1_000_000))
        self.worker = InlineMimeWorker(failures)
        routes = {} if rule is None else {"default": rule}
        self.provider = RewritingProvider(self.inner, self.worker, routes=routes, users=FORCED)

    def deliver(
        self, test: SynchronousTestCase, *recipients: str, body: Body | None = None, **changes: object
    ) -> Results:
        """Deliver a mail and return the outcomes."""
        item = evolve(delivery(*recipients), shape=shape_of(MAIL), **changes)
        attempt = Attempt(item, body or MemoryBody(MAIL))
        return test.successResultOf(Deferred.fromCoroutine(self.provider.deliver(attempt)))

    @property
    def sent(self) -> tuple[Delivery, bytes]:
        """What the provider got last."""
        return self.inner.sent[-1]


class DeliverTests(SynchronousTestCase):
    def test_rewritten(self) -> None:
        """The provider gets other addresses in envelope and header; each result is of who was named."""
        at = Rewriting()
        results = at.deliver(self, "old@x.example", "new@x.example", "j@old.example", "k@y.example")
        self.assertEqual(
            {address: outcome.id for address, outcome in results.items()},
            {
                "old@x.example": "new@x.example",
                "new@x.example": "new@x.example",
                "j@old.example": "j@new.example",
                "k@y.example": "k@y.example",
            },
        )
        item, body = at.sent
        self.assertEqual(item.envelope.addresses, ("new@x.example", "j@new.example", "k@y.example"))
        self.assertEqual(item.envelope.sender, "a@example.com")
        mail = email.message_from_bytes(body)
        self.assertEqual(mail["From"], "Ann <DoNotReply@mail.example.com>")
        self.assertEqual((mail["Reply-To"], mail["To"]), ("Ann <ann@x.org>", "Old <new@x.example>"))
        self.assertEqual((item.size, item.shape), (len(body), shape_of(body)))

    def test_other_routes(self) -> None:
        """Mail of another route is not touched, and nothing is asked of the worker."""
        at = Rewriting()
        at.deliver(self, "old@x.example", route="other")
        self.assertEqual((at.sent[1], at.worker.tasks), (MAIL, []))

    def test_user(self) -> None:
        """A user who is to send as somebody does so in From, too; then the rule of the route follows."""
        at = Rewriting(None)
        at.deliver(self, "b@y.example", login="printer1")
        self.assertEqual(email.message_from_bytes(at.sent[1])["From"], "Ann <scan@mail.example.com>")
        at.deliver(self, "b@y.example", login="printer2")
        self.assertEqual(at.sent[1], MAIL)
        at = Rewriting(evolve(DO_NOT_REPLY, kept_domains=()))
        at.deliver(self, "b@y.example", login="printer1")
        mail = email.message_from_bytes(at.sent[1])
        self.assertEqual(mail["From"], "Ann <DoNotReply@mail.example.com>")
        self.assertEqual(mail["Reply-To"], "Ann <scan@mail.example.com>")

    def test_large_mail(self) -> None:
        """Of a large mail only the header is read twice; where its pieces end does not matter."""
        content = MAIL + (b"y" * 76 + b"\r\n") * 9000
        expected = Rewriting()
        expected.deliver(self, "b@y.example", body=MemoryBody(content))
        for cut in (3, len(MAIL) - 9, len(MAIL) - 8, len(MAIL)):
            at = Rewriting()
            at.deliver(
                self, "b@y.example", body=Stored(content[:cut], content[cut:100_000], content[100_000:])
            )
            self.assertEqual(at.sent[1], expected.sent[1])

    def test_reports_of_others(self) -> None:
        """A server that reports on it later names the recipient that the sender knows (RFC 3461)."""
        at, to = (
            Rewriting(),
            (
                Recipient(address="old@x.example", notify="NEVER"),
                Recipient(address="new@x.example", notify="FAILURE", orcpt="rfc822;given"),
                Recipient(address="a+b@old.example", notify="DELAY"),
                Recipient(address="jü@old.example"),
            ),
        )
        at.deliver(self, envelope=Envelope(sender="a@example.com", recipients=to))
        self.assertEqual(
            [(each.address, each.notify, each.orcpt) for each in at.sent[0].envelope.recipients],
            [
                ("new@x.example", "FAILURE", "rfc822;given"),
                ("a+b@new.example", "DELAY", "rfc822;a+2Bb@old.example"),
                ("jü@new.example", "", ""),
            ],
        )

    def test_not_rewritten(self) -> None:
        """What takes too much work fails; while the worker is not there the mail waits."""
        for error, kind in ((MailTooCostly("x"), Failed), (MimeWorkerUnavailable("x"), DeferredOutcome)):
            at = Rewriting(BOTH, error)
            outcomes = at.deliver(self, "old@x.example", "b@y.example")
            self.assertEqual([type(each) for each in outcomes.values()], [kind, kind])
            self.assertEqual(at.inner.sent, [])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from(NAMED), min_size=1, unique=True))
    def test_each_once(self, named: list[str]) -> None:
        """Whatever rules touch them, each recipient gets the mail once, and each that was named a result."""
        at = Rewriting()
        results = at.deliver(self, *named)
        sent = Counter(at.sent[0].envelope.addresses)
        self.assertEqual(set(sent.values()), {1})
        self.assertEqual(list(results), named)
        for address, outcome in results.items():
            target = MOVED.address_rules.replaced(address)
            self.assertEqual(outcome.id.lower(), target.lower())


class SizeTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """A mail within a header's size of the limit is measured."""
        provider = Rewriting().provider
        self.assertEqual(provider.encoded_size(Shape(size=100)), (0, 100 + 288 * 1024))

    def test_measured(self) -> None:
        """The size is that of the rewritten mail, by whichever rules it becomes largest."""
        at = Rewriting(evolve(BOTH, added=(("X-Long", "x" * 500),)))
        item = delivery("old@x.example")
        measuring = at.provider.measure(item.envelope, MemoryBody(MAIL))
        at.deliver(self, "old@x.example")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(measuring)), len(at.sent[1]))
        self.assertGreater(len(at.sent[1]), len(MAIL) + 500)


class FailoverTests(SynchronousTestCase):
    """A mail that a rule makes larger goes to a provider that takes it, whatever the first one's limit is."""

    def begin(self, *limits: int) -> Stage:
        """Return a dispatcher with a provider for each limit of a request, before which mail is rewritten."""
        rule = evolve(BOTH, added=(("X-Long", "x" * 500),))
        self.inner = [
            ScriptedProvider(f"p{number}", limits=Limits(request=limit))
            for number, limit in enumerate(limits)
        ]
        outer = [
            RewritingProvider(each, InlineMimeWorker(), routes={"default": rule}, users={})
            for each in self.inner
        ]
        via = tuple(each.name for each in outer)
        stage = Stage(outer, [Route(name="default", via=via, failover_after=3)])
        return stage.start()

    def test_next_provider(self) -> None:
        """At once, and only there; a mail without rules would have gone to the first."""
        stage = self.begin(len(MAIL) + 300, len(MAIL) + 3000)
        message = stage.accept("old@x.example", provider="p0", body=MAIL)
        stage.clock.pump([1.0] * 5)
        self.assertEqual([len(each.sent) for each in self.inner], [0, 1])
        self.assertEqual(stage.summary(message).state, "delivered")

    def test_nobody_takes_it(self) -> None:
        """If it is too large for all, its sender is told so."""
        stage = self.begin(len(MAIL) + 300, len(MAIL) + 400)
        message = stage.accept("old@x.example", provider="p0", body=MAIL)
        stage.clock.pump([1.0] * 5)
        self.assertEqual([len(each.sent) for each in self.inner], [0, 0])
        self.assertEqual(stage.summary(message).state, "failed")
        self.assertIn("too large: rewritten a request of", stage.summary(message).reason)
        self.assertEqual(len(stage.posted), 1)


class SignedTests(SynchronousTestCase):
    def test_order(self) -> None:
        """A mail is rewritten, then finished, then signed for the domain that From has now."""
        at = Signing(self, Key(domain="mail.example.com"))
        at.provider = RewritingProvider(at.provider, at.worker, routes={"default": BOTH}, users={})
        at.deliver(b"Bcc: x@y.org\r\n" + MAIL.replace(b"hello", b"h\xc3\xa9llo"), delivery("old@x.example"))
        self.assertTrue(verified(at.got))
        self.assertNotIn(b"Bcc", at.got)
        self.assertIn(b"\r\nFrom: Ann <DoNotReply@mail.example.com>\r\n", at.got)
        self.assertIn(b"\r\nMessage-ID: <m1@relay.example.com>\r\n", at.got)
        self.assertEqual(at.sink.messages[0].recipients, ("new@x.example",))


class JsonTests(SynchronousTestCase):
    def test_acs(self) -> None:
        """A provider that reads mail reads the rewritten one."""
        joined = joined_acs()
        provider = RewritingProvider(joined.provider, InlineMimeWorker(), routes={"default": BOTH}, users={})
        item = acs_delivery("old@x.example", sender="ann@x.org")
        result = joined.joined.run(provider.deliver(Attempt(item, MemoryBody(MAIL))))
        joined.joined.advance(1, 2, 4)
        self.assertIsInstance(self.successResultOf(result)["old@x.example"], Delivered)
        [request] = joined.sent()
        self.assertEqual(request["senderAddress"], "DoNotReply@mail.example.com")
        self.assertEqual(request["recipients"]["to"], [{"address": "new@x.example", "displayName": "Old"}])
        self.assertEqual(request["replyTo"], [{"address": "ann@x.org", "displayName": "Ann"}])

    def test_who_sends(self) -> None:
        """From of the rule is whom the service sends as, also if it would send as the envelope's sender."""
        for rule, sends in ((BOTH, "DoNotReply@mail.example.com"), (MOVED, "scan@mail.example.com")):
            joined = joined_acs(sender="default@mail.example.com")
            provider = RewritingProvider(
                joined.provider, InlineMimeWorker(), routes={"default": rule}, users={}
            )
            item = acs_delivery("old@x.example", sender="scan@mail.example.com")
            joined.joined.run(provider.deliver(Attempt(item, MemoryBody(MAIL))))
            self.assertEqual([request["senderAddress"] for request in joined.sent()], [sends])


class CorrectedTests(SynchronousTestCase):
    """A rule is corrected while a delivery waits, as by a reload."""

    def begin(self, rule: RewriteRule, *acts: object) -> None:
        """Begin to deliver a mail by ACS, by ``rule``; the service does what ``acts`` say."""
        self.stage = Stage([ScriptedProvider("one")], [Route(name="default", via=("one",))])
        self.acs = joined_acs(clock=self.stage.clock, sender_domains=["mail.example.com"])
        self.acs.fake.script(*acts)
        self.use(rule)

    def use(self, rule: RewriteRule) -> None:
        """Put a configuration with ``rule`` into force."""
        provider = RewritingProvider(
            self.acs.provider, InlineMimeWorker(), routes={"default": rule}, users={}
        )
        stage = self.stage
        context = make_context(
            stage.events,
            spool=stage.spool,
            providers={"one": provider},
            routes=stage.routes,
            clock=stage.clock,
        )
        stage.dispatcher.use(context, make_end_reports(context, stage._post))
        stage.start()

    def accept(self, *recipients: str, to: str = "old@x.example") -> str:
        """Accept a mail, and let its first attempt end."""
        body = f"From: Ann <ann@x.org>\r\nTo: {to}\r\nSubject: Hi\r\n\r\nhello\r\n".encode()
        message = self.stage.accept(*(recipients or ("old@x.example",)), body=body)
        self.acs.joined.advance(0)
        return message

    def end(self) -> list[list[str]]:
        """Let all attempts end; return the recipients of each mail that went out."""
        self.acs.joined.advance(*[1] * 400)
        stopped = self.stage.dispatcher.stop(0)
        self.stage.clock.advance(0)
        self.successResultOf(stopped)
        return [
            [each["address"] for each in mail.request["recipients"]["to"]] for mail in self.acs.fake.mails
        ]

    def test_what_waits(self) -> None:
        """What waits goes out by the new rule."""
        self.begin(evolve(MOVED, recipients=(("old@x.example", "wrong@x.example"),)), LostConnection())
        message = self.accept()
        self.use(BOTH)
        self.assertEqual(self.end(), [["new@x.example"]])
        self.assertEqual(self.stage.summary(message).state, "delivered")
        [recipient] = self.stage.summary(message).recipients
        self.assertEqual(recipient.address, "old@x.example")

    def test_lost_answer(self) -> None:
        """What the service had taken by the old rule is not sent again by the new one."""
        old = evolve(MOVED, recipients=(("old@x.example", "wrong@x.example"),))
        self.begin(old, LostConnection(accepting=True))
        message = self.accept()
        self.use(BOTH)
        self.assertEqual(self.end(), [["wrong@x.example"]])
        self.assertEqual(self.stage.summary(message).state, "delivered")

    def test_lost_answer_of_blind_ones(self) -> None:
        """Of blind recipients, which get a request each, only those go whose request did not arrive."""
        old = evolve(
            MOVED, recipients=(("a@x.example", "wrong@x.example"), ("b@x.example", "wrong2@x.example"))
        )
        new = evolve(MOVED, recipients=(("a@x.example", "a@new.example"), ("b@x.example", "b@new.example")))
        self.begin(old, LostConnection(accepting=True))
        message = self.accept("a@x.example", "b@x.example", to="list@else.example")
        self.use(new)
        self.assertEqual(self.end(), [["wrong@x.example"], ["b@new.example"]])
        self.assertEqual(self.stage.summary(message).state, "delivered")

    def test_ended_operation(self) -> None:
        """An operation that the service has ended is followed by a new one, by the new rule."""
        self.begin(MOVED, EndedOperation("Failed", "TooManyRequests", "later"))
        self.accept()
        self.acs.joined.advance(1, 2, 4)
        self.use(BOTH)
        self.assertEqual(self.end(), [["new@x.example"]])
        operations = list(self.acs.fake.operations.values())
        self.assertEqual(len(operations), 2)
        self.assertEqual(operations[1].request["senderAddress"], "DoNotReply@mail.example.com")
