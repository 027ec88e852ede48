from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli import text


class WordsTests(SynchronousTestCase):
    def test_span(self) -> None:
        """A duration is told in its largest whole unit; what lies in the future is 0 s old."""
        told = [text.span(seconds) for seconds in (-5, 0, 59.9, 60, 7199, 86399, 86400, 9e6)]
        self.assertEqual(told, ["0s", "0s", "59s", "1m", "1h", "23h", "1d", "104d"])

    def test_ahead(self) -> None:
        """What is due is due now."""
        self.assertEqual(
            [text.ahead(seconds) for seconds in (-3, 0.5, 12, 720)], ["now", "now", "+12s", "+12m"]
        )

    def test_size(self) -> None:
        """Sizes have two figures at least, and no fraction of a byte."""
        told = [text.size(count) for count in (0, 999, 1000, 14_000, 2_200_000, 3e9, 5e12)]
        self.assertEqual(told, ["0B", "999B", "1.0K", "14K", "2.2M", "3.0G", "5.0T"])

    def test_printable(self) -> None:
        """Control characters, line breaks, lone surrogates and text direction marks are made visible."""
        self.assertEqual(text.printable("Grüße ✓"), "Grüße ✓")
        self.assertEqual(text.printable("a\x1b[31m\n\u202eb\udcff\x9b"), r"a\x1b[31m\n\u202eb\udcff\x9b")

    def test_count(self) -> None:
        """One is singular, everything else is plural."""
        told = [text.count(number, noun) for number in (0, 1, 2) for noun in ("delivery", "route")]
        self.assertEqual(
            told, ["0 deliveries", "0 routes", "1 delivery", "1 route", "2 deliveries", "2 routes"]
        )

    def test_clock(self) -> None:
        """A time of another day carries its date."""
        day = 1_800_000_000.0
        self.assertEqual(text.clock(day, day), text.moment(day).split()[1])
        self.assertEqual(text.clock(day + 172800, day), text.moment(day + 172800))
