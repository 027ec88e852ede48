"""``host: mx``: which servers mail goes to, in which order, and what their words mean for other domains."""

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred as Waiting
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.message import Envelope, Recipient
from smtprelay.model.outcome import Deferred, Delivered, Failed, Outcome, Uncertain
from smtprelay.net.reachability import Reachability
from smtprelay.providers.smarthost.errors import NotAccepted
from smtprelay.providers.smarthost.mx import MailExchangers
from smtprelay.providers.smarthost.provider import DirectDelivery
from smtprelay.testing.smtp import CUT, SILENCE, SmtpSink
from tests.providers.dns_zones import BROKEN, SILENT, Zones
from tests.providers.smarthost_wiring import Stored, Wire, delivery, refused, settings
from tests.recording import Recording

BODY = b"Subject: x\r\n\r\nhello\r\n"


class Direct:
    """A provider that delivers by MX, and the servers at each address."""

    def __init__(self, zones: Zones, *addresses: str, **changes: object) -> None:
        self.clock = Clock()
        self.sinks = {address: SmtpSink(clock=self.clock) for address in addresses}
        self.wires = {address: Wire(sink, self.clock) for address, sink in self.sinks.items()}
        self.nowhere = Wire(SmtpSink(), self.clock)
        self.nowhere.refuse = refused()
        self.reachability = Reachability("host", self.clock.seconds)
        self.tried: list[str] = []
        self.provider = DirectDelivery(
            "host",
            self.clock,
            settings(host="", tls="opportunistic", **changes),
            Recording(),
            connect=self.connect,
            reachability=self.reachability,
            make_resolver=lambda: zones,
        )

    def connect(self, address: str, port: int) -> Wire:
        """Return the way to an address."""
        self.tried.append(f"{address}:{port}")
        return self.wires.get(address, self.nowhere)

    def settle(self) -> None:
        """Carry what was written."""
        while sum(pump.flush() for wire in self.wires.values() for pump in wire.pumps):
            pass

    def start(self, *recipients: str, body: Any = None) -> "Waiting[Any]":
        """Begin to deliver."""
        item = delivery(*recipients)
        item = evolve(item, lane=self.provider.lane(item.envelope, "", ""))
        done = Waiting.fromCoroutine(self.provider.deliver(Attempt(item, body or Stored(BODY))))
        self.settle()
        return done

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.settle()


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.zones = Zones()

    def results(self, direct: Direct, *recipients: str) -> Mapping[str, Outcome]:
        return self.successResultOf(direct.start(*recipients))

    def one(self, direct: Direct, recipient: str = "b@x.test") -> Outcome:
        return self.results(direct, recipient)[recipient]

    def assert_outcome(self, outcome: Outcome, kind: type, words: str) -> None:
        self.assertIsInstance(outcome, kind)
        self.assertIn(words, outcome.why)


