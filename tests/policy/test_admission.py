"""What is refused, with which words, and in which order."""

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client, Recipient, Refused
from smtprelay.model.patterns import Patterns
from smtprelay.policy import admission
from smtprelay.policy.networks import Networks
from smtprelay.policy.settings import Identity, ListenerPolicy, Rights

NOBODY = Identity()
INSIDE = Client(address="10.0.3.7")
OUTSIDE = Client(address="198.51.100.1")
LOGGED_IN = Client(address="198.51.100.1", user="ann")


def listener(**rights: object) -> ListenerPolicy:
    rights.setdefault("allow_from", Networks.parse(["10.0.3.0/24"]))
    return ListenerPolicy(name="lan", hostname="relay.example.com", **rights)


class RulesCase(SynchronousTestCase):
    def assertRefused(self, code: int, enhanced: str, rule: str, function: Callable, *args: object) -> str:
        reply = self.assertRaises(Refused, function, *args).reply
        self.assertEqual((reply.code, reply.enhanced, reply.rule), (code, enhanced, rule))
        return reply.text


class AdmissionTests(RulesCase):
    def verdict(self, client: Client, **rights: object) -> tuple[int, str, str] | None:
        reply = admission.admission(listener(**rights), client)
        return reply and (reply.code, reply.enhanced, reply.rule)

    def test_by_network(self):
        """Who is in ``allow_from`` may send; who is not is told his address, unless he could log in."""
        self.assertIsNone(self.verdict(INSIDE))
        self.assertEqual(self.verdict(OUTSIDE), (550, "5.7.1", "network"))
        self.assertEqual(
            admission.admission(listener(), OUTSIDE).text, "198.51.100.1 may not send through this relay"
        )
        self.assertEqual(self.verdict(OUTSIDE, has_logins=True), (530, "5.7.0", "auth-required"))

    def test_by_default_only_this_machine(self):
        """A listener without ``allow_from`` serves loopback and Unix sockets, and nobody else."""
        closed = ListenerPolicy(name="lan", hostname="relay.example.com")
        for address in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "unix"):
            self.assertIsNone(admission.admission(closed, Client(address=address)))
        for address in ("10.0.0.1", "192.168.1.1", "::2", "", "localhost"):
            self.assertEqual(admission.admission(closed, Client(address=address)).rule, "network")

    def test_by_login(self):
        """Who logged in may send from anywhere."""
        self.assertIsNone(self.verdict(LOGGED_IN, has_logins=True, auth_required=True))

    def test_login_required(self):
        """With ``auth_required`` the network is not enough."""
        self.assertEqual(
            self.verdict(INSIDE, has_logins=True, auth_required=True), (530, "5.7.0", "auth-always")
        )

    def test_tls_before_login(self):
        """Where TLS is required it is asked for before a password is."""
        rights = {"has_logins": True, "tls_required": True}
        for client in (INSIDE, OUTSIDE, LOGGED_IN):
            self.assertEqual(self.verdict(client, **rights), (530, "5.7.0", "tls"))
        self.assertIsNone(self.verdict(Client(address="10.0.3.7", tls="TLSv1.3"), **rights))

    def test_network_before_tls(self):
        """A stranger who cannot log in is not sent to TLS first."""
        self.assertEqual(self.verdict(OUTSIDE, tls_required=True), (550, "5.7.1", "network"))


