"""A message in chunks (BDAT, RFC 3030), as a client sends it."""

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.refusal import RefusalFilter
from smtprelay.smtp.chunk import ChunkDecoder
from smtprelay.smtp.data import BodyDecoder
from smtprelay.smtp.settings import ListenerSettings
from tests.smtp.doubles import Site, refused

OCTETS = st.lists(
    st.sampled_from((b"\r", b"\n", b"\r\n", b".", b"\0", b"a", b"Received: x\r\n", b"\xff\xfe", b"x" * 30))
).map(b"".join)
#: What must not end a message, and would, in DATA, or for a server that is careless.
ENDS = (
    b"\r\n.\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
)


def decoded(chunks: list[bytes], **settings: object) -> tuple[bytes, object]:
    """Return what is stored of a message in ``chunks``, and why it is not."""
    decoder = ChunkDecoder(ListenerSettings(**settings))
    stored = b""
    for n, chunk in enumerate(chunks, start=1):
        decoder.expect(len(chunk), last=n == len(chunks))
        stored += decoder.feed(chunk)
    assert decoder.ended
    return (b"" if decoder.refusal else stored), decoder.refusal


class DecoderTests(SynchronousTestCase):
    @given(st.lists(OCTETS, min_size=1), st.sampled_from(("fix", "refuse")))
    @example([b"a\r", b"\nb"], "refuse")
    @example([b"a", b""], "fix")
    @example([b"a\r", b""], "fix")
    @example([b""], "fix")
    def test_where_chunks_end(self, chunks: list[bytes], newlines: str):
        """It makes no difference, nor does it whether the content came in chunks at all."""
        limits = {"bare_newlines": newlines, "size": 300, "header_size": 100, "hops": 2}
        whole = b"".join(chunks)
        self.assertEqual(decoded(chunks, **limits), decoded([whole], **limits))
        data = BodyDecoder(ListenerSettings(**limits))
        lines = whole if not whole or whole.endswith((b"\r", b"\n")) else whole + b"\r\n"
        if lines and not lines.endswith(b"\r\n"):
            return  # behind DATA it cannot be the last octet
        stuffed = (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:]
        stored = data.feed(stuffed + b".\r\n")
        self.assertTrue(data.ended)
        self.assertEqual(decoded(chunks, **limits), (b"" if data.refusal else stored, data.refusal))

    def test_dots(self):
        """No dot is stuffing."""
        self.assertEqual(decoded([b"..a\r\n.\r\n", b".b\r\n"])[0], b"..a\r\n.\r\n.b\r\n")


