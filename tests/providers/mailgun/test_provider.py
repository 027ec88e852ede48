"""What is sent to Mailgun, and what its answers mean."""

import hashlib
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.providers.mailgun.errors import wait_of
from smtprelay.settings.secret import fixed
from smtprelay.testing.mailgun import MailgunLostConnection, MailgunRefuses
from smtprelay.testing.provider_contract import BodyInPieces, delivery
from tests.providers.mailgun_wiring import BOB, CY, MAIL, NOW, JoinedMailgun

BAD_ADDRESS = "'to' parameter is not a valid address. please check documentation"


class RequestTests(SynchronousTestCase):
    def test_raw(self) -> None:
        """The mail arrives octet for octet, with the recipients of the envelope alone."""
        gun = JoinedMailgun()
        body = MAIL + bytes(range(1, 128)) * 3 + b"\r\n--\r\n"
        results = gun.deliver(CY, "who@bücher.example", body=body)
        [mail] = gun.fake.mails
        self.assertEqual((mail.raw, mail.domain), (body, "mg.example.com"))
        self.assertEqual(list(mail.recipients), [CY, "who@xn--bcher-kva.example"])
        self.assertEqual(set(results.values()), {Delivered(mail.id)})
        self.assertEqual(mail.options, {})

    def test_large(self) -> None:
        """A large mail is sent in pieces, and arrives whole."""
        gun = JoinedMailgun()
        body = MAIL + b"0123456789abcde+/\r\n" * 40_000
        [outcome] = gun.result(gun.mailgun.deliver(Attempt(delivery(BOB), BodyInPieces(body)))).values()
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(hashlib.sha256(gun.fake.mails[0].raw).digest(), hashlib.sha256(body).digest())

    def test_blind(self) -> None:
        """Nobody sees who is in Bcc; those in the envelope get the mail."""
        gun = JoinedMailgun()
        gun.deliver(CY, body=b"Bcc: cy@example.net, evil@example.org\r\n" + MAIL)
        self.assertEqual(list(gun.fake.mails[0].recipients), [CY])
        self.assertNotIn(b"cy@", gun.fake.mails[0].raw)

    def test_commands_of_clients(self) -> None:
        """Fields that are commands to Mailgun are dropped, unless they may stay."""
        for settings, expected in (
            ({}, {}),
            ({"x_mailgun_headers": "keep"}, {"X-Mailgun-Drop-Message": "yes"}),
        ):
            gun = JoinedMailgun(**settings)
            gun.deliver(body=b"X-Mailgun-Drop-Message: yes\r\n" + MAIL)
            self.assertEqual(gun.fake.mails[0].options, expected)

    def test_fields_that_are_not_ascii(self) -> None:
        """Mailgun makes invalid headers of UTF-8: a name in it is encoded."""
        gun = JoinedMailgun()
        gun.deliver(body="Reply-To: Jürgen <j@example.com>\r\n".encode() + MAIL)
        self.assertIn(b"Reply-To: =?utf-8?", gun.fake.mails[0].raw)

    def test_unsendable(self) -> None:
        """An address that Mailgun would not take costs nobody else his mail, and is not asked for."""
        gun = JoinedMailgun()
        results = gun.deliver("jürgen@example.net", BOB, "a,b@example.net")
        self.assertEqual([each.code for each in results.values() if isinstance(each, Failed)], ["5.1.3"] * 2)
        self.assertIsInstance(results[BOB], Delivered)
        self.assertIsInstance(gun.deliver("nobody")["nobody"], Failed)
        self.assertEqual(len(gun.fake.mails), 1)

    def test_region(self) -> None:
        """The region decides where the API is, unless the endpoint does."""
        for settings, expected in (
            ({"endpoint": None}, ("https", "api.mailgun.net", 443)),
            ({"endpoint": None, "region": "eu"}, ("https", "api.eu.mailgun.net", 443)),
            ({"endpoint": "https://x.example/", "region": "eu"}, ("https", "x.example", 443)),
        ):
            gun = JoinedMailgun(**settings)
            self.assertIsInstance(gun.deliver()[BOB], Delivered)
            self.assertEqual(gun.joined.asked, [expected])

    def test_limits(self) -> None:
        """Its own limits are those that it documents."""
        limits = JoinedMailgun().provider.limits
        self.assertEqual((limits.request, limits.recipients), (25_000_000, 1000))


