"""
What any avatar must do behind any SMTP protocol: one suite, run for every pair.

A pair is described by a subclass that says how to build it and what came of it. What a
protocol that is not ours cannot do is stated in :attr:`differs`, with what it does
instead; the tests hold it to that, so that we learn when it changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from attrs import frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

CONTENT = b"Subject: dots\r\n\r\n.one\r\n..two\r\n\r\n.\tx\r\n...\r\nend.\r\n"
STUFFED = CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n"

#: Who may send to whom in every pair: ``*@b.org`` to ``*@y.org``, from 127.0.0.1.
GOOD_SENDER, BAD_SENDER = b"MAIL FROM:<a@b.org>\r\n", b"MAIL FROM:<a@evil.org>\r\n"
GOOD_RECIPIENT, BAD_RECIPIENT = b"RCPT TO:<x@y.org>\r\n", b"RCPT TO:<x@evil.org>\r\n"


@frozen
class Message:
    """One message that was taken."""

    sender: str
    recipients: Sequence[str]
    body: bytes


class Session:
    """A client at the other end of ``factory``'s protocol."""

    def __init__(self, factory: IProtocolFactory) -> None:
        peer = IPv4Address("TCP", "127.0.0.1", 40000)
        self.transport = StringTransport(hostAddress=IPv4Address("TCP", "127.0.0.1", 25), peerAddress=peer)
        self.protocol = factory.buildProtocol(peer)
        self.protocol.makeConnection(self.transport)

    def send(self, *lines: bytes) -> list[int]:
        """Send all of ``lines`` in one segment; return the codes of the replies that are there."""
        self.transport.clear()
        self.protocol.dataReceived(b"".join(lines))
        return self.codes()

    def codes(self) -> list[int]:
        """Return the codes of the replies since the last :meth:`send`."""
        replies = self.transport.value().split(b"\r\n")[:-1]
        return [int(line[:3]) for line in replies if line[3:4] != b"-"]

    def each(self, *lines: bytes) -> list[int]:
        """Send ``lines`` one after the other, each when the one before it was answered."""
        return [code for line in lines for code in self.send(line)]

    def leave(self) -> None:
        """Close the connection without a word."""
        if self.transport.connected:
            self.transport.connected = False
            self.protocol.connectionLost(Failure(ConnectionLost()))


