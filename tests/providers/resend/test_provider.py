"""What is sent to Resend, and what its answers mean."""

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import MailTooCostly, MimeWorkerUnavailable
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.route import Limits
from smtprelay.model.shape import shape_of
from smtprelay.settings.secret import fixed, in_file
from smtprelay.testing.provider_contract import delivery
from smtprelay.testing.resend import ResendLostConnection, ResendRefuses
from tests.providers.resend_wiring import BLIND, BOB, CY, MAIL, JoinedResend

BAD_TO = "Invalid `to` field. The email address needs to follow the `email@example.com` format."


class DeliverTests(SynchronousTestCase):
    def test_request(self) -> None:
        """The recipients are those of the envelope; the header decides who is seen."""
        resend = JoinedResend()
        body = b"Cc: Cy <cy@example.net>, x@example.org\r\nBcc: dan@example.net\r\n" + MAIL
        results = resend.deliver(BOB, CY, "dan@example.net", body=body)
        [mail] = resend.fake.mails
        self.assertEqual(set(results.values()), {Delivered(mail.id)})
        self.assertEqual(
            mail.request,
            {
                "from": "Ann <ann@mail.example.com>",
                "subject": "Hi",
                "text": "hello\r\n",
                "to": ["Bob <bob@example.net>"],
                "cc": ["Cy <cy@example.net>"],
                "bcc": ["dan@example.net"],
            },
        )
        self.assertTrue(mail.sent)

    def test_blind_recipients_alone(self) -> None:
        """Who is neither in To nor in Cc gets a request of his own, and nobody sees another."""
        resend = JoinedResend()
        results = resend.deliver(BOB, CY, body=BLIND)
        self.assertEqual([mail.recipients for mail in resend.fake.mails], [[BOB], [CY]])
        self.assertEqual([each.id for each in results.values()], [mail.id for mail in resend.fake.mails])
        resend.deliver(BOB, CY, body=BLIND)
        self.assertEqual(len(resend.fake.mails), 2)

    def test_the_rest_of_the_blind(self) -> None:
        """What stops one request stops those behind it; a refused recipient does not."""
        resend = JoinedResend()
        resend.fake.script(ResendRefuses(422, "validation_error", BAD_TO), None, ResendLostConnection())
        people = ("a@x.example", "b@x.example", "c@x.example", "d@x.example")
        results = resend.deliver(*people, body=BLIND)
        kinds = [type(results[each]) for each in people]
        self.assertEqual(kinds, [Failed, Delivered, Uncertain, Deferred])
        self.assertFalse(results["a@x.example"].whole)
        rest = resend.deliver(*people[1:], body=BLIND)
        self.assertEqual({type(each) for each in rest.values()}, {Delivered})
        self.assertEqual([each.recipients[0] for each in resend.fake.mails], list(people[1:]))

    def test_unsendable(self) -> None:
        """An address that Resend would not take costs nobody else his mail, and is not asked for."""
        resend = JoinedResend()
        results = resend.deliver("a..b@example.net", BOB)
        self.assertEqual(results["a..b@example.net"].code, "5.1.3")
        self.assertIsInstance(results[BOB], Delivered)
        self.assertIsInstance(resend.deliver("nobody")["nobody"], Failed)
        self.assertEqual(len(resend.fake.mails), 1)

    def test_sender(self) -> None:
        """The header says who sends, else the envelope; a mail without any of them fails."""
        resend = JoinedResend()
        resend.deliver(body=b"From: scanner\r\nTo: bob@example.net\r\n\r\nx\r\n")
        self.assertEqual(resend.fake.mails[0].request["from"], "ann@mail.example.com")
        outcome = resend.deliver(body=b"From: root@nas\r\n\r\nx\r\n", sender="root@nas")[BOB]
        self.assertIsInstance(outcome, Failed)
        self.assertEqual(outcome.code, "5.1.7")

    def test_probe(self) -> None:
        """A good key cannot tell whether mail may be sent; another one can tell that it may not."""
        resend = JoinedResend()
        self.assertIsNone(resend.result(resend.provider.probe("")))
        resend.fake.keys.clear()
        self.assertIsInstance(resend.result(resend.provider.probe("")), Blocked)
        self.assertEqual(resend.fake.mails, [])

    def test_endpoint(self) -> None:
        """Without an endpoint it is Resend's."""
        resend = JoinedResend(endpoint=None)
        self.assertIsInstance(resend.deliver()[BOB], Delivered)
        self.assertEqual(resend.joined.asked, [("https", "api.resend.com", 443)])

    def test_sizes(self) -> None:
        """A mail counts as the request that it becomes; too large a one is not sent."""
        resend = JoinedResend()
        body = MAIL + b"x" * 10_000
        least, most = resend.provider.encoded_size(shape_of(body))
        measured = resend.result(resend.provider.measure(delivery(BOB).envelope, MemoryBody(body)))
        resend.deliver(body=body)
        self.assertEqual(measured, len(json.dumps(resend.fake.mails[0].request, separators=(",", ":"))))
        self.assertTrue(least <= measured <= most)
        limits = resend.provider.limits
        self.assertEqual((limits.request, limits.recipients), (40_000_000, 50))
        small = JoinedResend(limits=Limits(request=1000))
        self.assertEqual(small.deliver(body=body)[BOB].code, "5.3.4")
        self.assertEqual(small.fake.mails, [])

    def test_worker(self) -> None:
        """A mail that takes too much work fails; a worker that is not there defers it."""
        resend = JoinedResend()
        resend.worker.failures.extend([MailTooCostly("5 s of the processor"), MimeWorkerUnavailable("dead")])
        self.assertEqual(resend.deliver()[BOB].code, "5.6.0")
        self.assertIsInstance(resend.deliver()[BOB], Deferred)

    def test_corrections_are_told(self) -> None:
        """What had to be corrected is an event."""
        resend = JoinedResend()
        resend.deliver(body=b"Reply-To: root@nas\r\n" + MAIL)
        [told] = resend.events.of("message.corrected")
        self.assertEqual((told["field"], told["provider"], told["delivery"]), ("replyTo", "re", "m1.1"))