class AnswerTests(SynchronousTestCase):
    def outcome(self, act: Any, *recipients: str) -> Any:
        gun = JoinedMailgun()
        gun.fake.script(act)
        return gun.deliver(*recipients)[(recipients or (BOB,))[0]]

    def test_meanings(self) -> None:
        """What a refusal means for the mail."""
        for status, message, kind in (
            (400, "from parameter is missing", Failed),
            (400, BAD_ADDRESS, Failed),
            (400, "Free accounts are for test purposes only.", Blocked),
            (402, "Parameters were valid but request failed", Blocked),
            (
                403,
                "Domain sandbox1.mailgun.org is not allowed to send: activate your account",
                Blocked,
            ),
            (404, "Domain not found: mg.example.com", Blocked),
            (413, "too large", Failed),
            (418, "what?", Deferred),
            (420, "Domain is not allowed to send: recipient limit exceeded", Throttled),
            (429, "slow down", Throttled),
            (500, "oops", Deferred),
            (502, "gateway", Uncertain),
            (503, "busy", Throttled),
            (504, "gateway", Uncertain),
        ):
            outcome = self.outcome(MailgunRefuses(status, message))
            self.assertIsInstance(outcome, kind, message)
            self.assertIn(message, outcome.why)

    def test_try_again_after(self) -> None:
        """The time that a refusal names is honoured, if there is no Retry-After."""
        text = "recipient limit exceeded, try again after Fri, 15 Jan 2027 08:01:00 UTC"
        self.assertEqual(self.outcome(MailgunRefuses(420, text)).retry_after, 60.0)
        self.assertEqual(self.outcome(MailgunRefuses(420, text, {"Retry-After": "5"})).retry_after, 5.0)
        self.assertIsNone(wait_of("try again after Foo, bar baz quux", NOW))

    def test_one_bad_address(self) -> None:
        """Mailgun does not say which of several it does not take: they are tried in halves."""
        outcome = self.outcome(MailgunRefuses(400, BAD_ADDRESS), BOB, CY)
        self.assertEqual((outcome.whole, outcome.code), (True, "5.1.3"))
        self.assertFalse(self.outcome(MailgunRefuses(400, BAD_ADDRESS)).whole)
        self.assertFalse(self.outcome(MailgunRefuses(400, "from parameter is missing"), BOB, CY).whole)

    def test_no_api(self) -> None:
        """A path that the API does not have is answered with 200: the operator has to correct it."""
        gun = JoinedMailgun(endpoint="http://127.0.0.1:8080/x")
        outcome = gun.deliver()[BOB]
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("Mailgun Magnificent API (check domain and endpoint)", outcome.why)

    def test_no_id(self) -> None:
        """A 200 without an id is not Mailgun's."""
        self.assertIsInstance(self.outcome(MailgunRefuses(200, body=b"<html>hotel network")), Uncertain)

    def test_key(self) -> None:
        """A wrong key blocks the lane, and its advice says what to do."""
        gun = JoinedMailgun(api_key=fixed("wrong", "inline"))
        outcome = gun.deliver()[BOB]
        self.assertEqual(outcome, Blocked("401 Forbidden (check api_key and region)"))
        self.assertEqual(gun.result(gun.provider.probe("")), outcome)

    def test_no_key(self) -> None:
        """What no header can carry is not sent, and blocks the lane."""
        for key in ("", "two words", "two\nlines", "schlüssel"):
            gun = JoinedMailgun(api_key=fixed(key, "inline"))
            self.assertIsInstance(gun.deliver()[BOB], Blocked, key)
            self.assertEqual(gun.fake.asked, 0)

    def test_probe(self) -> None:
        """A good key and domain cannot tell whether mail may be sent; others can tell that it may not."""
        gun = JoinedMailgun()
        self.assertIsNone(gun.result(gun.provider.probe("")))
        gun.fake.domains.clear()
        self.assertIsInstance(gun.result(gun.provider.probe("")), Blocked)
        self.assertEqual((gun.fake.mails, gun.fake.asked), ([], 2))

    def test_sandbox(self) -> None:
        """A domain for tests takes some recipients only; the mail waits, and others are not held up."""
        gun = JoinedMailgun()
        gun.fake.authorized = {BOB}
        self.assertIsInstance(gun.deliver(BOB)[BOB], Delivered)
        outcome = gun.deliver(CY)[CY]
        self.assertIsInstance(outcome, Blocked)
        self.assertEqual(outcome.lane, "setup:mail.example.com")
        self.assertIsNone(gun.result(gun.provider.probe(outcome.lane)))

    def test_lost(self) -> None:
        """Mailgun knows no repetition: what is sent again arrives again."""
        gun = JoinedMailgun()
        gun.fake.script(MailgunLostConnection())
        self.assertIsInstance(gun.deliver()[BOB], Uncertain)
        self.assertFalse(gun.provider.idempotent)
        gun.deliver()
        self.assertEqual(len(gun.fake.mails), 2)
