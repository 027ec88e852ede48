from pathlib import Path

from attrs import evolve
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome
from smtprelay.net.certificate import CertificateError
from smtprelay.net.outbound import Outbound
from smtprelay.providers.smarthost.provider import Smarthost
from smtprelay.providers.smarthost.server_settings import ServerSettings
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import CUT, SmtpSink
from tests.providers.smarthost_wiring import Stored, delivery, settings
from tests.recording import Recording

HOST = settings(
    ServerSettings(host="localhost", helo="relay.example.com"), username="u", password=lambda: "p"
)


class TLSTests(TestCase):
    """TLS is real here, and so are the sockets."""

    timeout = 20

    async def sink(self, **settings: object) -> SmtpSink:
        """Start a server with a certificate for localhost."""
        self.certificate = make_certificate(self.mktemp(), str(settings.pop("name", "localhost")))
        asked = settings.pop("asked", ())
        sink = SmtpSink(users={"u": "p"}, required=True, certificate=self.certificate, **settings)
        if asked:
            self.ask(sink, *asked)
        self.port = await sink.listen(reactor)
        self.addCleanup(self.port.stopListening)
        return sink

    def provider(self, **changes: object) -> Smarthost:
        """Return a provider of the server's."""
        if "port" not in changes:
            changes["port"] = self.port.getHost().port
        outbound = Outbound(
            ca=str(changes.pop("ca", self.certificate.ca)),
            client_certificate=changes.pop("client_certificate", None),
        )
        return Smarthost("host", reactor, evolve(HOST, outbound=outbound, **changes), Recording())

    async def deliver(self, body: bytes = b"hello\r\n", **changes: object) -> Outcome:
        """Deliver once with a provider of our own, and close it."""
        provider = self.provider(**changes)
        outcomes = await provider.deliver(Attempt(delivery(), Stored(body)))
        await provider.close()
        [outcome] = outcomes.values()
        return outcome

    def ask(self, sink: SmtpSink, *authorities: Path) -> None:
        """Have the server require a certificate of ``authorities``, and note the names of what comes."""
        self.seen: list[str] = []

        def note(_connection: SSL.Connection, shown: X509, _error: int, _depth: int, good: int) -> int:
            self.seen.insert(0, shown.to_cryptography().subject.rfc4514_string())
            return good

        context = sink.tls_options()
        for ca in authorities:
            context.getContext().load_verify_locations(str(ca))
        context.getContext().set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, note)
        sink.tls_options = lambda: context

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
            self.assertIn("certificate verify failed (if that is the right server", outcome.why)
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

    async def test_client_certificate(self) -> None:
        """A server that asks for a certificate gets ours with its chain, by STARTTLS and by implicit TLS."""
        ours = make_certificate(self.mktemp(), "relay.example.com")
        chain = Path(self.mktemp())
        chain.write_bytes(ours.certificate.read_bytes() + ours.ca.read_bytes())
        for tls in ("starttls", "implicit"):
            await self.sink(implicit=tls == "implicit", asked=[ours.ca])
            outcome = await self.deliver(tls=tls, client_certificate=(str(chain), str(ours.key)))
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(self.seen, ["CN=relay.example.com", "CN=smtprelay test authority"])

    async def test_client_certificate_that_is_missing(self) -> None:
        """Without one such a server sends us away, which blocks: there is something to configure."""
        ours = make_certificate(self.mktemp(), "relay.example.com")
        await self.sink(asked=[ours.ca])
        self.assertIsInstance(await self.deliver(), Blocked)

    async def test_client_certificate_that_is_renewed(self) -> None:
        """New files are read after a minute."""
        ours, newer = (make_certificate(self.mktemp(), f"{name}.example.com") for name in ("old", "new"))
        await self.sink(asked=(ours.ca, newer.ca))
        provider = self.provider(messages=1, client_certificate=(str(ours.certificate), str(ours.key)))
        await provider.deliver(Attempt(delivery(), Stored(b"hello\r\n")))
        newer.certificate.replace(ours.certificate)
        newer.key.replace(ours.key)
        provider._pool._creators_until = 0.0
        await provider.deliver(Attempt(delivery(), Stored(b"hello\r\n")))
        await provider.close()
        shown = [name for name in self.seen if "authority" not in name]
        self.assertEqual(shown, ["CN=new.example.com", "CN=old.example.com"])

    async def test_client_certificate_that_cannot_be_used(self) -> None:
        """It is known at the start."""
        await self.sink()
        ours, other = (make_certificate(self.mktemp()) for _ in range(2))
        with self.assertRaisesRegex(CertificateError, "the key does not belong to the certificate"):
            await self.deliver(client_certificate=(str(ours.certificate), str(other.key)))

    async def test_opportunistic(self) -> None:
        """``opportunistic`` takes STARTTLS with any certificate, as it comes from a name that DNS gave."""
        sink = await self.sink(name="elsewhere.example.com")
        self.assertIsInstance(await self.deliver(ca="", tls="opportunistic"), Delivered)
        self.assertTrue(sink.messages[0].tls)

    async def test_bad_authority(self) -> None:
        """A file that holds no certificate is found at start."""
        await self.sink()
        with self.assertRaises(Exception) as raised:
            await self.deliver(ca=str(self.certificate.key))
        self.assertEqual(type(raised.exception).__module__, "OpenSSL.SSL")
