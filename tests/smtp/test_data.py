"""The content of messages: its end, its dots, its line ends, its limits."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.smtp.data import BodyDecoder
from smtprelay.smtp.settings import ListenerSettings

#: Sequences that some server took for the end of data (anchors of the smuggling literature).
NO_ENDS = (
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r.\n", b"\n.\r", b"\r\n.\r", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\x00\n.\r\n", b"\r\n.\r\x00\n",
)  # fmt: skip
ATTACK = b"MAIL FROM:<admin@victim.test>\r\n"


class Fed:
    """A decoder that was fed segments until its end, and what came of it."""

    def __init__(self, *segments: bytes, bare: bool = False, **settings: object) -> None:
        decoder = BodyDecoder(ListenerSettings(**settings), bare=bare)
        self.stored = b""
        self.rest = b""
        for number, segment in enumerate(segments):
            self.stored += decoder.feed(segment)
            if decoder.ended:
                self.rest = decoder.rest + b"".join(segments[number + 1 :])
                break
        self.ended = decoder.ended
        self.refusal = decoder.refusal
        self.code = decoder.refusal and (decoder.refusal.code, decoder.refusal.enhanced)


def by_lines(octets: bytes, end: bytes = b"\r\n") -> tuple[bytes, bytes] | None:
    """The reference: read lines one by one (RFC 5321 §4.5.2), then mend what is in them."""
    stored: list[bytes] = []
    while end in octets:
        line, octets = octets.split(end, 1)
        if line == b".":
            return b"".join(stored), octets
        line = (line.removeprefix(b".") + end).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        stored.append(line.replace(b"\n", b"\r\n").replace(b"\0", b""))
    return None


class Decoding(SynchronousTestCase):
    def test_plain(self):
        """Content is stored with its last CRLF and without the end."""
        fed = Fed(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        self.assertEqual((fed.stored, fed.ended, fed.refusal), (b"Subject: x\r\n\r\nhello\r\n", True, None))

    def test_empty(self):
        """An end that comes at once is the end of an empty message."""
        self.assertEqual((Fed(b".\r\n").stored, Fed(b".\r\n").ended), (b"", True))

    def test_dots(self):
        """The first of a line's dots is stuffing, also on the first line; dots elsewhere are not."""
        fed = Fed(b"..a\r\n..\r\n...b\r\nc..\r\n.d\r\n.\r\n")
        self.assertEqual(fed.stored, b".a\r\n.\r\n..b\r\nc..\r\nd\r\n")

    def test_what_comes_behind_the_end(self):
        """What comes behind the end is left for the session."""
        self.assertEqual(Fed(b"a\r\n.\r\nMAIL\r\n").rest, b"MAIL\r\n")

    def test_size(self):
        """The size counts what is stored, not stuffing and end."""
        decoder = BodyDecoder(ListenerSettings())
        decoder.feed(b"..a\r\n.\r\n")
        self.assertEqual(decoder.size, 4)

    def test_eight_bits(self):
        """Octets above 127 are left as they are."""
        content = bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n"
        self.assertEqual(Fed(content + b".\r\n").stored, content)


