"""What a mail costs: never more than its size says, whatever is in it."""

import contextlib
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.head import head_of, readable
from smtprelay.mime.headers import MAX_FIELDS
from smtprelay.mime.parse import TooComplexError, read
from smtprelay.mime.rewrite import RewriteRule, parameters_of, rewrite_header
from tests.mime.hostile import COSTLY
from tests.mime.outgoing.finishing import EIGHT_BIT, SEVEN_BIT, plan
from tests.steps import counted

#: From a mail to one of so many times its octets: at most so many times the work, four times what is linear
#: and an eighth of a square. Over less growth one step of the machine's caches would count as much as the
#: work.
GROWTH = 32
BOUND = 128
#: Below this what does not grow is what would be measured.
LEAST = 0.0005
LARGEST = 50_000
ROUNDS = 4
RULE = RewriteRule(
    author="d@x.example",
    reply_to="header",
    recipients=(("*@a.example", "*@b.example"), ("*", "c@x.example")),
    added=(("X-Relay", "x"),),
    removed=("X-Mailer",),
)


def cost(work: Callable[[bytes], object], mail: bytes) -> float:
    """Return the CPU time of ``work``."""
    began = time.process_time()
    with contextlib.suppress(TooComplexError):
        work(mail)
    return time.process_time() - began


def growth(work: Callable[[bytes], object], make: Callable[[int], bytes], rounds: int = ROUNDS) -> float:
    """Return how much more it costs if the mail is :data:`GROWTH` times as large."""
    size = 2_000
    while cost(work, make(size)) < LEAST and size < LARGEST:
        size *= 2
    small, large = make(size), make(size * GROWTH)
    ratio = float("inf")
    # A machine with other work to do may disturb one round, and not all of them.
    for _ in range(rounds):
        ratio = min(ratio, cost(work, large) / max(cost(work, small), LEAST))
        if ratio < BOUND:
            break
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
            head = head_of(mail)
            readable(head.first("Subject"))
            readable(head.first("Message-ID"))

        for name, make in COSTLY.items():
            with self.subTest(name):
                self.assertLess(growth(look, make), BOUND, name)

    def test_finishing(self):
        """So it is with what is planned for the next hop."""
        for hop in (EIGHT_BIT, SEVEN_BIT):
            for name, make in COSTLY.items():
                with self.subTest(name, hop=hop):
                    self.assertLess(growth(lambda mail, hop=hop: plan(mail, hop), make), BOUND, name)

    def test_rewriting(self):
        """So it is with the header that rules rewrite."""
        parameters = parameters_of((RULE,), "a@x.example")
        for name, make in COSTLY.items():
            with self.subTest(name):
                self.assertLess(growth(lambda mail: rewrite_header(mail, parameters), make), BOUND, name)

    def test_punycode_is_no_charset(self):
        """H2: a Subject in it is shown as it stands, the first KB of it, at once."""
        short, long = ("=?punycode?q?-" + "b" * n + "?=" for n in (2000, 250_000))
        readable(short)
        self.assertEqual(readable(long), "-" + "b" * (1024 - len("=?punycode?q?-")))
        self.assertEqual(counted(lambda: readable(long)), counted(lambda: readable(short)))

    def test_the_measure(self):
        """Work that grows with the square of the octets would be seen."""

        def square(mail: bytes) -> None:
            sum(range(len(mail) ** 2 // 300_000))

        self.assertGreater(growth(square, bytes, rounds=1), BOUND)


class ScaleTests(SynchronousTestCase):
    """H4: sizes that real mails have."""

    def test_thousands(self):
        """Of 999 parts and 3,000 recipients all are read, of 23,000 fields those that are looked at."""
        part = b"--a\r\nContent-Type: image/png\r\nContent-ID: <i%d>\r\n\r\nx\r\n"
        head = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
        parts = read(head + b"".join(part % n for n in range(999))).attachments
        self.assertEqual([each.content_id for each in parts], [f"i{n}" for n in range(999)])
        people = b", ".join(b"a%d@x.example" % n for n in range(3000))
        recipients = read(b"To: " + people + b"\r\n\r\nx").to
        self.assertEqual([each.address for each in recipients], [f"a{n}@x.example" for n in range(3000)])
        mail = read(b"X-A: b\r\n" * 23_000 + b"\r\nx")
        self.assertEqual((len(mail.headers), mail.text), (MAX_FIELDS, "x"))
