from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.providers.acs.errors import (
    ApiError,
    Sent,
    acs_failed,
    acs_refusal,
    field_named,
    recipients_named,
    refusal_of,
    results_of,
)

A, B, C = "a@x.example", "bad@x.example", "c@x.example"
SENT = Sent(to=[A, B], bcc=[C])
FAILED = Failed("400 InvalidEmailAddress: no", "5.6.0")


def said(message: str = "", code: str = "BadRequest", **more: object) -> ApiError:
    return refusal_of({"code": code, "message": message, **more})


class NamedTests(SynchronousTestCase):
    def names(self, refusal: ApiError, *addresses: str, sent: Sent = SENT) -> set[str]:
        return set(recipients_named(refusal, addresses, sent))

    def test_wherever_it_stands(self):
        """An address is found in message, target, and details at any depth; in any case and punctuation."""
        for refusal in (
            said("Invalid format for email address 'BAD@x.example'."),
            said("Invalid address: bad@x.example"),
            said("address=bad@x.example, and more"),
            said("<bad@x.example> is bad"),
            said(target="bad@x.example"),
            said(details=[{"code": "x", "message": "x"}, {"target": "(bad@x.example)"}]),
            said(innererror={"details": [{"message": "bad@x.example."}]}),
            said("x", additionalInfo=[{"type": "t", "info": {"address": "bad@x.example"}}]),
        ):
            self.assertEqual(self.names(refusal), {B}, refusal)

    def test_by_its_place(self):
        """So is the place in the request, as the service writes it, or as a JSON pointer."""
        for text, address in (
            ("Request body validation error. See property 'recipients.to[1].address'", B),
            ("See property 'Recipients.Bcc[0]'", C),
            ("/recipients/to/0/address", A),
        ):
            self.assertEqual(self.names(said(text)), {address})
            self.assertEqual(self.names(said(target=text)), {address})
        for text in (
            "recipients.to[2].address",
            "recipients.cc[0]",
            "recipients.to[0].displayName",
            "recipients.to",
        ):
            self.assertEqual(self.names(said(text)), set(), text)

    def test_one_within_another(self):
        """Of addresses of which one begins or ends like another, the one that stands there is meant."""
        people = ["a@x.example", "aa@x.example", "a@x.example.org", "a.a@x.example", "o'a@x.example"]
        for address in people:
            found = self.names(said(f"Invalid: '{address}'."), *people, sent=Sent())
            self.assertEqual(found, {address})
        for text in ("za@x.example", "a@x.example.net", "a@x.examples", "a+b@x.example"):
            self.assertEqual(self.names(said(text), "a@x.example", sent=Sent()), set(), text)

    def test_strange_errors(self):
        """Nothing in an error makes it fail, or take long."""
        deep: object = {"message": "bad@x.example"}
        for _ in range(500):
            deep = {"details": [deep]}
        for error in ({"code": 7, "message": None}, {"details": [None, 1, "x"]}, {"innererror": deep}):
            self.assertEqual(self.names(refusal_of(error)), set())
        huge = refusal_of({"message": "x" * 10**6, "details": ["bad@x.example"] * 10**5})
        self.assertLess(sum(map(len, huge.texts)), 100_000)


class ApartTests(SynchronousTestCase):
    def test_named(self):
        """Whom it names has failed for himself; the others go again at once, as a new operation."""
        results = results_of(FAILED, said("no: bad@x.example"), SENT.addresses, SENT)
        again = Deferred(f"refused for other recipients: {FAILED.why}", closed=True, again=True)
        self.assertEqual(results, {A: again, B: Failed(FAILED.why, "5.1.3"), C: again})

    def test_all_named(self):
        """Where all are named all have failed."""
        results = results_of(FAILED, said(f"no: {A}, {B}, {C}"), SENT.addresses, SENT)
        self.assertEqual({type(outcome) for outcome in results.values()}, {Failed})
        self.assertFalse(any(outcome.whole for outcome in results.values()))

    def test_not_named(self):
        """If nobody is named, and it may be a recipient's fault, several have failed as a whole."""
        for refusal in (
            said("Invalid format for email address", "InvalidEmailAddress"),
            said("Invalid format for email address"),
            said("One of the recipients is invalid"),
            said("x", "TooManyRecipients"),
        ):
            results = results_of(FAILED, refusal, SENT.addresses, SENT)
            self.assertTrue(all(outcome.whole for outcome in results.values()), refusal)
            self.assertEqual(results_of(FAILED, refusal, [A], Sent(to=[A])), {A: FAILED})

    def test_the_fault_of_the_mail(self):
        """What is wrong with the mail, or with all recipients, fails it for all, at once."""
        for refusal in (
            said("Request body validation error. See property 'attachments[0].contentInBase64'"),
            said("The subject is bad"),
            said("", "EmailDropped"),
            said("All recipients are suppressed", "EmailDroppedAllRecipientsSuppressed"),
        ):
            self.assertEqual(set(results_of(FAILED, refusal, SENT.addresses, SENT).values()), {FAILED})

    def test_the_fault_of_the_operator(self):
        """Whom only the operator named stops the lane: his mistake bounces no mail."""
        sent = Sent(to=["list@d.example"], bcc=[A, B])
        results = results_of(FAILED, said("bad: list@d.example"), [A, B], sent)
        self.assertEqual(results, dict.fromkeys([A, B], Blocked(FAILED.why)))

    def test_other_outcomes(self):
        """What is no refusal of the mail is the same for all."""
        for outcome in (Deferred("x"), Blocked("x"), Uncertain("x"), Delivered("x")):
            self.assertEqual(results_of(outcome, said(B), [A, B], SENT), dict.fromkeys([A, B], outcome))

    def test_a_code_that_says_more(self):
        """A code that is about the recipient is kept."""
        results = results_of(Failed("x", "5.7.1"), said(B), SENT.addresses, SENT)
        self.assertEqual(results[B].code, "5.7.1")


