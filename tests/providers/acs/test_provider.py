import base64
from functools import partial
from types import SimpleNamespace

from twisted.internet import defer
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from smtprelay.http.client import AnswerLost, Response
from smtprelay.http.credentials import StoredCredentials
from smtprelay.interfaces import MailTooCostly, MimeWorkerTimeout, MimeWorkerUnavailable, Provider
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.route import Limits
from smtprelay.providers.acs.api import AcsApi
from smtprelay.providers.acs.request import map_mail
from smtprelay.providers.acs.signature import Credentials
from smtprelay.providers.call import Caller
from smtprelay.providers.json_mail import single_id
from smtprelay.testing.acs import Answers, FakeAcs, GarbledAnswer, LostConnection, NoAnswer
from tests.providers.acs_wiring import (
    BLIND,
    BOB,
    ENDPOINT,
    KEYS,
    NOW,
    Case,
    JoinedAcs,
    delivery,
    joined_acs,
)
from tests.recording import Recording


class DeliverTests(Case):
    def test_delivered(self):
        """A mail is sent once, under its operation id, and delivered when the operation succeeded."""
        joined: JoinedAcs = joined_acs()
        provider: Provider = joined.provider
        self.assertTrue(provider.idempotent)
        result = joined.start()
        self.assertNoResult(result)
        self.assertEqual(joined.released, 1)
        joined.joined.advance(1, 2, 4)
        operation_id = delivery().operation_id
        self.assertEqual(self.successResultOf(result), {BOB: Delivered(operation_id)})
        [operation] = joined.fake.mails
        self.assertEqual((operation.id, operation.posts, operation.polls), (operation_id, 1, 3))

    def test_request(self):
        """The request says what the mail said."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4)
        self.assertEqual(
            joined.sent(),
            [
                {
                    "senderAddress": "ann@mail.example.com",
                    "content": {"subject": "Hi", "plainText": "hello\r\n"},
                    "recipients": {"to": [{"address": BOB, "displayName": "Bob"}]},
                }
            ],
        )

    def test_polls_follow_the_location(self):
        """Polls go to exactly the Operation-Location, which has a double slash."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4)
        target = f"//emails/operations/{delivery().operation_id}?api-version=2025-09-01"
        self.assertEqual([one.target for one in joined.fake.exchanges[1:]], [target] * 3)

    def test_foreign_location(self):
        """An Operation-Location elsewhere gets no signed request; our own endpoint is asked."""
        for location in ("https://evil.example.com//x", "http://[", "", f"{ENDPOINT}/a b", "/emails"):
            with self.subTest(location):
                joined = joined_acs()
                self.successResultOf(joined.joined.run(joined.provider.probe("")))
                joined.fake.script(
                    Answers(
                        202, headers={"Operation-Location": location}, body=b'{"id":"x","status":"Running"}'
                    )
                )
                joined.fake.script(Answers(200, body=b'{"status":"Succeeded"}'), on="poll")
                self.assertIsInstance(self.outcome_of(joined, 5), Delivered)
                self.assertTrue(joined.fake.exchanges[-1].target.startswith("/emails/operations/"))
                self.assertEqual({host for _, host, _ in joined.joined.asked}, {"127.0.0.1"})

    def test_a_202_of_somebody_else(self):
        """One that names no operation is not the documented answer: the mail may not be there at all."""
        for body in (b"", b"<html>accepted</html>", b"[]", b'{"error":{"code":"Oops"}}'):
            joined = joined_acs(accept_on="202")
            joined.fake.script(Answers(202, body=body))
            self.assertIsInstance(self.outcome_of(joined), Uncertain)

    def test_accepted_is_enough(self):
        """With ``accept_on`` 202 nothing is polled."""
        joined = joined_acs(accept_on="202")
        self.assertEqual(self.outcome_of(joined), Delivered(delivery().operation_id))
        self.assertEqual((len(joined.fake.exchanges), joined.released), (1, 0))

    def test_events(self):
        """Each request is told, without secrets."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4)
        told = joined.events.of("provider.request")
        self.assertEqual(
            [(one["operation"], one["code"]) for one in told], [("send", 202)] + [("status", 200)] * 3
        )
        self.assertNotIn("Signature", repr(told))

    def test_work_on_the_mail(self):
        """All work on a mail's content is one task of the worker, however large it is and to how many."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4)
        self.assertEqual((joined.threads, joined.worker.tasks), (1, [map_mail]))  # the thread: the secrets
        content = bytes(1_500_000)
        attached = (
            b"To: bob@example.net\r\nContent-Type: application/zip; name=a.zip\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(content)
        )
        result = joined.start(delivery(generation=1), attached)
        joined.joined.advance(1, 2, 4)
        self.assertIsInstance(self.successResultOf(result)[BOB], Delivered)
        self.assertEqual((joined.threads, len(joined.worker.tasks)), (1, 2))
        [part] = joined.sent()[1]["attachments"]
        self.assertEqual(base64.b64decode(part["contentInBase64"]), content)

    def test_too_large(self):
        """What is too large as a request fails without one."""
        joined = joined_acs(limits=Limits(request=150, recipients=50))
        outcome = self.outcome_of(joined)
        self.assertEqual(outcome.code, "5.3.4")
        self.assertIn("acs takes 150 bytes", outcome.why)
        self.assertEqual(joined.fake.exchanges, [])

    def test_too_complex(self):
        """A mail of too many parts fails without a request."""
        joined = joined_acs()
        body = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 2000
        self.assertEqual(self.outcome_of(joined, body=body).code, "5.6.0")
        self.assertEqual(joined.fake.exchanges, [])

    def test_a_worker_that_fails(self):
        """A mail that costs too much fails; one for which there is no worker comes again; nothing is sent."""
        for failure, kind in ((MailTooCostly("20 s"), Failed), (MimeWorkerUnavailable("it ended"), Deferred)):
            joined = joined_acs()
            joined.worker.failures.append(failure)
            outcome = self.outcome_of(joined)
            self.assertIsInstance(outcome, kind)
            self.assertIn(str(failure), outcome.why)
            self.assertEqual(joined.fake.exchanges, [])
        joined = joined_acs()
        joined.worker.failures.append(MimeWorkerTimeout("60 s"))
        self.failureResultOf(joined.start(), MimeWorkerTimeout)


