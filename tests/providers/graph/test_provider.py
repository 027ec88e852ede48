import email
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled
from smtprelay.testing.entra import EntraRefuses
from smtprelay.testing.graph import GraphLost
from smtprelay.testing.graph_mail import GraphRefuses
from tests.providers.graph_wiring import ANN, BOB, CLIENT, CY, MAIL, SECRET, TENANT, JoinedGraph

OPS = "ops@mail.example.com"


class RequestTests(SynchronousTestCase):
    def test_request(self) -> None:
        """One request: base64, a token, an id that is the same for each attempt; its answer's is ours."""
        joined = JoinedGraph()
        joined.fake.script(GraphLost(done=False))
        joined.deliver(BOB, CY)
        outcome = joined.deliver(BOB, CY)[BOB]
        self.assertEqual(joined.fake.asked, [("POST", f"/v1.0/users/{ANN}/sendMail")] * 2)
        self.assertEqual(outcome, Delivered("request-2", f"mailbox {ANN}"))
        [mail] = joined.fake.mails
        self.assertEqual((mail.to, mail.cc, mail.bcc), ((BOB,), (), (CY,)))
        self.assertRegex(mail.request_id, r"\A[0-9a-f-]{36}\Z")
        self.assertTrue(mail.raw.endswith(b"\r\n\r\nhello\r\n"))

    def test_mailbox_is_encoded(self) -> None:
        """What an address may contain does not leave the path of its mailbox."""
        strange = "o'brien/x+a?b#c%2F&d=1@mail.example.com"
        joined = JoinedGraph(mailboxes=[strange])
        joined.fake.mailboxes[strange.lower()].aliases.add(ANN)
        self.assertIsInstance(joined.deliver(sender=strange)[BOB], Delivered)
        [(_, path)] = joined.fake.asked
        self.assertEqual(path, "/v1.0/users/o%27brien%2Fx%2Ba%3Fb%23c%252F%26d%3D1@mail.example.com/sendMail")

    def test_no_such_mailbox_can_be(self) -> None:
        """A sender that can be no mailbox fails, and nothing is asked."""
        joined = JoinedGraph()
        for sender in ("root@nas", "a b@x.example", "ü@x.example"):
            outcome = joined.deliver(sender=sender)[BOB]
            self.assertEqual((type(outcome), outcome.code), (Failed, "5.1.7"), outcome)
        self.assertEqual(joined.fake.asked, [])

    def test_nobody_to_send_from(self) -> None:
        """A mail that names nobody waits until the operator gives a sender; it does not expire."""
        joined = JoinedGraph()
        outcome = joined.deliver(sender="", author="")[BOB]
        self.assertEqual(outcome, Deferred(outcome.why, ours=True))
        self.assertIn("set sender", outcome.why)
        given = JoinedGraph(sender=ANN)
        self.assertIsInstance(given.deliver(sender="", body=MAIL)[BOB], Delivered)

    def test_alias(self) -> None:
        """If From is not the mailbox the outcome says so; what Exchange refuses of that concerns one mail."""
        joined = JoinedGraph()
        other = MAIL.replace(b"<ann@", b"<sales@")
        refused = joined.deliver(body=other, author="sales@mail.example.com")[BOB]
        self.assertIsInstance(refused, Deferred)
        joined.fake.mailboxes[ANN].aliases.add("sales@mail.example.com")
        taken = joined.deliver(body=other, author="sales@mail.example.com")[BOB]
        self.assertIsInstance(taken, Delivered)
        [told] = joined.events.of("message.corrected")
        self.assertEqual(told["field"], "From")
        self.assertIn(
            "it is sales@mail.example.com, and the mailbox ann@mail.example.com", str(told["reason"])
        )

    def test_device(self) -> None:
        """A device that calls itself something in From sends as the envelope's sender, which is no alias."""
        joined = JoinedGraph(mailbox="header")
        body = MAIL.replace(b"Ann <ann@mail.example.com>", b"Scanner <root@nas>")
        self.assertEqual(joined.deliver(body=body, author="root@nas")[BOB].why, f"mailbox {ANN}")
        self.assertEqual(joined.fake.mails[0].author, ANN)
        self.assertEqual(joined.events.of("message.corrected"), [])

    def test_quoted_printable(self) -> None:
        """Graph never gets quoted-printable, whose soft line breaks it takes for text."""
        joined = JoinedGraph()
        head = MAIL.partition(b"\r\n\r\n")[0]
        quoted = b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nJ=C3=BCrgen =\r\nwrites"
        joined.deliver(body=head + b"\r\nContent-Type: text/plain; charset=utf-8" + quoted)
        message = email.message_from_bytes(joined.fake.mails[0].raw)
        self.assertEqual(message["Content-Transfer-Encoding"], "base64")
        self.assertEqual(message.get_payload(decode=True), "Jürgen writes".encode())

    def test_bad_recipient(self) -> None:
        """A recipient whom Graph refuses without naming him: of several the delivery is halved."""
        joined = JoinedGraph()
        joined.fake.invalid.add(CY)
        self.assertTrue(joined.deliver(BOB, CY)[BOB].whole)
        self.assertEqual(joined.deliver(CY)[CY].whole, False)
        self.assertEqual(joined.fake.mails, [])

    def test_200_is_no_success(self) -> None:
        """A mail that Graph answers with 200 was not sent."""
        joined = JoinedGraph()
        joined.fake.script(GraphRefuses(200))
        self.assertIsInstance(joined.deliver()[BOB], Deferred)

    def test_too_large(self) -> None:
        """What is beyond one request is not sent at all: the next provider may take it."""
        joined = JoinedGraph()
        outcome = joined.deliver(body=MAIL + b"x" * 70 + b"\r\n" + b"y" * 2_400_000)[BOB]
        self.assertEqual((type(outcome), outcome.code), (Failed, "5.3.4"))
        self.assertEqual(joined.fake.asked, [])

    def test_largest(self) -> None:
        """The limit is below what Graph really sends."""
        joined = JoinedGraph()
        outcome = joined.deliver(body=MAIL + (b"x" * 68 + b"\r\n") * 31_980)[BOB]
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(len(joined.fake.mails), 1)