class Smuggling(SynchronousTestCase):
    def test_nothing_else_ends_data(self):
        """No other sequence ends data, however it is cut; it is content, or the message is refused."""
        for sequence in NO_ENDS:
            octets = b"a: b\r\n\r\nbody" + sequence + ATTACK + b"\r\n.\r\nQUIT\r\n"
            for mode in ("fix", "refuse", "accept"):
                for cut in range(len(octets) - 8):
                    fed = Fed(octets[:cut], octets[cut:], bare_newlines=mode)
                    self.assertEqual(fed.rest, b"QUIT\r\n", (sequence, mode, cut))
                    if fed.refusal is None:
                        self.assertIn(ATTACK, fed.stored)

    def test_nothing_else_ends_data_of_bare_line_feeds(self):
        """Where LF ends lines only ``LF.LF`` ends data, however it is cut; ``CRLF.CRLF`` is content."""
        for sequence in (*NO_ENDS, b"\r\n.\r\n", b"\n.\0\n", b"\n\0.\n", b"\n..\n", b"\n. \n"):
            octets = b"a: b\n\nbody" + sequence + ATTACK + b"\n.\nQUIT\n"
            for cut in range(len(octets) - 8):
                fed = Fed(octets[:cut], octets[cut:], bare=True, bare_newlines="accept")
                if b"\n.\n" in sequence:
                    self.assertEqual(fed.rest, ATTACK + b"\n.\nQUIT\n", "that is the end of this client")
                    continue
                self.assertEqual(fed.rest, b"QUIT\n", (sequence, cut))
                self.assertIn(ATTACK, fed.stored)
                stuffed = (b"\r\n" + fed.stored).replace(b"\r\n.", b"\r\n..")
                self.assertNotIn(b"\n", stuffed.replace(b"\r\n", b""))
                self.assertNotIn(b"\r\n.\r\n", stuffed)

    def test_content_of_bare_line_feeds(self):
        """Its lines become CRLF, its dots are unstuffed, and it may be empty."""
        for octets, stored in [
            (b"Subject: x\n\nhello\n.\n", b"Subject: x\r\n\r\nhello\r\n"),
            (b"..a\n..\n...b\nc..\n.d\n.\n", b".a\r\n.\r\n..b\r\nc..\r\nd\r\n"),
            (b"a\r\nb\rc\n\r\n.\n", b"a\r\nb\r\nc\r\n\r\n"),
            (b"a\r\n..b\r\n.\n", b"a\r\n.b\r\n"),
            (b".\n", b""),
            (b"\n.\n", b"\r\n"),
            (b"a\0b\n.\n", b"ab\r\n"),
        ]:
            for segments in ([octets], single(octets)):
                fed = Fed(*segments, bare=True, bare_newlines="accept")
                self.assertEqual((fed.stored, fed.ended, fed.refusal, fed.rest), (stored, True, None, b""))

    def test_refused_where_line_ends_must_be_right(self):
        """With ``refuse`` each of them is 5.6.0, after reading to the real end."""
        for sequence in NO_ENDS:
            fed = Fed(b"body" + sequence + b"more\r\n.\r\n", bare_newlines="refuse")
            self.assertEqual((fed.ended, fed.stored, fed.code), (True, b"", (554, "5.6.0")), sequence)

    def test_fixed_content_cannot_end_data_when_it_is_sent_on(self):
        """What is stored has only CRLF, so dot-stuffing it leaves no line of one dot."""
        for sequence in NO_ENDS:
            fed = Fed(b"body" + sequence + b"more\r\n.\r\n")
            if fed.refusal is None:
                stuffed = (b"\r\n" + fed.stored).replace(b"\r\n.", b"\r\n..")
                bare = stuffed.replace(b"\r\n", b"")
                self.assertFalse(b"\r" in bare or b"\n" in bare, sequence)
                self.assertNotIn(b"\r\n.\r\n", stuffed, sequence)

    def test_bare_line_ends_are_fixed(self):
        """Bare CR and bare LF become CRLF; a dot behind one is content, not stuffing."""
        self.assertEqual(Fed(b"a\nb\rc\r\n.\r\n").stored, b"a\r\nb\r\nc\r\n")
        self.assertEqual(Fed(b"a\n.b\r\n.\r\n").stored, b"a\r\n.b\r\n")
        self.assertEqual(Fed(b"a\n.\nb\r\n.\r\n").stored, b"a\r\n.\r\nb\r\n")


def single(octets: bytes) -> list[bytes]:
    """Return the segments of one octet each."""
    return [octets[at : at + 1] for at in range(len(octets))]


TEXTS = ("Alarm", "Alarm\r\nDoor 3 is open.\r\n", "Prüfung läuft", "警報 3\r\n第二行\r\n", "\r\n", "Tür\r\n")