class ChunkTests(SynchronousTestCase):
    def setUp(self):
        self.begin()

    def begin(self, **settings: object) -> None:
        self.site = Site(**settings)
        self.line = self.site.greeted()
        self.assertEqual(self.line.codes("MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>"), ["250", "250"])

    def send(self, *chunks: bytes, last: bool = True) -> list[str]:
        """Send ``chunks`` in one segment; return the codes."""
        octets = [
            b"BDAT %d%b\r\n%b" % (len(each), b" LAST" * (last and n == len(chunks)), each)
            for n, each in enumerate(chunks, start=1)
        ]
        return [line[:3] for line in self.line.send(b"".join(octets))]

    @property
    def inbox(self):
        return self.site.desk.inboxes[-1]

    def test_offered(self):
        """EHLO announces it; BINARYMIME it does not, for nothing could carry it."""
        offered = self.line.say("EHLO x")
        self.assertIn("250-CHUNKING", offered)
        self.assertFalse(any("BINARY" in each for each in offered))
        self.assertEqual(self.line.codes("RSET", "MAIL FROM:<> BODY=BINARYMIME"), ["250", "501"])

    def test_pipelined(self):
        """A whole mail in one segment: each command has its reply, and the last chunk the mail's."""
        mail = b"EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"
        replies = self.site.connect().send(mail + b"BDAT 4\r\nS: xBDAT 8 LAST\r\n\r\n\r\nhi\r\nQUIT\r\n")
        codes = [each for each in replies if each[3:4] == " "]
        self.assertEqual([each[:3] for each in codes], ["250", "250", "250", "250", "250", "221"])
        self.assertEqual(codes[4], "250 2.0.0 Ok: queued as x1")
        self.assertEqual((self.inbox.body, self.inbox.state), (b"S: x\r\n\r\nhi\r\n", "finished"))

    def test_octet_by_octet(self):
        """It makes no difference how a chunk is cut on its way."""
        octets = b"BDAT 3\r\na\r\nBDAT 2 LAST\r\nb\r"
        heard = [reply for octet in octets for reply in self.line.send(bytes([octet]))]
        self.assertEqual([each[:3] for each in heard], ["250", "250"])
        self.assertEqual(self.inbox.body, b"a\r\nb\r\n")

    def test_empty(self):
        """``BDAT 0 LAST`` ends a message, or is an empty one."""
        self.assertEqual(self.send(b"one\r\n", b""), ["250", "250"])
        self.assertEqual((self.inbox.body, self.inbox.state), (b"one\r\n", "finished"))
        self.begin()
        self.assertEqual(self.send(b""), ["250"])
        self.assertEqual((self.inbox.body, self.inbox.state), (b"", "finished"))

    def test_nothing_in_a_chunk_ends_it(self):
        """What ends DATA, or is a command, is content, wherever a chunk ends within it."""
        evil = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nevil\r\n.\r\n"
        for end in ENDS:
            for cut in range(len(end) + 1):
                self.begin()
                self.assertEqual(self.send(b"one" + end[:cut], end[cut:] + evil), ["250", "250"])
                self.assertEqual((len(self.site.desk.inboxes), self.inbox.state), (1, "finished"))
                self.assertTrue(self.inbox.body.endswith(evil))

    def test_too_large(self):
        """The chunk that makes a message too large is read to its end and refused, and nothing is kept."""
        self.begin(size=10)
        self.assertEqual(self.send(b"x" * 8, b"x" * 3, b"x"), ["250", "552", "503"])
        self.assertEqual(self.inbox.state, "aborted")
        self.assertEqual(self.line.codes("NOOP", "MAIL FROM:<>"), ["250", "250"])
        self.begin(size=10)
        self.assertEqual(self.line.send(b"BDAT 99999999999999999999 LAST\r\n" + b"x" * 5000), [])
        self.assertLess(len(b"".join(self.inbox.chunks)), 12)

    def test_refused_content(self):
        """Whatever else is wrong is refused where it comes, in the words that DATA has."""
        self.begin(bare_newlines="refuse")
        self.assertEqual(self.send(b"a\r\n", b"b\nc", last=False), ["250", "554"])
        self.assertEqual(self.inbox.state, "aborted")
        self.begin(hops=1)
        self.assertEqual(self.send(b"Received: a\r\nRec", b"eived: b\r\n\r\n"), ["250", "554"])

    def test_refused_at_the_beginning(self):
        """Who may not begin a message hears why at the end of the chunk, now or later."""
        for late in (False, True):
            self.begin()
            waiting = Deferred()
            self.site.desk.answers["data", ""] = waiting if late else refused()
            heard = self.send(b"QUIT\r\n", b"RSET\r\n")
            if late:
                self.assertEqual(heard, [])
                waiting.errback(refused())
                heard = [each[:3] for each in self.line.heard()]
            self.assertEqual(heard, ["550", "503"])
            self.assertEqual((self.line.codes("NOOP"), self.site.desk.inboxes), (["250"], []))
            rows = self.site.factory.refusals.refused(RefusalFilter())
            [row] = self.successResultOf(Deferred.fromCoroutine(rows))
            self.assertEqual(row.command, "BDAT", "the other one follows from it")

    def test_a_bug(self):
        """What goes wrong in the middle is 451 at the end of its chunk; the rest is 503."""
        self.assertEqual(self.send(b"one", last=False), ["250"])
        self.inbox.write = lambda _: 1 / 0
        self.assertEqual(self.send(b"two", b"three"), ["451", "503"])
        self.assertEqual(self.inbox.state, "aborted")
        self.flushLoggedErrors()

    def test_forgotten(self):
        """RSET forgets what came; a new transaction has none of it."""
        self.assertEqual(self.send(b"one", last=False), ["250"])
        self.assertEqual(self.line.codes("DATA", "RCPT TO:<b@x.test>", "RSET"), ["503", "503", "250"])
        self.assertEqual(self.inbox.state, "aborted")
        self.line.codes("MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>")
        self.assertEqual(self.send(b"two\r\n"), ["250"])
        self.assertEqual(self.inbox.body, b"two\r\n")
        self.assertEqual(self.site.events.of("message.aborted"), [])

    def test_data_and_chunks_do_not_mix(self):
        """Behind DATA there are no chunks: BDAT is content there."""
        self.line.codes("DATA")
        self.assertEqual([each[:3] for each in self.line.send(b"BDAT 5 LAST\r\nhello\r\n.\r\n")], ["250"])
        self.assertEqual(self.inbox.body, b"BDAT 5 LAST\r\nhello\r\n")

    def aborted(self) -> object:
        [told] = self.site.events.of("message.aborted")
        self.assertEqual(self.inbox.state, "aborted")
        return told["size"]

    def test_told(self):
        """A message that was begun and cannot be taken any more is told, with what came of it."""

        def slow() -> None:
            for _ in range(10):
                self.line.send(b"NOOP\r\n")
                self.site.clock.advance(20)

        def silent() -> None:
            for _ in range(11):
                self.site.clock.advance(30)

        for end in (
            lambda: self.site.factory.turn_away(),  # noqa: PLW0108 -- of the site that there is then
            lambda: self.line.say(*["XYZZY"] * 30),
            lambda: self.line.protocol.readConnectionLost(),  # noqa: PLW0108 -- as before
            lambda: self.line.protocol.connectionLost(Failure(ConnectionDone())),
            slow,
            silent,
        ):
            self.begin(data_rate=0 if end is silent else 100)
            self.assertEqual(self.send(b"one\r\n", last=False), ["250"])
            end()
            self.assertEqual(self.aborted(), 5)

    def test_the_middle_of_a_chunk(self):
        """A client that goes there has sent no message."""
        self.line.send(b"BDAT 100 LAST\r\nabc")
        self.line.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.aborted(), 3)
