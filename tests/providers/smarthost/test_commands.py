from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Envelope, Recipient
from smtprelay.providers.smarthost.commands import Extensions, Unsendable, hello, mail, rcpt, read_extensions
from smtprelay.providers.smarthost.dot_stuffing import DotStuffer
from smtprelay.providers.smarthost.replies import ServerReply

EVERYTHING = Extensions(
    pipelining=True, eight_bit=True, utf8=True, dsn=True, starttls=True, sizes=True, size=10
)
#: Text in which what could end a line or a path is frequent.
HOSTILE = st.text(st.one_of(st.sampled_from('\r\n\0\t <>".@\\\x85\u2028\x7f'), st.characters()), max_size=30)
PIECES = st.lists(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"])).map(b"".join))


def stuffed(*chunks: bytes) -> bytes:
    """Return what goes out for a body in ``chunks``."""
    stuffer = DotStuffer()
    return b"".join(map(stuffer.feed, chunks)) + stuffer.end()


class CommandTests(SynchronousTestCase):
    def test_parameters_that_were_offered(self) -> None:
        """MAIL carries size, body type, SMTPUTF8 and the DSN parameters where they are offered."""
        envelope = Envelope(
            sender="jürg@example.com",
            recipients=(Recipient(address="b@example.net"),),
            parameters={"RET": "HDRS", "ENVID": "Q1", "BODY": "8BITMIME"},
        )
        self.assertEqual(
            mail(envelope, EVERYTHING, 5, eight_bit=True),
            "MAIL FROM:<jürg@example.com> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=Q1\r\n".encode(),
        )

    def test_parameters_that_were_not_offered(self) -> None:
        """A server that offers nothing gets no parameter, and 8-bit content all the same."""
        envelope = Envelope(sender="", parameters={"RET": "HDRS", "SMTPUTF8": ""})
        self.assertEqual(mail(envelope, Extensions(), 5, eight_bit=True), b"MAIL FROM:<>\r\n")
        asked = Recipient(address="b@example.net", notify="NEVER", orcpt="rfc822;b@example.net")
        self.assertEqual(rcpt(asked, Extensions()), b"RCPT TO:<b@example.net>\r\n")
        self.assertEqual(
            rcpt(asked, EVERYTHING), b"RCPT TO:<b@example.net> NOTIFY=NEVER ORCPT=rfc822;b@example.net\r\n"
        )

    def test_parameter_with_a_line_end_is_left_out(self) -> None:
        """A DSN parameter cannot become a command."""
        asked = Recipient(address="b@example.net", orcpt="rfc822;b\r\nRSET")
        self.assertEqual(rcpt(asked, EVERYTHING), b"RCPT TO:<b@example.net>\r\n")

    def test_utf8_address_without_smtputf8(self) -> None:
        """Without SMTPUTF8 a domain is spelled in ASCII; an address that cannot be so fails with 5.6.7."""
        for address in ("b@müller.example", "b@MÜLLER.example"):
            line = b"RCPT TO:<b@xn--mller-kva.example>\r\n"
            self.assertEqual(rcpt(Recipient(address=address), Extensions()), line)
            self.assertEqual(
                rcpt(Recipient(address=address), Extensions(utf8=True)), f"RCPT TO:<{address}>\r\n".encode()
            )
        for address in ("b@ü＞.example", "b@ü　x", "b@ü＠x", "ü"):
            self.assertRaises(Unsendable, rcpt, Recipient(address=address), Extensions())
        error = self.assertRaises(Unsendable, rcpt, Recipient(address="jürg@example.com"), Extensions())
        self.assertEqual(error.code, "5.6.7")

    def test_quoted_local_part(self) -> None:
        """A quoted local part may hold spaces, brackets and escaped quotes."""
        address = r'"a >\" b"@example.net'
        self.assertEqual(
            rcpt(Recipient(address=address), Extensions()), b"RCPT TO:<" + address.encode() + b">\r\n"
        )

    def test_parameter_injection(self) -> None:
        """An address cannot close its bracket and go on with parameters."""
        for address in ("b@x> NOTIFY=NEVER", "b@x><c@y", "a b@x", '"a"b"@x', "", "b@x\r\nRSET", "\ud800@x"):
            error = self.assertRaises(Unsendable, rcpt, Recipient(address=address), EVERYTHING)
            self.assertEqual(error.code, "5.1.3", address)

    @given(HOSTILE, HOSTILE)
    def test_one_address_is_one_line(self, sender: str, recipient: str) -> None:
        """Whatever an address contains, a command is one line without control characters, or none."""
        envelope = Envelope(sender=sender, recipients=(Recipient(address=recipient),))
        for make in (
            lambda: mail(envelope, EVERYTHING, 1, eight_bit=False),
            lambda: rcpt(envelope.recipients[0], EVERYTHING),
        ):
            try:
                line = make()
            except Unsendable:
                continue
            self.assertEqual(line[-2:], b"\r\n")
            text = line[:-2].decode()
            self.assertFalse([letter for letter in text if letter < " " or "\x7f" <= letter <= "\x9f"])

    @given(HOSTILE)
    def test_hello_is_one_word(self, name: str) -> None:
        """A name for EHLO is refused unless it is one printable ASCII word."""
        try:
            line = hello("EHLO", name)
        except ValueError:
            return
        self.assertRegex(line, rb"\AEHLO [!-~]+\r\n\Z")


class OfferTests(SynchronousTestCase):
    def test_read(self) -> None:
        """Keywords are read without regard to case; an AUTH= of old adds to AUTH."""
        answer = ServerReply(250, ("x", "pipelining", "SIZE 1000", "AUTH PLAIN", "AUTH=LOGIN", "XFOO 1"))
        self.assertEqual(
            read_extensions(answer),
            Extensions(pipelining=True, sizes=True, size=1000, mechanisms=frozenset({"PLAIN", "LOGIN"})),
        )

    def test_nonsense(self) -> None:
        """A size that is no number is no limit."""
        for size in ("SIZE", "SIZE x", "SIZE -1", "SIZE ²"):
            self.assertEqual(read_extensions(ServerReply(250, ("x", size))), Extensions(sizes=True))


class StufferTests(SynchronousTestCase):
    def test_dots(self) -> None:
        """A dot at the start of a line is doubled, anywhere else it is not."""
        self.assertEqual(stuffed(b".a\r\n.\r\nb.c\r\n"), b"..a\r\n..\r\nb.c\r\n.\r\n")

    def test_stray_line_ends(self) -> None:
        """A bare CR or LF goes out as CRLF."""
        self.assertEqual(stuffed(b"a\n.b\rc\r\n"), b"a\r\n..b\r\nc\r\n.\r\n")

    def test_missing_and_empty(self) -> None:
        """The last line gets its end; an empty body is the dot alone."""
        self.assertEqual(stuffed(b"a"), b"a\r\n.\r\n")
        self.assertEqual(stuffed(), b".\r\n")

    def test_borders(self) -> None:
        """CR, LF and dot may stand in different chunks."""
        self.assertEqual(stuffed(b"a\r", b"\n", b".b", b"\r"), b"a\r\n..b\r\n.\r\n")

    @given(PIECES)
    def test_nothing_ends_the_message_early(self, chunks: list[bytes]) -> None:
        """However a body is cut, it goes out as the server must undo it, and ends once."""
        sent = stuffed(*chunks)
        body = b"".join(chunks)
        wanted = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        if wanted and not wanted.endswith(b"\r\n"):
            wanted += b"\r\n"
        self.assertEqual((b"\r\n" + sent).find(b"\r\n.\r\n"), len(sent) - 3)
        received = (b"\r\n" + sent[:-3]).replace(b"\r\n.", b"\r\n")[2:]
        self.assertEqual(received, wanted)
