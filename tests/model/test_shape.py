import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.shape import MAX_LINE, Shape, ShapeCounter


def counted(*pieces: bytes) -> Shape:
    counter = ShapeCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.shape()


class ShapeTests(SynchronousTestCase):
    def test_octets(self):
        """All octets are counted, and of them those that are not ASCII."""
        self.assertEqual(counted(b"gr\xc3\xbcn\r\n", b"\xff"), Shape(size=8, eight_bit=3))

    def test_content(self):
        """A counter of the content gets all of the mail, from its first octet."""

        class Counter:
            most = 0

            def feed(self, piece: bytes) -> None:
                self.most = 10 * self.most + len(piece)

        counter = ShapeCounter()
        counter.feed(b"abc")
        self.assertIsNone(counter.shape().in_json)
        counter.begin_content(Counter(), b"abc")
        counter.feed(b"de")
        self.assertEqual(counter.shape().in_json, 32)
        counter.begin_content(None, b"abcde")
        self.assertIsNone(counter.shape().in_json)

    def test_longest_line(self):
        """A line of 998 octets is no long one, one of 999 is, wherever it stands."""
        fits, over = b"x" * MAX_LINE, b"x" * (MAX_LINE + 1)
        for lines, wanted in (
            ([fits, fits], False),
            ([over, b""], True),
            ([b"", over, b""], True),
            ([b"a", over], True),
        ):
            self.assertIs(counted(b"\r\n".join(lines)).long_lines, wanted, [len(line) for line in lines])

    @given(
        lengths=st.lists(st.sampled_from((0, 1, 76, 996, 997, 998, 999, 1000, 2500)), max_size=6),
        seed=st.integers(0, 2**32),
    )
    def test_any_cut(self, lengths: list[int], seed: int):
        """It does not matter how a mail is cut into pieces."""
        mail = b"".join(b"x" * length + b"\r\n" for length in lengths)
        chance, pieces, at = random.Random(seed), [], 0
        while at < len(mail):
            step = chance.choice((1, 2, 500, 998, 999, 1000, 1001, 4000))
            pieces.append(mail[at : at + step])
            at += step
        wanted = any(length > MAX_LINE for length in lengths)
        self.assertIs(counted(*pieces).long_lines, wanted)
