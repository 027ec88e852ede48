import smtplib
import ssl

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import CUT, SILENCE, Pause, SmtpSink
from smtprelay.testing.smtp_session import SmtpSinkSession

MAIL = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"


class SinkTests(SynchronousTestCase):
    def connect(self, sink: SmtpSink) -> StringTransportWithDisconnection:
        """Connect a client that is its transport; what was said so far is taken out."""
        talk = sink.buildProtocol(None)
        assert isinstance(talk, SmtpSinkSession)
        transport = StringTransportWithDisconnection()
        transport.protocol = talk
        talk.makeConnection(transport)
        self.said(transport)
        return transport

    def said(self, transport: StringTransportWithDisconnection) -> bytes:
        """Return what the server said since the last time."""
        value: bytes = transport.value()
        transport.clear()
        return value

    def test_message(self) -> None:
        """A message is kept with its envelope, its text without stuffing, and its bytes as they came."""
        sink = SmtpSink()
        client = self.connect(sink)
        client.protocol.dataReceived(MAIL)
        self.assertEqual(self.said(client), b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n")
        for byte in b"..dot\r\n.a\r\n.\r\nQUIT\r\n":
            client.protocol.dataReceived(bytes([byte]))
        self.assertEqual(self.said(client), b"250 2.0.0 Ok: queued as sunk\r\n221 2.0.0 bye\r\n")
        [message] = sink.messages
        self.assertEqual((message.sender, message.recipients), ("a@x", ("b@y",)))
        self.assertEqual((message.body, message.wire), (b".dot\r\na\r\n", b"..dot\r\n.a\r\n.\r\n"))
        self.assertEqual((sink.connections, sink.talks), (1, []))

    def test_script(self) -> None:
        """Scripted answers are used up in turn; a refused recipient is not in the envelope."""
        sink = SmtpSink()
        sink.always("RCPT", "451 later")
        sink.script("RCPT", "550 5.1.1 no\nreally", "250 ok")
        client = self.connect(sink)
        client.protocol.dataReceived(b"MAIL FROM:<>\r\n" + b"RCPT TO:<b@y>\r\n" * 3 + b"DATA\r\n.\r\n")
        self.assertIn(b"\r\n550-5.1.1 no\r\n550 really\r\n250 ok\r\n451 later\r\n354", self.said(client))
        self.assertEqual(sink.messages[0].recipients, ("b@y",))
        self.assertEqual(sink.messages[0].body, b"")

    def test_refused_message(self) -> None:
        """A message that is refused at its end is not kept; one whose answer is lost is."""
        sink = SmtpSink()
        sink.script("END", "550 no", CUT)
        client = self.connect(sink)
        client.protocol.dataReceived(MAIL + b"1\r\n.\r\n" + MAIL + b"2\r\n.\r\n")
        self.assertEqual([message.body for message in sink.messages], [b"2\r\n"])
        self.assertFalse(client.connected)

    def test_pause_and_silence(self) -> None:
        """A pause holds all that follows; silence never ends."""
        sink = SmtpSink(clock=Clock())
        sink.script("NOOP", Pause(3), Pause(1, "450 x"), SILENCE)
        client = self.connect(sink)
        client.protocol.dataReceived(b"NOOP\r\nNOOP\r\nNOOP\r\nRSET\r\n")
        sink.clock.advance(2)
        self.assertEqual(self.said(client), b"")
        sink.clock.advance(1)
        self.assertEqual(self.said(client), b"250 2.0.0 ok\r\n")
        sink.clock.advance(1)
        self.assertEqual(self.said(client), b"450 x\r\n")
        sink.clock.advance(1000)
        self.assertEqual(self.said(client), b"")
        self.assertEqual(sink.clock.getDelayedCalls(), [])

    def test_order(self) -> None:
        """Commands out of order, and unknown ones, are refused."""
        client = self.connect(SmtpSink())
        client.protocol.dataReceived(b"RCPT TO:<b@y>\r\nDATA\r\nWHAT\r\n")
        codes = [line[:3] for line in self.said(client).splitlines()]
        self.assertEqual(codes, [b"503", b"554", b"500"])

    def test_login_required(self) -> None:
        """With ``required`` MAIL needs a login, and a wrong password is none."""
        client = self.connect(SmtpSink(users={"u": "p"}, required=True))
        client.protocol.dataReceived(
            b"AUTH PLAIN AHUAeA==\r\nMAIL FROM:<>\r\nAUTH PLAIN AHUAcA==\r\nMAIL FROM:<>\r\n"
        )
        codes = [line[:3] for line in self.said(client).splitlines()]
        self.assertEqual(codes, [b"535", b"530", b"235", b"250"])


class RealTests(TestCase):
    """With Python's own client, over real sockets."""

    timeout = 20

    async def test_smtplib(self) -> None:
        """Smtplib can encrypt, verify, log in and send."""
        certificate = make_certificate(self.mktemp())
        for implicit in (False, True):
            sink = SmtpSink(
                users={"u": "p"}, required=True, certificate=certificate, implicit=implicit, keywords=()
            )
            port = await sink.listen(reactor)
            number = port.getHost().port
            await deferToThread(_send, number, certificate, implicit=implicit)
            await port.stopListening()
            [message] = sink.messages
            self.assertEqual((message.user, message.tls, message.body), ("u", True, b".hello\r\n"))


def _send(port: int, certificate: object, *, implicit: bool) -> None:
    context = ssl.create_default_context(cafile=certificate.ca)
    if implicit:
        client = smtplib.SMTP_SSL("localhost", port, timeout=10, context=context)
    else:
        client = smtplib.SMTP("localhost", port, timeout=10)
        client.starttls(context=context)
    with client:
        client.login("u", "p")
        client.sendmail("a@x", ["b@y"], b".hello\r\n")
