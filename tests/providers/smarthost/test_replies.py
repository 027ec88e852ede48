from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.smarthost.replies import MAX_LINE, MAX_LINES, AnswerReader, Garbled, ServerReply


def read(*pieces: bytes) -> list[ServerReply]:
    """Return the replies in ``pieces``."""
    reader = AnswerReader()
    return [answer for piece in pieces for answer in reader.feed(piece)]


class AnswerReaderTests(SynchronousTestCase):
    def test_group(self) -> None:
        """Replies of one and of several lines come out of one piece."""
        self.assertEqual(
            read(b"250-x\r\n250-SIZE 1\r\n250 DSN\r\n354\r\n"),
            [ServerReply(250, ("x", "SIZE 1", "DSN")), ServerReply(354, ("",))],
        )

    @given(st.data())
    def test_any_cut(self, data: st.DataObject) -> None:
        """However the bytes arrive, the replies are the same."""
        stream = b"250-a\r\n250 b\r\n550 5.1.1 no\r\n"
        at = data.draw(st.integers(0, len(stream)))
        self.assertEqual(read(stream[:at], stream[at:]), read(stream))

    def test_garbage(self) -> None:
        """What is no reply is refused: other protocols, other codes, bare line ends, endless lines."""
        for stream in (
            b"HTTP/1.1 400 Bad Request\r\n",
            b"100 x\r\n",
            b"999 x\r\n",
            b"25 x\r\n",
            b"250_x\r\n",
            b"250 a\n250 b\r\n",
            b"250 a\0\r\n",
            b"250-a\r\n251 b\r\n",
            b"\r\n",
            b"250 " + b"x" * MAX_LINE + b"\r\n",
            b"x" * (MAX_LINE + 1),
            b"250-a\r\n" * MAX_LINES,
        ):
            self.assertRaises(Garbled, read, stream)

    @given(st.binary(max_size=60))
    def test_nothing_unprintable_comes_through(self, text: bytes) -> None:
        """A server's words fit on one line of a log, whatever they are."""
        try:
            answers = read(b"550 " + text + b"\r\n")
        except Garbled:
            return
        self.assertTrue(all(str(answer).isprintable() for answer in answers))

    def test_unfinished(self) -> None:
        """The reader says whether something of a reply is left over."""
        reader = AnswerReader()
        reader.feed(b"220 go on\r\n")
        self.assertTrue(reader.empty)
        reader.feed(b"250-x\r\n")
        self.assertFalse(reader.empty)


class AnswerTests(SynchronousTestCase):
    def test_enhanced(self) -> None:
        """The enhanced code counts only at the beginning, and in the class of the code."""
        self.assertEqual(ServerReply(550, ("5.1.1 no",)).enhanced, "5.1.1")
        self.assertEqual(ServerReply(550, ("4.1.1 no",)).enhanced, "")
        self.assertEqual(ServerReply(550, ("see 5.1.1",)).enhanced, "")
        self.assertEqual(ServerReply(550, ("5.1.1234 no",)).enhanced, "")

    def test_queue_id(self) -> None:
        """The id is found in the words of common servers; else it is all that was said."""
        for text, wanted in (
            ("2.0.0 Ok: queued as 4Xy1", "4Xy1"),
            ("OK id=1tAbCd-000000-1x", "1tAbCd-000000-1x"),
            ("2.0.0 OK 1700 x - gsmtp", "2.0.0 OK 1700 x - gsmtp"),
        ):
            self.assertEqual(ServerReply(250, (text,)).queue_id, wanted)
