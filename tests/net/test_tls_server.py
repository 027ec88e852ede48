"""Server certificates: what is offered, how renewals are noticed, what is said of bad files."""

import gc
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import RFC822Name
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_PEM, dump_certificate
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.net.certificate import CertificateError, load_certificate, names_in
from smtprelay.net.tls_server import ServerContext
from smtprelay.testing.certificates import Certificate, make_certificate
from tests.recording import Recording

END = "-----END CERTIFICATE-----\n"


def shake_hands(context: SSL.Context, client: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """Let ``client``, which asks for ``name``, and a server with ``context`` meet; return the client."""
    server = SSL.Connection(context, None)
    server.set_accept_state()
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    end = client.wrap_bio(inward, outward, server_hostname=name)
    for _ in range(10):
        done = attempt(end.do_handshake)
        if sent := outward.read():
            server.bio_write(sent)
        attempt(server.do_handshake)
        attempt(lambda: inward.write(server.bio_read(65_536)))
        if done:
            break
    return end


def attempt(step: Callable[[], object]) -> bool:
    """Take ``step``; return whether it came to its end."""
    try:
        step()
    except (ssl.SSLWantReadError, SSL.WantReadError):
        return False
    return True


class Base(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.events = Recording()
        self.files = make_certificate(self.mktemp())

    def context(self, *files: Certificate, **options: str) -> ServerContext:
        sources = [each.source for each in files or [self.files]]
        return ServerContext(sources, self.clock, self.events, **options)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.files.ca))


