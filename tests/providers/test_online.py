"""What the providers answer to ``config check --online``, before the fakes of their services."""

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any

from botocore.session import Session
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from smtprelay.interfaces import Provider
from smtprelay.interfaces.online import OnlineFinding, Senders, of_outcome
from smtprelay.model.outcome import Blocked, Deferred, Failed
from smtprelay.providers.online import DatedHttp, ServiceClock, online_checks_of
from smtprelay.providers.ses.identity import identity_path
from smtprelay.settings.secret import fixed
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.ses import SesQuota
from smtprelay.testing.smtp import CUT, SmtpSink
from tests.providers.mailgun_wiring import JoinedMailgun
from tests.providers.resend_wiring import JoinedResend
from tests.providers.ses_wiring import JoinedSes
from tests.providers.smarthost_wiring import Joined

ANN = Senders(authors=("ann@mail.example.com",))
VERIFIED = {
    "VerifiedForSendingStatus": True,
    "DkimAttributes": {"SigningEnabled": True, "Status": "SUCCESS"},
}


def asked(joined: Any, provider: Provider, check: str, senders: Senders = ANN) -> Sequence[OnlineFinding]:
    """Return what is found out by one check."""
    return list(joined.result(online_checks_of(provider, senders)[check]()))


class SesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = JoinedSes()
        self.fake = self.joined.fake

    def identity(self, senders: Senders = ANN) -> OnlineFinding:
        [found] = asked(self.joined, self.joined.ses, "identities", senders)
        return found

    def test_identities(self) -> None:
        """An address may send by its own identity, by that of its domain, or of a domain above it."""
        for name, signer in (
            ("ann@mail.example.com", "mail.example.com"),
            ("mail.example.com", "mail.example.com"),
            ("example.com", "example.com"),
        ):
            self.fake.identities = {name: VERIFIED}
            found = self.identity()
            self.assertEqual((found.severity, found.authenticates), ("ok", (signer,)), name)
        self.fake.identities = {"com": VERIFIED}
        self.assertEqual(self.identity().severity, "error")

    def test_signs_nothing(self) -> None:
        """An identity without a key of its own authenticates nothing, but for its own envelope sender."""
        mail_from = {"MailFromDomain": "bounce.example.com", "MailFromDomainStatus": "SUCCESS"}
        said = {"VerifiedForSendingStatus": True, "DkimAttributes": {"Status": "PENDING"}}
        self.fake.identities = {"example.com": said}
        self.assertEqual(self.identity().authenticates, ())
        self.fake.identities = {"example.com": {**said, "MailFromAttributes": mail_from}}
        self.assertEqual(self.identity().authenticates, ("bounce.example.com",))

    def test_unverified(self) -> None:
        """An identity that is not verified cannot send; odd answers are none that is."""
        for said in (
            {},
            {"VerifiedForSendingStatus": False},
            {"DkimAttributes": 1, "MailFromAttributes": []},
        ):
            self.fake.identities = {"example.com": said}
            self.assertEqual(self.identity().severity, "error", said)

    def test_policy(self) -> None:
        """A policy that lets us send, and not ask, keeps no mail from leaving."""
        self.fake.denied = {"account", "identity"}
        self.assertEqual(self.identity().text, "not known: the policy does not allow ses:GetEmailIdentity")
        [quota] = asked(self.joined, self.joined.ses, "quota")
        self.assertEqual((quota.severity, quota.text[:9]), ("ok", "not known"))

    def test_quota(self) -> None:
        """The sandbox of SES is a warning, a quota that is used up an error."""
        for change, severity in (
            ({}, "ok"),
            ({"production": False}, "warning"),
            ({"sent": 50_000.0}, "error"),
            ({"enabled": False}, "error"),
            ({"per_day": -1.0}, "ok"),
        ):
            self.fake.account = SesQuota(**change)
            [quota] = asked(self.joined, self.joined.ses, "quota")
            self.assertEqual(quota.severity, severity, change)

    def test_identity_of_another_account(self) -> None:
        """With an ARN the identity is another account's, which is not asked."""
        joined = JoinedSes(identity_arn="arn:aws:ses:eu-west-1:1:identity/example.com")
        self.assertNotIn("identities", online_checks_of(joined.ses, ANN))

    def test_sdk(self) -> None:
        """The path of an address is what Amazon's own SDK makes of it."""
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = Session().create_client("sesv2", "eu-west-1", **keys)
        urls: list[str] = []

        def stop(request: Any, **_: Any) -> None:
            urls.append(request.url)
            raise ZeroDivisionError

        client.meta.events.register("before-send", stop)
        name = "ann+x@mail.example.com"
        self.assertRaises(ZeroDivisionError, client.get_email_identity, EmailIdentity=name)
        self.assertTrue(urls[0].endswith(identity_path(name)), urls)


