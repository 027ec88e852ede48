"""As whom a client is counted, and who is a stranger."""

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.network import MAPPED, addresses_of, counted_as, host_and_port, too_wide


class CountedTests(SynchronousTestCase):
    def test_one_client(self) -> None:
        """All addresses of a /64 are one client, and IPv4 within IPv6 is the IPv4 address."""
        for addresses in (
            ("2001:db8:1:2::1", "2001:DB8:1:2:ffff::9", "2001:db8:1:2::"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207", "64:ff9b::192.0.2.7"),
            ("fe80::1%eth0", "fe80::2%eth1"),
            ("unix",),
            ("",),
        ):
            self.assertEqual(len({counted_as(address) for address in addresses}), 1, addresses)

    def test_the_text(self) -> None:
        """A network in which are strangers is never given: whoever copies the text lets in one client."""
        for address, text in (
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("64:ff9b::c000:201", "192.0.2.1"),
            ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
            ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1"),
            ("64:ff9b:1:2::c000:201", "64:ff9b:1:2::c000:201"),
            ("2001:0:1:2:3:4:5:6", "2001:0:1:2:3:4:5:6"),
            ("2002:c000:201:1::5", "2002:c000:201:1::/64"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::1", "::1"),
            ("::2", "::2"),
            ("unix", "unix"),
            ("", ""),
        ):
            self.assertEqual(counted_as(address), text)
            if addresses_of(address):
                self.assertEqual(too_wide([ip_network(text)]), "", text)

    def test_several(self) -> None:
        """Others are others: the next /64, the next IPv4 address, in whatever way it is written."""
        others = (
            "2001:db8:1:2::1", "2001:db8:1:3::1", "192.0.2.7", "192.0.2.8", "::ffff:192.0.2.9",
            "64:ff9b::192.0.2.10", "::1", "unix", "",
        )  # fmt: skip
        self.assertEqual(len({counted_as(address) for address in others}), len(others))


class StrangersTests(SynchronousTestCase):
    def test_everybody(self) -> None:
        """Networks with strangers are found, in parts and in disguise too, and told as they were written."""
        every_other = [f"{n}.0.0.0/9" for n in range(256)]
        for networks, told in (
            (["0.0.0.0/0"], "0.0.0.0/0"),
            (["::/0"], "::/0"),
            (["0.0.0.0/1", "128.0.0.0/1"], "0.0.0.0/0"),
            (["::/1", "8000::/1"], "::/0"),
            (["2000::/3"], "2000::/3"),
            (["10.0.0.0/8", "16.0.0.0/7"], "16.0.0.0/7"),
            ([f"{n}.0.0.0/8" for n in range(16, 32)], "16.0.0.0/4"),
            ([f"{n}.{m}.0.0/16" for n in range(1, 9) for m in range(256)], "4.0.0.0/6"),
            (every_other, "0.0.0.0/9 together with the other networks"),
            ([f"{n:x}00::/16" for n in range(0x20, 0x30)], "2000::/16 together with the other networks"),
            # Python writes it with dots since 3.13.
            (["::ffff:0:0/96"], str(MAPPED)),
            (["::ffff:0:0/97", "::ffff:128.0.0.0/97"], "0.0.0.0/0"),
            (["::/80"], "::/80"),
            (["64:ff9b::/96"], "64:ff9b::/96"),
            (["64:ff9b::/64"], "64:ff9b::/64"),
            (["64:ff9b::16.0.0.0/103"], "64:ff9b::1000:0/103"),
            (["64:ff9b:1:2::/96"], "64:ff9b:1:2::/96"),
            (["2002::/16"], "2002::/16"),
            (["2002:1000::/23"], "2002:1000::/23"),
            (["2001::/32"], "2001::/32"),
            (["2001::/16"], "2001::/16"),
        ):
            parsed = [ip_network(each, strict=False) for each in networks]
            self.assertEqual(too_wide(parsed), told, networks)

    def test_ones_own(self) -> None:
        """Loopback, private networks and those of one organisation are none."""
        for networks in (
            [],
            ["127.0.0.0/8", "::1"],
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"],
            ["17.0.0.0/8", "198.51.100.0/24", "203.0.113.0/24"],
            ["::ffff:10.0.0.0/104", "2001:db8::/32"],
            ["64:ff9b::10.0.0.0/104", "64:ff9b::198.51.100.0/120", "2002:c633:6400::/40"],
            ["2001:db8::/32", "2a00::/20"],
        ):
            self.assertEqual(too_wide([ip_network(each) for each in networks]), "", networks)


class HostAndPortTests(SynchronousTestCase):
    def test_brackets(self) -> None:
        """An IPv6 address is in brackets, so that its port can be told from it."""
        self.assertEqual(host_and_port("::1", 587), "[::1]:587")
        self.assertEqual(host_and_port("smtp.example.com", 25), "smtp.example.com:25")