class SenderTests(RulesCase):
    def test_listener_patterns(self):
        """Senders of other domains are refused by name."""
        restricted = listener(allow_senders=Patterns(["*@example.com"]))
        self.assertEqual(admission.sender(restricted, NOBODY, "A@Example.com"), "A@Example.com")
        text = self.assertRefused(553, "5.7.1", "sender", admission.sender, restricted, NOBODY, "a@evil.org")
        self.assertIn("a@evil.org", text)

    def test_user_patterns_come_on_top(self):
        """A user needs the right of the listener and his own."""
        restricted = listener(allow_senders=Patterns(["*@example.com"]))
        ann = Identity(name="ann", rights=Rights(senders=Patterns(["ann@example.com", "ann@example.net"])))
        self.assertEqual(admission.sender(restricted, ann, "ann@example.com"), "ann@example.com")
        self.assertRefused(553, "5.7.1", "user-sender", admission.sender, restricted, ann, "bob@example.com")
        self.assertRefused(553, "5.7.1", "sender", admission.sender, restricted, ann, "ann@example.net")

    def test_no_patterns_allow_nothing(self):
        """Empty patterns are not the same as none."""
        self.assertRefused(
            553, "5.7.1", "sender", admission.sender, listener(allow_senders=Patterns([])), NOBODY, "a@b.org"
        )

    def test_null_sender(self):
        """Bounces pass and stay bounces, whatever the patterns and ``force_from`` say."""
        restricted = listener(allow_senders=Patterns(["*@example.com"]))
        ann = Identity(
            name="ann", rights=Rights(senders=Patterns(["ann@example.com"]), force_from="ann@example.com")
        )
        self.assertEqual(admission.sender(restricted, ann, ""), "")

    def test_force_from(self):
        """The forced sender replaces any; the listener judges it, the user's own patterns have no say."""
        printer = Identity(
            name="p", rights=Rights(senders=Patterns(["*@elsewhere.org"]), force_from="scan@example.com")
        )
        self.assertEqual(admission.sender(listener(), printer, "whoever@evil.org"), "scan@example.com")
        elsewhere = listener(allow_senders=Patterns(["*@example.net"]))
        self.assertRefused(553, "5.7.1", "sender", admission.sender, elsewhere, printer, "a@example.net")

    def test_senders_without_domain(self):
        """``root`` is a sender where nothing is asked of senders, and nobody's where something is."""
        self.assertEqual(admission.sender(listener(), NOBODY, "root"), "root")
        restricted = listener(allow_senders=Patterns(["*@example.com"]))
        for sender in ("root", "example.com"):
            self.assertRefused(553, "5.7.1", "sender", admission.sender, restricted, NOBODY, sender)

    def test_injection(self):
        """Control characters are refused whatever is allowed, and never repeated."""
        for bad in ("a\r\nX: y@b.org", "a\r@b.org", "a@b.org\n", "\0", "a\x85@b.org", "a\u2028@b.org"):
            for user in (NOBODY, Identity(name="p", rights=Rights(force_from="scan@example.com"))):
                text = self.assertRefused(501, "5.1.7", "address", admission.sender, listener(), user, bad)
                self.assertTrue(text.isprintable())

    def test_malformed(self):
        """Two addresses, or one in the disguise of another, are no sender."""
        for bad in ("a@b@c", "@a:b@c", "a@b,c@d", "a@b>", "a b@c"):
            self.assertRefused(553, "5.1.7", "address", admission.sender, listener(), NOBODY, bad)