class BlindTests(Case):
    def test_one(self):
        """A single blind recipient stands in ``to``; the address of the header does not get the mail."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4, body=BLIND)
        self.assertEqual(joined.sent()[0]["recipients"], {"to": [{"address": BOB}]})
        self.assertEqual(list(joined.fake.operations), [single_id(delivery(), BOB)])

    def test_the_last_of_several(self):
        """Whose answer was lost has the same operation when the others have the mail: it may still come."""
        joined = joined_acs()
        several, rest = delivery("a@x.org", "b@x.org"), delivery("b@x.org")
        for item in (several, rest):
            joined.start(item, BLIND)
            joined.joined.advance(1, 2, 4)
        ids = [single_id(several, each) for each in ("a@x.org", "b@x.org")]
        self.assertEqual(list(joined.fake.operations), ids)

    def test_several(self):
        """Several get a request each, so that none sees another; ``released`` is said once."""
        joined = joined_acs()
        item = delivery("a@x.org", "b@x.org")
        result = joined.start(item, BLIND)
        joined.joined.advance(1, 2, 4)
        ids = {address: single_id(item, address) for address in ("a@x.org", "b@x.org")}
        self.assertEqual(
            self.successResultOf(result), {address: Delivered(one) for address, one in ids.items()}
        )
        self.assertEqual(
            [sent["recipients"] for sent in joined.sent()],
            [{"to": [{"address": "a@x.org"}]}, {"to": [{"address": "b@x.org"}]}],
        )
        self.assertEqual((list(joined.fake.operations), joined.released), (list(ids.values()), 1))

    def test_outcomes_differ(self):
        """One recipient may be refused; a quota that is used up spares the rest the asking."""
        joined = joined_acs()
        joined.fake.script(
            None, Answers(400, "InvalidEmailAddress"), Answers(429, headers={"Retry-After": "7"})
        )
        result = joined.start(delivery("a@x.org", "b@x.org", "c@x.org", "d@x.org"), BLIND)
        joined.joined.advance(1, 2, 4)
        outcomes = self.successResultOf(result)
        self.assertEqual(
            [type(outcome) for outcome in outcomes.values()], [Failed, Throttled, Throttled, Delivered]
        )
        self.assertEqual(outcomes["c@x.org"], outcomes["d@x.org"])
        self.assertEqual(outcomes["d@x.org"].retry_after, 7.0)
        self.assertEqual(sum(one.method == "POST" for one in joined.fake.exchanges), 3)


class RefusalTests(Case):
    def refused(self, *acts: object) -> object:
        joined = joined_acs()
        joined.fake.script(*acts)
        return self.outcome_of(joined)

    def test_quota(self):
        """429 is ``Throttled`` for as long as the service asks."""
        refused = self.refused(Answers(429, "TooManyRequests", "slow down", {"Retry-After": "77"}))
        self.assertEqual(refused, Throttled("429 TooManyRequests: slow down", 77.0))

    def test_statuses(self):
        """Each refusal has its outcome, with the service's words."""
        for status, kind in ((400, Failed), (403, Blocked), (404, Blocked), (413, Failed), (500, Deferred)):
            with self.subTest(status):
                refused = self.refused(Answers(status, "Code", "the words"))
                self.assertIsInstance(refused, kind)
                self.assertIn(f"{status} Code: the words", refused.why)

    def test_gateway(self):
        """502 and 504 leave it open whether the mail was taken."""
        for status in (502, 504):
            self.assertIsInstance(self.refused(Answers(status)), Uncertain)

    def test_strange_answers(self):
        """Answers that are no JSON, or the wrong JSON, are judged by their status."""
        for body in (b"", b"<html>", b"[1]", b'{"error":7}', b"\xff", b"[" * 100_000):
            with self.subTest(body[:10]):
                self.assertIsInstance(self.refused(Answers(503, body=body)), Throttled)

    def test_lost_answer(self):
        """A connection that ends without an answer is uncertain, taken or not; so is garbage, and silence."""
        for act in (LostConnection(), LostConnection(accepting=True), GarbledAnswer()):
            with self.subTest(act):
                self.assertIsInstance(self.refused(act), Uncertain)
        joined = joined_acs()
        joined.fake.script(NoAnswer(accepting=True))
        self.assertIsInstance(self.outcome_of(joined, 30), Uncertain)

    def test_no_connection(self):
        """Without a connection nothing was sent, so it is deferred."""
        joined = joined_acs()
        joined.joined.wire.refuse = Refused("nobody there")
        self.assertIn("nothing listens there", self.outcome_of(joined).why)
        self.assertIsInstance(self.outcome_of(joined), Deferred)

    def test_sender_that_the_mail_chose(self):
        """A sender that the service does not know fails the mail that chose it, and stops no lane."""
        self.assertIsInstance(self.refused(Answers(400, "InvalidSenderUserName")), Failed)


