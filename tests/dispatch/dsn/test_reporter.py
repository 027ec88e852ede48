from typing import Any

from attrs import evolve
from twisted.internet import defer
from twisted.internet.task import Clock

from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Deferred, Delivered, Failed
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import BOUNCES, MORNING, DispatcherTestCase, make_claim
from tests.steps import counted

LONG = b"Subject: Long\r\n\r\n" + b"x" * 70 + b"\r\n" * 20


#: What events say of the mail that a report is about.
MAIL = {"message": "M1", "delivery": "M1.1", "provider": "one"}


class BounceTests(DispatcherTestCase):
    def test_a_copy_by_domain(self) -> None:
        """Of failed mail of its domain, and only of what this provider refused, an address gets a copy."""
        copies = {"one": {"example.com": "it@example.com"}, "two": {"example.com": "no@example.com"}}
        for copied, told in ((copies, ("scan@example.com", "it@example.com")), ({}, ("scan@example.com",))):
            stage = self.stage(
                ScriptedProvider("one", [Failed("no")]), bounces=evolve(BOUNCES, copies=copied)
            )
            stage.accept("a@x.org")
            self.assertEqual(stage.posted[0].draft.envelope.addresses, told)
        other = self.stage(
            ScriptedProvider("one", [Failed("no")]),
            bounces=evolve(BOUNCES, copies={"one": {"other.example": "it@other.example"}}),
        )
        other.accept("a@x.org", body=b"X-Sender: <root@Other.example>\r\n\r\nHello\r\n")
        self.assertEqual(other.posted[0].draft.envelope.addresses, ("scan@example.com", "it@other.example"))

    def test_a_failed_mail_is_bounced_to_its_sender(self) -> None:
        """The bounce is a new mail of the null sender, and goes out at once."""
        one = ScriptedProvider("one", [Failed("550 no such user", "5.1.1")])
        stage = self.stage(one)
        message = stage.accept("a@x.org", "b@x.org")
        (bounce,) = stage.posted
        self.assertEqual((bounce.draft.envelope.sender, bounce.draft.bounce_of), ("", message))
        self.assertEqual(bounce.draft.envelope.addresses, ("scan@example.com",))
        self.assertIn(b"Subject: Scan\r\n", bounce.body)
        self.assertNotIn(b"Hello", bounce.body)
        self.assertEqual(stage.summary(message).state, "failed")
        self.assertEqual([delivery.message for delivery, _ in one.sent], ["M1", "B1"])
        self.assertEqual(
            stage.events.of("message.bounced"),
            [{**MAIL, "to": "scan@example.com", "bounce": "B1"}],
        )

    def test_only_those_who_failed_are_reported(self) -> None:
        """One is delivered, one failed, one goes again."""
        one = ScriptedProvider(
            "one", [{"a@x.org": Delivered(), "b@x.org": Failed("no"), "c@x.org": Deferred("busy")}]
        )
        stage = self.stage(one)
        stage.accept("a@x.org", "b@x.org", "c@x.org")
        body = stage.posted[0].body
        self.assertEqual(
            [address in body for address in (b"a@x.org", b"b@x.org", b"c@x.org")], [False, True, False]
        )

    def test_an_expired_mail_is_bounced(self) -> None:
        """With the last thing that the provider said, and the code for it."""
        one = ScriptedProvider("one", [Deferred("421 busy")] * 2)
        stage = self.stage(one, route={"expire": 20.0})
        stage.accept()
        stage.clock.advance(30)
        body = stage.posted[0].body
        self.assertIn(b"Status: 4.4.7\r\n", body)
        self.assertIn(b"421 busy", body)
        self.assertEqual(len(stage.events.of("message.expired")), 1)

    def test_a_failing_bounce_ends_visibly(self) -> None:
        """Nothing is sent to anybody, and it is not lost."""
        one = ScriptedProvider("one", [Failed("no"), Failed("no")])
        stage = self.stage(one)
        message = stage.accept(sender="scan@example.com", bounce_of="M0")
        other = stage.accept(sender="")
        self.assertEqual(stage.posted, [])
        self.assertEqual([stage.summary(each).state for each in (message, other)], ["failed", "failed"])
        self.assertEqual(len(stage.events.of("message.failed")), 2)

    def test_a_copy_goes_where_the_settings_say(self) -> None:
        """And all bounces go to one address, if they say that."""
        settings = evolve(BOUNCES, to="postmaster@example.com", copy="audit@example.com")
        stage = self.stage(ScriptedProvider("one", [Failed("no")]), bounces=settings)
        stage.accept()
        addresses = stage.posted[0].draft.envelope.addresses
        self.assertEqual(addresses, ("postmaster@example.com", "audit@example.com"))

    def test_a_bounce_that_cannot_be_made_does_not_keep_the_outcome_from_being_recorded(self) -> None:
        """The mail ends failed, with a warning."""
        one = ScriptedProvider("one", [Failed("no")])
        stage = self.stage(one)

        def refuse(*_: object) -> Any:
            raise LookupError("no route takes a bounce")

        stage.reporter._post = refuse
        message = stage.accept()
        self.assertEqual(stage.summary(message).state, "failed")
        self.assertIn("no route takes a bounce", str(stage.events.of("relay.warning")[0]["text"]))

    def test_all_or_the_header(self) -> None:
        """RET=FULL gets the whole mail back, HDRS and nothing the header (RFC 3461 §4.3)."""
        for parameters, whole in (({"RET": "FULL"}, True), ({"RET": "HDRS"}, False), ({}, False)):
            stage = self.stage(ScriptedProvider("one", [Failed("no")]))
            stage.accept(parameters=parameters)
            body = stage.posted[0].body
            self.assertEqual((b"Hello" in body, b"message/rfc822" in body), (whole, whole), parameters)

    def test_too_large_to_go_back(self) -> None:
        """Above the limit the header goes back, and the letter says so."""
        for largest, whole in ((len(LONG), True), (len(LONG) - 1, False)):
            settings = evolve(BOUNCES, largest=largest)
            stage = self.stage(ScriptedProvider("one", [Failed("no")]), bounces=settings)
            stage.accept(parameters={"RET": "FULL"}, body=LONG)
            self.assertEqual(b"xxxxx" in stage.posted[0].body, whole)
            said = b"too large for that" in b" ".join(stage.posted[0].body.split())
            self.assertEqual(said, not whole)

    def test_many_recipients(self) -> None:
        """A report on a thousand recipients is written in many turns of the reactor, and says the same."""
        addresses = [f"r{number}@example.org" for number in range(1000)]
        claim = make_claim(*addresses)
        results = {each: Failed(f"550 no {each}", "5.1.1") for each in addresses}
        stage, clock = self.stage(ScriptedProvider("one")), Clock()
        for given in (None, clock):
            reporter = DsnReporter(BOUNCES, stage._post, given)
            made = defer.Deferred.fromCoroutine(reporter.bounce(claim, results, MemoryBody(LONG), MORNING))
            turns = 0
            while clock.calls:
                call = clock.calls.pop()
                turns += 1
                self.assertLess(counted(lambda call=call: call.func(*call.args, **call.kw)), 30_000)
            self.assertIsNotNone(self.successResultOf(made))
            self.assertEqual(turns > 30, given is not None)
        at_once, in_turns = (each.body for each in stage.posted)
        self.assertEqual(at_once, in_turns)
        self.assertEqual(at_once.count(b"Final-Recipient: rfc822; r"), 1000)

    def test_what_the_sender_called_it(self) -> None:
        """ENVID comes back, and the recipients as the sender wrote them."""
        stage = self.stage(ScriptedProvider("one", [Failed("no")]))
        stage.accept(parameters={"ENVID": "QQ+2B1"})
        self.assertIn(b"\r\nOriginal-Envelope-Id: QQ+1\r\n", stage.posted[0].body)

    def test_nobody_wants_to_know(self) -> None:
        """NOTIFY=NEVER: the mail fails, and no report is made."""
        stage = self.stage(ScriptedProvider("one", [Failed("no")]))
        message = stage.accept(notify="NEVER")
        self.assertEqual((stage.posted, stage.summary(message).state), ([], "failed"))


