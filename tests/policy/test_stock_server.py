"""Our avatar as the stock protocol meets it, call by call."""

from twisted.mail.smtp import Address, IMessage, IMessageDelivery, SMTPBadRcpt, SMTPBadSender, SMTPServerError
from twisted.mail.smtp import User as StockUser
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.model.message import Reply
from smtprelay.model.patterns import Patterns
from smtprelay.policy.avatar import EnvelopeDelivery
from smtprelay.policy.settings import Identity
from tests.policy.doubles import Store, make_rules

HELO = (b"printer", b"127.0.0.1")


class StockTests(SynchronousTestCase):
    def setUp(self):
        self.store = Store()

    def delivery(self, user: str = "", **listener: object) -> EnvelopeDelivery:
        return EnvelopeDelivery(make_rules(self.store, **listener), Identity(name=user))

    def to(self, delivery: EnvelopeDelivery, *recipients: bytes) -> list[IMessage]:
        """Begin a message and return what the protocol got for each recipient."""
        origin = delivery.validateFrom(HELO, Address(b"a@b.org"))
        users = [StockUser(each, HELO, None, origin) for each in recipients]
        return [make() for make in [delivery.validateTo(user) for user in users]]

    def test_interfaces(self):
        """It is what the stock protocol logs in for, and makes the messages it wants."""
        delivery = self.delivery()
        verifyObject(IMessageDelivery, delivery)
        for message in self.to(delivery, b"x@y.org", b"z@y.org"):
            verifyObject(IMessage, message)

    def test_one_message_for_all(self):
        """However many recipients, one message is stored, each line once, and all hear that it was."""
        messages = self.to(self.delivery(), b"x@y.org", b"z@y.org")
        for line in (b"Subject: x", b"", b"text"):
            for message in messages:
                message.lineReceived(line)
        for message in messages:
            self.successResultOf(message.eomReceived())
        (kept,) = self.store.kept
        self.assertEqual(kept.draft.envelope.addresses, ("x@y.org", "z@y.org"))
        self.assertTrue(kept.body.endswith(b" +0000\r\nSubject: x\r\n\r\ntext\r\n"))
        self.assertEqual(kept.end, "finished")

    def test_the_next_message_is_another(self):
        """A second transaction of the session is stored as a second message."""
        delivery = self.delivery()
        for recipient in (b"x@y.org", b"z@y.org"):
            (message,) = self.to(delivery, recipient)
            self.successResultOf(message.eomReceived())
        self.assertEqual(
            [kept.draft.envelope.addresses for kept in self.store.kept], [("x@y.org",), ("z@y.org",)]
        )

    def test_lines_are_gathered(self):
        """A long message goes on in large pieces, complete and in order."""
        (message,) = self.to(self.delivery(), b"x@y.org")
        lines = [b"%060d" % n for n in range(5000)]
        for line in lines:
            message.lineReceived(line)
        self.successResultOf(message.eomReceived())
        _received, *chunks = self.store.kept[0].chunks
        self.assertEqual(b"".join(chunks), b"".join(line + b"\r\n" for line in lines))
        self.assertLess(len(chunks), 10)

    def test_who_speaks(self):
        """The draft has the client as the stock protocol tells it."""
        self.to(self.delivery(user="ann"), b"x@y.org")
        client = self.store.kept[0].draft.client
        self.assertEqual((client.address, client.helo, client.user), ("127.0.0.1", "printer", "ann"))

    def test_refused_sender(self):
        """A refusal is the error that the protocol expects, with our code and words."""
        restricted = self.delivery(allow_senders=Patterns(["*@b.org"]))
        error = self.assertRaises(SMTPBadSender, restricted.validateFrom, HELO, Address(b"a@evil.org"))
        self.assertEqual((error.code, error.resp), (553, "5.7.1 This client may not send as <a@evil.org>"))

    def test_refused_client(self):
        """A client from elsewhere, or one without an address, is refused at MAIL."""
        for address in (b"198.51.100.1", b"UNIXAddress('/x')", b"\xff"):
            delivery = self.delivery()
            error = self.assertRaises(
                SMTPBadSender, delivery.validateFrom, (None, address), Address(b"a@b.org")
            )
            self.assertEqual(error.code, 550)
            self.assertTrue(error.resp.isascii())

    def test_refused_recipient(self):
        """A refused recipient is the error that the protocol expects, and not in the envelope."""
        delivery = self.delivery(allow_recipients=Patterns(["*@y.org"]))
        (_message,) = self.to(delivery, b"x@y.org")
        origin = delivery.validateFrom(HELO, Address(b"a@b.org"))
        bad = StockUser(b"x@evil.org", HELO, None, origin)
        self.assertEqual(self.assertRaises(SMTPBadRcpt, delivery.validateTo, bad).code, 550)

    def test_refused_data(self):
        """A refusal at DATA is an error whose text the protocol can send, which are bytes there."""
        delivery = self.delivery()
        origin = delivery.validateFrom(HELO, Address(b"a@b.org"))
        make = delivery.validateTo(StockUser(b"x@y.org", HELO, None, origin))
        delivery.validateFrom(HELO, Address(b"a@b.org"))
        error = self.assertRaises(SMTPServerError, make)
        self.assertEqual((error.code, error.resp), (554, b"5.5.1 No valid recipients"))

    def test_failure_at_the_end(self):
        """What the store answers at the end comes as an error with its code."""
        self.store.reply = Reply(code=452, enhanced="4.3.1", text="Spool full – später")
        messages = self.to(self.delivery(), b"x@y.org", b"z@y.org")
        error = self.failureResultOf(messages[0].eomReceived(), SMTPServerError).value
        self.assertEqual((error.code, error.resp), (452, "4.3.1 Spool full \\u2013 sp\\xe4ter"))
        self.successResultOf(messages[1].eomReceived())

    def test_connection_lost(self):
        """A message is given up once, whoever of the recipients hears of it."""
        for message in self.to(self.delivery(), b"x@y.org", b"z@y.org"):
            message.connectionLost()
        self.assertEqual(self.store.kept[0].end, "aborted")

    def test_our_header_is_not_doubled(self):
        """The protocol gets no header of ours to write, because it is written already."""
        self.assertEqual(self.delivery().receivedHeader(HELO, None, []), b"")
