"""What is sent to Amazon SES, and what its answers mean."""

import hashlib
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.http.client import NotSent
from smtprelay.http.renewed import Credential
from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.model.route import Window
from smtprelay.model.shape import shape_of
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.ses.kind import ContactListSettings
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import BodyInPieces, delivery
from smtprelay.testing.ses import SesLostConnection, SesRefuses
from tests.providers.ses_wiring import BOB, CY, KEY, MAIL, SECRET, JoinedSes, access
from tests.providers.test_outgoing import COMPLETE
from tests.providers.test_signer import Key, signer, verified
from tests.recording import Recording


class RequestTests(SynchronousTestCase):
    def test_raw(self) -> None:
        """The mail arrives octet for octet, with the sender and the recipients of the envelope alone."""
        for api in ("v2", "v1"):
            ses = JoinedSes(api=api)
            body = MAIL + bytes(range(1, 128)) * 3 + b"+/=\r\n"
            results = ses.deliver(CY, "who@bücher.example", body=body)
            [mail] = ses.fake.mails
            self.assertEqual((mail.api, mail.raw, mail.sender), (api, body, "ann@mail.example.com"))
            self.assertEqual(list(mail.recipients), [CY, "who@xn--bcher-kva.example"])
            self.assertEqual(set(results.values()), {Delivered(mail.id)})

    def test_options(self) -> None:
        """What the configuration says of all mail is in each request, and nothing that it does not say."""
        arn = "arn:aws:ses:eu-west-1:123456789012:identity/example.com"
        ses = JoinedSes(configuration_set="tracking", tags={"app": "relay"}, identity_arn=arn, tenant="t")
        [outcome] = ses.deliver().values()
        self.assertEqual(outcome, Delivered(ses.fake.mails[0].id, "configuration set tracking"))
        self.assertEqual(
            ses.fake.mails[0].options,
            {
                "FromEmailAddressIdentityArn": arn,
                "ConfigurationSetName": "tracking",
                "EmailTags": [{"Name": "app", "Value": "relay"}],
                "TenantName": "t",
            },
        )
        plain = JoinedSes()
        plain.deliver()
        self.assertEqual(plain.fake.mails[0].options, {})
        old = JoinedSes(api="v1", configuration_set="tracking", tags={"app": "relay"}, identity_arn=arn)
        old.deliver()
        sent = old.fake.mails[0].options
        self.assertEqual(sent["ConfigurationSetName"], "tracking")
        self.assertEqual((sent["Tags.member.1.Name"], sent["Tags.member.1.Value"]), ("app", "relay"))
        self.assertEqual({sent[name] for name in ("SourceArn", "FromArn", "ReturnPathArn")}, {arn})

    def test_large(self) -> None:
        """A large mail is encoded while it is sent, and arrives whole."""
        for api in ("v2", "v1"):
            ses = JoinedSes(api=api)
            body = MAIL + b"0123456789abcde+/\r\n" * 20_000
            attempt = Attempt(delivery(BOB), BodyInPieces(body))
            [outcome] = ses.result(ses.ses.deliver(attempt)).values()
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(hashlib.sha256(ses.fake.mails[0].raw).digest(), hashlib.sha256(body).digest())

    def test_commands_of_clients(self) -> None:
        """Fields that are commands to SES are dropped, unless they may stay; what it takes once goes once."""
        fields = b"X-SES-CONFIGURATION-SET: theirs\r\nSubject: again\r\n"
        for settings, expected in (({}, False), ({"x_ses_headers": "keep"}, True)):
            ses = JoinedSes(**settings)
            [outcome] = ses.deliver(body=fields + MAIL).values()
            self.assertIsInstance(outcome, Delivered)
            raw = ses.fake.mails[0].raw
            self.assertEqual(b"X-SES-" in raw, expected)
            self.assertEqual(raw.count(b"Subject:"), 1)

    def test_signed(self) -> None:
        """A signature of ours is valid with the Date and the Message-ID that SES writes."""
        ses, worker = JoinedSes(), InlineMimeWorker()
        provider = OutgoingProvider(
            ses.ses,
            worker,
            hostname="relay.example.com",
            bounces_from="x@example.com",
            signer=signer(worker, Recording(), [Key(domain="example.com"), Key(selector="s2")]),
        )
        client = b"DKIM-Signature: v=1; d=client.example; h=from; b=x\r\n" + COMPLETE + b"\r\nhi\r\n"
        # The oracle takes no signature from the future.
        attempt = Attempt(evolve(delivery(BOB), received=1.7e9), BodyInPieces(client))
        [outcome] = ses.result(provider.deliver(attempt)).values()
        self.assertIsInstance(outcome, Delivered)
        raw = ses.fake.mails[0].raw
        self.assertEqual(raw.count(b"DKIM-Signature:"), 1)
        self.assertTrue(verified(raw.replace(b"Date: Mon", b"Date: Tue").replace(b"<1@client", b"<2@ses")))

    def test_fields_that_are_not_ascii(self) -> None:
        """SES knows no SMTPUTF8: a name in UTF-8 is encoded."""
        ses = JoinedSes()
        ses.deliver(body="Reply-To: Jürgen <j@example.com>\r\n".encode() + MAIL)
        self.assertIn(b"Reply-To: =?utf-8?", ses.fake.mails[0].raw)

    def test_null_sender(self) -> None:
        """A bounce has no sender in the request: SES takes the address in From."""
        ses = JoinedSes()
        [outcome] = ses.deliver(sender="").values()
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(ses.fake.mails[0].sender, "")

    def test_addresses_that_need_smtputf8(self) -> None:
        """Such a recipient fails alone, such a sender with the mail."""
        ses = JoinedSes()
        results = ses.deliver("jürgen@example.net", BOB)
        self.assertIsInstance(results[BOB], Delivered)
        self.assertEqual(results["jürgen@example.net"].code, "5.6.7")
        [outcome] = ses.deliver(sender="jürgen@example.net").values()
        self.assertIsInstance(outcome, Failed)
        self.assertEqual(len(ses.fake.mails), 1)

    def test_sizes(self) -> None:
        """A mail counts as it is in base64; the API v1 takes less."""
        ses, shape = JoinedSes(), shape_of(MAIL)
        self.assertEqual(ses.ses.encoded_size(shape), ((len(MAIL) + 2) // 3 * 4,) * 2)
        least, most = ses.provider.encoded_size(shape)
        self.assertLess(least, len(MAIL) * 4 / 3)
        self.assertGreater(most, len(MAIL) * 4 / 3 + 10_000)
        measured = ses.result(ses.provider.measure(delivery(BOB).envelope, BodyInPieces(MAIL * 100_000)))
        self.assertGreater(measured, len(MAIL) * 100_000 * 4 / 3)
        eight_bit = MAIL + "äöü".encode() * 20_000
        measured = ses.result(ses.provider.measure(delivery(BOB).envelope, BodyInPieces(eight_bit)))
        self.assertGreater(measured, len(eight_bit) * 1.6)
        limits = [JoinedSes(api=api).provider.limits for api in ("v2", "v1")]
        self.assertEqual([each.request for each in limits], [40_000_000, 10_000_000])
        self.assertEqual({each.recipients for each in limits}, {50})

    def test_own_time(self) -> None:
        """Requests are signed with the relay's clock."""
        ses = JoinedSes()
        ses.clock.advance(10_000_000)
        self.assertIsInstance(ses.deliver()[BOB], Delivered)


class AnswerTests(SynchronousTestCase):
    def outcome(self, status: int, code: str, message: str, *recipients: str, **settings: Any) -> Any:
        ses = JoinedSes(**settings)
        ses.fake.script(SesRefuses(status, code, message))
        return ses.deliver(*recipients)[(recipients or (BOB,))[0]]

    def test_meanings(self) -> None:
        """What a refusal means for the mail, in both versions of the API."""
        for status, code, message, kind in (
            (429, "TooManyRequestsException", "Maximum sending rate exceeded.", Throttled),
            (429, "TooManyRequestsException", "Daily message quota exceeded.", Blocked),
            (400, "LimitExceededException", "too many", Deferred),
            (400, "SendingPausedException", "paused", Blocked),
            (400, "AccountSendingPausedException", "paused", Blocked),
            (400, "AccountSuspendedException", "suspended", Blocked),
            (400, "MailFromDomainNotVerifiedException", "no MX", Blocked),
            (404, "NotFoundException", "Configuration set <x> does not exist.", Blocked),
            (400, "ConfigurationSetDoesNotExistException", "x", Blocked),
            (400, "MessageRejected", "Email address is not verified. The following: a@b", Blocked),
            (400, "MessageRejected", "Sending paused for this account. Check the inbox.", Blocked),
            (400, "MessageRejected", "virus", Failed),
            (400, "BadRequestException", "Duplicate header 'X'.", Failed),
            (403, "AccessDeniedException", "no", Blocked),
            (500, "InternalFailure", "oops", Deferred),
            (502, "", "", Uncertain),
            (503, "ServiceUnavailable", "busy", Throttled),
        ):
            for api in ("v2", "v1"):
                outcome = self.outcome(status, code, message, api=api)
                self.assertIsInstance(outcome, kind, f"{api} {code} {message}")
                self.assertIn(message, outcome.why)

    def test_one_sender(self) -> None:
        """An identity that is not verified or not in the policy stops the mail of its domain alone."""
        arn = "arn:aws:ses:eu-west-1:123456789012:identity/mail.example.com"
        for status, code, message in (
            (400, "MessageRejected", "Email address is not verified. The following: a@b"),
            (400, "MailFromDomainNotVerifiedException", "no MX"),
            (403, "AccessDeniedException", f"User is not authorized to perform: ses:SendEmail on: {arn}"),
        ):
            for api in ("v2", "v1"):
                outcome = self.outcome(status, code, message, api=api)
                self.assertEqual(outcome.lane, "setup:mail.example.com", (api, message))
                self.assertIn("verify this identity", outcome.why)

    def test_all_senders(self) -> None:
        """What is said of us and not of a sender stops all mail."""
        for status, code, message in (
            (403, "AccessDeniedException", "User is not authorized to perform ses:SendEmail"),
            (400, "AccountSuspendedException", "no"),
            (404, "NotFoundException", "Tenant x does not exist"),
        ):
            self.assertEqual(self.outcome(status, code, message, tenant="x").lane, "", message)

    def test_configuration_sets(self) -> None:
        """That of all mail stops it; that of a client, or of an identity, only what is sent with it."""
        for code, message, lane in (
            ("ConfigurationSetSendingPausedException", "Sending is paused for configuration set <ours>.", ""),
            ("ConfigurationSetSendingPausedException", "paused", ""),
            ("NotFoundException", "Configuration set <theirs> does not exist.", "/theirs"),
            ("AccessDeniedException", "not on arn:aws:ses:r:1:configuration-set/theirs", "/theirs"),
            ("BadRequestException", "Invalid configuration set name", "-"),
        ):
            outcome = self.outcome(400, code, message, configuration_set="ours")
            self.assertIsInstance(outcome, Blocked)
            expected = lane and f"setup:configuration-set{lane.strip('-')}"
            self.assertEqual(outcome.lane, expected, message)
        outcome = self.outcome(400, "ConfigurationSetSendingPausedException", "paused")
        self.assertEqual(outcome.lane, "setup:configuration-set")
        kept = {"configuration_set": "ours", "x_ses_headers": "keep"}
        outcome = self.outcome(400, "ConfigurationSetSendingPausedException", "paused", **kept)
        self.assertEqual(outcome.lane, "setup:configuration-set")
        field = "Duplicate header 'X-SES-CONFIGURATION-SET'."
        self.assertIsInstance(self.outcome(400, "BadRequestException", field), Failed)

    def test_our_own_values(self) -> None:
        """A value of the configuration that SES refuses blocks; one of the mail fails the mail."""
        arn = "arn:aws:ses:eu-west-2:123456789012:identity/example.com"
        contacts = ContactListSettings(name="customers", topic="news")
        for settings, message in (
            ({"tags": {"app": "relay"}}, "Too many tags: at most 50"),
            ({"tags": {"app": "relay"}}, "1 validation error detected: Value at 'emailTags' failed"),
            ({"identity_arn": arn}, f"Invalid ARN <{arn}>"),
            ({"tenant": "contoso"}, "TenantName is invalid"),
            ({"list_": contacts}, "Contact list customers is not valid"),
            ({"feedback": "bounces@example.com"}, "Illegal address: bounces@example.com"),
        ):
            outcome = self.outcome(400, "BadRequestException", message, **settings)
            self.assertIsInstance(outcome, Blocked, message)
            self.assertEqual(outcome.lane, "")
            self.assertIsInstance(self.outcome(400, "BadRequestException", message), Failed, message)
        kept = {"tags": {"app": "relay"}, "x_ses_headers": "keep"}
        outcome = self.outcome(400, "BadRequestException", "Invalid tag", **kept)
        self.assertEqual(outcome.lane, "setup:x-ses-headers")
        for message in ("Illegal address: tag@arn.example", "Duplicate header 'X-Tag'."):
            outcome = self.outcome(400, "BadRequestException", message, tags={"app": "x"}, identity_arn=arn)
            self.assertIsInstance(outcome, Failed, message)

    def test_probe_of_a_sender(self) -> None:
        """That the account may send says nothing of one sender: a mail must try."""
        self.assertIsNone(JoinedSes().result(JoinedSes().provider.probe("setup:mail.example.com")))

    def test_a_long_code(self) -> None:
        """Of what calls itself an error not more is repeated than an error has."""
        self.assertLess(len(self.outcome(400, "A" * 100_000, "no").why), 200)

    def test_advice(self) -> None:
        """What is blocked says what to do."""
        why = self.outcome(403, "AccessDeniedException", "no").why
        self.assertEqual(
            why, "403 AccessDenied: no (the policy must allow ses:SendRawEmail and ses:SendEmail)"
        )

    def test_a_bad_address_of_several(self) -> None:
        """SES refuses a whole mail for one address: it is halved; not what is refused for its content."""
        for message, whole in (("Domain contains illegal character", True), ("Duplicate header 'To'", False)):
            self.assertEqual(self.outcome(400, "BadRequestException", message, BOB, CY).whole, whole)
        self.assertFalse(self.outcome(400, "BadRequestException", "Illegal address").whole)

    def test_not_from_ses(self) -> None:
        """A 200 without an id is none of SES: nobody knows what became of the mail."""
        ses = JoinedSes()
        ses.fake.render = lambda _: b"<html>hello</html>"
        self.assertIsInstance(ses.deliver()[BOB], Uncertain)

    def test_lost(self) -> None:
        """SES knows no idempotency: a lost answer is uncertain, and cannot be resolved."""
        ses = JoinedSes()
        ses.fake.script(SesLostConnection())
        self.assertIsInstance(ses.deliver()[BOB], Uncertain)
        self.assertFalse(ses.provider.idempotent)
        self.assertIsNone(ses.result(ses.provider.resolve(delivery(BOB))))


class CredentialTests(SynchronousTestCase):
    def test_expired(self) -> None:
        """Credentials that have expired are obtained anew, once, and the mail goes."""
        ses = JoinedSes()
        ses.fake.keys["AKIDNEW"], ses.fake.tokens = "s2", {KEY: "t2", "AKIDNEW": "t3"}
        ses.held = Credential(access(token="t2"))
        ses.deliver()
        ses.clock.advance(100)
        ses.fake.tokens[KEY] = "none"
        ses.held = Credential(access("AKIDNEW", "s2", "t3"))
        self.assertIsInstance(ses.deliver()[BOB], Delivered)
        self.assertEqual(len(ses.fake.mails), 2)

    def test_not_for_each_mail(self) -> None:
        """They are obtained once for many mails."""
        ses = JoinedSes()
        for _ in range(3):
            ses.deliver()
        self.assertEqual(len(ses.events.of("credential.renewed")), 1)

    def test_none(self) -> None:
        """Missing ones block and bounce nothing, and mail flows when they are there; a hang defers."""
        ses = JoinedSes()
        ses.held = ValueError("no AWS credentials")
        self.assertEqual(ses.deliver()[BOB], Blocked("no AWS credentials"))
        self.assertEqual(ses.result(ses.provider.probe("")), Blocked("no AWS credentials"))
        ses.held = NotSent("no answer of STS")
        self.assertEqual(ses.deliver()[BOB], Deferred("no answer of STS"))
        ses.held = Credential(access())
        self.assertIsInstance(ses.result(ses.provider.probe("")), Delivered)
        self.assertIsInstance(ses.deliver()[BOB], Delivered)

    def test_wrong_secret(self) -> None:
        """A wrong secret blocks, and flows after it was corrected."""
        ses = JoinedSes()
        ses.held = Credential(access(secret="wrong"))
        self.assertIsInstance(ses.deliver()[BOB], Blocked)
        self.assertIsInstance(ses.result(ses.provider.probe("")), Blocked)
        ses.held = Credential(access(secret=SECRET))
        ses.clock.advance(11)
        self.assertIsInstance(ses.deliver()[BOB], Delivered)

    def test_young_keys(self) -> None:
        """Keys that have just replaced others may be unknown for some seconds: mail is deferred."""
        ses = JoinedSes()
        ses.deliver()
        ses.clock.advance(100)
        del ses.fake.keys[KEY]
        ses.held = Credential(access("AKIDNEW", "s2"))
        self.assertIsInstance(ses.deliver()[BOB], Deferred)
        ses.clock.advance(61)
        self.assertIsInstance(ses.deliver()[BOB], Blocked)


class QuotaTests(SynchronousTestCase):
    def rate(self, ses: JoinedSes) -> Any:
        return ses.result(ses.provider.rate())

    def test_rate(self) -> None:
        """The account's own rate counts recipients; it is never less than one."""
        for api in ("v2", "v1"):
            ses = JoinedSes(api=api)
            for per_second, count in ((14.0, 14), (0.5, 1), (-3.0, 1), (1e300, 1_000_000)):
                ses.fake.account.per_second = per_second
                self.assertEqual(self.rate(ses), [Window(count=count, seconds=1.0, unit="recipients")])

    def test_rate_unknown(self) -> None:
        """Where the policy does not allow to ask, that is a warning, once, and nothing is blocked."""
        ses = JoinedSes()
        ses.fake.denied.add("account")
        self.assertEqual([self.rate(ses), self.rate(ses)], [None, None])
        [warning] = ses.events.of("relay.warning")
        self.assertIn("set rate: User is not authorized", warning["text"])
        self.assertIsNone(ses.result(ses.provider.probe("")))
        self.assertIsInstance(ses.deliver()[BOB], Delivered)

    def test_day(self) -> None:
        """The quota of a day blocks until it frees; so does an account that may not send."""
        ses = JoinedSes()
        for account, expected in (
            ({"sent": 50_000.0}, Blocked),
            ({"sent": 49_999.0}, Delivered),
            ({"per_day": -1.0}, Delivered),
            ({"enabled": False}, Blocked),
        ):
            for name, value in account.items():
                setattr(ses.fake.account, name, value)
            self.assertIsInstance(ses.result(ses.provider.probe("")), expected)
        self.assertEqual(ses.fake.mails, [])

    def test_old_api_only(self) -> None:
        """Where v2 does not tell the quota, v1 is asked."""
        ses = JoinedSes()
        usual = ses.fake.render
        ses.fake.render = lambda request: b"{}" if request.path == b"/v2/email/account" else usual(request)
        self.assertEqual(self.rate(ses), [Window(count=14, seconds=1.0, unit="recipients")])
