"""One request for several: what becomes of each recipient when the service takes or refuses it as a whole."""

from smtprelay.interfaces.fit import largest, takes
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape
from smtprelay.providers.json_mail import single_id
from smtprelay.testing.acs import Answers, EndedOperation, FakeAcs, LostConnection
from tests.providers.acs_wiring import BLIND, KEYS, Case, JoinedAcs, delivery, joined_acs

GOOD, BAD, OTHER = "good@x.example", "a..b@x.example", "other@x.example"
MAIL = f"From: ann@mail.example.com\r\nTo: {GOOD}, {BAD}, {OTHER}\r\nSubject: Hi\r\n\r\nhello\r\n".encode()


def service(**options: object) -> JoinedAcs:
    return joined_acs(fake=lambda clock: FakeAcs(clock, KEYS[:2], **options))


class RefusedRecipientTests(Case):
    def results(self, joined: JoinedAcs, *recipients: str, body: bytes = MAIL) -> dict[str, object]:
        result = joined.start(delivery(*recipients), body)
        joined.joined.advance(1, 2, 4)
        return self.successResultOf(result)

    def test_named(self):
        """However the service names a recipient: he fails with its words, the others go again."""
        for naming in ("message", "place", "target", "details"):
            joined = service(naming=naming)
            results = self.results(joined, GOOD, BAD, OTHER)
            self.assertIsInstance(results[BAD], Failed, naming)
            self.assertEqual(results[BAD].code, "5.1.3")
            self.assertIn("400 ", results[BAD].why)
            for address in (GOOD, OTHER):
                self.assertTrue(results[address].again and results[address].closed)
            self.assertEqual(joined.fake.mails, [])

    def test_not_named(self):
        """If it names nobody all of several fail as a whole, in its words; one alone just fails."""
        joined = service()
        results = self.results(joined, GOOD, BAD)
        self.assertEqual({each.whole for each in results.values()}, {True})
        self.assertIn("400 InvalidEmailAddress: Invalid format for email address", results[BAD].why)
        self.assertEqual(self.results(joined, BAD)[BAD].whole, False)

    def test_after_it_was_taken(self):
        """So it is when the service says it after its 202, and to those who ask later."""
        joined = service()
        joined.fake.script(EndedOperation("Failed", "InvalidEmailAddress", f"bad: {OTHER}", steps=()))
        results = self.results(joined, GOOD, OTHER)
        self.assertEqual([type(results[each]) for each in (GOOD, OTHER)], [Deferred, Failed])
        found = joined.joined.run(joined.provider.resolve(delivery(GOOD, OTHER)))
        self.assertEqual(self.successResultOf(found), results)

    def test_blind_recipients_alone(self):
        """Who has a request of his own fails for himself, and the others have the mail."""
        results = self.results(service(), GOOD, BAD, body=BLIND)
        self.assertEqual([type(results[each]) for each in (GOOD, BAD)], [Delivered, Failed])
        self.assertFalse(results[BAD].whole)

    def test_the_next_generation(self):
        """Those who go again have an operation of their own."""
        joined = service(naming="message")
        self.results(joined, GOOD, BAD)
        rest = delivery(GOOD, generation=1)
        joined.start(rest, MAIL)
        self.assertEqual([each.id for each in joined.fake.mails], [rest.operation_id])

    def test_a_limit_that_was_lowered(self):
        """A delivery that has more recipients than a request may have is halved."""
        joined = joined_acs(limits=Limits(recipients=2))
        results = self.results(joined, GOOD, OTHER, "c@x.example")
        self.assertEqual({each.whole for each in results.values()}, {True})
        self.assertEqual(joined.fake.exchanges, [])


class TogetherTests(Case):
    def test_one_request(self):
        """Blind recipients together are one request and one operation; nobody sees another."""
        joined = joined_acs(blind_to="list@mail.example.com")
        item = delivery("a@x.org", "b@x.org")
        result = joined.start(item, BLIND)
        joined.joined.advance(1, 2, 4)
        self.assertEqual(
            self.successResultOf(result), dict.fromkeys(item.envelope.addresses, Delivered(item.operation_id))
        )
        [sent] = joined.sent()
        self.assertEqual(
            sent["recipients"],
            {
                "to": [{"address": "list@mail.example.com"}],
                "bcc": [{"address": "a@x.org"}, {"address": "b@x.org"}],
            },
        )

    def test_room_for_the_name(self):
        """The service's 50 are 49 and the one in whose name it goes; more are halved."""
        joined = joined_acs(blind_to="list@mail.example.com")
        self.assertEqual(joined.provider.limits.recipients, 49)
        people = [f"p{n}@x.org" for n in range(50)]
        result = joined.start(delivery(*people[:49]), BLIND)
        joined.joined.advance(1, 2, 4)
        self.assertEqual({type(each) for each in self.successResultOf(result).values()}, {Delivered})
        results = self.successResultOf(joined.start(delivery(*people, generation=1), BLIND))
        self.assertTrue(all(each.whole for each in results.values()))

    def test_a_lost_answer(self):
        """It is asked for by the one operation."""
        joined = joined_acs(blind_to="list@mail.example.com")
        joined.fake.script(LostConnection(accepting=True))
        item = delivery("a@x.org", "b@x.org")
        joined.start(item, BLIND)
        found = joined.joined.run(joined.provider.resolve(item))
        joined.joined.advance(1, 2)
        self.assertEqual({type(each) for each in self.successResultOf(found).values()}, {Delivered})

    def test_what_went_alone_before(self):
        """After the setting was changed what was sent to each alone is still found."""
        joined = joined_acs()
        joined.fake.script(None, LostConnection(accepting=True))
        item = delivery("a@x.org", "b@x.org")
        joined.start(item, BLIND)
        joined.joined.advance(1, 2, 4)
        self.assertEqual(
            list(joined.fake.operations), [single_id(item, each) for each in ("a@x.org", "b@x.org")]
        )