class SuccessTests(DispatcherTestCase):
    def test_who_asked_hears_of_it(self) -> None:
        """In the mail's own settlement: relayed, for whoever takes it reports no further; only the header."""
        stage = self.stage(ScriptedProvider("one", [Delivered("id-7")]), bounces=evolve(BOUNCES, copy="p@x"))
        message = stage.accept(notify="SUCCESS", parameters={"RET": "FULL"})
        (told,) = stage.posted
        self.assertEqual(told.draft.bounce_of, message)
        self.assertEqual(told.draft.envelope.addresses, ("scan@example.com",))
        self.assertIn(b"\r\nAction: relayed\r\nStatus: 2.0.0\r\n", told.body)
        self.assertIn(b"taken as id-7", told.body)
        self.assertNotIn(b"Hello", told.body)
        self.assertEqual(stage.summary(message).state, "delivered")
        self.assertEqual(stage.events.of("message.bounced"), [])
        self.assertEqual(
            stage.events.of("dsn.queued"),
            [{**MAIL, "to": "scan@example.com", "kind": "success", "notice": "B1"}],
        )

    def test_who_did_not_ask_does_not(self) -> None:
        """Nor when only of failures."""
        stage = self.stage()
        for notify in ("", "NEVER", "FAILURE,DELAY"):
            stage.accept(notify=notify)
        stage.accept(notify="SUCCESS", sender="")
        self.assertEqual(stage.posted, [])

    def test_who_took_it_over_tells_it(self) -> None:
        """A server that offered DSN has the duty now."""
        stage = self.stage(ScriptedProvider("one", [Delivered("7", "250 ok", reports=True)]))
        stage.accept(notify="SUCCESS")
        self.assertEqual(stage.posted, [])

    def test_with_the_failures(self) -> None:
        """One report, an action for each recipient; nothing of who is still open."""
        results = {"a@x.org": Delivered(), "b@x.org": Failed("no"), "c@x.org": Deferred("busy")}
        stage = self.stage(ScriptedProvider("one", [results]))
        stage.accept(*results, notify="SUCCESS,FAILURE", parameters={"RET": "FULL"})
        (told,) = stage.posted
        self.assertEqual(len(stage.events.of("message.bounced")), 1)
        actions = [line for line in told.body.split(b"\r\n") if line.startswith((b"Final", b"Action"))]
        self.assertEqual(
            actions,
            [
                b"Final-Recipient: rfc822; a@x.org",
                b"Action: relayed",
                b"Final-Recipient: rfc822; b@x.org",
                b"Action: failed",
            ],
        )
        self.assertIn(b"Hello", told.body)
        stage.clock.advance(60)
        _, later = stage.posted
        self.assertIn(b"\r\nSubject: Mail Was Handed On\r\n", later.body)
        self.assertIn(b"c@x.org", later.body)