class OrderTests(Case):
    """Which servers a domain has."""

    def order(self, domain: str = "x.test") -> list[str]:
        """Return the servers of a domain, as ``name address``."""
        clock = Clock()
        exchangers = MailExchangers(
            self.zones, "relay.example.com", 25, Reachability("host", clock.seconds), shuffle=list.reverse
        )

        async def collect() -> list[str]:
            return [f"{each.name} {each.address}" async for each in exchangers.servers(domain)]

        return self.successResultOf(Waiting.fromCoroutine(collect()))

    def test_preference(self) -> None:
        """The lowest preference is first, and those with the same one are mixed."""
        self.zones.mx("x.test", "c.test", preference=20)
        self.zones.mx("x.test", "a.test", "b.test", preference=5)
        for n, name in enumerate(("a.test", "b.test", "c.test"), start=1):
            self.zones.host(name, f"192.0.2.{n}")
        self.assertEqual(self.order(), ["b.test 192.0.2.2", "a.test 192.0.2.1", "c.test 192.0.2.3"])

    def test_all_addresses_of_a_server(self) -> None:
        """Each address of a server is tried, IPv4 first, but five at most."""
        self.zones.mx("x.test", "a.test")
        self.zones.host("a.test", "2001:db8::1", "192.0.2.1", "192.0.2.2")
        self.assertEqual(self.order(), ["a.test 192.0.2.1", "a.test 192.0.2.2", "a.test 2001:db8::1"])
        self.zones.host("a.test", *(f"192.0.2.{n}" for n in range(10, 30)))
        self.assertEqual(len(self.order()), 5)

    def test_domain_without_mx(self) -> None:
        """A domain that exists and has no exchanger takes its mail itself (RFC 5321 §5.1)."""
        self.zones.host("x.test", "192.0.2.1")
        self.assertEqual(self.order(), ["x.test 192.0.2.1"])

    def test_address_literal(self) -> None:
        """An address in brackets needs no DNS."""
        self.assertEqual(self.order("[192.0.2.9]"), ["[192.0.2.9] 192.0.2.9"])
        self.assertEqual(self.order("[ipv6:2001:db8::9]"), ["[ipv6:2001:db8::9] 2001:db8::9"])
        self.assertEqual(self.zones.asked, [])

    def test_ourselves(self) -> None:
        """Mail is never sent to ourselves, nor to a server that is no better (RFC 5321 §5.1)."""
        self.zones.mx("x.test", "a.test", preference=5)
        self.zones.mx("x.test", "relay.example.com", "b.test", preference=10)
        for name in ("a.test", "b.test", "relay.example.com"):
            self.zones.host(name, "192.0.2.1")
        self.assertEqual(self.order(), ["a.test 192.0.2.1"])

    def test_addresses_of_this_machine(self) -> None:
        """Who owns a domain cannot have the relay speak to services of this machine or its cloud."""
        self.zones.mx("x.test", "a.test")
        self.zones.host(
            "a.test", "127.0.0.1", "0.0.0.0", "169.254.169.254", "::1", "::ffff:127.0.0.1", "192.0.2.1"
        )
        self.assertEqual(self.order(), ["a.test 192.0.2.1"])


class NoServerTests(Case):
    """What it means that there is no server."""

    def test_definite(self) -> None:
        """A domain that takes no mail, does not exist, or has no server fails at once, with its code."""
        self.zones.mx("null.test", "", preference=0)
        self.zones.mx("empty.test", "gone.test")
        self.zones.host("bare.test")
        self.zones.mx("local.test", "localhost.test")
        self.zones.host("localhost.test", "127.0.0.1")
        for domain, code, words in (
            ("null.test", "5.1.10", "null.test takes no mail: its MX record is the null MX"),
            ("none.test", "5.1.2", "DNS knows no domain none.test"),
            ("empty.test", "5.4.4", "DNS has no mail server for empty.test"),
            ("bare.test", "5.4.4", "no mail server"),
            ("local.test", "5.4.4", "no mail server"),
        ):
            outcome = self.one(Direct(self.zones), f"b@{domain}")
            self.assert_outcome(outcome, Failed, words)
            self.assertEqual(outcome.code, code)

    def test_unknown(self) -> None:
        """What DNS does not say now is no reason to fail."""
        self.zones.mx("x.test", "a.test")
        for question, error in (
            ("MX x.test", BROKEN),
            ("MX x.test", SILENT),
            ("A a.test", SILENT),
            ("AAAA a.test", BROKEN),
        ):
            self.zones.fail(question, error)
            self.assertIsInstance(self.one(Direct(self.zones)), Deferred, question)
            self.zones._failing.clear()

    def test_one_that_is_known_is_enough(self) -> None:
        """A server whose addresses are not known does not keep the mail from the next one."""
        self.zones.mx("x.test", "a.test", preference=5)
        self.zones.mx("x.test", "b.test")
        self.zones.host("b.test", "192.0.2.2")
        self.zones.fail("A a.test", SILENT)
        self.assertIsInstance(self.one(Direct(self.zones, "192.0.2.2")), Delivered)

    def test_alarm(self) -> None:
        """DNS that does not answer is an alarm; a server out of reach is none, for it is not ours."""
        direct = Direct(self.zones)
        self.zones.host("x.test", "192.0.2.1")
        self.assert_outcome(self.one(direct), Deferred, "connection refused")
        direct.advance(30)
        self.assertIsNone(direct.reachability.trouble())
        self.zones.fail("MX x.test", SILENT)
        self.assert_outcome(self.one(direct), Deferred, "DNS for x.test: no answer")
        direct.advance(30)
        self.assertEqual(direct.reachability.trouble().host, "DNS")


class FailoverTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.zones.mx("x.test", "a.test", preference=5)
        self.zones.mx("x.test", "b.test")
        self.zones.host("a.test", "192.0.2.1")
        self.zones.host("b.test", "192.0.2.2")

    def both(self) -> tuple[Direct, SmtpSink, SmtpSink]:
        direct = Direct(self.zones, "192.0.2.1", "192.0.2.2")
        return direct, direct.sinks["192.0.2.1"], direct.sinks["192.0.2.2"]

    def test_best_first(self) -> None:
        """The best server gets the mail, at port 25, and keeps its connection."""
        direct, first, second = self.both()
        for _ in range(2):
            self.assertIsInstance(self.one(direct), Delivered)
        self.assertEqual((len(first.messages), first.connections, second.connections), (2, 1, 0))
        self.assertEqual(direct.tried, ["192.0.2.1:25"])

    def test_next_one(self) -> None:
        """A server that has no time for us, or dies before it has the mail, leaves it to the next one."""
        for verb, action in (
            ("CONNECT", CUT),
            ("CONNECT", "421 4.3.2 full"),
            ("CONNECT", "554 5.7.1 go away"),
            ("EHLO", CUT),
            ("MAIL", "451 4.3.0 later"),
            ("MAIL", "421 4.3.2 closing"),
            ("DATA", CUT),
        ):
            direct, first, second = self.both()
            first.script(verb, action)
            self.assertIsInstance(self.one(direct), Delivered, (verb, action))
            self.assertEqual((len(first.messages), len(second.messages)), (0, 1))

    def test_no_connection(self) -> None:
        """A server that cannot be reached does so, too; the last one's words are told."""
        self.assertIsInstance(self.one(Direct(self.zones, "192.0.2.2")), Delivered)
        outcome = self.one(Direct(self.zones))
        self.assert_outcome(outcome, Deferred, "connect at b.test:25 (192.0.2.2): connection refused")

    def test_silence(self) -> None:
        """A server that stalls costs its time limit."""
        direct, first, second = self.both()
        first.script("EHLO", SILENCE)
        waiting = direct.start("b@x.test")
        direct.advance(30)
        self.assertIsInstance(self.successResultOf(waiting)["b@x.test"], Delivered)
        self.assertEqual(len(second.messages), 1)

    def test_no_word_on_the_mail_is_asked_for_twice(self) -> None:
        """What a server says of the mail or of a recipient is final for this attempt; so is a lost answer."""
        for verb, action, kind in (
            ("MAIL", "550 5.7.1 not you", Failed),
            ("RCPT", "550 5.1.1 nobody", Failed),
            ("RCPT", "451 4.7.1 greylisted", Deferred),
            ("END", "554 5.7.1 spam", Failed),
            ("END", CUT, Uncertain),
        ):
            direct, first, second = self.both()
            first.script(verb, action)
            self.assertIsInstance(self.one(direct), kind, verb)
            self.assertEqual(second.connections, 0)

    def test_own_lane(self) -> None:
        """Each domain is a lane: who asks for less slows down its own domain, and blocks nothing."""
        direct, first, second = self.both()
        for sink in (first, second):
            sink.always("CONNECT", "421 4.7.0 too many connections")
        self.assertEqual(self.one(direct).lane, "x.test")
        for sink in (first, second):
            sink.always("CONNECT", "554 5.7.1 you are on a list")
        self.assert_outcome(self.one(direct), Deferred, "b.test:25 (192.0.2.2) refused the connection: 554")
        probe = self.successResultOf(Waiting.fromCoroutine(direct.provider.probe("x.test")))
        self.assertIsNone(probe)