class RecipientTests(RulesCase):
    def test_kept_as_given(self):
        """The address and its DSN parameters go on as they came, NOTIFY in upper case."""
        self.assertEqual(
            admission.recipient(
                listener(),
                Identity(name="ann"),
                "A%b@X.org",
                {"NOTIFY": "never", "ORCPT": "rfc822;a+2Bb@x.org"},
            ),
            Recipient(address="A%b@X.org", notify="NEVER", orcpt="rfc822;a+2Bb@x.org"),
        )

    def test_listener_and_user(self):
        """Recipients need the right of the listener and that of the user."""
        restricted = listener(allow_recipients=Patterns(["*@example.com", "*@example.net"]))
        ann = Identity(name="ann", rights=Rights(recipients=Patterns(["*@example.net", "*@example.org"])))
        admission.recipient(restricted, ann, "x@example.net", {})
        for bad, rule in (
            ("x@example.com", "user-recipient"),
            ("x@example.org", "recipient"),
            ("x@evil.org", "recipient"),
        ):
            text = self.assertRefused(550, "5.7.1", rule, admission.recipient, restricted, ann, bad, {})
            self.assertIn(bad, text)

    def test_relay_tricks(self):
        """No way of writing a foreign recipient passes where only our own are allowed."""
        restricted = listener(allow_recipients=Patterns(["*@us.com"]))
        for trick in (
            "victim@evil.org",
            '"victim@us.com"@evil.org',
            "victim%us.com@evil.org",
            "us.com!victim@evil.org",
            "victim@[198.51.100.1]",
            "victim@us.com.",
            "victim@us.com.evil.org",
            "@us.com:victim@evil.org",
        ):
            self.assertRefused(550, "5.7.1", "recipient", admission.recipient, restricted, NOBODY, trick, {})
        for trick in (
            "victim@evil.org@us.com",
            "victim@us.com@evil.org",
            "evil.org!victim",
            "victim",
            "",
            '"victim@evil.org"',
            "<victim@evil.org>",
            "victim@us.com,victim@evil.org",
            "victim@us.com (victim@evil.org)",
        ):
            self.assertRefused(553, "5.1.3", "address", admission.recipient, restricted, NOBODY, trick, {})

    def test_relay_tricks_at_our_domain(self):
        """What our domain might send on is taken from those who logged in, without its source route."""
        restricted = listener(allow_recipients=Patterns(["*@us.com"]))
        for trick in (
            "victim%evil.org@us.com",
            "victim%evil.org%other.org@us.com",
            "evil.org!victim@us.com",
            "evil.org!victim%x@us.com",
            '"victim@evil.org"@us.com',
            '"evil.org!victim"@us.com',
            "@evil.org:victim@us.com",
            "@evil.org,@us.com:victim@us.com",
        ):
            for rights in (restricted, listener()):
                for identity in (NOBODY, Identity(name="ann", verified=False)):
                    self.assertRefused(
                        550, "5.7.1", "routing", admission.recipient, rights, identity, trick, {}
                    )
            taken = admission.recipient(restricted, Identity(name="ann"), trick, {})
            self.assertEqual(taken.address, trick.rpartition(":")[2])
        for plain in ("list-owner+a=b.org@us.com", "a#b$c&d'e*f/g?h^i`j{k|l}m~n@us.com", '"a b"@us.com'):
            self.assertEqual(admission.recipient(restricted, NOBODY, plain, {}).address, plain)

    def test_a_name_that_anybody_could_give(self):
        """Who has logged in by it is not told to log in."""
        for identity, told in (
            (NOBODY, "log in first"),
            (Identity(name="ann", verified=False), "only users"),
        ):
            error = self.assertRaises(Refused, admission.recipient, listener(), identity, "a%b@us.com", {})
            self.assertIn(told, error.reply.text)

    def test_postmaster(self):
        """The postmaster needs no domain: it is ours, if mail may go there."""
        self.assertEqual(
            admission.recipient(listener(), NOBODY, "Postmaster", {}).address, "Postmaster@relay.example.com"
        )
        restricted = listener(allow_recipients=Patterns(["*@us.com"]))
        self.assertRefused(
            550, "5.7.1", "recipient", admission.recipient, restricted, NOBODY, "postmaster", {}
        )

    def test_undeliverable(self):
        """What no mail can be delivered to is refused, also where it did not come over our own protocol."""
        for bad in ("a..b@x.org", ".a@x.org", "a.@x.org", "a@-x.org", "a@x-.org", "a@[999.1.1.1]", "a@[::1]"):
            self.assertRefused(553, "5.1.3", "address", admission.recipient, listener(), NOBODY, bad, {})
            self.assertRefused(553, "5.1.7", "address", admission.sender, listener(), NOBODY, bad)
        self.assertRefused(553, "5.1.3", "address", admission.recipient, listener(), NOBODY, "a@10.0.0.7", {})
        self.assertEqual(admission.sender(listener(), NOBODY, "scan@10.0.0.7"), "scan@10.0.0.7")
        for good in ("ü.ö@bücher.example", "a@x_y.org", '"a..b"@x.org', "a@[IPv6:::1]", "a@x.org."):
            self.assertEqual(admission.recipient(listener(), NOBODY, good, {}).address, good)

    def test_injection(self):
        """Control characters are refused, whatever is allowed."""
        for bad in ("a\r\nRCPT TO:<b@c>", "a@b.org\r", "a\0@b.org", "a@b\u2029.org", '"a\nb"@c.org'):
            self.assertRefused(501, "5.1.3", "address", admission.recipient, listener(), NOBODY, bad, {})


class SizeTests(RulesCase):
    def test_declared(self):
        """A declared size up to the limit passes, one above is told the limit."""
        limited = listener(size=1000)
        for size, declared in {"": 0, "0": 0, "1000": 1000, "0001000": 1000}.items():
            self.assertEqual(admission.declared_size(limited, size), declared)
        for size in ("1001", "9" * 30, "9" * 5000):
            text = self.assertRefused(552, "5.3.4", "size", admission.declared_size, limited, size)
            self.assertIn("1000", text)

    def test_no_limit(self):
        """Without a limit any size passes."""
        self.assertGreater(admission.declared_size(listener(), "9" * 5000), 1 << 60)

    def test_no_number(self):
        """What is no number of bytes is a syntax error."""
        for size in ("-1", "1k", "+5", "1_000", "٣", " 1"):
            self.assertRefused(501, "5.5.4", "size", admission.declared_size, listener(size=1000), size)