class Nul(SynchronousTestCase):
    def test_removed(self):
        """Where line ends are fixed NULs are removed, wherever they stand; nothing else is."""
        for octets, stored in [
            (b"a\0b\r\n.\r\n", b"ab\r\n"),
            (b"Subject: x\0\r\n\r\nAlarm\0\0\0\0\r\n.\r\n", b"Subject: x\r\n\r\nAlarm\r\n"),
            (b"one\r\n\0two\r\n\0\r\n.\r\n", b"one\r\ntwo\r\n\r\n"),
            (b"\0\r\n.\r\n", b"\r\n"),
            (b"one\0two\0three\0four\0five\0six\0\r\n.\r\n", b"onetwothreefourfivesix\r\n"),
            (b"a\0" * 3 + b"\0" * 100_000 + b"\r\n.\r\n", b"aaa\r\n"),
            (b"\xff\xfea, in Latin-1\r\n.\r\n", b"\xff\xfea, in Latin-1\r\n"),
        ]:
            for fed in (Fed(octets), Fed(*single(octets))):
                self.assertEqual((fed.stored, fed.ended, fed.refusal), (stored, True, None), octets)

    def test_removing_them_ends_nothing(self):
        """What looks like the end, or like a stuffing dot, when the NULs are gone is content."""
        for octets, stored in [
            (b"a\r\n\0.\r\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
            (b"a\r\n.\0\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n"),
            (b"a\r\n\0.b\r\n.\r\n", b"a\r\n.b\r\n"),
            (b"a\r\0\n.\r\nb\r\n.\r\n", b"a\r\n\r\n.\r\nb\r\n"),
        ]:
            for cut in range(len(octets)):
                fed = Fed(octets[:cut], octets[cut:])
                self.assertEqual((fed.stored, fed.rest, fed.refusal), (stored, b"", None), (octets, cut))

    def test_refused(self):
        """Where line ends must be right a NUL is 5.6.0 after the end of data, wherever it stands."""
        for octets in (b"a\0b\r\n.\r\n", b"\0\r\n.\r\n", b"a\r\n\0.\r\nb\r\n.\r\n", b"a\0\0\0\r\n.\r\n"):
            fed = Fed(octets, bare_newlines="refuse")
            self.assertEqual((fed.ended, fed.code, fed.stored), (True, (554, "5.6.0"), b""))
            self.assertEqual(fed.refusal.rule, "nul")

    def test_utf_16(self):
        """A text in UTF-16 is not stripped to something else, but refused with words that say what to do."""
        for text in TEXTS:
            for codec in ("utf-16", "utf-16-le", "utf-16-be"):
                for head in (b"", b"Subject: x\r\n\r\n"):
                    octets = head + text.encode(codec) + b"\r\n.\r\n"
                    self.assert_is_utf_16(octets)

    def test_a_part_in_utf_16(self):
        """It may be far behind, in one part of many."""
        octets = b"Subject: x\r\n\r\n--a\r\n" + b"text\r\n" * 1000 + b"\r\n--a\r\n\r\n"
        self.assert_is_utf_16(octets + "Hello\r\n".encode("utf-16-be") + b"\r\n--a--\r\n.\r\n")

    def test_a_mark_without_nul(self):
        """A byte order mark makes it UTF-16 if there are NULs at all, before it or behind it."""
        self.assert_is_utf_16(b"\r\n\xff\xfe" + "漢字 漢字".encode("utf-16-le") + b"\r\n.\r\n")
        self.assert_is_utf_16(b"X: \0\r\n\r\n\xfe\xff" + "漢字".encode("utf-16-be") + b"\r\n.\r\n")
        self.assertIsNone(Fed(b"\r\n\xff\xfe" + "漢字".encode("utf-16-le") + b"\r\n.\r\n").refusal)

    def assert_is_utf_16(self, octets: bytes) -> None:
        for segments in ([octets], single(octets), [octets[:-9], octets[-9:]]):
            fed = Fed(*segments)
            self.assertEqual((fed.ended, fed.code), (True, (554, "5.6.0")), octets)
            self.assertEqual(fed.refusal.rule, "utf-16")
            self.assertIn("UTF-8", fed.refusal.text)


class Limits(SynchronousTestCase):
    def test_too_large(self):
        """A message over the limit is read to its end and is 552 with the limit in the text."""
        fed = Fed(b"x" * 90 + b"\r\n", b"x" * 90 + b"\r\n.\r\nQUIT", size=100)
        self.assertEqual((fed.code, fed.rest), ((552, "5.3.4"), b"QUIT"))
        self.assertIn("100", fed.refusal.text)

    def test_exactly_at_the_limit(self):
        """A message of just the limit is good."""
        self.assertIsNone(Fed(b"x" * 98 + b"\r\n.\r\n", size=100).refusal)
        self.assertIsNotNone(Fed(b"x" * 99 + b"\r\n.\r\n", size=100).refusal)

    def test_header_too_large(self):
        """A header block over its limit is 552, wherever segments fall; a body is not."""
        header = b"X: " + b"y" * 95  # 98 octets
        good, bad = header + b"yy\r\n\r\nbody\r\n.\r\n", header + b"yyyyy\r\n\r\nbody\r\n.\r\n"
        for cut in range(len(good)):
            self.assertIsNone(Fed(good[:cut], good[cut:], header_size=102).refusal, cut)
        for cut in range(len(bad)):
            self.assertEqual(Fed(bad[:cut], bad[cut:], header_size=102).code, (552, "5.3.4"), cut)
        self.assertIsNone(Fed(b"a: b\r\n\r\n" + b"y" * 1000 + b"\r\n.\r\n", header_size=100).refusal)

    def test_content_without_headers(self):
        """A long text that has no headers, or no empty line behind them, is not a long header."""
        for start in (b"", b"Subject: x\r\n\tfolded\r\n"):
            for text in (
                b"just text\r\n" * 100,
                b"x" * 1000 + b"\r\n",
                b"text\r\n" + b"\tin columns\r\n" * 50,
            ):
                octets = start + text + b".\r\n"
                self.assertIsNone(Fed(octets, header_size=100).refusal)
                self.assertIsNone(Fed(*single(octets), header_size=100).refusal)

    def test_hops(self):
        """A message that has been received too often is a loop: 554 5.4.6."""
        for count, code in ((50, None), (51, (554, "5.4.6"))):
            header = b"RECEIVED: x\r\n" + b"Received: y\r\n\tfolded\r\n" * (count - 1)
            octets = header + b"\r\nReceived: z\r\n.\r\n"
            self.assertEqual(Fed(octets).code, code)
            self.assertEqual(Fed(*single(octets)).code, code)
            self.assertEqual(Fed(header + b".\r\n").code, code, "without an empty line")

    def test_memory_while_refusing(self):
        """Content that is refused already is not kept."""
        decoder = BodyDecoder(ListenerSettings(size=1000))
        chunks = [decoder.feed(b"x" * 10_000) for _ in range(100)]
        self.assertEqual(b"".join(chunks), b"")


OCTETS = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b": ", b"\r\n.\r\n", b"\r\n..", b"b" * 40])
)


