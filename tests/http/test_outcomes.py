import os
import time
from email.utils import formatdate

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, retry_after, words
from smtprelay.model.outcome import Blocked, Deferred, Failed, Throttled, Uncertain

NOW = 1_800_000_000.0


class OutcomeTests(SynchronousTestCase):
    def test_words(self):
        """A provider that says nothing is repeated by its status."""
        self.assertEqual(words(500, "", ""), "500")

    def test_unknown(self):
        """What a table does not know is deferred."""
        self.assertEqual(
            ErrorTable(meanings={}).outcome(400, "Odd", "no", retry_after=7.0), Deferred("400 Odd: no", 7.0)
        )

    def test_code_and_status(self):
        """A code that is known says more than its status, of the outcome, the bounce and the advice."""
        errors = ErrorTable(
            meanings={**HTTP, 400: Classification.FAILED, "Paused": Classification.BLOCKED},
            enhanced={400: "5.6.0", "BadAddress": "5.1.3"},
            advice={"Paused": "ask them", 403: "check the permissions"},
        )
        for given, expected in {
            (400, "", "x"): Failed("400 x", "5.6.0"),
            (400, "BadAddress", "x"): Failed("400 BadAddress: x", "5.1.3"),
            (400, "Paused", "x"): Blocked("400 Paused: x (ask them)", "box"),
            (403, "Odd", "x"): Blocked("403 Odd: x (check the permissions)", "box"),
            (429, "", ""): Throttled("429", 7.0, "box"),
            (504, "", "x"): Uncertain("504 x"),
        }.items():
            self.assertEqual(errors.outcome(*given, retry_after=7.0, lane="box"), expected)


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
