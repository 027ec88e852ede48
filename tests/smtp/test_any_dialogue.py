"""Whatever a client says, in whatever pieces: each command gets its reply, and work grows with the octets."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.doubles import TAKEN, Inbox, Line, Names, Site, refused
from tests.steps import counted

LIMITS = {"size": 2000, "header_size": 600, "hops": 3, "recipients": 5, "errors": 8, "commands": 60}
BEGUN = b"EHLO c.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n"
GOOD = BEGUN + b"DATA\r\n"
#: A command that says how much of what follows is content.
CHUNK = re.compile(rb"BDAT[ \t]+([0-9]{1,20})(?:[ \t]+(LAST))?[ \t]*\r", re.IGNORECASE)
END = b"\r\n.\r\n"

#: Commands, good and bad ones, each with its end; of some nobody but this line knows the end.
COMMANDS = st.sampled_from(
    (
        b"EHLO c.test\r\n",
        b"HELO c\r\n",
        b"ehlo\r\n",
        b"EHLO " + b"x" * 300 + b"\r\n",
        b"MAIL FROM:<a@x.test>\r\n",
        b"MAIL FROM:<> SIZE=100 BODY=8BITMIME\r\n",
        b"MAIL FROM:<a@x.test> SIZE=99999999999999999999999\r\n",
        b"MAIL FROM:<a@x.test> RET=HDRS ENVID=x\r\n",
        b"MAIL FROM:<no@x.test>\r\n",
        b"mail from: a@x.test\r\n",
        b"MAIL FROM:<a@x.test\r\n",
        b"RCPT TO:<b@x.test>\r\n",
        b"RCPT TO:<no@x.test>\r\n",
        b"RCPT TO:<broken@x.test>\r\n",
        b"RCPT TO:<b@x.test> NOTIFY=NEVER\r\n",
        b'RCPT TO:<"a b>"@x.test>\r\n',
        b"RCPT TO:<b@x.test>>\r\n",
        b"RCPT TO:<\xc3\xbc@x.test>\r\n",
        b"DATA\r\n",
        b"DATA now\r\n",
        b"BDAT 6\r\na\r\n\n.\r",
        b"BDAT 9 LAST\r\n\r\n.\r\nRSET",
        b"bdat 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 2001\r\n" + b"x" * 2001,
        b"BDAT 20\r\n",
        b"BDAT 2 LAST",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"NOOP x\r\n",
        b"VRFY a\r\n",
        b"HELP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"XCLIENT ADDR=192.0.2.1\r\n",
        b"AUTH EXTERNAL =\r\n",
        b"AUTH PLAIN AGFubmEAcHc=\r\n",
        b"AUTH PLAIN AGFubmEAbm8=\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH NTLM\r\n",
        b"YW5uYQ==\r\n",
        b"cHc=\r\n",
        b"*\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\r\n",
        b"\r\n",
        b" \r\n",
        b"\x00\r\n",
        b"NOOP\n",
        b"NOOP\r",
        b"NOOP\n\r\n",
        b"NOOP\rRSET\r\n",
        b"\xff\xfe\r\n",
        b"XYZZY\r\n",
        b"NOOP" + b" " * 2045 + b"\r\n",
        b"AUTH PLAIN " + b"A" * 4090 + b"\r\n",
        b"x" * 2100,
        b"x" * 5000 + b"\r\n",
    )
)
CONTENT = st.lists(
    st.sampled_from(
        (
            b"Subject: x\r\n\r\n",
            b"Received: x\r\n",
            b"Received: x\r\n\tby y\r\n" * 4,
            b"X-A: " + b"b" * 700 + b"\r\n",
            b"text\r\n",
            b"x" * 900,
            b".",
            b"..\r\n",
            b"\r\n..\r\n",
            b"\r\n. \r\n",
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r\n.\r",
            b"\r\r\n.\r\n",
            b"\r",
            b"\n",
            b"\r\n",
            b"\x00",
            b"a\x00b\x00c\x00d\x00",
            b"\xff\xfe",
            b"\xfc",
            b"\n.\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n",
        )
    )
    | st.binary(max_size=4),
    max_size=8,
).map(b"".join)


def in_chunks(chunks: Sequence[bytes]) -> bytes:
    """Return a message in chunks, and the rest of a transaction."""
    octets = b"".join(b"BDAT %d\r\n%b" % (len(each), each) for each in chunks[:-1])
    return octets + b"BDAT %d LAST\r\n%b" % (len(chunks[-1]), chunks[-1])


DIALOGUES = st.lists(
    COMMANDS
    | st.just(GOOD)
    | st.just(BEGUN)
    | st.builds(lambda chunks: BEGUN + in_chunks(chunks), st.lists(CONTENT, min_size=1, max_size=4))
    | st.builds(lambda content: GOOD + content + END, CONTENT)
    | st.builds(lambda content: GOOD + content, CONTENT)
    | CONTENT,
    max_size=12,
).map(b"".join)

#: What stands in the reply to a command that was taken: each in another, so that none is taken for another.
TAKEN_WITH = {
    b"EHLO": "250-relay.test",
    b"HELO": "250 relay.test",
    b"MAIL": "250 2.1.0",
    b"RCPT": "250 2.1.5",
    b"DATA": "354 ",
    b"NOOP": "250 2.0.0",
    b"RSET": "250 2.0.0",
    b"VRFY": "252 ",
    b"HELP": "214 ",
    b"QUIT": "221 ",
}
#: Seconds in which all answers come, and no patience ends.
SOON = 0.02
#: One more than a client may say without a line end in between.
LONG = 2049


class LateAnswers(dict[tuple[str, str], object]):
    """What an avatar answers, some of it in another turn of the reactor."""

    def __init__(self, site: Site, *, late: bool) -> None:
        super().__init__({("rcpt", "broken@x.test"): KeyError("a bug")})
        self._site = site
        self._late = late

    def get(self, key: tuple[str, str], default: object = None) -> object:
        if key[1] == "no@x.test":
            return refused()
        if self._late and key[0] in ("mail", "rcpt") and key not in self:
            return deferLater(self._site.clock, 0.01)
        return super().get(key, default)


@frozen
class Told:
    """
    What became of a dialogue.

    :ivar replies: each with all of its lines.
    :ivar taken: the messages that were taken; ``closed``: we closed the connection.
    """

    replies: Sequence[str]
    taken: Sequence[bytes]
    closed: bool


def talk(octets: bytes, seed: int | None, *, late: bool, newlines: str) -> Told:
    """Say ``octets``, in pieces if there is a ``seed``, and then nothing more, ever."""
    site = Site(
        Names({b"anna": b"pw"}),
        mechanisms=("PLAIN", "LOGIN"),
        auth_allow_plaintext=True,
        bare_newlines=newlines,
        **LIMITS,
    )
    site.desk.answers = LateAnswers(site, late=late)
    site.desk.make = lambda: slow_inbox(site) if late else Inbox()
    line = site.connect()
    heard = [each for piece in pieces_of(octets, seed) for each in hear(site, line, piece)]
    closed = line.closed
    if not line.transport.disconnected:
        line.protocol.connectionLost(Failure(ConnectionDone()))
    site.clock.advance(1)
    broken = [each["exc"] for each in site.events.of("session.failed")]
    assert all(str(each) == "'a bug'" for each in broken), broken
    assert not line.transport.disconnected, "the connection was cut"
    inboxes = site.desk.inboxes
    assert all(each.state in ("finished", "aborted") for each in inboxes), inboxes
    return Told(list(grouped(heard)), [each.body for each in inboxes if each.state == "finished"], closed)


def slow_inbox(site: Site) -> Inbox:
    inbox = Inbox()
    inbox.verdict = deferLater(site.clock, 0.01, lambda: TAKEN)
    return inbox


def hear(site: Site, line: Line, piece: bytes) -> Iterator[str]:
    """Say ``piece``, and give what is heard until nothing more comes."""
    yield from line.send(piece)
    while any(call.getTime() < site.clock.seconds() + SOON for call in site.clock.getDelayedCalls()):
        site.clock.advance(SOON)
        yield from line.heard()


def pieces_of(octets: bytes, seed: int | None) -> Iterator[bytes]:
    chance, at = Random(seed), 0
    while at < len(octets):
        step = len(octets) if seed is None else chance.choice((1, 2, 3, 5, 17, 100, 1000))
        yield octets[at : at + step]
        at += step


def grouped(lines: Sequence[str]) -> Iterator[str]:
    """Give the replies, the lines of each joined."""
    reply: list[str] = []
    for line in lines:
        reply.append(line)
        if line[3:4] != "-":
            yield "\n".join(reply)
            reply = []
    assert not reply


def check(  # noqa: C901, PLR0912 -- one step after the other
    test: SynchronousTestCase, octets: bytes, told: Told, newlines: str
) -> None:
    """Go through a dialogue as a reader would who knows nothing but RFC 5321, and its replies with it."""
    replies, taken, mixed, chunks = list(told.replies), [], False, b""
    while replies and (line := octets.partition(b"\n"))[1]:
        # It announces the end, and may come at any time.
        if replies[0].startswith("421"):
            break
        octets = line[2]
        chunk = None if mixed else CHUNK.fullmatch(line[0])
        size = int(chunk[1]) if chunk else 0
        if len(octets) < size:
            octets = b""
            break
        content, octets = octets[:size], octets[size:]
        said = replies.pop(0)
        if chunk is not None:
            chunks = chunks + content if said.startswith("250") else b""
            if said == "250 2.0.0 Ok: queued as x1":
                test.assertTrue(chunk[2])
                taken.append(lined(chunks))
                chunks = b""
            continue
        if said.startswith("250") and line[0][:4].upper() in (b"RSET", b"EHLO", b"HELO"):
            chunks = b""
        before, mixed = mixed, not line[0].endswith(b"\r")
        if before or mixed:
            test.assertTrue(said.startswith("500"), (line[0], said))
            continue
        verb = line[0].rstrip(b"\r").partition(b" ")[0].upper()
        if said[0] in "23" and verb in TAKEN_WITH and not said.startswith(("334", "235")):
            test.assertTrue(said.startswith(TAKEN_WITH[verb]), (line[0], said))
        if said.startswith("221"):
            break
        if said.startswith("354"):
            content, end, rest = (b"\r\n" + octets).partition(END)
            if not end:
                octets = b""
                break
            octets, said = rest, replies.pop(0)
            if said == "250 2.0.0 Ok: queued as x1":
                taken.append(decoded(content + b"\r\n"))
    # Nothing is left, but a farewell, or what was said to a line that is known to be none before its end.
    if replies and replies[0].startswith("500") and len(octets) >= LONG:
        replies.pop(0)
    test.assertIn([each[:3] for each in replies], ([], ["421"]))
    test.assertEqual(list(told.taken), taken)
    if newlines == "refuse":
        test.assertFalse(any(b"\0" in each or re.search(rb"(?<!\r)\n|\r(?!\n)", each) for each in taken))
    test.assertTrue(told.closed or told.replies or b"\r\n" not in octets, "nothing was answered")


def decoded(content: bytes) -> bytes:
    """Return what stands between two line ends as it is stored: one octet after the other, so to say."""
    lines = content.removeprefix(b"\r\n") if content != b"\r\n" else b""
    unstuffed = re.sub(rb"(\A|\r\n)\.", rb"\1", lines)
    return re.sub(rb"\r\n|\r|\n", b"\r\n", unstuffed).replace(b"\0", b"")


def lined(content: bytes) -> bytes:
    """Return what came in chunks as it is stored: its lines, of which the last one has an end, too."""
    whole = content if not content or content.endswith((b"\r", b"\n")) else content + b"\r\n"
    return re.sub(rb"\r\n|\r|\n", b"\r\n", whole).replace(b"\0", b"")


class DialogueTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        octets=DIALOGUES,
        seed=st.integers(0, 2**32),
        late=st.booleans(),
        newlines=st.sampled_from(("fix", "refuse")),
    )
    @example(octets=GOOD + b"a\r\n.\r\n" * 2 + b"QUIT\r\nNOOP\r\n", seed=1, late=True, newlines="fix")
    @example(octets=GOOD + b"a\n.\nMAIL FROM:<c@x.test>\r\n.\r\n", seed=2, late=False, newlines="fix")
    @example(octets=GOOD + END[2:] + b"RSET\r\n" * 70, seed=3, late=False, newlines="fix")
    def test_replies(self, octets: bytes, seed: int, late: bool, newlines: str):
        """
        Each command gets one reply, in order, and each message that CRLF.CRLF ends one more. No other is
        taken; nothing that the client says breaks the session.
        """
        whole = talk(octets, None, late=late, newlines=newlines)
        check(self, octets, whole, newlines)
        self.assertEqual(talk(octets, seed, late=late, newlines=newlines), whole)

    def test_the_check(self):
        """A reply that is missing, is one too many, or stands in the wrong place would be seen."""
        octets = GOOD + b"a" + END + b"QUIT\r\n"
        told = talk(octets, None, late=False, newlines="fix")
        check(self, octets, told, "fix")
        replies = list(told.replies)
        for wrong in (
            replies[:2] + replies[3:],
            [*replies, "250 2.0.0 Ok"],
            [replies[1], replies[0], *replies[2:]],
        ):
            with self.assertRaises((AssertionError, IndexError)):
                check(self, octets, Told(wrong, told.taken, told.closed), "fix")
        with self.assertRaises(AssertionError):
            check(self, octets, Told(replies, [], told.closed), "fix")


#: Nobody is sent away.
ENDLESS = dict.fromkeys(("size", "header_size", "hops", "recipients", "errors"), 10**9)
#: So many more than their number would let the work grow twice as fast as the octets.
GROWTH = 2.3


class WorkTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=30)
    @given(
        before=st.sampled_from((b"", b"EHLO c.test\r\n", GOOD, GOOD + b"Subject: x\r\n\r\n")),
        unit=st.lists(COMMANDS | CONTENT, min_size=1, max_size=3).map(b"".join).filter(bool),
        step=st.sampled_from((10**9, 1460, 100)),
    )
    @example(before=GOOD, unit=b"Received: x\r\n", step=100)
    @example(before=GOOD, unit=b"\r\n.", step=10**9)
    @example(before=GOOD, unit=b"x", step=100)
    @example(before=b"", unit=b"\n", step=100)
    @example(before=b"", unit=b"NOOP\r\n", step=10**9)
    def test_work(self, before: bytes, unit: bytes, step: int):
        """Twice as much of the same takes at most 2.3 times the work: lines that are executed."""

        def work(times: int) -> int:
            line = Site(**ENDLESS).connect()
            octets = before + unit * times

            def say() -> None:
                for at in range(0, len(octets), step):
                    line.send(octets[at : at + step])
                    line.turns()

            return counted(say, "smtprelay/")

        times = max(10, 3_000 // len(unit))
        work(1)
        self.assertLessEqual(work(2 * times), GROWTH * work(times))