class LoopTests(DispatcherTestCase):
    def test_a_provider_that_refuses_everything(self) -> None:
        """A bounce that the same provider refuses ends as failed, and is the last mail."""
        one = ScriptedProvider("one", [Failed("no")] * 10)
        stage = self.stage(one)
        message = stage.accept(sender="MAILER-DAEMON@example.com", notify="SUCCESS,FAILURE,DELAY")
        stage.clock.advance(86400)
        self.assertEqual([stage.summary(each).state for each in (message, "B1")], ["failed", "failed"])
        self.assertEqual((len(stage.posted), len(one.sent)), (1, 2))

    def test_an_automatic_answer(self) -> None:
        """The report of another relay whose provider cannot send from ``<>``: we do not answer it."""
        for words, told in (
            (b"auto-replied", 0),
            (b" Auto-Replied; x=y", 0),
            (b"auto-generated", 1),
            (b"no", 1),
        ):
            stage = self.stage(ScriptedProvider("one", [Failed("no")]))
            message = stage.accept(
                sender="MAILER-DAEMON@example.net", body=b"Auto-Submitted: " + words + b"\r\n\r\nNo.\r\n"
            )
            self.assertEqual((len(stage.posted), stage.summary(message).state), (told, "failed"), words)

    def test_an_automatic_answer_whose_sender_wants_to_know(self) -> None:
        """No relay asks for reports of its reports (RFC 3461 §6.1), so that this is none."""
        stage = self.stage(ScriptedProvider("one", [Failed("no")]))
        stage.accept(body=b"Auto-Submitted: auto-replied\r\n\r\nGone\r\n", notify="FAILURE")
        self.assertEqual(len(stage.posted), 1)