class UnwantedTests(SynchronousTestCase):
    def test_fields(self):
        """A field that a request can do without is known by its path."""
        for path, field in (
            ("headers", "headers"),
            ("headers['X-Foo']", "headers"),
            ("headers.X", "headers"),
            ("replyTo", "replyTo"),
            ("replyTo[0].address", "replyTo"),
            ("recipients.to[3].displayName", "displayName"),
            ("attachments[0].contentType", "attachments.contentType"),
            ("attachments[10].name", "attachments.name"),
            ("Attachments[1].ContentId", "attachments.contentId"),
            ("attachments[0].contentInBase64", ""),
            ("recipients.to[0].address", ""),
            ("senderAddress", ""),
            ("content.subject", ""),
        ):
            self.assertEqual(
                field_named(said(f"Request body validation error. See property '{path}'")), field, path
            )
            self.assertEqual(field_named(said(target=path)), field, path)

    def test_sentences(self):
        """A sentence about the type of a file means that, too; one about its content does not."""
        for sentence, field in (
            ("Attachment content type is not supported", "attachments.contentType"),
            ("The attachment 'a.exe' has an invalid file extension", "attachments.contentType"),
            ("Unsupported MIME type application/x-foo of attachment a.foo", "attachments.contentType"),
            ("The attachment is too large", ""),
            ("Invalid content type of the request", ""),
            ("Request body validation error. ContentBytes invalid. Should be base64.", ""),
        ):
            self.assertEqual(field_named(said(sentence)), field, sentence)


class OutcomeTests(SynchronousTestCase):
    def test_by_status(self):
        """Each status of the send call has its outcome; an unknown one is deferred."""
        expected = {
            400: Failed,
            401: Blocked,
            403: Blocked,
            404: Blocked,
            409: Deferred,
            413: Failed,
            418: Deferred,
            422: Failed,
            429: Throttled,
            302: Deferred,
            500: Deferred,
            502: Uncertain,
            503: Throttled,
            504: Uncertain,
            599: Deferred,
        }
        for status, kind in expected.items():
            with self.subTest(status):
                self.assertIsInstance(acs_refusal(status, "", "no"), kind)

    def test_too_fast(self):
        """429 and 503 say that we ask for too much; another deferral says something about the mail."""
        outcomes = {status: acs_refusal(status, "", "no") for status in (409, 429, 500, 503, 599)}
        throttled = {status for status, outcome in outcomes.items() if isinstance(outcome, Throttled)}
        self.assertEqual(throttled, {429, 503})
        self.assertIsInstance(acs_refusal(400, "TooManyRequests", "no"), Throttled)

    def test_words(self):
        """The reason is the provider's own words in one line, with advice for the operator."""
        refused = acs_refusal(401, "Denied", "Denied by\r\n the resource provider.")
        self.assertEqual(
            refused.why,
            "401 Denied: Denied by the resource provider. (check the access key and this machine's clock;"
            " with Entra tenant, client_id and cloud)",
        )

    def test_enhanced_code(self):
        """A bounce carries a code that fits the reason."""
        self.assertEqual(acs_refusal(413, "", "big").code, "5.3.4")
        self.assertEqual(acs_refusal(400, "InvalidEmailAddress", "bad").code, "5.1.3")
        self.assertEqual(acs_failed("EmailDroppedAllRecipientsSuppressed", "x").code, "5.7.1")
        self.assertEqual(acs_failed("Whatever", "x"), Failed("operation failed: Whatever: x", "5.0.0"))

    def test_wait(self):
        """What is deferred keeps the provider's wait."""
        self.assertEqual(acs_refusal(429, "", "slow", wait=7.0), Throttled("429 slow", 7.0))

    def test_sender_of_the_operator(self):
        """A refused sender blocks the lane if it is the configured one, else it fails its mail."""
        for own, kind in ((True, Blocked), (False, Failed)):
            with self.subTest(own=own):
                refused = acs_refusal(400, "InvalidSenderUserName", "no such sender", own_sender=own)
                self.assertIsInstance(refused, kind)

    def test_domain_that_is_not_linked(self):
        """An operator's mistake blocks, whatever status it comes with, and after a 202 too."""
        for status in (400, 403, 404):
            self.assertIsInstance(acs_refusal(status, "DomainNotLinked", "x", own_sender=False), Blocked)
        self.assertIsInstance(acs_failed("DomainNotLinked", "x"), Blocked)