class FallbackTests(SynchronousTestCase):
    def test_mailbox_does_not_exist(self) -> None:
        """The domain's fallback sends the mail, From is its address, and answers go to the author."""
        joined = JoinedGraph(mailboxes=[OPS], fallback={"mail.example.COM": OPS})
        signed = b"DKIM-Signature: v=1; h=from; d=mail.example.com\r\n" + MAIL
        outcome = joined.deliver(BOB, CY, body=signed)[CY]
        self.assertIsInstance(outcome, Delivered)
        self.assertIn("instead of ann@mail.example.com: 404 ErrorInvalidUser", outcome.why)
        [told] = joined.events.of("message.corrected")
        self.assertIn("sent by ops@mail.example.com instead of", str(told["reason"]))
        [mail] = joined.fake.mails
        self.assertEqual((mail.mailbox, mail.author, set(mail.recipients)), (OPS, OPS, {BOB, CY}))
        message = email.message_from_bytes(mail.raw)
        self.assertEqual(message["Reply-To"], "Ann <ann@mail.example.com>")
        self.assertEqual((message["From"], message["DKIM-Signature"]), (f"Ann <{OPS}>", None))

    def test_neither_exists(self) -> None:
        """If the fallback does not exist either, or there is none, only the lane of the sender stops."""
        for fallback in ({"mail.example.com": OPS}, {"other.example": OPS}, {"mail.example.com": ANN}, {}):
            joined = JoinedGraph(mailboxes=[], fallback=fallback)
            outcome = joined.deliver()[BOB]
            self.assertEqual((type(outcome), outcome.lane), (Blocked, ANN), fallback)

    def test_sender_is_no_mailbox(self) -> None:
        """A device that calls itself something gets the fallback, too; other refusals do not."""
        joined = JoinedGraph(mailboxes=[ANN, OPS], fallback={"nas": OPS, "mail.example.com": OPS})
        self.assertIsInstance(joined.deliver(sender="root@nas")[BOB], Delivered)
        joined.fake.mailboxes[ANN].refusal = GraphRefuses(403, "ErrorAccessDenied")
        self.assertIsInstance(joined.deliver()[BOB], Blocked)


