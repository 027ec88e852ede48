from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome
from smtprelay.net.outbound import Outbound
from smtprelay.providers.smarthost.provider import Smarthost
from smtprelay.providers.smarthost.server_settings import ServerSettings
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import CUT, SmtpSink
from tests.providers.smarthost_wiring import Stored, delivery
from tests.recording import Recording

HOST = ServerSettings(host="localhost", helo="relay.example.com", username="u", password=lambda: "p")


class TLSTests(TestCase):
    """TLS is real here, and so are the sockets."""

    timeout = 20

    async def sink(self, **settings: object) -> SmtpSink:
        """Start a server with a certificate for localhost."""
        self.certificate = make_certificate(self.mktemp(), str(settings.pop("name", "localhost")))
        sink = SmtpSink(users={"u": "p"}, required=True, certificate=self.certificate, **settings)
        self.port = await sink.listen(reactor)
        self.addCleanup(self.port.stopListening)
        return sink

    async def deliver(self, body: bytes = b"hello\r\n", **changes: object) -> Outcome:
        """Deliver once with a provider of our own, and close it."""
        if "port" not in changes:
            changes["port"] = self.port.getHost().port
        outbound = Outbound(ca=str(changes.pop("ca", self.certificate.ca)))
        provider = Smarthost("host", reactor, evolve(HOST, outbound=outbound, **changes), Recording())
        outcomes = await provider.deliver(Attempt(delivery(), Stored(body)))
        await provider.close()
        [outcome] = outcomes.values()
        return outcome

    async def test_starttls(self) -> None:
        """After STARTTLS the server is greeted anew, and the login and the mail are encrypted."""
        sink = await self.sink()
        self.assertIsInstance(await self.deliver(), Delivered)
        verbs = [line.split()[0] for line in sink.lines]
        self.assertEqual(verbs[:5], ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"])
        self.assertEqual((sink.messages[0].user, sink.messages[0].tls), ("u", True))

    async def test_implicit(self) -> None:
        """With implicit TLS nothing leaves in plain text."""
        sink = await self.sink(implicit=True)
        self.assertIsInstance(await self.deliver(tls="implicit"), Delivered)
        self.assertEqual(sink.lines[0], "EHLO relay.example.com")
        self.assertTrue(sink.messages[0].tls)

    async def test_large(self) -> None:
        """A body larger than the buffers arrives whole through TLS."""
        sink = await self.sink()
        body = b".line\r\n" * 200_000
        self.assertIsInstance(await self.deliver(body), Delivered)
        self.assertEqual(sink.messages[0].body, body)

    async def test_unknown_authority(self) -> None:
        """A certificate that nobody vouches for blocks before the login, in OpenSSL's words."""
        for implicit in (False, True):
            sink = await self.sink(implicit=implicit)
            outcome = await self.deliver(ca="", tls="implicit" if implicit else "starttls")
            self.assertIsInstance(outcome, Blocked)
            self.assertIn("certificate verify failed", outcome.why)
            self.assertNotIn("AUTH", " ".join(sink.lines))

    async def test_other_name(self) -> None:
        """A certificate for another host blocks before the login."""
        sink = await self.sink(name="elsewhere.example.com")
        outcome = await self.deliver()
        self.assertIsInstance(outcome, Blocked)
        self.assertIn("certificate", outcome.why)
        self.assertNotIn("AUTH", " ".join(sink.lines))

    async def test_unverified(self) -> None:
        """With ``verify: false`` any certificate will do, and there is still TLS."""
        for implicit in (False, True):
            sink = await self.sink(name="elsewhere.example.com", implicit=implicit)
            tls = "implicit" if implicit else "starttls"
            self.assertIsInstance(await self.deliver(ca="", verify=False, tls=tls), Delivered)
            self.assertTrue(sink.messages[0].tls)

    async def test_plain_server(self) -> None:
        """A server that does not speak TLS where it should blocks: the configuration is wrong."""
        await self.sink()
        self.assertIsInstance(await self.deliver(tls="implicit"), Blocked)

    async def test_lost_in_the_handshake(self) -> None:
        """A connection that ends is no verdict on the certificate."""
        sink = await self.sink(implicit=True)
        sink.script("CONNECT", CUT)
        self.assertIsInstance(await self.deliver(tls="implicit"), Deferred)

    async def test_nobody_listens(self) -> None:
        """A closed port defers."""
        await self.sink()
        port = self.port.getHost().port
        await self.port.stopListening()
        self.assertIsInstance(await self.deliver(port=port), Deferred)

    async def test_name_that_is_none(self) -> None:
        """A host that cannot be a name is refused at start, or blocks: no retry will mend it."""
        await self.sink()
        with self.assertRaises(ValueError):
            await self.deliver(host="a..b")
        self.assertIsInstance(await self.deliver(host="a..b", tls="none"), Blocked)

    async def test_bad_authority(self) -> None:
        """A file that holds no certificate is found at start."""
        await self.sink()
        with self.assertRaises(Exception) as raised:
            await self.deliver(ca=str(self.certificate.key))
        self.assertEqual(type(raised.exception).__module__, "OpenSSL.SSL")