class KeyTests(Case):
    def test_second_key(self):
        """A 401 on one key tries the other, and stays with it."""
        joined = joined_acs()
        joined.fake.keys = [KEYS[1]]
        self.assertIsInstance(self.outcome_of(joined, 1, 2, 4), Delivered)
        self.assertEqual([one.status for one in joined.fake.exchanges], [401, 202, 200, 200, 200])

    def test_rotated_keys(self):
        """After a 401 on both the secrets are read again; a new key works at once."""
        joined = joined_acs()
        self.outcome_of(joined, 1, 2, 4)
        joined.fake.keys = [KEYS[2]]
        joined.secrets = Credentials(ENDPOINT, (KEYS[2],))
        result = joined.start(delivery(generation=1))
        joined.joined.advance(1, 2, 4)
        self.assertIsInstance(self.successResultOf(result)[BOB], Delivered)

    def test_a_corrected_host(self):
        """After no answer the secrets are read again: another endpoint is asked without a restart."""
        joined = joined_acs()
        joined.secrets = Credentials("http://wrong.example.com", KEYS[:2])
        joined.joined.wire.refuse = Refused("nobody there")
        self.assertIsInstance(self.outcome_of(joined), Deferred)
        joined.joined.wire.refuse = None
        joined.secrets = Credentials(ENDPOINT, KEYS[:2])
        self.assertIsInstance(self.outcome_of(joined, 1, 2, 4), Delivered)
        self.assertEqual([host for _, host, _ in joined.joined.asked], ["wrong.example.com", "127.0.0.1"])

    def test_another_call_without_an_answer(self):
        """What was accepted meanwhile is asked for where the service says."""
        waiting = [defer.Deferred(), defer.Deferred()]
        http = SimpleNamespace(request=lambda *_: waiting[len(calls)])
        read = partial(Credentials, ENDPOINT, KEYS[:2])
        clock, calls = Clock(), []
        source = StoredCredentials(read, maybeDeferred)
        api = AcsApi(Caller("acs", http, source, clock=clock, events=Recording()))
        calls.append(defer.Deferred.fromCoroutine(api.send(b"", "", "a")))
        calls.append(defer.Deferred.fromCoroutine(api.send(b"", "", "b")))
        waiting[1].errback(AnswerLost("gone"))
        self.failureResultOf(calls[1], AnswerLost)
        where = Headers({"Operation-Location": [f"{ENDPOINT}/elsewhere/1"]})
        waiting[0].callback(Response(202, where))
        self.assertEqual(api.target_of(self.successResultOf(calls[0]), "a"), "/elsewhere/1")

    def test_no_key_works(self):
        """If no key works the lane is blocked, after each was tried once."""
        joined = joined_acs()
        joined.fake.keys = [KEYS[2]]
        self.assertIn("Denied by the resource provider", self.outcome_of(joined).why)
        self.assertEqual([one.status for one in joined.fake.exchanges], [401, 401])

    def test_clock(self):
        """A wrong clock is named."""
        behind = Clock()
        behind.advance(NOW - 3600)
        joined = joined_acs(fake=lambda _: FakeAcs(behind, KEYS[:2]))
        outcome = self.outcome_of(joined)
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("clock is 3600 s ahead", outcome.why)

    def test_unreadable_secrets(self):
        """Secrets that cannot be read block the lane, and nothing is sent."""
        for problem in (OSError("no such file"), ValueError("no accesskey")):
            with self.subTest(problem):
                joined = joined_acs()
                joined.secrets = problem
                outcome = self.outcome_of(joined)
                self.assertIsInstance(outcome, Blocked)
                self.assertIn(str(problem), outcome.why)
                self.assertEqual(joined.fake.exchanges, [])
