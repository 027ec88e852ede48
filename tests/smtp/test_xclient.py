"""XCLIENT: proxies that say who their client is, and others who would like to."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Refused
from smtprelay.smtp.proxy_client import ProxyClient, parse_attributes
from tests.smtp.doubles import Line, Names, Site

PROXY = "10.0.0.5"


class AttributesTests(SynchronousTestCase):
    def test_read(self):
        """Addresses of both kinds, names in xtext; what is not known, and what has no effect."""
        for text, expected in {
            "ADDR=192.0.2.9": ProxyClient("192.0.2.9"),
            "addr=IPV6:2001:DB8::1 helo=a.test": ProxyClient("2001:db8::1", "a.test"),
            "ADDR=::1": ProxyClient("::1"),
            "ADDR=[UNAVAILABLE] HELO=[unavailable]": ProxyClient("unknown"),
            "ADDR=[TEMPUNAVAIL]": ProxyClient("unknown"),
            "HELO=a+2Db+20c+FC": ProxyClient("", "a-b cü"),
            "NAME=x.test PORT=4321 PROTO=ESMTP LOGIN=joe DESTADDR=10.0.0.1 DESTPORT=25": ProxyClient(),
            "NAME=[UNAVAILABLE]": ProxyClient(),
        }.items():
            self.assertEqual(parse_attributes(text), expected, text)

    def test_malformed(self):
        """What is no address, no attribute, no xtext, or says nothing or the same twice, is 501."""
        for text in (
            "", " ", "ADDR", "ADDR=", "ADDR =192.0.2.9", "=x", "FOO=x", "ADDR=192.0.2", "ADDR=192.0.2.256",
            "ADDR=IPV6:192.0.2.9", "ADDR=IPV6:", "ADDR=fe80::1+25eth0", "ADDR=+00", "ADDR=192.0.2.9 ADDR=::1",
            "HELO=a+2", "HELO=a+G0", "HELO=a=b", "HELO=ü", "ADDR=a.test", "ADDR=unix", "ADDR=192.0.2.9/32",
        ):  # fmt: skip
            refused = self.assertRaises(Refused, parse_attributes, text)
            self.assertEqual(refused.reply.code, 501, text)


class SessionTests(SynchronousTestCase):
    def site(self, **settings: object) -> Site:
        return Site(Names({b"joe": b"s3cret"}), xclient_from=(PROXY,), **settings)

    def proxied(self, site: Site, text: str = "ADDR=192.0.2.9 HELO=real.test") -> Line:
        line = site.connect(PROXY)
        line.say("EHLO proxy.test")
        self.assertEqual(line.say(f"XCLIENT {text}"), ["220 relay.test ESMTP"])
        return line

    def test_announced(self):
        """Proxies are told of it, others are not, and cannot use it."""
        site = self.site()
        self.assertIn("250 XCLIENT ADDR HELO", site.connect(PROXY).say("EHLO x"))
        line = site.connect()
        self.assertNotIn("XCLIENT", " ".join(line.say("EHLO x")))
        for text in ("ADDR=10.0.0.5", "FOO", ""):
            self.assertEqual(line.say(f"XCLIENT {text}"), ["500 5.5.1 Command not recognized"])
        self.assertEqual(site.events.of("session.xclient"), [])

    def test_the_real_client(self):
        """The avatar, the log and the refusals have the client; what it calls itself is HELO, or its EHLO."""
        site = self.site()
        line = self.proxied(site)
        self.assertEqual(line.codes("MAIL FROM:<a@x.test>", "DATA"), ["250", "503"])
        client = site.desk.avatars[0].client
        self.assertEqual((client.address, client.helo, client.protocol), ("192.0.2.9", "real.test", "ESMTP"))
        self.assertEqual(site.events.of("smtp.refused")[0]["client"], "192.0.2.9")
        [told] = site.events.of("session.xclient")
        self.assertEqual((told["client"], told["real"]), (PROXY, "192.0.2.9"))
        line.say("RSET", "HELO again.test", "MAIL FROM:<a@x.test>")
        client = site.desk.avatars[0].client
        self.assertEqual((client.helo, client.protocol), ("again.test", "SMTP"))

    def test_several_clients(self):
        """A proxy may serve one after the other; nothing of the one before is left."""
        site = self.site(mechanisms=("PLAIN",), auth_allow_plaintext=True)
        line = self.proxied(site)
        line.say("EHLO x")
        self.assertEqual(
            line.codes("AUTH PLAIN AGpvZQBzM2NyZXQ=", "MAIL FROM:<>", "RSET"), ["235", "250", "250"]
        )
        self.assertEqual(line.codes("XCLIENT ADDR=IPV6:2001:db8::7", "MAIL FROM:<>"), ["220", "250"])
        client = site.desk.avatars[-1].client
        self.assertEqual((client.address, client.helo, client.user), ("2001:db8::7", "", ""))
        self.assertEqual(line.codes("RSET", "XCLIENT HELO=b.test", "MAIL FROM:<>"), ["250", "220", "250"])
        client = site.desk.avatars[-1].client
        self.assertEqual((client.address, client.helo), ("2001:db8::7", "b.test"))
        self.assertEqual(site.desk.left, 2)

    def test_order(self):
        """Within a transaction it is out of order, and within AUTH it is a response."""
        site = self.site(mechanisms=("LOGIN",), auth_allow_plaintext=True)
        line = site.connect(PROXY)
        self.assertEqual(line.codes("XCLIENT ADDR=192.0.2.9", "MAIL FROM:<>"), ["220", "250"])
        self.assertEqual(line.codes("XCLIENT ADDR=192.0.2.8", "RCPT TO:<b@x.test>"), ["503", "250"])
        self.assertEqual(line.codes("XCLIENT ADDR=192.0.2.8", "RSET"), ["503", "250"])
        self.assertEqual(
            line.codes("XCLIENT ADDR=no", "AUTH LOGIN", "XCLIENT ADDR=::1"), ["501", "334", "501"]
        )
        self.assertEqual(line.codes("NOOP"), ["250"])

    def test_limits(self):
        """Connections are counted by the real client: each may have its own."""
        site = self.site(connections_per_client=1)
        self.proxied(site)
        second = self.proxied(site, "ADDR=192.0.2.10")
        self.assertEqual(second.say("XCLIENT ADDR=192.0.2.9")[0][:9], "421 4.7.0")
        self.assertTrue(second.closed)
        self.assertEqual(site.connect(PROXY).banner, ["220 relay.test ESMTP"])

    def test_an_address_nobody_knows(self):
        """It is in no network."""
        site = self.site()
        self.proxied(site, "ADDR=[UNAVAILABLE]").say("MAIL FROM:<>")
        self.assertEqual(site.desk.avatars[0].client.address, "unknown")

    def test_what_it_calls_itself(self):
        """A name that is none is called unknown, and is in the log without what cannot be printed."""
        site = self.site()
        self.proxied(site, "HELO=a+0D+0AX-Pwned:+20y").say("MAIL FROM:<>")
        self.assertEqual(site.desk.avatars[0].client.helo, "unknown")
        self.assertEqual(site.events.of("session.helo")[0]["helo"], "a??X-Pwned: y")
