"""What a mail costs: never more than its size says, whatever is in it."""

import time
from collections.abc import Callable
from contextlib import suppress

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import headers
from smtprelay.mime.parse import TooComplexError, read
from tests.mime.hostile import COSTLY

#: From a mail to one of four times its octets; twice 2.3, where a square would give 16.
GROWTH = 4
BOUND = 2.3**2
#: Below this the clock, and what does not grow, is what would be measured.
LEAST = 0.004
ROUNDS = 6


def cost(work: Callable[[bytes], object], mail: bytes) -> float:
    """Return the CPU time of ``work``, at its best of a few times."""
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        with suppress(TooComplexError):
            work(mail)
        best = min(best, time.process_time() - began)
    return best


def growth(work: Callable[[bytes], object], make: Callable[[int], bytes]) -> float:
    """Return how much more it costs if the mail is :data:`GROWTH` times as large."""
    size = 20_000
    small = cost(work, make(size))
    while small < LEAST and size < 1_000_000:
        size *= 2
        small = cost(work, make(size))
    # A machine with other work to do may disturb one round, and not all of them.
    ratio = float("inf")
    for _ in range(ROUNDS):
        ratio = min(ratio, cost(work, make(size * GROWTH)) / max(small, LEAST))
        if ratio < BOUND:
            break
        small = max(small, cost(work, make(size)))
    return ratio


class GrowthTests(SynchronousTestCase):
    """H1 to H4: the work grows with the octets of the mail, not with their square."""

    def test_reading(self):
        """Twice the mail is at most 2.3 times the work, for whatever once was more."""
        for name, make in COSTLY.items():
            with self.subTest(name):
                self.assertLess(growth(read, make), BOUND, name)

    def test_a_look_at_the_header(self):
        """So it is with what is read before the 250."""

        def look(mail: bytes) -> None:
            head = headers.Head(headers.block(mail))
            headers.readable(head.first("Subject"))
            headers.readable(head.first("Message-ID"))

        for name, make in COSTLY.items():
            with self.subTest(name):
                self.assertLess(growth(look, make), BOUND, name)

    def test_punycode_is_no_charset(self):
        """H2: a Subject in it is shown as it stands, or nearly so, at once."""
        shown = headers.readable("=?punycode?q?-" + "b" * 250_000 + "?=")
        self.assertEqual(shown[:4], "-bbb")

    def test_the_measure(self):
        """Work that grows with the square of the octets would be seen."""

        def square(mail: bytes) -> None:
            for _ in range(len(mail) // 100):
                mail.count(b"x")

        self.assertGreater(growth(square, bytes), BOUND)


class ScaleTests(SynchronousTestCase):
    """H4: sizes that real mails have."""

    def test_thousands(self):
        """999 parts, 3,000 recipients and 23,000 fields are read whole, or as far as is looked at."""
        parts = read(COSTLY["many parts"](10_000)).attachments
        self.assertEqual((len(parts), parts[-1].content_id), (900, "i899"))
        people = b", ".join(b"a%d@x.example" % n for n in range(3000))
        self.assertGreaterEqual(len(read(b"To: " + people + b"\r\n\r\nx").to), 1000)
        self.assertEqual(read(b"X-A: b\r\n" * 23_000 + b"\r\nx").text, "x")