class SeveralDomainsTests(Case):
    def setUp(self) -> None:
        super().setUp()
        for n, domain in enumerate(("x.test", "y.test", "z.test"), start=1):
            self.zones.host(domain, f"192.0.2.{n}")
        self.direct = Direct(self.zones, "192.0.2.1", "192.0.2.2", "192.0.2.3")
        self.sinks = list(self.direct.sinks.values())

    def test_each_its_own(self) -> None:
        """Each domain gets the mail once, with its own recipients."""
        recipients = ("a@x.test", "b@y.test", "c@X.TEST", "d@z.test")
        results = self.results(self.direct, *recipients)
        self.assertEqual({type(each) for each in results.values()}, {Delivered})
        told = [[each.recipients for each in sink.messages] for sink in self.sinks]
        self.assertEqual(told, [[("a@x.test", "c@X.TEST")], [("b@y.test",)], [("d@z.test",)]])

    def test_outcomes(self) -> None:
        """One domain's trouble is its recipients' alone, and slows down or stops nobody else."""
        self.sinks[0].always("CONNECT", "421 4.7.0 too many connections")
        self.sinks[1].script("RCPT", "550 5.1.1 nobody")
        results = self.results(self.direct, "a@x.test", "b@y.test", "c@none.test", "d@z.test")
        kinds = [type(each) for each in results.values()]
        self.assertEqual(kinds, [Deferred, Failed, Failed, Delivered])

    def test_body_that_cannot_be_read_again(self) -> None:
        """What goes wrong when others have the mail already is another attempt's; at the first it is told."""

        class Once(Stored):
            async def whole(self) -> bytes:
                if self.pieces:
                    pieces, self.pieces = self.pieces, ()
                    return b"".join(pieces)
                raise LookupError("gone")

        body = Once(BODY, size=len(BODY))
        results = self.successResultOf(self.direct.start("a@x.test", "b@y.test", body=body))
        self.assertIsInstance(results["a@x.test"], Delivered)
        self.assert_outcome(results["b@y.test"], Deferred, "gone")
        self.failureResultOf(self.direct.start("a@x.test", body=body), LookupError)

    def test_lane(self) -> None:
        """The lane is the domain, in ASCII and lower case; of several domains it is the provider's."""
        for addresses, lane in (
            (("a@X.test", "b@x.test."), "x.test"),
            (("a@bücher.test",), "xn--bcher-kva.test"),
            (("a@x.test", "b@y.test"), ""),
        ):
            envelope = Envelope(sender="", recipients=tuple(Recipient(address=each) for each in addresses))
            self.assertEqual(self.direct.provider.lane(envelope, "", ""), lane)

    def test_connections_limit(self) -> None:
        """``connections`` counts all servers: the one that is idle longest makes room."""
        direct = Direct(self.zones, *self.direct.sinks, connections=2)
        for domain in ("x.test", "y.test", "z.test"):
            self.assertIsInstance(self.one(direct, f"a@{domain}"), Delivered)
        self.assertEqual([len(sink.talks) for sink in direct.sinks.values()], [0, 1, 1])

    def test_close(self) -> None:
        """After close there is no connection, and DNS is not asked any more."""
        self.results(self.direct, "a@x.test", "b@y.test")
        closed = Waiting.fromCoroutine(self.direct.provider.close())
        self.direct.settle()
        self.successResultOf(closed)
        self.assertEqual([len(sink.talks) for sink in self.sinks], [0, 0, 0])
        self.assertIsNone(self.zones.resolv)


class RealDnsTests(TestCase):
    """A server of Twisted Names on loopback, and the resolver that the relay uses."""

    timeout = 20

    async def test_over_a_socket(self) -> None:
        """Exchangers, addresses, and what does not exist, as they come over UDP."""
        zones = Zones()
        zones.mx("x.test", "a.test")
        zones.mx("null.test", "", preference=0)
        zones.host("a.test", "192.0.2.1", "2001:db8::1")
        port = reactor.listenUDP(0, dns.DNSDatagramProtocol(DNSServerFactory(clients=[zones])), "127.0.0.1")
        self.addCleanup(port.stopListening)
        resolver = Resolver(servers=[("127.0.0.1", port.getHost().port)], reactor=reactor)
        exchangers = MailExchangers(resolver, "relay.test", 25, Reachability("host", reactor.seconds))
        found = [each.address async for each in exchangers.servers("x.test")]
        self.assertEqual(found, ["192.0.2.1", "2001:db8::1"])
        for domain, code in (("null.test", "5.1.10"), ("none.test", "5.1.2")):
            with self.assertRaises(NotAccepted) as raised:
                [each async for each in exchangers.servers(domain)]
            self.assertEqual(raised.exception.outcome.code, code)
