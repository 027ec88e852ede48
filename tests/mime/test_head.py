"""What the queue and the routes want of a header: found in any header, at a price that has a bound."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.head import (
    MAX_HEADER,
    MAX_VALUE,
    MAX_VALUES_SIZE,
    Head,
    HeaderCollector,
    block,
    message_id_of,
    readable,
    subject_of,
)
from tests.steps import counted

#: Lines that a header may be full of.
KINDS = (
    b"X-Field: y\r\n",
    b"Subject-Line: y\r\n",
    b"subject\r\n",
    b"X: y\r\n folded\r\n",
    b" \r\n",
    b"no field\r\n",
    b":\r\n",
    b"X: \xe9;, \r\n",
    b"Subject: \r\n",
)


def collected(*pieces: bytes) -> HeaderCollector:
    collector = HeaderCollector()
    for piece in pieces:
        collector.feed(piece)
    return collector


def content(collector: HeaderCollector) -> bytes:
    """Return what is kept."""
    return bytes(collector._kept)


class BlockTests(SynchronousTestCase):
    def test_the_block_ends_at_the_empty_line(self):
        """The body is not looked at."""
        self.assertEqual(b"A: 1\r\nB: 2\r\n", block(b"A: 1\r\nB: 2\r\n\r\nC: 3\r\n"))

    def test_a_message_may_have_no_header_or_no_body(self):
        """An empty header block, and a message that is all header."""
        self.assertEqual(b"", block(b"\r\nbody"))
        self.assertEqual(b"A: 1", block(b"A: 1"))


class HeadTests(SynchronousTestCase):
    def test_by_name(self) -> None:
        """The first field of a name is found, in any case, and unfolded; none is empty."""
        head = Head(b"to: x\r\nSubjects: 0\r\nSUBJECT : 1\r\n\t 2\r\nSubject: 3\r\n")
        self.assertEqual((head.first("subject"), head.first("Date")), ("1 2", ""))
        self.assertEqual((head.values("SUBJECT"), head.values("Date")), (["1 2", "3"], []))

    def test_lines_that_are_none(self) -> None:
        """A line that is no field, or a byte order mark, hides nothing."""
        for lines in (
            b"\xef\xbb\xbfSubject: x\r\n",
            b"Received: y\r\n\xef\xbb\xbfSubject: x\r\n",
            b"this is no header\r\nSubject: x\r\n",
            b"Subject\r\nSubject x\r\nSubject: x\r\n",
            b"Subject:x",
        ):
            self.assertEqual(Head(lines).first("Subject"), "x", lines)

    def test_octets(self) -> None:
        """What is not ASCII is UTF-8 where it is that."""
        for octets, text in (
            ("é".encode(), "é"),
            (b"\xe9", "é"),
            (b"\x93a\x94", "“a”"),
            (b"\xff\x81", "ÿ\ufffd"),
        ):
            self.assertEqual(Head(b"Subject: " + octets + b"\r\n").first("Subject"), text)

    def test_far_behind(self) -> None:
        """It is found behind a quarter of a megabyte of others, too."""
        for kind in KINDS[:-1]:
            head = Head(kind * (250_000 // len(kind)) + b"Subject: x\r\nX-Env: test\r\n")
            self.assertEqual((head.first("Subject"), head.values("X-Env")), ("x", ["test"]), kind)

    def test_how_much(self) -> None:
        """Of a value, and of all that are called the same, there is so much."""
        long = Head(b"Subject: " + b"x" * 250_000 + b"\r\nTo: y\r\n")
        self.assertEqual((len(long.first("Subject")), long.first("To")), (MAX_VALUE, "y"))
        for octets in range(4):
            cut = Head(b"Subject: " + b"x" * octets + "日本🎉".encode() * 5000 + b"\r\n").first("Subject")
            self.assertEqual(
                (set(cut), len(cut.encode()) > MAX_VALUE - 4), ({*"日本🎉", *"x"[:octets]}, True)
            )
        many = Head(b"X: 0123456789\r\n" * 20_000)
        self.assertLess(sum(map(len, many.values("X"))), MAX_VALUES_SIZE + MAX_VALUE)

    def test_work(self) -> None:
        """Twice the header is at most twice the work, and finding a field in the largest is little."""

        def look(octets: int, kind: bytes) -> None:
            head = Head(kind * (octets // len(kind)))
            subject_of(head)
            message_id_of(head)
            head.values("X")

        for kind in KINDS:
            few, many, most = (counted(lambda n=n, k=kind: look(n, k)) for n in (20_000, 40_000, MAX_HEADER))
            self.assertLess(many, 2.3 * few, kind)
            self.assertLess(most, 220_000, kind)


class ReadableTests(SynchronousTestCase):
    def test_encoded_words_become_readable(self):
        """RFC 2047 is decoded; what only looks like it is shown as it stands."""
        self.assertEqual("Grüße", readable("=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
        self.assertEqual("=?nonsense?z?x?=", readable("=?nonsense?z?x?="))
        self.assertEqual("a b", readable("a\x01\nb\x7f"))

    def test_a_long_value_is_cut_before_it_is_decoded(self):
        """About 1 KB is shown: of a word that is cut what there is of it, of other text the beginning."""
        cases = {
            "x" * 2000: "x" * 1024,
            "=?utf-8?q?" + "=C3=BC" * 2000: "ü",
            "=?utf-8?b?" + "w7zDvMO8" * 2000 + "?=": "ü",
            "x" * 1020 + " =?utf-8?q?a?=": "x" * 1020 + " =?u",
            "x" * 1007 + " =?utf-8?q?ab?= c": "x" * 1007 + " ab",
            "x" * 1009 + " =?utf-8?q?a?=b": "x" * 1009 + " a",
        }
        for value, expected in cases.items():
            with self.subTest(value[:20]):
                shown = readable(value)
                self.assertEqual(shown[: len(expected)], expected)
                self.assertLessEqual(len(shown), 1024)
                self.assertNotIn("=?utf-8", shown)


class RecordTests(SynchronousTestCase):
    def test_readable(self) -> None:
        """The subject is decoded for people."""
        self.assertEqual(subject_of(Head(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n")), "Grüße")
        self.assertEqual(subject_of(Head(b"Subject: \x1b$B-j3t\x1b(B\r\n")), "㈱株")
        self.assertEqual(message_id_of(Head(b"Message-ID: <a@b>\r\n")), "<a@b>")

    def test_a_subject_that_costs(self) -> None:
        """However long and strange it is, it is cut before anybody decodes it."""
        for subject in (
            b"=?punycode?q?-" + b"b" * 250_000 + b"?=",
            b"=?utf-8?q?" + b"=C3=BC" * 40_000 + b"?=",
            b"=?utf-8?b?" + b"w7w" * 80_000,
            b"=?utf-8?q?x?= " * 18_000,
            b"=?" * 120_000,
            b"x" * 250_000,
            b"\xe9" * 250_000,
            b"=?unicode_escape?q?" + b"=5Cx41" * 40_000 + b"?=",
        ):
            head = Head(b"Subject: " + subject + b"\r\nMessage-ID: " + subject + b"\r\n")
            lines = counted(lambda head=head: (subject_of(head), message_id_of(head)))
            self.assertLess(lines, 50_000, subject[:20])
            self.assertLessEqual(len(subject_of(head)), 1024)
            self.assertLessEqual(len(message_id_of(head)), 1024)


class HeaderCollectorTests(SynchronousTestCase):
    BLOCK = b"Received: a\r\n\tb\r\nSubject: x\r\n"

    @given(st.lists(st.integers(0, 60), max_size=6))
    def test_any_cut(self, cuts: list[int]) -> None:
        """The header ends where its empty line is, however the mail is cut."""
        mail = self.BLOCK + b"\r\nTo: body\r\n\r\nmore\r\n"
        for places in (cuts, range(len(mail))):
            edges = sorted({0, len(mail), *(each for each in places if each < len(mail))})
            collector = collected(*[mail[start:end] for start, end in pairwise(edges)])
            self.assertTrue(collector.ended)
            self.assertEqual(content(collector), self.BLOCK)

    def test_without_an_end(self) -> None:
        """A mail without an empty line is all header; one that begins with it has none."""
        self.assertEqual(content(collected(self.BLOCK)), self.BLOCK)
        self.assertFalse(collected(self.BLOCK).ended)
        self.assertEqual(content(collected(b"\r", b"\nTo: body\r\n")), b"")

    def test_what_is_kept(self) -> None:
        """Of the text nothing is kept, and of a header no more than is looked at."""
        collector = collected(self.BLOCK + b"\r\n" + b"x" * 60_000, b"y" * 60_000)
        self.assertEqual(content(collector), self.BLOCK)
        endless = collected(*[b"X: y\r\n" * 10_000] * 100)
        self.assertEqual((len(content(endless)), endless.ended), (MAX_HEADER, True))

    def test_the_end_of_a_header_of_the_listener_s_limit(self) -> None:
        """A header as large as a listener takes it, our own Received before it, is kept whole."""
        filler = b"X: 0123456789abc\r\n" * (262_144 // 18 - 2)
        header = b"Received: us\r\n" * 20 + filler + b"X-Env: test\r\n"
        head = collected(header[:100], header[100:] + b"\r\nbody").head()
        self.assertEqual(head.values("X-Env"), ["test"])