class MailgunTests(SynchronousTestCase):
    def found(self, joined: JoinedMailgun) -> OnlineFinding:
        [found] = asked(joined, joined.mailgun, "domain")
        return found

    def test_domain(self) -> None:
        """An active domain whose records are there authenticates; one without them is a warning."""
        joined = JoinedMailgun()
        joined.fake.records["mg.example.com"] = [{"name": "mg.example.com", "valid": "valid"}]
        self.assertEqual(self.found(joined).authenticates, ("mg.example.com",))
        joined.fake.records["mg.example.com"] = [{"name": "k1._domainkey.mg.example.com", "valid": "unknown"}]
        found = self.found(joined)
        self.assertEqual((found.severity, found.authenticates), ("warning", ()))
        self.assertIn("k1._domainkey.mg.example.com", found.text)

    def test_sending_key(self) -> None:
        """A sending key may not ask, and is good all the same; a wrong key is told of by the probe."""
        joined = JoinedMailgun(api_key=fixed("key-send", "inline"))
        joined.fake.sending_key = "key-send"
        self.assertEqual(self.found(joined).severity, "ok")
        [probe] = asked(joined, joined.mailgun, "probe")
        self.assertEqual(probe.severity, "ok")
        joined.fake.sending_key = ""
        [probe] = asked(joined, joined.mailgun, "probe")
        self.assertEqual(probe.severity, "error")

    def test_other_account(self) -> None:
        """A domain that the account does not have is an error."""
        joined = JoinedMailgun()
        joined.fake.domains.clear()
        self.assertEqual(self.found(joined).severity, "error")


class ResendTests(SynchronousTestCase):
    def test_domains(self) -> None:
        """A domain must be verified itself."""
        joined = JoinedResend()
        joined.fake.pending = {"late.example"}
        senders = Senders(authors=("a@mail.example.com", "b@sub.mail.example.com", "c@late.example"))
        found = asked(joined, joined.provider, "domains", senders)
        self.assertEqual([each.severity for each in found], ["ok", "error", "error"])
        self.assertEqual(found[0].authenticates, ("mail.example.com",))

    def test_sending_key(self) -> None:
        """A key that may only send cannot tell, and is good all the same."""
        joined = JoinedResend()
        joined.fake.sending_keys = set(joined.fake.keys)
        [found] = asked(joined, joined.provider, "domains")
        self.assertEqual((found.severity, found.text), ("ok", "not known: the key may only send"))


class SmarthostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = Joined()
        self.sink = self.joined.sink

    def found(self, *envelope: str) -> Sequence[OnlineFinding]:
        checks = online_checks_of(self.joined.provider, Senders(envelope=envelope))
        return list(self.successResultOf(self.joined.run(checks["senders"])))

    def test_senders(self) -> None:
        """Each sender is offered in one session, and withdrawn; without any it is the null sender."""
        self.sink.script("MAIL", "250 ok", "550 5.7.1 no")
        good, bad = self.found("a@example.com", "b@example.com")
        self.assertEqual((good.severity, bad.severity), ("ok", "error"))
        self.assertIn("<b@example.com>: 550 5.7.1 no", bad.text)
        self.assertEqual(self.sink.connections, 1)
        self.assertEqual([line[:4] for line in self.sink.lines], ["EHLO", "MAIL", "RSET", "MAIL", "QUIT"])
        [null] = self.found()
        self.assertEqual((null.severity, null.text[:3]), ("ok", "<>:"))
        self.assertEqual(self.sink.messages, [])

    def test_lost(self) -> None:
        """What the server did not say is not known."""
        self.sink.script("MAIL", "250 ok", CUT)
        _, cut = self.found("a@example.com", "b@example.com", "c@example.com")
        self.assertEqual(cut.severity, "unknown")

    def test_no_address(self) -> None:
        """A sender that cannot be sent to this server is an error."""
        self.joined = Joined(SmtpSink(keywords=()))
        [found] = self.found("ä@example.com")
        self.assertEqual(found.severity, "error")


class ClockTests(SynchronousTestCase):
    def test_skew(self) -> None:
        """The clock is compared with the Date of each answer: the nearest counts."""
        for dates, severity in (
            ([0.0], "ok"),
            ([-3000.0, 2.0], "ok"),
            ([-100.0], "warning"),
            ([400.0, 500.0], "error"),
        ):
            clock = Clock()
            clock.advance(1_800_000_000.0)
            service = Dated([clock.seconds() + each for each in dates])
            http = MemoryHttp(service, clock)
            seen = ServiceClock(clock)
            dated = DatedHttp(http.http, clock, seen.skews)
            for _ in dates:
                http.result(dated.request("GET", "http://127.0.0.1/", {}))
            self.assertEqual(seen.finding.severity, severity, dates)
        self.assertIn("is 400 s behind", seen.finding.text)

    def test_nothing_said(self) -> None:
        """Without a date, or with one that is none, nothing is said."""
        clock = Clock()
        for date in (b"", b"yesterday", b"Mon, 99 Foo 2026 99:99:99 GMT"):
            http, seen = MemoryHttp(Dated([], date), clock), ServiceClock(clock)
            http.result(DatedHttp(http.http, clock, seen.skews).request("GET", "http://127.0.0.1/", {}))
            self.assertIsNone(seen.finding, date)


class Dated(Resource):
    """Answers with these dates, one after the other, or always with the same text."""

    isLeaf = True

    def __init__(self, times: list[float], text: bytes = b"") -> None:
        super().__init__()
        self._times = times
        self._text = text

    def render(self, request: Request) -> bytes:
        text = formatdate(self._times.pop(0), usegmt=True).encode() if self._times else self._text
        request.setHeader(b"date", text)
        return b"{}"


class OutcomeTests(SynchronousTestCase):
    def test_severities(self) -> None:
        """What an operator must do is an error; what another time may tell is not known."""
        said: Mapping[str, Any] = {
            "error": Blocked("wrong key"),
            "unknown": Deferred("no answer"),
            "ok": None,
        }
        for severity, outcome in said.items():
            self.assertEqual(of_outcome(outcome).severity, severity)
        self.assertEqual(of_outcome(Failed("no", "5.0.0")).severity, "error")
