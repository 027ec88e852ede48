"""Stock deliveries behind our protocol: their calls, their errors, the worst of them."""

import tracemalloc

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.mail import smtp
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import ListenerSettings
from smtprelay.smtp.twisted_delivery import Lines
from tests.recording import Recording
from tests.smtp.doubles import Line


@implementer(smtp.IMessageSMTP if hasattr(smtp, "IMessageSMTP") else smtp.IMessage)
class Message:
    """Keeps its lines; ends as the test says."""

    def __init__(self, end: object) -> None:
        self.end = end
        self.lines: list[bytes] = []
        self.lost = 0

    def lineReceived(self, line: bytes) -> None:
        if line == b"bad":
            raise smtp.SMTPServerError(554, b"bad line")
        self.lines.append(line)

    def eomReceived(self) -> Deferred:
        return fail(self.end) if isinstance(self.end, Exception) else succeed(self.end)

    def connectionLost(self) -> None:
        self.lost += 1


class LinesTests(SynchronousTestCase):
    def test_one_endless_line(self):
        """A line as long as the message is joined once, not again with each piece of it."""
        message = Message("")
        lines = Lines([message])
        lines.write(b"X: ")
        for _ in range(2_000):
            lines.write(b"x" * 1_000)
        tracemalloc.start()
        try:
            for _ in range(100):
                lines.write(b"y" * 1_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        lines.write(b"z\r\nnext\r\nlast")
        lines.write(b"\r")
        lines.write(b"\n")
        self.assertLess(peak, 1_000_000)
        self.assertEqual(message.lines, [b"X: " + b"x" * 2_000_000 + b"y" * 100_000 + b"z", b"next", b"last"])


@implementer(smtp.IMessageDelivery)
class Delivery:
    """A delivery as people write them."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.messages: list[Message] = []
        self.ends: dict[bytes, object] = {}

    def validateFrom(self, helo: tuple[bytes, bytes], origin: smtp.Address) -> object:
        self.heard.append((helo, bytes(origin)))
        if origin.local == b"bad":
            raise smtp.SMTPBadSender(origin, 553, "not you")
        return succeed(origin)

    def validateTo(self, user: smtp.User) -> object:
        self.heard.append((bytes(user.dest), bytes(user.orig)))
        if user.dest.local == b"bad":
            raise smtp.SMTPBadRcpt(user, 551, "moved")
        if user.dest.local == b"later":
            return fail(smtp.SMTPServerError(450, "later"))
        if user.dest.local == b"bug":
            raise KeyError("bug")
        return lambda: self._message(user.dest.local)

    def receivedHeader(self, _helo: object, _origin: smtp.Address, recipients: list) -> bytes:
        return b"Received: for " + bytes(recipients[0].dest)

    def _message(self, local: bytes) -> Message:
        end = self.ends.get(local)
        if isinstance(end, smtp.SMTPServerError) and end.code == 452:
            raise end
        self.messages.append(Message(end))
        return self.messages[-1]


@implementer(smtp.IMessageDeliveryFactory)
class Deliveries:
    """Gives the same delivery each time, and counts."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.count = 0

    def getMessageDelivery(self) -> Delivery:
        self.count += 1
        return self.delivery


@implementer(IRealm)
class Realm:
    def __init__(self, interface: object, avatar: object) -> None:
        self.interface, self.avatar = interface, avatar

    def requestAvatar(self, _avatar_id: object, _mind: object, *interfaces: object):
        assert self.interface in interfaces
        return self.interface, self.avatar, lambda: None


class Stock(SynchronousTestCase):
    def setUp(self):
        self.delivery = Delivery()
        self.events = Recording()
        self.line = self.connected(smtp.IMessageDelivery, self.delivery)

    def connected(self, interface: object, avatar: object) -> Line:
        portal = Portal(Realm(interface, avatar), [AllowAnonymousAccess()])
        line = Line(ESMTPFactory(portal, ListenerSettings(hostname="relay.test"), Clock(), self.events))
        line.say("EHLO client.test")
        return line

    def mail(self, *recipients: str) -> list[str]:
        return self.line.codes(
            "MAIL FROM:<a@x.test>", *[f"RCPT TO:<{to}@x.test>" for to in recipients], "DATA"
        )

    def test_a_message(self):
        """Each recipient gets a message with its own header and all lines, dots unstuffed."""
        self.assertEqual(self.mail("b", "c"), ["250", "250", "250", "354"])
        self.assertEqual(self.line.send(b"Subject: x\r\n\r\n..do"), [])
        self.assertEqual(self.line.send(b"t\r\n.\r\n"), ["250 2.0.0 Ok"])
        self.assertEqual(
            [message.lines for message in self.delivery.messages],
            [[b"Received: for %s@x.test" % to, b"Subject: x", b"", b".dot"] for to in (b"b", b"c")],
        )
        self.assertEqual(self.delivery.heard[0], ((b"client.test", b"192.0.2.7"), b"a@x.test"))
        self.assertEqual(self.delivery.heard[1], (b"b@x.test", b"a@x.test"))

    def test_null_sender(self):
        """The null sender is asked about like another one."""
        self.assertEqual(self.line.codes("MAIL FROM:<>", "RCPT TO:<b@x.test>"), ["250", "250"])
        self.assertEqual(self.delivery.heard[0][1], b"")

    def test_international(self):
        """An address beyond ASCII comes in UTF-8 (RFC 6531)."""
        codes = self.line.codes("MAIL FROM:<ü@x.test> SMTPUTF8", "RCPT TO:<用户@x.test>")
        self.assertEqual(codes, ["250", "250"])
        self.assertEqual(self.delivery.heard[1], ("用户@x.test".encode(), "ü@x.test".encode()))

    def test_refusals(self):
        """The codes of stock errors are kept; an unexpected one is 451."""
        self.assertEqual(self.line.say("MAIL FROM:<bad@x.test>"), ["553 5.0.0 not you"])
        self.line.say("MAIL FROM:<a@x.test>")
        for to, answer in (
            ("bad", "551 5.0.0 moved"),
            ("later", "450 4.0.0 later"),
            ("bug", "451 4.3.0 Local"),
        ):
            self.assertTrue(self.line.say(f"RCPT TO:<{to}@x.test>")[0].startswith(answer))
        self.assertEqual(self.line.codes("RCPT TO:<b@x.test>", "DATA"), ["250", "354"])
        self.assertEqual(len(self.delivery.messages), 1)

    def test_the_worst_end(self):
        """At the end of data any 4xx beats any 5xx beats 250, and stays what it is."""
        temporary, permanent = smtp.SMTPServerError(450, b"full"), smtp.SMTPServerError(554, b"spam")
        for ends, answer in [
            ({}, "250 2.0.0 Ok"),
            ({b"b": permanent}, "554 5.0.0 spam"),
            ({b"b": permanent, b"c": temporary}, "450 4.0.0 full"),
            ({b"b": temporary, b"c": permanent}, "450 4.0.0 full"),
            ({b"b": KeyError("bug"), b"c": permanent}, "451 4.3.0 Local error in processing"),
        ]:
            self.delivery.ends = ends
            self.mail("b", "c")
            self.assertEqual(self.line.say("x: y", "."), [answer])
        self.assertIsInstance(self.events.of("session.failed")[0]["exc"], KeyError)

    def test_refused_line(self):
        """A message that refuses a line is told no more, and its code is the answer to the end."""
        self.mail("b")
        self.assertEqual(self.line.say("x: y", "", "bad", "more", "."), ["554 5.0.0 bad line"])
        [message] = self.delivery.messages
        self.assertEqual((message.lost, message.lines[-1]), (1, b""))

    def test_refused_message(self):
        """A message that cannot be made refuses DATA; the others are told."""
        self.delivery.ends = {b"c": smtp.SMTPServerError(452, "no room")}
        self.assertEqual(self.mail("b", "c"), ["250", "250", "250", "452"])
        self.assertEqual(self.delivery.messages[0].lost, 1)

    def test_content_without_headers(self):
        """Content without headers does not become part of ours."""
        self.mail("b")
        self.line.say("just text", ".")
        self.assertEqual(self.delivery.messages[0].lines[1:], [b"", b"just text"])

    def test_lost(self):
        """A client that leaves in the middle is told to the messages."""
        self.mail("b")
        self.line.send(b"half")
        self.line.protocol.connectionLost()
        self.assertEqual(self.delivery.messages[0].lost, 1)

    def test_delivery_factory(self):
        """A delivery factory is asked for a delivery for each message."""
        factory = Deliveries(self.delivery)
        self.line = self.connected(smtp.IMessageDeliveryFactory, factory)
        for _ in range(2):
            self.assertEqual(self.mail("b")[-1], "354")
            self.line.say("x: y", ".")
        self.assertEqual(factory.count, 2)
