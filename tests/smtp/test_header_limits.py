"""The limits of a header: the same verdict wherever a piece ends and a line begins, in linear time."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.smtp.data import BodyDecoder
from smtprelay.smtp.header_limits import HeaderCheck
from smtprelay.smtp.settings import ListenerSettings
from tests.steps import counted

SIZE, HOPS = 262_144, 50
READ = 65_536


def verdict(content: bytes, *cuts: int, size: int = SIZE, hops: int = HOPS) -> str:
    """Return the rule that refuses ``content``, fed in pieces that end at ``cuts``; empty if none does."""
    check = HeaderCheck(size, hops)
    places = sorted({0, len(content), *cuts})
    for start, end in pairwise(places):
        check.feed(content[start:end])
    refusal = check.refusal
    return "" if refusal is None else refusal.rule


def by_lines(content: bytes, size: int, hops: int) -> str:
    """Return what a reader of whole lines would say."""
    counted_octets = received = 0
    in_field = False
    for line in content.split(b"\r\n")[:-1]:
        if not line:
            break
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].rstrip(b" \t")
            in_field = b":" in line and bool(name) and all(32 < octet < 127 for octet in name)
            received += in_field and name.lower() == b"received"
        counted_octets += (len(line) + 2) * in_field
    return "hops" if received > hops else "header-size" if counted_octets > size else ""


def fields(octets: int, field: bytes = b"X-Device-Report: 0123456789\r\n") -> bytes:
    return field * (octets // len(field) + 1)


class Alignments(SynchronousTestCase):
    def test_a_large_header(self):
        """5 MB of fields are too large, wherever octet 262,144 falls in a field, and a read in it."""
        field = b"X-Field: 0123456789\r\n"
        for shift in range(len(field) + 1):
            content = b"S: " + b"x" * shift + b"\r\n" + fields(5_000_000 if shift == 13 else 300_000, field)
            for read in (READ, 1460):
                cuts = range(0, len(content), read)
                self.assertEqual(verdict(content, *cuts), "header-size", (shift, read))
            self.assertEqual(verdict(content), "header-size", shift)
            self.assertEqual(verdict(content + b"\r\nbody\r\n"), "header-size", shift)

    def test_a_loop_behind_a_large_header(self):
        """60 Received behind 300 KB of header are a loop, wherever a piece ends."""
        hops = b"Received: from a by b\r\n\tfor c\r\n" * 60
        for shift in range(0, 31, 4):
            content = b"S: " + b"x" * shift + b"\r\n" + fields(300_000) + hops + b"\r\nbody\r\n"
            self.assertEqual(verdict(content), "hops", shift)
            for cut in range(len(content) - len(hops) - 20, len(content) - len(hops) + 40):
                self.assertEqual(verdict(content, *range(0, len(content), READ), cut), "hops", (shift, cut))

    def test_the_same_through_the_decoder(self):
        """So it is for content as it comes over the wire, with dots and the end."""
        for content, code in [
            (fields(1_000_000), (552, "5.3.4")),
            (fields(300_000) + b"Received: x\r\n" * 60 + b"\r\nbody\r\n", (554, "5.4.6")),
        ]:
            for first in range(1, 60, 3):
                decoder = BodyDecoder(ListenerSettings())
                decoder.feed(content[:first])
                for start in range(first, len(content), READ):
                    decoder.feed(content[start : start + READ])
                decoder.feed(b".\r\n")
                refusal = decoder.refusal
                self.assertEqual((decoder.ended, refusal.code, refusal.enhanced), (True, *code), first)

    def test_other_lines_in_front(self):
        """A line that is no field neither hides what follows it, nor counts."""
        for line in (
            b"this is no header\r\n",
            b"From a@b Mon Jan 1 00:00:00 2024\r\n",
            b"\xef\xbb\xbfX: y\r\n",
        ):
            hops = b"Received: x\r\n" * 51
            self.assertEqual(verdict(line + fields(SIZE)), "header-size")
            self.assertEqual(verdict(line + hops), "hops")
            self.assertEqual(verdict(line * 100_000 + b"X: y\r\n"), "")

    def test_one_endless_field(self):
        """A field of 5 MB in one line, or folded, is too large; a text of that length is none."""
        for line, rule in [
            (b"X: " + b"y" * 5_000_000 + b"\r\n", "header-size"),
            (b"X: y\r\n" + b" folded\r\n" * 100_000, "header-size"),
            (b"X: y\r\n " + b"z" * 300_000 + b"\r\n", "header-size"),
            (b"y" * 5_000_000 + b"\r\n", ""),
            (b"text\r\n " + b"y" * 5_000_000 + b"\r\n", ""),
        ]:
            self.assertEqual(verdict(line), rule)
            self.assertEqual(verdict(line, *range(0, len(line), 1460)), rule)

    def test_where_the_header_ends(self):
        """What follows the first empty line is no header, wherever the pieces end."""
        content = b"X: y\r\n\r\n" + b"Received: x\r\n" * 60
        for cut in range(20):
            self.assertEqual(verdict(content, cut, hops=1), "", cut)
        self.assertEqual(verdict(b"\r\n" + content, hops=1), "")

    def test_limits_themselves(self):
        """A header of just the limit is taken, and one octet more is not; so is the number of hops."""
        for size in (100, SIZE):
            header = b"X: " + b"y" * (size - 5) + b"\r\n"
            for cut in (1, 50, size - 1, size):
                self.assertEqual(verdict(header + b"\r\nbody", cut, size=size), "")
                self.assertEqual(verdict(b"Y" + header + b"\r\nbody", cut, size=size), "header-size")
        for spelled in (b"Received: x\r\n", b"RECEIVED : x\r\n", b"received\t:\r\n"):
            self.assertEqual(verdict(spelled * 3 + b"Received-SPF: x\r\n", hops=3), "")
            self.assertEqual(verdict(spelled * 4, hops=3), "hops")


PIECES = st.lists(
    st.sampled_from(
        [
            b"\r\n",
            b"a: b",
            b"Received: x",
            b"received :",
            b" ",
            b"\t",
            b"no field",
            b"x" * 60,
            b"Rec",
            b"eived:",
            b":",
        ]
    ),
    max_size=30,
).map(lambda pieces: b"".join(pieces) + b"\r\n")


class AnyCut(SynchronousTestCase):
    @given(
        PIECES, st.lists(st.integers(0, 500), max_size=8), st.sampled_from([3, 20, 100]), st.integers(0, 2)
    )
    @example(b"x" * 60 + b"\r\nReceived: x\r\n", [61, 62, 63], 3, 0)
    def test_as_a_reader_of_lines(self, content: bytes, cuts: list[int], size: int, hops: int):
        """Cut in any way, also into single octets, the verdict is that of reading line by line."""
        expected = by_lines(content, size, hops)
        inside = [cut for cut in cuts if cut < len(content)]
        for places in ([], inside, range(len(content))):
            self.assertEqual(verdict(content, *places, size=size, hops=hops), expected)


class Work(SynchronousTestCase):
    def test_work(self):
        """Twice the header is at most twice the work, whatever is in it; nothing is kept of a long line."""
        kinds = (
            b"X: y\r\n",
            b"X\r\n",
            b"X: y\r\nX\r\n",
            b"X" * 100,
            b" \r\n",
            b"Received:",
            b"\r",
            b"a:b" * 9,
        )
        for kind in kinds:
            for read in (1, 700):

                def work(octets: int, kind: bytes = kind, read: int = read) -> None:
                    check = HeaderCheck(1000, HOPS)
                    content = kind * (octets // len(kind))
                    for start in range(0, octets, read):
                        check.feed(content[start : start + read])
                        self.assertLess(len(check._line), 2000)

                few, many = (counted(lambda count=count: work(count)) for count in (4_000, 8_000))
                self.assertLess(many, 2.3 * few, (kind, read))
