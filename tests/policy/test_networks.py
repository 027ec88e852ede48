"""Networks, addresses, and what would be an open relay."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.address import has_control, is_mailbox, is_numeric, is_ordinary, is_routed
from smtprelay.model.network import counted_as
from smtprelay.policy.networks import LOOPBACK, Networks, network


class NetworksTests(SynchronousTestCase):
    def test_a_client_is_found_in_its_network(self):
        """An address belongs to the networks around it and to no others."""
        networks = Networks.parse(["10.0.3.0/24", "192.0.2.7", "2001:db8::/32"])
        for inside in ("10.0.3.255", "192.0.2.7", "2001:db8::1", "2001:db8::1%eth0"):
            self.assertIn(inside, networks)
        for outside in ("10.0.4.0", "192.0.2.8", "2001:db9::1", "no address", None):
            self.assertNotIn(outside, networks)

    def test_mapped_ipv4_is_ipv4(self):
        """A client is the same one when it arrives as IPv4-mapped IPv6, and so is a network."""
        self.assertIn("::ffff:10.0.3.1", Networks.parse(["10.0.3.0/24"]))
        self.assertNotIn("::ffff:10.0.4.1", Networks.parse(["10.0.3.0/24"]))
        self.assertIn("10.0.3.1", Networks.parse(["::ffff:10.0.3.0/120"]))
        self.assertNotIn("10.0.4.1", Networks.parse(["::ffff:10.0.3.0/120"]))
        self.assertEqual(str(network("::ffff:0:0/96")), "0.0.0.0/0")

    def test_nat64_is_ipv4(self):
        """Who comes by NAT64 is found by either address; nobody is in a private network by that."""
        for networks in (["192.0.2.0/24"], ["64:ff9b::192.0.2.0/120"]):
            self.assertIn("64:ff9b::192.0.2.1", Networks.parse(networks))
            self.assertNotIn("64:ff9b::198.51.100.1", Networks.parse(networks))
        self.assertNotIn("192.0.2.1", Networks.parse(["64:ff9b::192.0.2.0/120"]))
        for private in ("127.0.0.1", "10.0.0.1", "192.168.1.1"):
            self.assertNotIn(
                f"64:ff9b::{private}", Networks.parse(["127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0"])
            )

    def test_what_a_client_is_counted_as_lets_it_in(self):
        """The list's text for a client is a network with that client in it."""
        for client in (
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "64:ff9b::c000:201",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "::1",
        ):
            self.assertIn(client, Networks.parse([counted_as(client)]))
            self.assertNotIn("198.51.100.1", Networks.parse([counted_as(client)]))

    def test_an_ipv6_network_holds_no_ipv4_clients(self):
        """``::/8`` is the range that IPv4-mapped addresses come from; it does not let IPv4 in."""
        self.assertNotIn("::ffff:198.51.100.1", Networks.parse(["::/8"]))

    def test_a_unix_socket_is_local(self):
        """A client on a Unix socket is where this machine is, by either of its addresses."""
        for networks in (LOOPBACK, ["127.0.0.1"], ["::1"], ["0.0.0.0/0"], ["::/0"], ["127.0.0.0/8"]):
            self.assertIn("unix", Networks.parse(networks))
        for networks in ([], ["10.0.0.0/8"], ["127.0.0.2"], ["fe80::/10"]):
            self.assertNotIn("unix", Networks.parse(networks))

    def test_what_is_no_address_is_nowhere(self):
        """A client whose address is unknown or no address is in no network."""
        for text in ("", "relay.example.com", "10.0.3", "10.0.3.1 ", "010.0.3.1", "127.1"):
            self.assertNotIn(text, Networks.parse(["0.0.0.0/0", "::/0"]))

    def test_bad_networks_are_refused(self):
        """A network with host bits, or what is none, does not pass in silence."""
        for text in ("10.0.3.1/24", "10.0.0.0/33", "example.com", ""):
            with self.assertRaises(ValueError):
                Networks.parse([text])


class MailboxTests(SynchronousTestCase):
    def test_mailboxes(self):
        """What RFC 5321 calls a mailbox is one, with the forms that relays are tricked with."""
        for address in (
            "a@b",
            "a.b+c@example.com",
            '"john doe"@example.com',
            '"a@b"@example.com',
            r'"a\"b"@example.com',
            "a%b@example.com",
            "user@[127.0.0.1]",
            "user@[IPv6:2001:db8::1]",
            "jörg@bücher.example",
        ):
            self.assertTrue(is_mailbox(address), address)

    def test_what_is_no_mailbox(self):
        """Routes, lists, missing parts and unquoted specials are not one mailbox."""
        for address in (
            "",
            "root",
            "a@",
            "@b",
            "a@b@c",
            "@b:a@c",
            "b!a",
            "a b@c",
            "a@b c",
            "a@b,c@d",
            "a@b;c@d",
            "<a@b>",
            "a@b>",
            '"a@b',
            '"a"b"@c',
            "a@[1.2.3.4",
            "a@b(c)",
            "a@b\n",
        ):
            self.assertFalse(is_mailbox(address), address)

    def test_control_characters(self):
        """Each kind of character that could end a line or hide one is found."""
        for bad in ("\r", "\n", "\0", "\t", "\x7f", "\x85", "\u2028", "\u2029", "\udc80"):
            self.assertTrue(has_control(f"a{bad}b@example.com"), repr(bad))
        self.assertFalse(has_control('"jörg müller"@bücher.example'))


class OrdinaryTests(SynchronousTestCase):
    @given(st.text('ab0.@!%-_"[]:\\\n \x7fü,', max_size=20) | st.emails())
    def test_a_closer_look_finds_nothing(self, address: str) -> None:
        """What is ordinary is a mailbox with a name for a domain, without control characters or a route."""
        if is_ordinary(address):
            self.assertTrue(is_mailbox(address))
            self.assertFalse(has_control(address) or is_routed(address))
            self.assertFalse(is_numeric(address.rpartition("@")[2]))

    def test_examples(self) -> None:
        """The addresses of nearly all mail are ordinary; whatever could be read in two ways is not."""
        for address in ("a@example.com", "first.last+tag@mail_1.example.co.uk", "o'brien@x-y.example", "a@b"):
            self.assertTrue(is_ordinary(address), address)
        longest = ".".join(["x" * 62] * 4)
        local = (
            "",
            "a",
            "postmaster",
            "a@",
            "@b",
            "a@b@c",
            "a%b@c",
            "b!a@c",
            '"a"@b',
            ".a@b",
            "a..b@c",
            "a b@c",
        )
        domain = ("1.2.3.4", "[127.0.0.1]", "-b.example", "b-", "b.example.", "ü", "b\n", f"{longest}.xyz")
        for address in (
            *local,
            *(f"a@{name}" for name in (*domain, f"{'x' * 64}.example")),
            "@x.example:a@b",
        ):
            self.assertFalse(is_ordinary(address), address)
