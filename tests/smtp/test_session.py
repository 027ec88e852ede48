"""The order of the conversation, without a transport."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.smtp import reply
from smtprelay.smtp.command import Command
from smtprelay.smtp.events import END_OF_CHUNK, END_OF_DATA, Answered, Content, Foreign, Signal
from smtprelay.smtp.session import MOST_JUNK, Session
from smtprelay.smtp.settings import ListenerSettings
from smtprelay.smtp.states import HALF_WAY, TRANSITIONS, State


class Talk:
    """A session whose every command is accepted, unless ``refuse`` has its verb."""

    def __init__(self, *refuse: str, bare: bool = False, **settings: object) -> None:
        if bare:
            settings["bare_newlines"] = "accept"
        self.session = Session(ListenerSettings(**settings), bare_newlines=bare)
        self.refuse = refuse
        self.sent = b""
        self.stored: list[bytes] = []
        self.ended = ""

    def say(self, *segments: bytes) -> str:
        """Send ``segments``; return the codes that came back, the lines of one reply as one."""
        before = len(self.sent)
        for segment in segments:
            self.session.receive(segment)
            self._run()
        lines = self.sent[before:].decode().splitlines()
        return " ".join(line[:3] for line in lines if line[3:4] == " ")

    def _run(self) -> None:
        while (event := self.session.next_event()) not in (Signal.NEED_DATA, Signal.PAUSED):
            if isinstance(event, Command) and event.verb == "BDAT":
                self.session.proceed()
            elif isinstance(event, Command):
                self.sent += self.session.answer(self._reply(event.verb))
            elif isinstance(event, Answered):
                self.sent += self.session.answer(event.reply)
            elif isinstance(event, Content):
                self._content(event)
            elif isinstance(event, Foreign):
                self.ended = event.reason
            elif event is Signal.CLOSE:
                self.ended = "close"
            else:
                self.session.proceed()

    def _reply(self, verb: str) -> Reply:
        if verb in self.refuse:
            return Reply(code=550, enhanced="5.7.1", text="no")
        return reply.START_MAIL if verb == "DATA" else reply.OK

    def _content(self, content: Content) -> None:
        self.stored.append(content.data)
        if not content.end:
            self.session.proceed()
            return
        self.stored.append(b"|")
        self.sent += self.session.answer(content.refusal or self._reply("."))


class Order(SynchronousTestCase):
    def test_a_whole_session(self):
        """The commands of a mail in their order are answered in their order, and QUIT closes."""
        talk = Talk()
        codes = talk.say(
            b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n", b"hi\r\n.\r\n", b"QUIT\r\n"
        )
        self.assertEqual(codes, "250 250 250 354 250 221")
        self.assertEqual((b"".join(talk.stored), talk.ended), (b"hi\r\n|", "close"))

    def test_out_of_order(self):
        """Each command at the wrong time is 503."""
        for commands, codes in [
            (b"RCPT TO:<a@b.test>\r\n", "503"),
            (b"DATA\r\n", "503"),
            (b"EHLO x\r\nRCPT TO:<a@b.test>\r\n", "250 503"),
            (b"EHLO x\r\nDATA\r\n", "250 503"),
            (b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", "250 250 503"),
            (b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", "250 250 503"),
            (b"EHLO x\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<a@b.test>\r\n", "250 250 250 503"),
            (b"EHLO x\r\nMAIL FROM:<>\r\nEHLO x\r\nRCPT TO:<a@b.test>\r\n", "250 250 250 503"),
        ]:
            self.assertEqual(Talk().say(commands), codes, commands)

    def test_mail_without_a_hello(self):
        """What a client calls itself decides nothing: it need not say it at all."""
        mail = b"MAIL FROM:<a@b.test> SIZE=3\r\nRCPT TO:<c@d.test>\r\nDATA\r\nhi\r\n.\r\n"
        self.assertEqual(Talk().say(mail), "250 250 354 250")
        self.assertEqual(Talk().say(b"HELO\r\n" + mail), "250 250 250 354 250")

    def test_all_recipients_refused(self):
        """DATA after none but refused recipients is 554 5.5.1."""
        codes = Talk("RCPT").say(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
        self.assertEqual(codes, "250 250 550 554")

    def test_transaction_is_over_after_its_end(self):
        """After a message, taken or refused, and after a refused DATA, MAIL must come first."""
        for refuse in ((), (".",), ("DATA",)):
            talk = Talk(*refuse)
            talk.say(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
            if "DATA" not in refuse:
                talk.say(b"x\r\n.\r\n")
            self.assertEqual(talk.say(b"RCPT TO:<a@b.test>\r\nDATA\r\n"), "503 503", refuse)

    def test_a_refused_command_changes_nothing(self):
        """After a refused MAIL another one may come; after a refused RCPT another one."""
        self.assertEqual(Talk("MAIL").say(b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n"), "250 550 550")
        talk = Talk("RCPT")
        talk.say(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        talk.refuse = ()
        self.assertEqual(talk.say(b"RCPT TO:<a@b.test>\r\nDATA\r\n"), "250 354")

    def test_simple_commands_at_any_time(self):
        """NOOP, HELP, VRFY and RSET are answered before EHLO and within a transaction."""
        four = b"NOOP\r\nHELP\r\nVRFY a\r\nRSET\r\n"
        codes = Talk().say(four + b"EHLO x\r\nMAIL FROM:<>\r\n" + four)
        self.assertEqual(codes, "250 214 252 250 250 250 250 214 252 250")

    def test_one_event_at_a_time(self):
        """Until an event is answered there is no next one."""
        session = Session(ListenerSettings())
        session.receive(b"EHLO x\r\nEHLO y\r\n")
        self.assertEqual(session.next_event().argument, "x")
        self.assertIs(session.next_event(), Signal.PAUSED)
        session.answer(reply.OK)
        self.assertEqual(session.next_event().argument, "y")

    def test_the_tables_are_complete(self):
        """Each state that a table leads to has commands of its own, or is an end."""
        reached = {state for row in TRANSITIONS.values() for state in row.values()} | set(HALF_WAY.values())
        self.assertEqual({state.name for state in reached - set(TRANSITIONS)}, {"UPGRADING"})


class Parameters(SynchronousTestCase):
    def mail(self, parameters: bytes, **settings: object) -> str:
        return Talk(**settings).say(b"HELO x\r\nMAIL FROM:<> " + parameters + b"\r\n")[4:]

    def test_known(self):
        """SIZE within the limit, the two kinds of BODY, and AUTH (RFC 4954 §5) are good."""
        for good in (b"SIZE=100", b"SIZE=0", b"BODY=7BIT", b"BODY=8BITMIME", b"body=8bitmime", b"AUTH=<>"):
            self.assertEqual(self.mail(good, size=100), "250", good)

    def test_declared_size(self):
        """A declared size over the limit is 552, however many digits it has."""
        for size in (b"101", b"9" * 19, b"9" * 500):
            self.assertEqual(self.mail(b"SIZE=" + size, size=100), "552", size)

    def test_bad_values(self):
        """A size that is no number, a body of another kind: 501."""
        for bad in (b"SIZE", b"SIZE=-1", b"SIZE=1e3", b"BODY=BINARYMIME", b"BODY", b"SMTPUTF8=1"):
            self.assertEqual(self.mail(bad), "501", bad)

    def test_unknown(self):
        """What was not announced is 555."""
        self.assertEqual(self.mail(b"X-OTHER"), "555")
        codes = Talk().say(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test> RET=FULL\r\n")
        self.assertEqual(codes, "250 250 555")

    def test_smtputf8(self):
        """An address beyond ASCII needs SMTPUTF8 in its transaction, its domain alone does not (RFC 6531)."""
        self.assertEqual(self.mail(b"SMTPUTF8"), "250")
        sender, recipient = "MAIL FROM:<jürg@b.test>".encode(), "RCPT TO:<ü@b.test>".encode()
        for lines, codes in (
            ((sender, sender + b" SMTPUTF8", recipient), "250 553 250 250"),
            (
                (b"MAIL FROM:<> SMTPUTF8", recipient, b"RSET", b"MAIL FROM:<>", recipient),
                "250 250 250 250 250 553",
            ),
            (("MAIL FROM:<a@bücher.test>".encode(), "RCPT TO:<b@bücher.test>".encode()), "250 250 250"),
            ((b"MAIL FROM:<>", "RCPT TO:<a@b.test> ORCPT=x400;ü@b.test".encode()), "250 250 501"),
            ((b"MAIL FROM:<>", "RCPT TO:<a@b.test> ORCPT=utf-8;ü@b.test".encode()), "250 250 250"),
            (("MAIL FROM:<> ENVID=ü".encode(), "MAIL FROM:<> AUTH=ü".encode()), "250 501 501"),
        ):
            self.assertEqual(Talk().say(b"EHLO x\r\n", *(line + b"\r\n" for line in lines)), codes, lines)


class Lines(SynchronousTestCase):
    def test_overlong(self):
        """A line of more than 2048 octets is 500 once; what follows its CRLF is the next command."""
        single = [b"NOOP " + b"x" * 5000 + b"\r\nNOOP\r\n"]
        many = [b"NOOP ", *[b"x" * 100] * 50, b"\r", b"\nNOOP\r\n"]
        for segments in (single, many):
            self.assertEqual(Talk().say(*segments), "500 250")

    def test_longest(self):
        """A line of just 2048 octets with its CRLF is good, one of 2049 is not."""
        self.assertEqual(Talk().say(b"NOOP " + b"x" * 2041 + b"\r\n"), "250")
        self.assertEqual(Talk().say(b"NOOP " + b"x" * 2042 + b"\r\n"), "500")

    def test_login_lines_are_longer(self):
        """A line that begins with AUTH may have 4096 octets."""
        talk = Talk(mechanisms=("PLAIN",), auth_allow_plaintext=True)
        talk.say(b"EHLO x\r\n")
        self.assertEqual(talk.say(b"auth PLAIN " + b"x" * 4083 + b"\r\n"), "250")
        self.assertEqual(talk.say(b"AUTH PLAIN " + b"x" * 4084 + b"\r\n"), "500")

    def test_bare_line_feed(self):
        """Each line that ends with LF alone is answered, and none is executed, up to a CRLF."""
        for settings in ({}, {"bare_newlines": "refuse"}, {"bare_newlines": "accept"}):
            talk = Talk(**settings)
            self.assertEqual(talk.say(b"EHLO x\n"), "500")
            self.assertEqual(talk.say(b"MAIL FROM:<>\nQUIT\n"), "500 500")
            self.assertEqual(talk.say(b"QUIT\r\nNOOP\r\n"), "500 250")
            self.assertEqual((talk.ended, talk.session.closed), ("", False))

    def test_a_long_line_that_ends_with_a_bare_line_feed(self):
        """It has one answer, and each line behind it has one, up to a CRLF."""
        self.assertEqual(Talk().say(b"x" * 5000, b"\nQUIT\n", b"QUIT\r\nNOOP\r\n"), "500 500 500 250")
        self.assertEqual(Talk().say(b"x" * 5000 + b"\r", b"\nNOOP\r\n"), "500 250")

    def test_a_script_that_ends_lines_with_line_feeds(self):
        """A whole dialogue with LF alone is answered line by line, and ended after some errors."""
        self.assertEqual(
            Talk(errors=4).say(b"HELO x\nMAIL FROM:<>\nRCPT TO:<a@b.test>\nDATA\n\n.\n"),
            "500 500 500 500 421",
        )

    def test_bare_carriage_return(self):
        """CR within a line is a control character."""
        self.assertEqual(Talk().say(b"EHLO x\rMAIL FROM:<>\r\nNOOP\r\n"), "500 250")


LF_MAIL = b"HELO ups\nMAIL FROM:<a@b.test>\nRCPT TO:<c@d.test>\nDATA\n"


class BareNewlines(SynchronousTestCase):
    def test_a_script(self):
        """Where it may, a client that begins with LF speaks LF alone, in a segment or octet by octet."""
        octets = LF_MAIL + b"Subject: x\n\nhi\n..\n.\nNOOP\nQUIT\n"
        for segments in ([octets], [octets[n : n + 1] for n in range(len(octets))]):
            talk = Talk(bare=True)
            self.assertEqual(talk.say(*segments), "250 250 250 354 250 250 221")
            self.assertEqual(b"".join(talk.stored), b"Subject: x\r\n\r\nhi\r\n.\r\n|")

    def test_the_first_command_decides(self):
        """Whoever begins with CRLF speaks CRLF, in the same mode: LF ends neither command nor data."""
        talk = Talk(bare=True)
        self.assertEqual(talk.say(b"NOOP\r\nNOOP\nQUIT\r\nNOOP\r\n"), "250 500 500 250")
        talk = Talk(bare=True)
        talk.say(LF_MAIL.replace(b"\n", b"\r\n"))
        self.assertEqual(talk.say(b"hi\n.\nRSET\nMAIL FROM:<evil@b.test>\n", b"\r\n.\r\nNOOP\r\n"), "250 250")
        self.assertEqual(b"".join(talk.stored), b"hi\r\n.\r\nRSET\r\nMAIL FROM:<evil@b.test>\r\n\r\n|")

    def test_never_mixed(self):
        """Of whoever begins with LF a CRLF is an error in commands, and content in content."""
        talk = Talk(bare=True)
        self.assertEqual(talk.say(b"NOOP\nNOOP\r\nQUIT\r\n\r\nNOOP\n"), "250 500 500 500 250")
        talk = Talk(bare=True)
        talk.say(LF_MAIL)
        self.assertEqual(talk.say(b"hi\r\n.\r\nMAIL FROM:<evil@b.test>\r\nDATA\r\n", b".\nNOOP\n"), "250 250")
        self.assertIn(b"MAIL FROM:<evil@b.test>\r\nDATA\r\n|", b"".join(talk.stored))

    def test_a_bad_first_line_decides_as_well(self):
        """Neither a bad command nor a line that is too long leaves it open."""
        for first, codes in ((b"FOO\n", "500"), (b"x" * 5000 + b"\n", "500"), (b"\n", "500")):
            talk = Talk(bare=True)
            self.assertEqual(talk.say(first), codes)
            self.assertEqual(talk.say(b"NOOP\r\n", b"NOOP\n"), "500 250")
        talk = Talk(bare=True)
        self.assertEqual(talk.say(b"x" * 5000, b"\r\n", b"NOOP\n", b"\r\nNOOP\r\n"), "500 500 500 250")

    def test_logging_in(self):
        """The lines of AUTH end as all others do."""
        talk = Talk(bare=True, mechanisms=("PLAIN",), auth_allow_plaintext=True)
        self.assertEqual(talk.say(b"EHLO x\nAUTH PLAIN AGEAYg==\n"), "250 250")


class Chunks(SynchronousTestCase):
    """Content in chunks (BDAT, RFC 3030)."""

    def setUp(self):
        self.talk = Talk()
        self.talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        self.chunk(b"one", b"NOOP\r\n")

    def chunk(self, octets: bytes, behind: bytes = b"", *, last: bool = False) -> None:
        """Send a chunk in two segments, with a command behind it."""
        codes = "550" if "." in self.talk.refuse else "250"
        command = b"BDAT %d%b\r\n" % (len(octets), b" LAST" * last)
        said = self.talk.say(command + octets[:1], octets[1:] + behind)
        self.assertEqual(said, codes + " 250" * bool(behind))

    def test_the_message_stays_open(self):
        """Behind a chunk come commands, and its message is still the one that is received."""
        decoder = self.talk.session.decoder
        self.chunk(b"two")
        self.assertIs(self.talk.session.decoder, decoder)
        self.chunk(b"three", last=True)
        self.assertEqual(b"".join(self.talk.stored), b"one|two|three\r\n|")
        self.assertIsNone(self.talk.session.decoder)
        self.assertEqual(self.talk.say(b"MAIL FROM:<>\r\n"), "250")

    def test_no_other_message_within_it(self):
        """While it is open, neither another message nor other recipients are taken."""
        said = b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nAUTH PLAIN\r\n"
        self.assertEqual(self.talk.say(said), "503 503 503 502")
        self.assertNotIn(b"MAIL first", self.talk.sent)

    def test_forgotten(self):
        """RSET and EHLO end it, and a refused chunk does."""
        for said in (b"RSET\r\n", b"EHLO x\r\n", b""):
            self.setUp()
            if not said:
                self.talk.refuse = (".",)
                self.chunk(b"two")
            self.talk.say(said)
            self.assertIsNone(self.talk.session.decoder)
            self.assertEqual(self.talk.say(b"MAIL FROM:<>\r\n"), "250", said)

    def test_only_the_end_of_the_message_concludes(self):
        """A message whose chunk waits for its answer was not received completely."""
        for command, end in ((b"BDAT 1\r\nx", END_OF_CHUNK), (b"BDAT 1 LAST\r\nx", END_OF_DATA)):
            self.talk.session.receive(command)
            self.assertEqual(self.talk.session.next_event().end, end)
            self.assertEqual(self.talk.session.concludes, end == END_OF_DATA)
            self.talk.session.answer(reply.OK)

    def test_where_it_leads(self):
        """The table says so: from content back to commands, of which none begins a message."""
        self.assertIs(TRANSITIONS[State.CONTENT][END_OF_CHUNK], State.CHUNKS)
        self.assertFalse({"MAIL", "RCPT", "DATA"} & set(TRANSITIONS[State.CHUNKS]))

    def test_out_of_order(self):
        """A chunk at the wrong time is read, whatever is in it, and answered once."""
        for before, codes in (
            (b"", "503"),
            (b"MAIL FROM:<>\r\n", "250 503"),
            (b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nx\r\n.\r\n", "250 250 354 250 503"),
        ):
            for last in (b"", b" LAST"):
                talk = Talk()
                said = talk.say(before + b"BDAT 6%b\r\nQUIT\r\nNOOP\r\n" % last)
                self.assertEqual((said, talk.ended), (f"{codes} 250", ""))
        talk = Talk("RCPT")
        talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        self.assertEqual(talk.say(b"BDAT 3\r\nabcBDAT 2 LAST\r\n", b"de"), "554 503")
        self.assertEqual(b"".join(talk.stored).strip(b"|"), b"")

    def test_a_size_that_is_none(self):
        """Where a chunk ends that has no size nobody knows: the session ends, and nothing more is read."""
        for command in (
            b"BDAT\r\n",
            b"BDAT -1\r\n",
            b"BDAT +1\r\n",
            b"BDAT x\r\n",
            b"BDAT 1 2\r\n",
            b"BDAT 5 LASTX\r\n",
            b"BDAT 0x5\r\n",
            b"BDAT \xd9\xa3\r\n",
            b"BDAT 5\0\r\n",
            b"bdat 100000000000000000000\r\n",
            b"BDAT 5\n",
        ):
            talk = Talk()
            said = talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n" + command + b"NOOP\r\n")
            self.assertIn(said, ("250 250 501 421", "250 250 500 421"), command)
            self.assertEqual((talk.ended, talk.stored), ("close", []))
        self.assertEqual(Talk().say(b"BDAT " + b"0" * 2100 + b"5\r\nNOOP\r\n"), "500 421")

    def test_endless_empty_chunks(self):
        """Empty chunks bring no mail nearer: there are not more of them than of other such commands."""
        talk = Talk(errors=3)
        talk.say(b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        codes = talk.say(b"BDAT 0\r\n" * (MOST_JUNK + 10)).split()
        self.assertEqual((len(codes), codes[-1]), (MOST_JUNK + 4, "421"))


class Ends(SynchronousTestCase):
    def test_too_many_errors(self):
        """After so many bad commands comes 421, and nothing is answered any more."""
        talk = Talk(errors=3)
        self.assertEqual(talk.say(b"FOO\r\n" * 10), "500 500 500 421")
        self.assertEqual((talk.ended, talk.say(b"NOOP\r\n")), ("close", ""))

    def test_errors_are_forgiven_by_a_message(self):
        """An accepted message begins the count anew."""
        talk = Talk(errors=3)
        mail = b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\nx\r\n.\r\n"
        codes = talk.say(b"EHLO x\r\n" + (b"FOO\r\nFOO\r\n" + mail) * 3)
        self.assertNotIn("421", codes)

    def test_pipelined_recipients_of_a_refused_sender(self):
        """A client that pipelines is not punished for what it could not know."""
        talk = Talk("MAIL", errors=3)
        codes = talk.say(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.test>\r\n" * 10 + b"DATA\r\n")
        self.assertEqual(codes, "250 550" + " 503" * 11)

    def test_too_many_commands(self):
        """Where the number of commands is limited, one more is 421."""
        self.assertEqual(Talk(commands=2).say(b"NOOP\r\n" * 5), "250 250 421")

    def test_too_many_recipients(self):
        """One recipient more than the limit is 452; the others stay."""
        talk = Talk(recipients=2)
        codes = talk.say(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<a@b.test>\r\n" * 3 + b"DATA\r\n")
        self.assertEqual(codes, "250 250 250 250 452 354")

    def test_foreign(self):
        """HTTP and TLS are recognised by their first octets, and only there."""
        for first in ([b"GET / HTTP/1.1\r\n"], [b"PO", b"ST / HTTP/1.1\r\n"], [b"CONNECT a:25 HTTP/1.1\r\n"]):
            talk = Talk()
            self.assertEqual((talk.say(*first), "HTTP" in talk.ended), ("", True), first)
        for first in ([b"\x16\x03\x01\x02\x00\x01"], [b"\x16", b"\x03\x01"]):
            talk = Talk()
            self.assertEqual((talk.say(*first), "TLS" in talk.ended), ("", True), first)
        talk = Talk()
        self.assertEqual((talk.say(b"NOOP\r\nGET / HTTP/1.1\r\n"), talk.ended), ("250 500", ""))


PIECES = st.sampled_from(
    [
        b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n", b"\r\n.\r\n",
        b"EHLO x\r\n", b"MAIL FROM:<a@b.test>\r\n", b"RCPT TO:<c@d.test>\r\n", b"DATA\r\n", b"RSET\r\n",
        b"QUIT\r\n", b"NOOP\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"FOO\r\n", b"a\nb\r\n", b"x" * 3000,
        b"\r\n", b".", b"\n.\n", b"\x00", b"..\r\n", b"Subject: x\r\n\r\n", b"\r", b"\n", b"STARTTLS\r\n",
    ]
)  # fmt: skip


class Segmentation(SynchronousTestCase):
    @given(
        st.lists(PIECES, max_size=25),
        st.lists(st.integers(1, 400)),
        st.sampled_from(["fix", "refuse", "accept"]),
        st.booleans(),
    )
    def test_any_segmentation(self, pieces: list[bytes], sizes: list[int], bare_newlines: str, lf: bool):
        """However a dialogue is cut into segments, replies and stored bodies are the same."""
        octets = b"".join(pieces)
        if lf:
            octets = octets.replace(b"\r\n", b"\n")
        login = {"mechanisms": ("PLAIN",), "auth_allow_plaintext": True}
        whole, cut, single = (
            Talk(bare_newlines=bare_newlines, bare=bare_newlines == "accept", errors=5, size=100, **login)
            for _ in range(3)
        )
        whole.say(octets)
        segments = []
        rest = octets
        for size in sizes:
            segments.append(rest[:size])
            rest = rest[size:]
        cut.say(*filter(None, [*segments, rest]))
        single.say(*[octets[i : i + 1] for i in range(len(octets))])
        for other in (cut, single):
            self.assertEqual(other.sent, whole.sent)
            self.assertEqual(accepted(other), accepted(whole))
            self.assertEqual(other.ended, whole.ended)


def accepted(talk: Talk) -> bytes:
    """What was stored of the messages that ended; of others and of refused ones it may differ."""
    codes = [line[:3] for line in talk.sent.splitlines()]
    return b"" if b"552" in codes or b"554" in codes else b"".join(talk.stored).rpartition(b"|")[0]
