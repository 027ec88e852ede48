import os
import time
from email.utils import formatdate

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Failed, Uncertain
from smtprelay.providers.classify import (
    Classification,
    acs_failed,
    acs_refusal,
    by_status,
    outcome,
    retry_after,
    words,
)

NOW = 1_800_000_000.0


class RefusalTests(SynchronousTestCase):
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
            429: Deferred,
            302: Deferred,
            500: Deferred,
            502: Uncertain,
            503: Deferred,
            504: Uncertain,
            599: Deferred,
        }
        for status, kind in expected.items():
            with self.subTest(status):
                self.assertIsInstance(acs_refusal(status, "", "no"), kind)

    def test_too_fast(self):
        """429 and 503 say that we ask for too much; another deferral says something about the mail."""
        throttled = {
            status for status in (409, 429, 500, 503, 599) if acs_refusal(status, "", "no").throttled
        }
        self.assertEqual(throttled, {429, 503})
        self.assertTrue(acs_refusal(400, "TooManyRequests", "no").throttled)

    def test_words(self):
        """The reason is the provider's own words in one line, with advice for the operator."""
        refused = acs_refusal(401, "Denied", "Denied by\r\n the resource provider.")
        self.assertEqual(
            refused.why,
            "401 Denied: Denied by the resource provider. (check the access key and this machine's clock)",
        )
        self.assertEqual(words(500, "", ""), "500")

    def test_enhanced_code(self):
        """A bounce carries a code that fits the reason."""
        self.assertEqual(acs_refusal(413, "", "big").code, "5.3.4")
        self.assertEqual(acs_refusal(400, "InvalidEmailAddress", "bad").code, "5.1.3")
        self.assertEqual(acs_failed("EmailDroppedAllRecipientsSuppressed", "x").code, "5.7.1")
        self.assertEqual(acs_failed("Whatever", "x"), Failed("operation failed: Whatever: x", "5.0.0"))

    def test_wait(self):
        """What is deferred keeps the provider's wait."""
        self.assertEqual(acs_refusal(429, "", "slow", wait=7.0), Deferred("429 slow", 7.0, throttled=True))

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

    def test_unknown_status(self):
        """What a table does not know is deferred."""
        self.assertIs(by_status({}, 200), Classification.DEFERRED)
        self.assertEqual(outcome(Classification.UNCERTAIN, "lost"), Uncertain("lost"))


class RetryAfterTests(SynchronousTestCase):
    def test_seconds(self):
        """Delta-seconds are taken as they are."""
        self.assertEqual([retry_after(value, NOW) for value in ("0", " 7 ", "3600")], [0.0, 7.0, 3600.0])

    def test_date(self):
        """An HTTP-date is counted from now; one in the past is no wait."""
        self.assertEqual(retry_after(formatdate(NOW + 90, usegmt=True), NOW), 90.0)
        self.assertEqual(retry_after(formatdate(NOW - 90, usegmt=True), NOW), 0.0)

    def test_date_without_a_zone(self):
        """It is UTC (RFC 9110 §5.6.7), wherever this machine stands."""
        self.stand_in("Asia/Tokyo", os.environ.get("TZ", ""))
        self.assertEqual(retry_after(time.asctime(time.gmtime(NOW + 90)), NOW), 90.0)

    def stand_in(self, zone, home):
        os.environ["TZ"] = zone
        time.tzset()
        if zone != home:
            self.addCleanup(self.stand_in, home, home)

    def test_nonsense(self):
        """Anything else is as if it were not there."""
        for value in ("", "soon", "-1", "1.5", "²", "Mon, 99 Foo 2026", "Fri, 20 Nov 99999 09:30:00 GMT"):
            with self.subTest(value):
                self.assertIsNone(retry_after(value, NOW))