class EnvelopeDeliveryBehaviour:
    """
    The suite. Mix it with a test case and give it the five methods below.

    :cvar differs: what a pair does otherwise, by the name that the test gives it, and why.
    """

    differs: ClassVar[Mapping[str, tuple[Any, str]]] = {}

    def make_factory(self) -> IProtocolFactory:
        """Return the protocol's factory, its portal in it."""
        raise NotImplementedError

    def delivered(self) -> Sequence[Message]:
        """Return the messages that were taken."""
        raise NotImplementedError

    def aborted(self) -> int:
        """Return how many messages were begun and given up."""
        raise NotImplementedError

    def answer(self, code: int) -> None:
        """Let the end of data be answered with ``code``."""
        raise NotImplementedError

    def hold(self) -> Deferred:
        """Let the answer to MAIL wait for the Deferred that is returned."""
        raise NotImplementedError

    def expected(self, what: str, ours: Any) -> Any:
        """Return what the pair does: the right thing, or what it is known to do instead."""
        return self.differs[what][0] if what in self.differs else ours

    def session(self) -> Session:
        """Return a session after its EHLO."""
        session = Session(self.make_factory())
        self.addCleanup(session.leave)
        self.assertEqual(session.codes(), [220])
        self.assertEqual(session.send(b"EHLO client.example\r\n"), [250])
        return session

    def test_accepted(self):
        """A message is taken with its envelope, and with one trace header of ours before it."""
        codes = self.session().each(
            GOOD_SENDER, GOOD_RECIPIENT, b"RCPT TO:<z@y.org>\r\n", b"DATA\r\n", STUFFED
        )
        self.assertEqual(codes, [250, 250, 250, 354, 250])
        (message,) = self.delivered()
        self.assertEqual((message.sender, message.recipients), ("a@b.org", ["x@y.org", "z@y.org"]))
        self.assertTrue(message.body.startswith(b"Received: from client.example"), message.body)
        self.assertEqual(message.body.count(b"Received:"), 1)

    def test_body(self):
        """The body arrives as it was meant: dots unstuffed, nothing added, nothing lost."""
        self.session().each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED)
        (message,) = self.delivered()
        self.assertTrue(message.body.endswith(b"\r\n" + CONTENT), message.body)
        header = message.body[: -len(CONTENT)]
        self.assertTrue(all(line[:1] == b"\t" for line in header.split(b"\r\n")[1:-1]), header)

    def test_body_in_pieces(self):
        """The body is the same when each byte arrives alone."""
        session = self.session()
        session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n")
        codes = session.each(*(STUFFED[at : at + 1] for at in range(len(STUFFED))))
        self.assertEqual(codes, [250])
        self.assertTrue(self.delivered()[0].body.endswith(b"\r\n" + CONTENT))

    def test_null_sender(self):
        """A bounce is taken, and its sender stays empty."""
        codes = self.session().each(b"MAIL FROM:<>\r\n", GOOD_RECIPIENT, b"DATA\r\n", STUFFED)
        self.assertEqual(codes, [250, 250, 354, 250])
        self.assertEqual([each.sender for each in self.delivered()], [""])

    def test_refused_sender(self):
        """A refused sender ends its transaction for good; the next one is unharmed."""
        session = self.session()
        (code,) = session.send(BAD_SENDER)
        self.assertTrue(500 <= code <= 599, code)
        self.assertEqual(session.each(GOOD_RECIPIENT, b"DATA\r\n"), [503, 503])
        self.assertEqual(
            session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED), [250, 250, 354, 250]
        )
        self.assertEqual([each.sender for each in self.delivered()], ["a@b.org"])

    def test_refused_recipient(self):
        """A message goes to those whose RCPT was accepted and to no others."""
        session = self.session()
        codes = session.each(GOOD_SENDER, BAD_RECIPIENT, GOOD_RECIPIENT, BAD_RECIPIENT, b"DATA\r\n", STUFFED)
        self.assertEqual(codes, [250, 550, 250, 550, 354, 250])
        self.assertEqual([each.recipients for each in self.delivered()], [["x@y.org"]])

    def test_all_recipients_refused(self):
        """Without an accepted recipient there is no data, and nothing is taken."""
        codes = self.session().each(GOOD_SENDER, BAD_RECIPIENT, b"DATA\r\n")
        self.assertEqual(codes[:2], [250, 550])
        self.assertIn(codes[2], (503, 554))
        self.assertEqual(self.delivered(), [])

    def test_reset(self):
        """After RSET nothing of the transaction is left for the next one."""
        session = self.session()
        session.each(GOOD_SENDER, b"RCPT TO:<first@y.org>\r\n", b"RSET\r\n")
        self.assertEqual(session.send(GOOD_RECIPIENT), [503])
        session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED)
        self.assertEqual([each.recipients for each in self.delivered()], [["x@y.org"]])

    def test_two_messages(self):
        """A session may send one message after the other; each is a transaction of its own."""
        session = self.session()
        for recipient in (b"x", b"z"):
            session.each(GOOD_SENDER, b"RCPT TO:<%b@y.org>\r\n" % recipient, b"DATA\r\n", STUFFED)
        self.assertEqual([each.recipients for each in self.delivered()], [["x@y.org"], ["z@y.org"]])

    def test_temporary_failure(self):
        """A 4xx at the end of data stays one: the client keeps the message."""
        self.answer(451)
        codes = self.session().each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED)
        self.assertEqual(codes[-1:], [self.expected("temporary failure", 451)])

    def test_permanent_failure(self):
        """A 5xx at the end of data keeps its code, and the session goes on."""
        self.answer(554)
        session = self.session()
        codes = session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED)
        self.assertEqual(codes[-1:], [self.expected("permanent failure", 554)])
        self.answer(250)
        self.assertEqual(
            session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED), [250, 250, 354, 250]
        )

    def test_late_answers_stay_in_order(self):
        """What was pipelined behind a command that takes its time waits for it."""
        held = self.hold()
        session = self.session()
        early = session.send(GOOD_SENDER, GOOD_RECIPIENT, GOOD_RECIPIENT)
        self.assertEqual(early, self.expected("replies before a late one", []))
        held.callback(None)
        self.assertEqual(session.codes(), self.expected("replies with a late one", [250, 250, 250]))

    def test_connection_lost(self):
        """A message whose client vanished in the middle is given up, once, and not taken."""
        session = self.session()
        session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", CONTENT)
        session.leave()
        self.assertEqual((self.aborted(), self.delivered()), (1, []))

    def test_connection_lost_between_messages(self):
        """Leaving after a message, or before the first, gives up nothing."""
        session = self.session()
        session.each(GOOD_SENDER, GOOD_RECIPIENT, b"DATA\r\n", STUFFED, GOOD_SENDER, GOOD_RECIPIENT)
        session.leave()
        self.assertEqual((self.aborted(), len(self.delivered())), (0, 1))


class VotesBehaviour:
    """What is more where each recipient has a message of its own, and so a vote at the end."""

    def votes(self, *codes: int) -> None:
        """Let the recipients, in their order, answer the end of data with ``codes``."""
        raise NotImplementedError

    def test_votes(self):
        """Any 4xx beats any 5xx, and any 5xx beats 250."""
        for codes, answer in (((250, 550), 550), ((550, 451), 451), ((250, 451), 451), ((250, 250), 250)):
            self.votes(*codes)
            session = self.session()
            found = session.each(GOOD_SENDER, GOOD_RECIPIENT, b"RCPT TO:<z@y.org>\r\n", b"DATA\r\n", STUFFED)
            self.assertEqual(found[-1:], [answer], codes)