class CredentialTests(SynchronousTestCase):
    def test_no_token(self) -> None:
        """Without a token nothing is sent, and the provider waits; an outage of Entra blocks nothing."""
        joined = JoinedGraph()
        joined.entra.application(TENANT, CLIENT).secrets.clear()
        outcome = joined.deliver()[BOB]
        self.assertEqual((type(outcome), outcome.lane), (Blocked, ""))
        self.assertIn("AADSTS7000215", outcome.why)
        self.assertIsInstance(joined.result(joined.graph.probe("")), Blocked)
        joined.entra.application(TENANT, CLIENT).secrets[SECRET] = float("inf")
        self.assertIsNone(joined.result(joined.graph.probe("")))
        self.assertIsInstance(joined.deliver()[BOB], Delivered)
        away = JoinedGraph()
        away.entra.script(EntraRefuses(503, "temporarily_unavailable"))
        self.assertIsInstance(away.deliver()[BOB], Deferred)

    def test_token_ends(self) -> None:
        """A token that Graph does not take any more is renewed, and the mail sent by the same attempt."""
        joined = JoinedGraph()
        joined.deliver()
        joined.clock.advance(60)
        joined.entra.issued.clear()
        self.assertIsInstance(joined.deliver()[BOB], Delivered)
        self.assertEqual(len(joined.entra.asked), 2)

    def test_probe(self) -> None:
        """A probe of a mailbox tells whether it works, without a mail."""
        joined = JoinedGraph()
        box = joined.fake.mailboxes[ANN]
        for refusal, kind in (
            (None, type(None)),
            (GraphRefuses(403, "ErrorAccessDenied"), Blocked),
            (GraphRefuses(404, "MailboxNotEnabledForRESTAPI"), Blocked),
            (GraphRefuses(429, "TooManyRequests"), Throttled),
        ):
            box.refusal = refusal
            self.assertIsInstance(joined.result(joined.graph.probe(ANN)), kind)
        self.assertIsInstance(joined.result(joined.graph.probe("gone@mail.example.com")), Blocked)
        self.assertEqual(joined.fake.mails, [])


class SecretTests(SynchronousTestCase):
    def test_found_nowhere(self) -> None:
        """Neither secret nor token nor the content of a mail is in an event or an outcome."""
        joined = JoinedGraph()
        told = [joined.deliver()[BOB]]
        for status in (400, 401, 403, 404, 500):
            joined.fake.script(GraphRefuses(status, "x", "y"), GraphRefuses(status, "x", "y"))
            told.append(joined.deliver()[BOB])
        joined.fake.script(GraphLost())
        told.append(joined.deliver()[BOB])
        text = json.dumps([repr(told), repr(joined.events.heard), repr(joined.settings), repr(joined.graph)])
        [*tokens] = joined.entra.issued
        for secret in (SECRET, *tokens, "hello"):
            self.assertNotIn(secret, text)
        self.assertEqual(len(tokens), 1)


class AnyMailTests(SynchronousTestCase):
    @settings(max_examples=30)
    @given(st.binary(max_size=200), st.sampled_from([ANN, "", "x@y.example"]))
    def test_nobody_else(self, octets: bytes, sender: str) -> None:
        """Whatever a mail is: nobody beyond the envelope gets it."""
        joined = JoinedGraph(sender=ANN)
        joined.deliver(BOB, sender=sender, body=b"To: cy@example.net, " + octets)
        self.assertLessEqual({address for mail in joined.fake.mails for address in mail.recipients}, {BOB})