class LeftOutTests(Case):
    """The service refuses a field that a request can do without: it goes without, and the log says so."""

    def test_headers(self):
        """A header that the service does not like today costs nobody the mail."""
        joined = service(
            unwanted=lambda request: "headers" if "List-Unsubscribe" in request.get("headers", {}) else ""
        )
        body = b"List-Unsubscribe: <https://x.example>\r\n" + MAIL
        result = joined.start(delivery(GOOD, OTHER), body)
        joined.joined.advance(1, 2, 4)
        self.assertEqual({type(each) for each in self.successResultOf(result).values()}, {Delivered})
        [sent] = joined.sent()
        self.assertNotIn("headers", sent)
        self.assertEqual(sent["content"]["plainText"], "hello\r\n")
        [told] = [each for each in joined.events.of("message.corrected") if each["field"] == "headers"]
        self.assertEqual((told["delivery"], told["provider"]), ("m1.1", "acs"))
        self.assertIn("See property 'headers'", told["reason"])

    def test_one_after_the_other(self):
        """Several are left out, but not more and more: what is still refused then fails in its words."""
        wanted = {"headers": "headers", "replyTo": "replyTo[0].address", "attachments": "attachments[0].name"}
        body = b"X-A: 1\r\nReply-To: r@x.org\r\nContent-Disposition: attachment; filename=a\r\n" + MAIL
        joined = service(
            unwanted=lambda request: next((path for key, path in wanted.items() if key in request), "")
        )
        result = joined.start(delivery(GOOD), body)
        [outcome] = self.successResultOf(result).values()
        self.assertIsInstance(outcome, Failed)
        self.assertIn("attachments[0].name", outcome.why)
        self.assertEqual(sum(each.method == "POST" for each in joined.fake.exchanges), 4)

    def test_of_blind_recipients(self):
        """What one request showed holds for those after it."""
        joined = service(unwanted=lambda request: "replyTo" if "replyTo" in request else "")
        people = [f"p{n}@x.org" for n in range(5)]
        result = joined.start(delivery(*people), b"Reply-To: r@x.org\r\n" + BLIND)
        joined.joined.advance(1, 2, 4)
        self.assertEqual({type(each) for each in self.successResultOf(result).values()}, {Delivered})
        self.assertEqual(sum(each.method == "POST" for each in joined.fake.exchanges), 6)

    def test_after_a_lost_answer(self):
        """The mail that went without a field and whose answer was lost is found, and not sent again."""
        joined = service(unwanted=lambda request: "headers" if "headers" in request else "")
        joined.fake.script(None, LostConnection(accepting=True))
        body = b"X-A: 1\r\n" + MAIL
        joined.start(delivery(GOOD), body)
        result = joined.start(delivery(GOOD), body)
        joined.joined.advance(5, 10)
        self.assertIsInstance(self.successResultOf(result)[GOOD], Delivered)
        self.assertEqual(len(joined.fake.mails), 1)


class MendedTests(Case):
    def test_told(self):
        """A Reply-To that is no address is left out of the request, and told once, with the mail's id."""
        for author in (b"root@nas", b"scanner <scanner@nas>"):
            joined = joined_acs()
            result = joined.start(
                delivery(sender="root@nas"), b"From: " + author + b"\r\nTo: bob@example.net\r\n\r\nx"
            )
            joined.joined.advance(1, 2, 4)
            self.assertEqual({type(each) for each in self.successResultOf(result).values()}, {Delivered})
            [sent] = joined.sent()
            self.assertNotIn("replyTo", sent)
            [told] = joined.events.of("message.corrected")
            self.assertEqual((told["delivery"], told["provider"], told["field"]), ("m1.1", "acs", "replyTo"))
            self.assertIn("@nas", told["reason"])

    def test_words_of_the_service(self):
        """Each refusal of the mail is in the words of the service, with its status."""
        for status in (400, 413, 422):
            joined = joined_acs()
            joined.fake.script(Answers(status, "SomeCode", "what it says"))
            outcome = self.outcome_of(joined)
            self.assertIsInstance(outcome, Failed)
            self.assertIn(f"{status} SomeCode: what it says", outcome.why)


class SizeTests(Case):
    def test_measured(self):
        """The exact size of the request is known without sending it, for each envelope."""
        joined = joined_acs(accept_on="202")
        for recipients, body in ((("bob@example.net",), MAIL), (("a@x.org", "b@x.org"), BLIND)):
            item = delivery(*recipients, generation=len(recipients))
            size = self.successResultOf(
                joined.joined.run(joined.provider.measure(item.envelope, MemoryBody(body)))
            )
            before = len(joined.fake.operations)
            self.assertEqual(before, len(joined.fake.operations))
            joined.start(item, body)
            self.assertEqual(max(each.size for each in list(joined.fake.operations.values())[before:]), size)

    def test_bounds(self):
        """What is told of a mail's request is safe; a mail that no honest one is as large as is not taken."""
        provider = joined_acs().provider
        self.assertEqual(provider.limits, Limits(size=33_333_333, request=10_000_000, recipients=50))
        least, most = provider.encoded_size(Shape(size=8_700_000, eight_bit=8_700_000))
        self.assertTrue(least <= 11_700_000 <= most)
        self.assertLess(provider.encoded_size(Shape(size=1_500_000))[1], 10_000_000)
        self.assertLess(provider.encoded_size(Shape(size=9_000_000, in_json=9_010_000))[1], 10_000_000)
        self.assertEqual(largest(provider), 33_333_333)
        self.assertIsNone(takes(provider, Shape(size=33_333_333)))
