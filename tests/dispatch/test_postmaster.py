from typing import Any

from attrs import evolve

from smtprelay.message import Deferred as Later
from smtprelay.message import Delivered, Failed
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import BOUNCES, DispatcherTestCase


class BounceTests(DispatcherTestCase):
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
            stage.events.of("message.bounced"), [{"id": "M1.1", "to": "scan@example.com", "bounce": "B1"}]
        )

    def test_only_those_who_failed_are_reported(self) -> None:
        """One is delivered, one failed, one goes again."""
        one = ScriptedProvider(
            "one", [{"a@x.org": Delivered(), "b@x.org": Failed("no"), "c@x.org": Later("busy")}]
        )
        stage = self.stage(one)
        stage.accept("a@x.org", "b@x.org", "c@x.org")
        body = stage.posted[0].body
        self.assertEqual(
            [address in body for address in (b"a@x.org", b"b@x.org", b"c@x.org")], [False, True, False]
        )

    def test_an_expired_mail_is_bounced(self) -> None:
        """With the last thing that the provider said, and the code for it."""
        one = ScriptedProvider("one", [Later("421 busy")] * 2)
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

        stage.dispatcher._attempts.postmaster._post = refuse
        message = stage.accept()
        self.assertEqual(stage.summary(message).state, "failed")
        self.assertIn("no route takes a bounce", str(stage.events.of("relay.warning")[0]["text"]))
