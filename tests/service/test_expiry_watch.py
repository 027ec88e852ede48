"""What ends on a day that is known is warned of ahead."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.expiry import expiry_words
from smtprelay.service.expiry_watch import ExpiryWatch
from smtprelay.testing.certificates import LIFETIME, make_certificate
from tests.config.loading import load_text, with_provider
from tests.recording import Recording

DAY = 86_400.0
NOW = datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp()
SMARTHOST = "type: smarthost, host: h.example, tls: none, username: u, password: {{env: P, expires: {day}}}"


class Login(NamedTuple):
    login_expires: float | None


class ExpiryWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.events = Recording()
        self.logins: dict[str, Any] = {}

    def watch(self, text: str) -> ExpiryWatch:
        config = load_text(text, {"P": "x"}).config
        return ExpiryWatch(config, self.logins, execute, self.clock, self.events)

    def check(self, watch: ExpiryWatch) -> None:
        self.successResultOf(Deferred.fromCoroutine(watch.check()))

    def test_secret(self) -> None:
        """30 days before the day of a secret there is a warning, and one more each day, also after it."""
        watch = self.watch(with_provider(SMARTHOST.format(day="2027-02-10")))
        told = []
        for _ in range(45 * 24):
            self.check(watch)
            told += [each["text"] for each in self.events.of("secret.expiring")[len(told) :]]
            self.clock.advance(3600)
        [(name, end)] = watch.known.items()
        self.assertEqual((name, round(end - NOW)), ("providers.more.password", 40.5 * DAY))
        self.assertEqual(len(told), 36)
        self.assertEqual(told[0], "expires on 2027-02-10, in 30 days")
        self.assertEqual(told[29:31], ["expires on 2027-02-10, tomorrow", "expires on 2027-02-10, today"])
        self.assertEqual(told[-1], "expired on 2027-02-10")
        self.assertEqual(
            {each["name"] for each in self.events.of("secret.expiring")}, {"providers.more.password"}
        )

    def test_certificates(self) -> None:
        """A listener's certificate is known as it is on disk; another check reports an unreadable one."""
        made = make_certificate(Path(self.mktemp()).absolute(), "relay.test")
        text = with_provider("type: capture, path: x").replace(
            '127.0.0.1"', f'127.0.0.1", tls: {{certificate: {made.certificate}, key: {made.key}}}', 1
        )
        watch = self.watch(text)
        self.check(watch)
        [(name, end)] = watch.known.items()
        self.assertEqual(name, "listeners[0].tls.certificate")
        self.assertLess(abs(datetime.now(UTC).timestamp() + LIFETIME.total_seconds() - end), 600)
        made.certificate.write_bytes(b"broken")
        self.check(watch)
        self.assertEqual(watch.known, {})

    def test_logins(self) -> None:
        """A login that nothing renews is among them as soon as it is known."""
        watch = self.watch(with_provider("type: capture, path: x"))
        for known, expected in ((None, {}), (NOW + DAY, {"the login of ses": NOW + DAY})):
            self.logins["ses"] = Login(known)
            self.check(watch)
            self.assertEqual(watch.known, expected)
        [warned] = self.events.of("secret.expiring")
        self.assertEqual((warned["name"], warned["time"]), ("the login of ses", NOW + DAY))

    def test_words(self) -> None:
        """What is far away has no words."""
        self.assertEqual(expiry_words(NOW + 31 * DAY, NOW), "")
        self.assertEqual(expiry_words(NOW + 1.5 * DAY, NOW), "expires on 2027-01-03, in 2 days")
        self.assertEqual(expiry_words(NOW - DAY, NOW), "expired on 2026-12-31")
