from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.endpoint import (
    complaint,
    is_encrypted,
    is_local,
    parse_endpoint,
    reached_at,
)
from smtprelay.model.network import is_plain_remote


class EndpointTests(SynchronousTestCase):
    def test_good(self) -> None:
        """What Twisted takes is taken as it is; systemd's sockets are not looked for."""
        good = [
            "tcp:2525",
            "tcp:0:interface=127.0.0.1",
            "tcp6:port=25:interface=\\:\\:1",
            "haproxy:tcp:2525",
            "unix:/run/x.sock",
            "systemd:domain=INET6:name=smtp",
        ]
        self.assertEqual([parse_endpoint(text) for text in good], good)
        self.assertEqual([complaint(text) for text in good], [""] * len(good))

    def test_bad_at_a_glance(self) -> None:
        """What has no port, a wrong one, or no kind at all is refused without asking Twisted."""
        for text in (
            "",
            "2525",
            "tcp",
            "tcp:x",
            "tcp:70000",
            "tcp:-1",
            "tcp:",
            ":2525",
            "haproxy:tcp:x",
            "unix:",
        ):
            self.assertRaises(ValueError, parse_endpoint, text)

    def test_colons(self) -> None:
        """An IPv6 address whose colons are not escaped is told as it must be written."""
        for text, written in {
            "tcp:25:interface=::1": r"tcp:25:interface=\:\:1",
            "tcp6:25:interface=[fe80::1]:backlog=5": r"tcp6:25:interface=fe80\:\:1:backlog=5",
        }.items():
            self.assertIn(f"write '{written}', in", str(self.assertRaises(ValueError, parse_endpoint, text)))
            self.assertEqual((parse_endpoint(written), complaint(written)), (written, ""))

    def test_address_and_port(self) -> None:
        """An address and a port, as other programs take them, are told as an endpoint."""
        for text, written in {
            "127.0.0.1:2525": "tcp:2525:interface=127.0.0.1",
            "localhost:25": "tcp:25:interface=127.0.0.1",
            ":25": "tcp:25",
            "*:25": "tcp:25",
            "[::1]:25": r"tcp:25:interface=\:\:1",
            "tcp:127.0.0.1:25": "tcp:25:interface=127.0.0.1",
            "tcp://*:25": "tcp:25",
        }.items():
            self.assertIn(written, str(self.assertRaises(ValueError, parse_endpoint, text)))
            self.assertEqual(complaint(written), "")

    def test_the_folder_of_tls_is_no_port(self) -> None:
        """What stands behind ``tls:`` is a folder of certificates; without a port it would listen at 443."""
        for text in ("tls:0", "tls:/etc/certificates"):
            error = self.assertRaises(ValueError, parse_endpoint, text)
            self.assertIn("expected tls:FOLDER:PORT", str(error))
        for text in ("tls:/etc/certificates:465", "tls:port=465:path=/etc/certificates"):
            self.assertEqual(parse_endpoint(text), text)

    def test_interface(self) -> None:
        """The name of a network card is no address to listen at."""
        error = self.assertRaises(ValueError, parse_endpoint, "tcp:25:interface=eth0")
        self.assertIn("must be an address of this machine", str(error))
        parse_endpoint("tcp:25:interface=localhost")

    def test_bad_for_systemd(self) -> None:
        """Its sockets are not looked for, but a name or number of one must be given."""
        for arguments in ("x", "domain=INET", "domain=X:name=a", "domain=INET:index=a", "domain=INET:nam=a"):
            self.assertIn("systemd:domain=INET:name=smtp", complaint(f"systemd:{arguments}"))

    def test_bad_for_twisted(self) -> None:
        """What Twisted refuses is told in its words."""
        self.assertIn("bogus", complaint("bogus:1"))
        self.assertIn("unexpected keyword argument 'wrong'", complaint("tcp:1:wrong=2"))
        self.assertIn("No such file", complaint("ssl:1:privateKey=/nope"))

    def test_local(self) -> None:
        """Only loopback and UNIX sockets are local; what is not known is not."""
        local = [
            "tcp:1:interface=127.0.0.1",
            "tcp6:1:interface=\\:\\:1",
            "unix:/x",
            "haproxy:tcp:1:interface=127.0.0.2",
        ]
        remote = [
            "tcp:1",
            "tcp:1:interface=0.0.0.0",
            "tcp:1:interface=10.0.0.1",
            "systemd:domain=INET:index=0",
        ]
        self.assertEqual([is_local(text) for text in local + remote], [True] * 4 + [False] * 4)

    def test_reached_at(self) -> None:
        """A TCP endpoint is reached at its interface, or on loopback; no other kind is."""
        cases = {
            "tcp:25:interface=10.0.0.1": ("10.0.0.1", 25),
            "tcp:25": ("127.0.0.1", 25),
            "tcp:25:interface=0.0.0.0": ("127.0.0.1", 25),
            r"tcp:25:interface=\:\:": ("::1", 25),
            "tcp6:25": ("::1", 25),
            "tls:certificates:465": ("127.0.0.1", 465),
            "tcp:0": None,
            "unix:/run/x.sock": None,
            "systemd:domain=INET:index=0": None,
            "haproxy:tcp:25": None,
        }
        self.assertEqual({text: reached_at(text) for text in cases}, cases)

    def test_encrypted(self) -> None:
        """ssl: and tls: endpoints speak TLS themselves, also behind a proxy."""
        texts = ["ssl:1", "haproxy:ssl:1", "tcp:1"]
        self.assertEqual([is_encrypted(text) for text in texts], [True, True, False])

    def test_plain_remote(self) -> None:
        """Only http:// to another machine carries secrets in clear text."""
        cases = {
            "https://example.com": False,
            "http://127.0.0.1:8080/x": False,
            "http://localhost": False,
            "http://[::1]:1": False,
            "http://example.com": True,
            "HTTP://example.com": True,
            "http://127.0.0.1.example.com": True,
            "http://127.0.0.1@example.com": True,
            "http://[bad": True,
        }
        self.assertEqual({url: is_plain_remote(url) for url in cases}, cases)
