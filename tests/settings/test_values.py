from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import explain
from smtprelay.config.listeners import checked_hash
from smtprelay.model import units
from smtprelay.model.route import Window
from smtprelay.settings import values
from smtprelay.settings.rate import parse_load_rate
from smtprelay.settings.values import SizeRange
from tests.config.loading import SMALL, problems_of

GOOD: list[tuple[Callable[[str], Any], dict[str, Any]]] = [
    (
        units.parse_duration,
        {"30s": 30.0, "5m": 300.0, "5min": 300.0, "1.5h": 5400.0, "2 d": 172800.0, "250ms": 0.25, "0": 0.0},
    ),
    (values.parse_expiry, {"never": None, "2d": 172800.0}),
    (
        units.parse_size,
        {
            "512B": 512,
            "1000": 1000,
            "0": 0,
            "10MB": 10**7,
            "10mb": 10**7,
            "25MiB": 25 << 20,
            "1.5KiB": 1536,
            "10 GiB": 10 << 30,
        },
    ),
    (
        values.parse_rate,
        {"30/min": Window(count=30, seconds=60.0), "100/h": Window(count=100, seconds=3600.0)},
    ),
    (values.parse_rate, {"25/10s": Window(count=25, seconds=10.0), "14 / s": Window(count=14, seconds=1.0)}),
    (
        parse_load_rate,
        {
            "25/10s": Window(count=25, seconds=10.0),
            "150MB/5min": Window(count=150_000_000, seconds=300.0, unit="bytes"),
            "1.5 GiB / h": Window(count=3 << 29, seconds=3600.0, unit="bytes"),
        },
    ),
    (values.parse_share, {"5%": 0.05, "100%": 1.0, "0.2": 0.2, "1": 1.0, "0": 0.0}),
    (
        values.parse_size_range,
        {"<2MiB": SizeRange(largest=(2 << 20) - 1), "<=2MB": SizeRange(largest=2000000)},
    ),
    (values.parse_size_range, {">1KiB": SizeRange(smallest=1025), ">= 1KiB": SizeRange(smallest=1024)}),
    (values.parse_count, {"1": 1, "1000000": 1000000}),
    (values.parse_port, {"1": 1, "65535": 65535}),
    (values.parse_factor, {"1": 1.0, "2.5": 2.5}),
    (values.parse_bool, {"true": True, "True": True, "FALSE": False}),
    (values.parse_network, {n: ip_network(n) for n in ("10.0.0.0/8", "::1", "10.0.3.17", "2001:db8::/32")}),
    (values.parse_address, {a: a for a in ("a@example.com", "a+b@localhost", "ü@exämple.org")}),
    (values.parse_pattern, {p: p for p in ("*", "*@example.com", "a@b", "*@*.example.com")}),
    (
        values.parse_domain,
        {"relay.example.com": "relay.example.com", "vm": "vm", "example.com.": "example.com"},
    ),
    (values.parse_name, {"lan": "lan", "tcp:2525": "tcp:2525"}),
    (
        values.parse_url,
        {"https://a.example/": "https://a.example", "http://127.0.0.1:1/x": "http://127.0.0.1:1/x"},
    ),
]

