import os
import time
from email.utils import formatdate

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Uncertain
from smtprelay.providers.outcomes import Classification, by_status, outcome, retry_after, words

NOW = 1_800_000_000.0


class OutcomeTests(SynchronousTestCase):
    def test_words(self):
        """A provider that says nothing is repeated by its status."""
        self.assertEqual(words(500, "", ""), "500")

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
