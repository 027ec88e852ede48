"""How requests leave: the URL of a proxy, and what is reached without it."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.outbound import HttpProxy, Outbound, parse_proxy

PROXY = HttpProxy(host="proxy.example.com", port=3128)


class ParseTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """A URL has host, port and login; what is special in a login is quoted."""
        for url, proxy in {
            "http://proxy.example.com:3128": PROXY,
            "http://proxy.example.com:3128/": PROXY,
            "proxy.example.com:3128": PROXY,
            "HTTP://Proxy.Example.com:3128": PROXY,
            "http://proxy.example.com": evolve(PROXY, port=80),
            "https://proxy.example.com": evolve(PROXY, scheme="https", port=443),
            "http://[2001:db8::1]:8080": HttpProxy(host="2001:db8::1", port=8080),
            "http://me@proxy.example.com:3128": evolve(PROXY, user="me"),
            "http://m%40e:p%2Fw%3A%C3%A9@proxy.example.com:3128": evolve(PROXY, user="m@e", password="p/w:é"),
        }.items():
            found = parse_proxy(url)
            self.assertEqual(found, proxy)
            self.assertEqual(parse_proxy(found.url), proxy)

    def test_not_a_proxy(self) -> None:
        """What is no such URL is refused in words that do not repeat its password."""
        for url in (
            *(
                "none",
                "false",
                "proxy.example.com",
                "http://",
                "",
                "http://:3128",
                "http://proxy:0",
                "http://proxy:x",
                "http://proxy:99999",
            ),
            *("http://u:hunter2/x@proxy:1", "http://u:hunter2#x@proxy:1", "http://proxy:1/path"),
            *(
                "http://:hunter2@proxy:1",
                "http://u:hunter2@[::1",
                "http://u:hunter2@a b:1",
            ),
        ):
            error = self.assertRaises(ValueError, parse_proxy, url)
            self.assertIn("expected http://HOST:PORT", str(error), url)
            self.assertNotIn("hunter2", str(error))
        error = self.assertRaises(ValueError, parse_proxy, "socks5://u:hunter2@proxy:1080")
        self.assertEqual(str(error), "a proxy is reached by http:// or https://, not by socks5://")

    def test_login(self) -> None:
        """A login becomes Basic credentials; its password is not in what is printed."""
        proxy = evolve(PROXY, user="me", password="hunter2")
        self.assertEqual(proxy.authorization, "Basic bWU6aHVudGVyMg==")
        self.assertEqual(PROXY.authorization, "")
        self.assertEqual(f"{proxy}", "proxy.example.com:3128")
        self.assertNotIn("hunter2", f"{proxy!r} {Outbound(proxy=proxy)!r}")


class NoProxyTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each form of an entry is for what it names, and for nothing else."""
        for entry, direct, proxied in (
            ("*", ["example.com", "192.0.2.1"], []),
            ("example.com", ["example.com", "a.example.com", "EXAMPLE.com."], ["badexample.com", "com"]),
            (".example.com", ["example.com", "a.b.example.com"], ["badexample.com"]),
            ("*.Example.com", ["a.example.com"], ["badexample.com"]),
            ("192.0.2.1", ["192.0.2.1"], ["192.0.2.10", "a.192.0.2.1"]),
            ("192.0.2.0/24", ["192.0.2.77"], ["192.0.3.1", "example.com", "2001:db8::1"]),
            ("192.0.2.7/24", ["192.0.2.77"], ["192.0.3.1"]),
            ("2001:db8::/32", ["2001:db8::1", "[2001:db8::1]"], ["2001:db9::1"]),
            ("[2001:db8::1]", ["2001:db8::1"], ["2001:db8::2"]),
            ("example.com:443", ["a.example.com"], ["example.org"]),
            ("example.com:8443", [], ["example.com"]),
            ("192.0.2.0/24:443", ["192.0.2.1"], ["192.0.3.1"]),
            ("[2001:db8::1]:443", ["2001:db8::1"], ["2001:db8::2"]),
            ("[2001:db8::1]:444", [], ["2001:db8::1"]),
            (".", [], ["example.com"]),
            ("", [], ["example.com"]),
        ):
            outbound = Outbound(proxy=PROXY, no_proxy=("other.example", entry))
            for host in direct:
                self.assertIsNone(outbound.proxy_for(host, 443), f"{host} by {entry}")
            for host in proxied:
                self.assertEqual(outbound.proxy_for(host, 443), PROXY, f"{host} by {entry}")

    def test_this_machine(self) -> None:
        """This machine, and metadata of its instance or container, are never asked through a proxy."""
        outbound = Outbound(proxy=PROXY)
        for host in (
            *("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"),
            *(
                "169.254.169.254",
                "169.254.170.2",
                "169.254.170.23",
                "fe80::1",
                "fd00:ec2::254",
                "fd00:ec2::23",
            ),
        ):
            self.assertIsNone(outbound.proxy_for(host, 443), host)
        self.assertEqual(outbound.proxy_for("10.0.0.1", 443), PROXY)
        self.assertIsNone(Outbound().proxy_for("10.0.0.1", 443))

    def test_for_other_libraries(self) -> None:
        """What other libraries get has the login; plain HTTP, and what is excepted, gets nothing."""
        proxy = evolve(PROXY, user="me", password="p@")
        outbound = Outbound(proxy=proxy, no_proxy=("vault.example.com:8200",))
        self.assertEqual(
            outbound.proxies("https://sts.example.com/x"), {"https": "http://me:p%40@proxy.example.com:3128"}
        )
        for url in ("http://sts.example.com", "https://vault.example.com:8200", "https://169.254.169.254/"):
            self.assertEqual(outbound.proxies(url), {})