class Handshakes(Base):
    def test_interface(self):
        """It is what Twisted wants for startTLS."""
        self.assertTrue(verifyObject(IOpenSSLContextFactory, self.context()))

    def test_modern(self):
        """A client of today gets TLS 1.3, one of 2010 gets TLS 1.2 with forward secrecy."""
        end = shake_hands(self.context().getContext(), self.trusting())
        self.assertEqual(end.version(), "TLSv1.3")
        old = self.trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        end = shake_hands(self.context().getContext(), old)
        self.assertEqual(end.version(), "TLSv1.2")
        self.assertTrue(end.cipher()[0].startswith("ECDHE-"))

    def test_too_old(self):
        """TLS 1.1 is refused."""
        old = self.trusting()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        lenient = self.context(ciphers="ALL:@SECLEVEL=0").getContext()
        self.assertRaises(SSL.Error, shake_hands, lenient, old)

    def test_legacy(self):
        """The legacy profile takes what old devices speak, and gives a client of today what it can."""
        self.files = make_certificate(self.mktemp(), old=True)
        for ciphers in ("", "AES128-SHA", "AES128-SHA:ECDHE-RSA-AES256-SHA:@SECLEVEL=0"):
            legacy = self.context(profile="legacy", ciphers=ciphers).getContext()
            for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
                old = self.only(version, "AES128-SHA:@SECLEVEL=0")
                end = shake_hands(legacy, old)
                self.assertEqual(
                    (end.version(), end.cipher()[0]), (version.name.replace("_", "."), "AES128-SHA")
                )
            self.assertEqual(shake_hands(legacy, self.trusting()).version(), "TLSv1.3")
        legacy = self.context(profile="legacy").getContext()
        today = self.trusting()
        today.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertIn("GCM", shake_hands(legacy, today).cipher()[0])
        for hopeless in ("aNULL:@SECLEVEL=0", "eNULL:@SECLEVEL=0"):
            client = self.only(ssl.TLSVersion.TLSv1_2, hopeless)
            self.assertRaises(SSL.Error, shake_hands, legacy, client)

    def test_old_ciphers_in_the_modern_profile(self):
        """RSA key exchange is refused, unless its ciphers are named; TLS 1.1 is, whatever is named."""
        self.files = make_certificate(self.mktemp(), old=True)
        old = self.only(ssl.TLSVersion.TLSv1_2, "AES128-SHA:@SECLEVEL=0")
        self.assertRaises(SSL.Error, shake_hands, self.context().getContext(), old)
        end = shake_hands(self.context(ciphers="AES128-SHA").getContext(), old)
        self.assertEqual(end.cipher()[0], "AES128-SHA")

    def only(self, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
        """Return a client that speaks just this."""
        client = self.trusting()
        client.set_ciphers(ciphers)
        client.minimum_version = client.maximum_version = version
        return client

    def test_ciphers(self):
        """A list of ciphers replaces ours."""
        chosen = "ECDHE-ECDSA-CHACHA20-POLY1305"
        old = self.trusting()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        end = shake_hands(self.context(ciphers=chosen).getContext(), old)
        self.assertEqual(end.cipher()[0], chosen)

    def test_chain(self):
        """What follows the certificate in its file is sent with it."""
        with self.files.certificate.open("ab") as file:
            file.write(self.files.ca.read_bytes())
        sent: list[object] = []
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        end, server = SSL.Connection(client, None), SSL.Connection(self.context().getContext(), None)
        end.set_connect_state()
        server.set_accept_state()
        for _ in range(6):
            for one, other in ((end, server), (server, end)):
                attempt(one.do_handshake)
                attempt(lambda one=one, other=other: other.bio_write(one.bio_read(65_536)))
        sent = end.get_peer_cert_chain()
        self.assertEqual(len(sent), 2)


class ServerNames(Base):
    def setUp(self):
        super().setUp()
        self.client = self.trusting()
        self.client.check_hostname = False

    def made(self, *names: str, old: bool = False) -> Certificate:
        """Return a certificate that the client trusts, with the authority's own behind it."""
        made = make_certificate(self.mktemp(), *names, old=old)
        self.client.load_verify_locations(made.ca)
        with made.certificate.open("ab") as file:
            file.write(made.ca.read_bytes())
        return made

    def shown(self, context: SSL.Context, name: str | None) -> str:
        """Return the first name in the certificate that a client gets that wants ``name``."""
        return shake_hands(context, self.client, name).getpeercert()["subjectAltName"][0][1]

    def test_the_one_that_is_asked_for(self):
        """The name itself, else its wildcard, else the first certificate; without a name, too."""
        files = [self.made(name) for name in ("one.test", "*.two.test", "a.two.test", "Three.Test")]
        context = self.context(*files).getContext()
        for asked, shown in {
            "one.test": "one.test",
            "A.two.test": "a.two.test",
            "b.two.test": "*.two.test",
            "two.test": "one.test",
            "b.b.two.test": "one.test",
            "three.test": "Three.Test",
            "elsewhere.test": "one.test",
            "test": "one.test",
            None: "one.test",
        }.items():
            self.assertEqual(self.shown(context, asked), shown, asked)

    def test_no_alternative_names(self):
        """A certificate that has none is for its common name."""
        source = self.made("one.test").source
        leaf = load_certificate(source).leaf
        self.assertEqual(names_in(leaf, RFC822Name), ("one.test",))
        self.assertEqual(load_certificate(source).names, {"one.test"})

    def test_two_kinds_of_keys(self):
        """Beside each other: a client gets the one that it knows, with its own chain; with a name or not."""
        new, old = self.made("one.test"), self.made("one.test", old=True)
        wide = self.made("*.test", old=True)
        both = {"ECDHE-ECDSA-AES128-GCM-SHA256": new, "ECDHE-RSA-AES128-GCM-SHA256": old}
        for order in ([new, old], [old, new], [new, wide, old], [wide, new, old]):
            context = self.context(*order, profile="legacy").getContext()
            for ciphers, expected in both.items():
                for name in ("one.test", None) if order[0] is not wide else ("one.test",):
                    self.assertEqual(self.chain(context, ciphers, name), pems(expected))
        self.assertEqual(self.chain(context, "ECDHE-RSA-AES128-GCM-SHA256", "x.test"), pems(wide))
        context = self.context(new, wide).getContext()
        self.assertEqual(self.chain(context, "ECDHE-RSA-AES128-GCM-SHA256", "one.test"), pems(wide))

    def chain(self, context: SSL.Context, ciphers: str, name: str | None) -> list[str]:
        """Return the certificates that a client with these ``ciphers`` gets."""
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_max_proto_version(SSL.TLS1_2_VERSION)
        client.set_cipher_list(ciphers.encode())
        end, server = SSL.Connection(client, None), SSL.Connection(context, None)
        end.set_connect_state()
        server.set_accept_state()
        if name is not None:
            end.set_tlsext_host_name(name.encode())
        for _ in range(6):
            for one, other in ((end, server), (server, end)):
                attempt(one.do_handshake)
                attempt(lambda one=one, other=other: other.bio_write(one.bio_read(65_536)))
        return [dump_certificate(FILETYPE_PEM, each).decode() for each in end.get_peer_cert_chain()]

    def test_the_same_twice(self):
        """Of two of one kind for a name the first is shown."""
        first, second = self.made("one.test", "x.test"), self.made("one.test", "y.test")
        context = self.context(first, second).getContext()
        ends = [shake_hands(context, self.client, name) for name in ("one.test", "y.test")]
        names = [[name for _, name in end.getpeercert()["subjectAltName"]] for end in ends]
        self.assertEqual(names, [["one.test", "x.test"], ["one.test", "y.test"]])

    def test_renewal(self):
        """Each of them is read again when it changes; a handshake that has begun ends with what it began."""
        first, second = self.made("one.test"), self.made("two.test")
        context = self.context(first, second)
        begun = context.getContext()
        other = self.made("two.test", "new.test")
        for name in ("certificate", "key"):
            shutil.copy(getattr(other, name), getattr(second, name))
        self.clock.advance(1)
        self.assertEqual(self.shown(context.getContext(), "new.test"), "two.test")
        gc.collect()
        self.assertEqual(self.shown(begun, "new.test"), "one.test")
        second.key.unlink()
        self.clock.advance(1)
        self.assertEqual(self.shown(context.getContext(), "new.test"), "two.test")
        [warning] = self.events.of("relay.warning")
        self.assertIn(str(second.key), warning["text"])

    def test_what_is_in_force(self):
        """The ciphers, and the oldest version, are told with the certificates."""
        self.context(ciphers="ECDHE-RSA-AES128-GCM-SHA256").tell("lan")
        self.context(profile="legacy").tell("old")
        lan, old = self.events.of("relay.tls")
        self.assertTrue(lan["ciphers"].endswith(" ECDHE-RSA-AES128-GCM-SHA256"))
        self.assertIn("AES128-SHA", old["ciphers"].split())
        self.assertEqual((lan["oldest"], old["oldest"]), ("TLS 1.2", "TLS 1.0"))
        self.assertEqual((lan["listener"], lan["certificates"]), ("lan", str(self.files.certificate)))


def pems(files: Certificate) -> list[str]:
    """Return the certificates in a file."""
    return [f"{each}{END}" for each in files.certificate.read_text().split(END)[:-1]]


class Renewal(Base):
    def renew(self, names: tuple[str, ...] = ("certificate", "key")) -> Certificate:
        """Put the files of another certificate in the place of ours."""
        other = make_certificate(self.mktemp())
        for name in names:
            shutil.copy(getattr(other, name), getattr(self.files, name))
        return other

    def test_unchanged(self):
        """As long as the files are what they were, the context is."""
        context = self.context()
        first = context.getContext()
        self.clock.advance(100)
        self.assertIs(context.getContext(), first)

    def test_changed(self):
        """A renewed certificate is used by the first handshake a second later."""
        context = self.context()
        other = self.renew()
        self.clock.advance(1)
        client = ssl.create_default_context(cafile=str(other.ca))
        self.assertEqual(shake_hands(context.getContext(), client).version(), "TLSv1.3")

    def test_at_most_once_a_second(self):
        """Within a second the files are not looked at again."""
        context = self.context()
        first = context.getContext()
        self.renew()
        self.clock.advance(0.9)
        self.assertIs(context.getContext(), first)

    def test_half_way(self):
        """Between a new certificate and its key the old ones stay in use; it is told once."""
        context = self.context()
        first = context.getContext()
        other = self.renew(("certificate",))
        for _ in range(5):
            self.clock.advance(2)
            self.assertIs(context.getContext(), first)
        [warning] = self.events.of("relay.warning")
        self.assertIn(str(self.files.key), warning["text"])
        shutil.copy(other.key, self.files.key)
        self.clock.advance(2)
        self.assertIsNot(context.getContext(), first)

    def test_missing_for_a_while(self):
        """A file that is away is told once, and taken when it is back."""
        context = self.context()
        first = context.getContext()
        away = Path(self.mktemp())
        self.files.key.rename(away)
        for _ in range(5):
            self.clock.advance(2)
            self.assertIs(context.getContext(), first)
        self.assertEqual(len(self.events.of("relay.warning")), 1)
        self.renew()
        self.clock.advance(2)
        self.assertIsNot(context.getContext(), first)


class BadFiles(Base):
    def check(self, *words: str, **options: str) -> None:
        text = str(self.assertRaises(CertificateError, self.context, **options))
        for word in words:
            self.assertIn(word, text)

    def test_missing(self):
        """A file that is not there is named."""
        self.files.key.unlink()
        self.check(str(self.files.key), "No such file")
        self.files.certificate.unlink()
        self.check(str(self.files.certificate), "No such file")

    def test_not_a_file(self):
        """A folder is no certificate."""
        self.files.certificate.unlink()
        self.files.certificate.mkdir()
        self.check(str(self.files.certificate), "directory")

    def test_no_certificate(self):
        """A file without a certificate, or with a broken one, is named."""
        self.files.certificate.write_text("hello")
        self.check(str(self.files.certificate), "no certificate")
        broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.files.certificate.write_text(broken)
        self.check(str(self.files.certificate), "cannot be read")

    def test_no_key(self):
        """A file without a key is named; so is an encrypted one, and nobody is asked for a passphrase."""
        key = load_pem_private_key(self.files.key.read_bytes(), None)
        sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        for content in (b"", b"hello", sealed):
            self.files.key.write_bytes(content)
            self.check(str(self.files.key), "private key")

    def test_another_key(self):
        """A key that belongs to another certificate is told, with both names."""
        other = make_certificate(self.mktemp())
        shutil.copy(other.key, self.files.key)
        self.check(str(self.files.key), str(self.files.certificate), "does not belong")

    def test_no_such_ciphers(self):
        """Ciphers that do not exist are told by name."""
        self.check("NOSUCH", ciphers="NOSUCH")