class AnswerTests(SynchronousTestCase):
    def outcome(self, act: Any, *recipients: str) -> Any:
        resend = JoinedResend()
        resend.fake.script(act)
        return resend.deliver(*recipients)[(recipients or (BOB,))[0]]

    def test_meanings(self) -> None:
        """What a refusal means for the mail."""
        for status, name, message, kind in (
            (400, "validation_error", "An error was found with one or more fields.", Failed),
            (400, "validation_error", "API key is invalid", Blocked),
            (401, "restricted_api_key", "This key may do something else.", Blocked),
            (403, "invalid_api_key", "Wrong.", Blocked),
            (403, "suspended_api_key", "This API key is suspended.", Blocked),
            (403, "validation_error", "The x.example domain is not verified.", Blocked),
            (403, "validation_error", "You can only send testing emails to your own address.", Blocked),
            (404, "not_found", "The requested endpoint does not exist.", Blocked),
            (405, "method_not_allowed", "Method is not allowed.", Blocked),
            (409, "concurrent_idempotent_requests", "In progress.", Uncertain),
            (413, "", "too large", Failed),
            (418, "", "what?", Deferred),
            (422, "invalid_attachment", "Attachment must have a content.", Failed),
            (429, "rate_limit_exceeded", "Too many requests.", Throttled),
            (429, "daily_quota_exceeded", "You have reached your daily quota.", Blocked),
            (429, "monthly_quota_exceeded", "You have reached your monthly quota.", Blocked),
            (451, "security_error", "We may have found a security issue.", Deferred),
            (500, "application_error", "oops", Deferred),
            (502, "", "gateway", Uncertain),
            (503, "", "busy", Throttled),
            (504, "", "gateway", Uncertain),
        ):
            outcome = self.outcome(ResendRefuses(status, name, message))
            self.assertIsInstance(outcome, kind, f"{status} {name} {message}")
            self.assertIn(message, outcome.why)

    def test_a_domain_that_is_not_verified(self) -> None:
        """It stops the mail from that domain alone; a wrong key stops all mail."""
        unverified = ResendRefuses(403, "validation_error", "The x.example domain is not verified.")
        outcome = self.outcome(unverified)
        self.assertEqual((outcome.lane, outcome.closed), ("setup:mail.example.com", True))
        self.assertIsNone(JoinedResend().result(JoinedResend().provider.probe(outcome.lane)))
        self.assertEqual(self.outcome(ResendRefuses(403, "invalid_api_key", "Wrong.")).lane, "")

    def test_one_bad_address(self) -> None:
        """Resend does not say which of several it does not take: they are tried in halves."""
        resend = JoinedResend()
        resend.fake.refuses = {CY}
        results = resend.deliver(BOB, CY)
        self.assertEqual({(each.whole, each.code) for each in results.values()}, {(True, "5.1.3")})
        self.assertFalse(resend.deliver(CY, generation=1)[CY].whole)
        self.assertIsInstance(resend.deliver(BOB, generation=1)[BOB], Delivered)

    def test_key(self) -> None:
        """A wrong key blocks the lane, also one that is no key at all."""
        for key in ("re_wrong", "wrong", "re_two\nlines"):
            resend = JoinedResend(api_key=fixed(key, "inline"))
            self.assertIsInstance(resend.deliver()[BOB], Blocked, key)

    def test_new_key(self) -> None:
        """A key is read again after a refusal of any status: what an operator corrects works at once."""
        file = Path(self.mktemp())
        file.write_text("wrong")
        resend = JoinedResend(api_key=in_file(str(file), "file key"))
        self.assertIsInstance(resend.deliver()[BOB], Blocked)
        file.write_text("re_0123456789")
        self.assertIsInstance(resend.deliver()[BOB], Delivered)

    def test_next_attempt(self) -> None:
        """After a refusal the next attempt has a key of its own: its content may have been corrected."""
        for status, message, closed in (
            (403, "The x.example domain is not verified.", True),
            (401, "API key is invalid", True),
            (500, "oops", False),
        ):
            self.assertEqual(self.outcome(ResendRefuses(status, "", message)).closed, closed, message)

    def test_sent_before(self) -> None:
        """A lost answer is no second mail, also if what the relay makes of the mail has changed since."""
        resend = JoinedResend()
        resend.fake.script(ResendLostConnection())
        self.assertIsInstance(resend.deliver()[BOB], Uncertain)
        outcome = resend.deliver(body=MAIL.replace(b"Hi", b"Hello"))[BOB]
        self.assertEqual(outcome, Delivered(why="sent before, by a request whose answer was lost"))
        self.assertEqual(len(resend.fake.mails), 1)

    def test_no_id(self) -> None:
        """A 200 without an id is not Resend's."""
        self.assertIsInstance(self.outcome(ResendRefuses(200, "hotel network")), Uncertain)