class Segmentation(SynchronousTestCase):
    @given(OCTETS.map(b"".join), st.lists(st.integers(0, 300), max_size=8), st.booleans())
    @example(b"\r\n.\r\r\n.\r\n", [3, 4], False)
    def test_as_a_reader_of_lines(self, octets: bytes, cuts: list[int], bare: bool):
        """Cut in any way, the result is that of reading line by line, whatever ends them."""
        end = b"\n" if bare else b"\r\n"
        octets += end + b"." + end + b"rest"
        places = sorted({0, len(octets), *(cut for cut in cuts if cut < len(octets))})
        fed = Fed(*[octets[a:b] for a, b in pairwise(places)], bare=bare, bare_newlines="accept")
        self.assertEqual((fed.stored, fed.rest), by_lines(octets, end))

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"\r\n",
                    b"\r",
                    b"\n",
                    b"\0",
                    b".",
                    b"aaaa",
                    b"a\0b\0c\0d\0",
                    b"\xff\xfe",
                    b"Received",
                    b": x",
                    b" ",
                ]
            )
        ),
        st.lists(st.integers(0, 200), max_size=6),
        st.sampled_from(["fix", "refuse", "accept"]),
    )
    def test_same_verdict(self, pieces: list[bytes], cuts: list[int], bare_newlines: str):
        """Several things may be wrong; which one is told does not depend on the segments."""
        octets = b"".join(pieces) + b"\r\n.\r\n"
        limits = {"size": 60, "header_size": 20, "hops": 1, "bare_newlines": bare_newlines}
        places = sorted({0, len(octets), *(cut for cut in cuts if cut < len(octets))})
        whole = Fed(octets, **limits)
        for segments in (single(octets), [octets[a:b] for a, b in pairwise(places)]):
            fed = Fed(*segments, **limits)
            self.assertEqual((fed.refusal, fed.rest), (whole.refusal, whole.rest))
            if whole.refusal is None:
                self.assertEqual(fed.stored, whole.stored)