BAD: list[tuple[Callable[[str], Any], list[str]]] = [
    (
        units.parse_duration,
        ["", "30", "s", "-5s", "5 parsecs", "1e3s", "٣s", "9" * 20 + "s", "inf", "nan", "5s\n"],
    ),
    (units.parse_size, ["", "MB", "-1", "10 parsecs", "10MBB", "1_000", "9" * 30, "10Mi B"]),
    (parse_load_rate, ["", "30", "0MB/s", "1MB/0s", "MB/s", "1XB/s", "1.2.3MB/s", "150MB"]),
    (values.parse_rate, ["1MB/s"]),
    (values.parse_rate, ["", "30", "30/", "/min", "0/s", "30/0s", "30/parsec", "-1/s", "1.5/s"]),
    (values.parse_share, ["", "5", "101%", "-5%", "nan", "1.01"]),
    (values.parse_size_range, ["", "2MiB", "=2MiB", "<", "<x", "<2MiB,>1"]),
    (values.parse_count, ["", "0", "-1", "1.0", "x", "true", "9" * 30, "9" * 6000, "1000000001"]),
    (values.parse_port, ["0", "65536", "-1", "http"]),
    (values.parse_factor, ["0.5", "101", "x", "nan", "inf", "-2"]),
    (values.parse_bool, ["yes", "on", "off", "1", "", "tru"]),
    (values.parse_network, ["", "10.0.0.0/33", "localhost", "10.0.0", "x" * 500]),
    (values.parse_address, ["", "a", "@b", "a@", "a b@c", "<a@b>", "a@b@c", "*@example.com"]),
    (values.parse_sender_or_address, ["", "sendr", "Sender", "a@"]),
    (values.parse_pattern, ["", "example.com", "@example.com", "a@", "a b@c", "a@b,c@d"]),
    (values.parse_domain, ["", ".", "a..b", "-a.b", "a b", "a" * 64, "a." * 200 + "b", "a/b"]),
    (values.parse_name, ["", "a b", "a\n", "x" * 101]),
    (checked_hash, ["", "secret", "$scrypt$", "$scrypt$ln=x,r=8,p=1$a$b", "$2b$12$abc"]),
    (values.parse_url, ["", "example.com", "ftp://x", "https://", "https:// x"]),
]


class ValuesTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Each spelling gives its value."""
        for parse, cases in GOOD:
            for text, expected in cases.items():
                self.assertEqual(parse(text), expected, f"{parse.__name__} {text!r}")

    def test_bad(self) -> None:
        """Each wrong spelling raises ValueError with one short sentence."""
        for parse, cases in BAD:
            for text in cases:
                error = self.assertRaises(ValueError, parse, text)
                self.assertIn(" ", str(error), f"{parse.__name__} {text!r}")
                self.assertLess(len(str(error)), 200 + len(text))

    def test_hints(self) -> None:
        """A network with bits behind its prefix and a bare domain are answered with the right spelling."""
        error = self.assertRaises(ValueError, values.parse_network, "10.0.3.17/24")
        self.assertIn("write 10.0.3.0/24", str(error))
        error = self.assertRaises(ValueError, values.parse_pattern, "@example.com")
        self.assertIn('did you mean "*@example.com"?', str(error))
        self.assertNotIn("mean", str(self.assertRaises(ValueError, values.parse_pattern, "scan")))

    def test_hosts(self) -> None:
        """A host is a name or an IP address; an IPv6 address may have brackets."""
        for text, host in {
            "h.example": "h.example",
            "10.0.3.1": "10.0.3.1",
            "[::1]": "::1",
            "2001:DB8::1": "2001:db8::1",
        }.items():
            self.assertEqual(values.parse_host(text), host)
        for text in ("[h.example]", "::1]", "::1::", "10.0.3.1:25", "h.example:25"):
            self.assertRaises(ValueError, values.parse_host, text)

    def test_a_host_within_more(self) -> None:
        """Of a URL, or a host with its port, the host is named."""
        for text, told in {
            "https://mail.example.com/": "write mail.example.com",
            "smtp://u@mail.example.com:587": "write mail.example.com; the port is a setting of its own",
            "mail.example.com:587": "write mail.example.com; the port",
            "@example.com": "write example.com",
            "[10.0.0.1]": "write 10.0.0.1",
        }.items():
            self.assertIn(told, str(self.assertRaises(ValueError, values.parse_domain, text)))
        for text in ("::1", "a b", "https://a b/"):
            self.assertNotIn("write", str(self.assertRaises(ValueError, values.parse_domain, text)))

    def test_what_is_wrong(self) -> None:
        """A time of 0, and a unit that nobody knows, are named."""
        for parse, text, told in (
            (values.parse_rate, "1/0s", "neither number may be 0"),
            (values.parse_rate, "0/min", "neither number may be 0"),
            (values.parse_rate, "30/fortnight", '"fortnight" is not s, m, h or d'),
            (units.parse_duration, "2 fortnights", '"fortnights" is not s, m, h or d'),
            (units.parse_duration, "soon", '"soon" is not a duration: expected one such as 30s'),
        ):
            self.assertIn(told, str(self.assertRaises(ValueError, parse, text)))

    def test_hints_for_who_writes_as_one_speaks(self) -> None:
        """A rate or duration in words is answered with its spelling here, and that is taken."""
        rates = {
            "30": "30/min",
            "30 per minute": "30/min",
            "5 / sec": "5/s",
            "2 every 10 secs": "2/10s",
            "9 a day": "9/d",
        }
        durations = {"30 seconds": "30s", "1.5 Hours": "1.5h", "2days": "2d", "5 mins": "5m"}
        for parse, cases in ((values.parse_rate, rates), (units.parse_duration, durations)):
            for text, instead in cases.items():
                error = self.assertRaises(units.InvalidNotation, parse, text)
                self.assertEqual(error.instead, instead)
                parse(instead)
        for parse, text in (
            (values.parse_rate, "0"),
            (values.parse_rate, "often"),
            (units.parse_duration, "soon"),
        ):
            self.assertIn("such as", str(self.assertRaises(ValueError, parse, text)))

    def test_units_that_are_missing(self) -> None:
        """Nobody guesses whether a number alone is seconds or hours, bytes or megabytes."""
        for parse, text, told in (
            (units.parse_duration, "4", "give a unit: 4s, 4m or 4h"),
            (values.parse_size_range, "<2", "give a unit: 2B, 2KB or 2MB"),
            (units.parse_size, "25", "give a unit: 25B, 25KB or 25MB"),
        ):
            self.assertIn(told, str(self.assertRaises(ValueError, parse, text)))
        self.assertEqual(values.parse_size_range("<2B"), SizeRange(largest=1))

    def test_password_hash(self) -> None:
        """What is no hash, and so perhaps a password, is not repeated."""
        good = "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="
        self.assertEqual(checked_hash(good), good)
        error = self.assertRaises(ValueError, checked_hash, "hunter2")
        self.assertNotIn("hunter2", str(error))

    def test_a_word_or_an_address(self) -> None:
        """What is neither is told so when the configuration is read, not when the first bounce is lost."""
        for key, add in (("bounces.to", "sendr"), ("bounces.to", "1")):
            [problem] = problems_of(f"{SMALL}bounces: {{to: {add}}}\n")
            self.assertIn(f'{key}: "{add}" is neither "sender" nor a mail address', problem.text)
        [problem] = problems_of(f"{SMALL}bounces: {{to: sendr}}\n")
        self.assertIn('did you mean "sender"?', problem.text)
        self.assertEqual(explain("bounces.to")[0].setting.type, "sender, or mail address")
        self.assertEqual(problems_of(f"{SMALL}bounces: {{to: a@b.example}}\n"), [])

    def test_a_cut_hash(self) -> None:
        """A user's hash that is cut off does not pass."""
        whole = "$scrypt$ln=15,r=8,p=1$YWJjZGVmZ2hpamtsbW5vcA$" + "x" * 42 + "w"
        for cut in (1, 5, 20, 43, 50):
            text = f"{SMALL}users: [{{name: u, password_hash: '{whole[:-cut]}'}}]\n"
            [problem] = problems_of(text)
            self.assertIn("users[0].password_hash: cut off", problem.text)

    def test_size_range(self) -> None:
        """Both bounds belong to a range, and a bound that is not given is none."""
        self.assertEqual([n in SizeRange(2, 4) for n in (1, 2, 4, 5)], [False, True, True, False])
        self.assertTrue(10**12 in SizeRange(smallest=1) and 0 in SizeRange(largest=1))

    @given(st.sampled_from([parse for parse, _ in GOOD]), st.text())
    def test_nothing_but_value_error(self, parse: Callable[[str], Any], text: str) -> None:
        """No text makes a parser fail in another way."""
        try:
            parse(text)
        except ValueError as error:
            self.assertNotEqual(str(error), "")
