"""The avatar: a transaction from MAIL to the body's place."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.interfaces.fit import planned
from smtprelay.mime.head import Head
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Client, Envelope, Recipient, Refused
from smtprelay.model.patterns import Patterns
from smtprelay.model.shape import Shape
from smtprelay.policy.avatar import EnvelopeDelivery
from smtprelay.policy.networks import Networks
from smtprelay.policy.router import RouteMatch
from smtprelay.policy.settings import Identity, Rights
from tests.policy.doubles import FakeOutlet, Store, make_rules

CLIENT = Client(address="127.0.0.1", helo="printer", protocol="ESMTP", listener="lan")


class DeliveryCase(SynchronousTestCase):
    def setUp(self):
        self.store = Store()

    def avatar(
        self, user: Identity | None = None, client: Client = CLIENT, **desk: object
    ) -> EnvelopeDelivery:
        avatar = EnvelopeDelivery(make_rules(self.store, **desk), user or Identity())
        avatar.client_is(client)
        return avatar

    def assertRefused(self, code: int, rule: str, avatar: EnvelopeDelivery, verb: str, *args: object):
        reply = self.assertRaises(Refused, getattr(avatar, verb), *args).reply
        self.assertEqual((reply.code, reply.rule), (code, rule))


class TransactionTests(DeliveryCase):
    def test_interface(self):
        """It is what a session logs in for."""
        verifyObject(IEnvelopeDelivery, self.avatar())

    def test_other_rules(self):
        """A transaction ends by the rules that it began with; the next one begins with those of now."""
        rules = make_rules(self.store, allow_recipients=Patterns(["*@y.org"]))
        avatar = EnvelopeDelivery(rules)
        avatar.client_is(CLIENT)
        avatar.mail("a@b.org", {})
        rules.context = make_rules(self.store, allow_recipients=Patterns(["*@z.org"])).context
        avatar.rcpt("x@y.org", {})
        avatar.data()
        avatar.mail("a@b.org", {})
        self.assertRefused(550, "recipient", avatar, "rcpt", "x@y.org", {})
        avatar.rcpt("x@z.org", {})
        rules.context = make_rules(self.store, allow_from=Networks.parse(["192.0.2.0/24"])).context
        avatar.data()
        self.assertRefused(550, "network", avatar, "mail", "a@b.org", {})

    def test_accepted(self):
        """The draft has the envelope as given, who sent it, when, and our id; the body our header."""
        avatar = self.avatar()
        avatar.mail("a@b.org", {"BODY": "8BITMIME", "SIZE": "100", "RET": "HDRS", "AUTH": "<>"})
        avatar.rcpt("x@y.org", {"NOTIFY": "never"})
        avatar.rcpt("z@y.org", {})
        incoming = avatar.data()
        draft = incoming.draft
        self.assertEqual(incoming, self.store.kept[0])
        self.assertEqual((draft.id, draft.client, draft.received), ("m1", CLIENT, 1_800_000_000))
        self.assertEqual(
            draft.envelope,
            Envelope(
                sender="a@b.org",
                recipients=(Recipient(address="x@y.org", notify="NEVER"), Recipient(address="z@y.org")),
                parameters={"BODY": "8BITMIME", "RET": "HDRS"},
            ),
        )
        self.assertTrue(incoming.body.startswith(b"Received: from printer ([127.0.0.1])\r\n"))
        self.assertTrue(incoming.body.endswith(b" +0000\r\n"))
        self.assertEqual(incoming.body.count(b"Received:"), 1)

    def test_the_first_wishes_hold(self):
        """A recipient who comes again, with other wishes for reports (RFC 3461), is one, with the first."""
        avatar = self.avatar()
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {"NOTIFY": "NEVER", "ORCPT": "rfc822;one"})
        avatar.rcpt("x@Y.org", {"NOTIFY": "SUCCESS", "ORCPT": "rfc822;two"})
        self.assertEqual(
            avatar.data().draft.envelope.recipients,
            (Recipient(address="x@y.org", notify="NEVER", orcpt="rfc822;one"),),
        )

    def test_back_pressure(self):
        """If the store wants to pause at the first bytes, the body's place is told when it may go on."""
        self.store.pressure = Deferred()
        avatar = self.avatar()
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {})
        waiting = avatar.data()
        self.assertNoResult(waiting)
        self.store.pressure.callback(None)
        self.assertIs(self.successResultOf(waiting), self.store.kept[0])

    def test_the_plan_knows_client_and_envelope(self):
        """What the store asks at the end of data is answered for this transaction."""
        route_matches = [
            RouteMatch(name="ann", via=["acs"], users=frozenset({"ann"})),
            RouteMatch(name="default", via=["acs"]),
        ]
        avatar = self.avatar(
            Identity(name="ann"),
            route_matches=route_matches,
            outlets={"acs": FakeOutlet(lane_by_sender=True)},
        )
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {})
        (planned,) = avatar.data().plan(Head(b""), Shape(size=100), {})
        self.assertEqual((planned.route, planned.lane, planned.provider), ("ann", "a@b.org", "acs"))

    def test_no_client_waits_for_ever_to_be_measured(self):
        """If a provider's request cannot be measured, the client is told so while it still listens."""

        class Outlet(FakeOutlet):
            async def measure(self, *_: object) -> int:
                return await Deferred()

        rules = make_rules(self.store, outlets={"acs": Outlet(request=10, most=2)})
        avatar = EnvelopeDelivery(rules, Identity())
        avatar.client_is(CLIENT)
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {})
        avatar.data()
        [kept] = self.store.kept
        work = planned(kept.plan, Head(b""), Shape(size=6), kept.draft.envelope, MemoryBody(b"mail\r\n"))
        planning = Deferred.fromCoroutine(work)
        self.assertNoResult(planning)
        rules.context.clock.advance(30)
        self.assertEqual(self.failureResultOf(planning, Refused).value.reply.code, 452)

    def test_duplicates_collapse(self):
        """One recipient named twice is one; local parts that differ in case are two."""
        avatar = self.avatar()
        avatar.mail("a@b.org", {})
        for address in ("x@y.org", "x@Y.ORG", "X@y.org", "x@y.org"):
            avatar.rcpt(address, {})
        self.assertEqual(avatar.data().draft.envelope.addresses, ("x@y.org", "X@y.org"))

    def test_a_refused_recipient_is_never_in_the_envelope(self):
        """What was refused, by any rule, is not delivered to, and the rest is."""
        avatar = self.avatar(
            route_matches=[RouteMatch(name="y", via=["acs"], recipients=Patterns(["*@y.org"]))],
            allow_recipients=Patterns(["*@y.org", "*@z.org"]),
        )
        avatar.mail("a@b.org", {})
        self.assertRefused(550, "recipient", avatar, "rcpt", "x@evil.org", {})
        self.assertRefused(550, "route", avatar, "rcpt", "x@z.org", {})
        self.assertRefused(553, "address", avatar, "rcpt", "x@evil.org@y.org", {})
        avatar.rcpt("x@y.org", {})
        self.assertEqual(avatar.data().draft.envelope.addresses, ("x@y.org",))

    def test_all_refused(self):
        """When every recipient was refused there is nowhere for a body to go."""
        avatar = self.avatar(allow_recipients=Patterns([]))
        avatar.mail("a@b.org", {})
        self.assertRefused(550, "recipient", avatar, "rcpt", "x@y.org", {})
        self.assertRefused(554, "sequence", avatar, "data")
        self.assertEqual(self.store.kept, [])

    def test_a_refused_sender_ends_the_transaction_before(self):
        """After a refused MAIL nothing of an earlier transaction is left to send with."""
        avatar = self.avatar(allow_senders=Patterns(["*@b.org"]))
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {})
        self.assertRefused(553, "sender", avatar, "mail", "a@evil.org", {})
        self.assertRefused(503, "sequence", avatar, "rcpt", "x@y.org", {})
        self.assertRefused(503, "sequence", avatar, "data")

    def test_mail_begins_anew(self):
        """A second MAIL forgets the recipients of the first; DATA ends the transaction."""
        avatar = self.avatar()
        avatar.mail("a@b.org", {})
        avatar.rcpt("first@y.org", {})
        avatar.mail("c@b.org", {})
        avatar.rcpt("second@y.org", {})
        self.assertEqual(avatar.data().draft.envelope.addresses, ("second@y.org",))
        self.assertRefused(503, "sequence", avatar, "data")

    def test_declared_size(self):
        """A message that says that it is too large is refused before it is sent."""
        avatar = self.avatar(size=1000)
        self.assertRefused(552, "size", avatar, "mail", "a@b.org", {"SIZE": "1001"})
        avatar.mail("a@b.org", {"SIZE": "1000"})


class WhoTests(DeliveryCase):
    def test_unknown_client(self):
        """Before anybody said who speaks, nobody may send."""
        avatar = EnvelopeDelivery(make_rules(self.store, allow_from=Networks.parse(["0.0.0.0/0", "::/0"])))
        self.assertRefused(550, "network", avatar, "mail", "a@b.org", {})

    def test_client_changes(self):
        """What becomes known later, as TLS, counts from then on."""
        avatar = self.avatar(tls_required=True)
        self.assertRefused(530, "tls", avatar, "mail", "a@b.org", {})
        avatar.client_is(Client(address="127.0.0.1", tls="TLSv1.3", protocol="ESMTPS"))
        avatar.mail("a@b.org", {})

    def test_a_user_is_who_logged_in(self):
        """The session cannot claim a user that the login did not give."""
        avatar = self.avatar(client=Client(address="198.51.100.1", user="ann"), has_logins=True)
        self.assertRefused(530, "auth-required", avatar, "mail", "a@b.org", {})

    def test_rights_of_a_user(self):
        """A user may send from anywhere, as what and to whom the rights say."""
        printer = Identity(
            name="p", rights=Rights(recipients=Patterns(["*@y.org"]), force_from="scan@example.com")
        )
        avatar = self.avatar(printer, Client(address="198.51.100.1"), has_logins=True)
        avatar.mail("whatever@evil.org", {})
        self.assertRefused(550, "user-recipient", avatar, "rcpt", "x@evil.org", {})
        avatar.rcpt("x@y.org", {})
        kept = avatar.data()
        self.assertEqual((kept.draft.envelope.sender, kept.draft.client.user), ("scan@example.com", "p"))
        self.assertEqual(kept.draft.client.listener, "lan")
        [planned] = kept.plan(Head(b"From: Boss <boss@b.org>\r\n"), Shape(size=10), {})
        self.assertEqual(planned.author, "scan@example.com")

    def test_forgotten(self):
        """After logout nothing is left."""
        avatar = self.avatar()
        avatar.mail("a@b.org", {})
        avatar.rcpt("x@y.org", {})
        avatar.forget()
        self.assertRefused(503, "sequence", avatar, "data")


class OneDeliveryTests(DeliveryCase):
    """A listener whose clients wait for the verdict: a transaction is one delivery."""

    def begun(self, *route_matches: RouteMatch, **outlets: FakeOutlet) -> EnvelopeDelivery:
        avatar = self.avatar(
            route_matches=route_matches,
            outlets={"acs": FakeOutlet(), "ses": FakeOutlet()} | outlets,
            one_delivery=True,
        )
        avatar.mail("a@b.org", {})
        avatar.rcpt("first@x.org", {})
        return avatar

    def test_another_route(self):
        """Who goes another way, or may, needs another transaction; those of the same way come along."""
        for rule in (
            RouteMatch(name="own", via=["ses"], recipients=Patterns(["*@own.org"])),
            RouteMatch(
                name="own", via=["ses"], recipients=Patterns(["*@own.org"]), headers={"X-Env": "test"}
            ),
            RouteMatch(name="own", via=["ses"], recipients=Patterns(["*@own.org"]), size_from=1000),
        ):
            avatar = self.begun(rule, RouteMatch(name="all", via=["acs"]))
            self.assertRefused(452, "one-delivery", avatar, "rcpt", "c@own.org", {})
            avatar.rcpt("second@x.org", {})
            self.assertEqual(avatar.data().draft.envelope.addresses, ("first@x.org", "second@x.org"))

    def test_decided_by_the_content(self):
        """Where only the content decides between routes, it does so for all recipients together."""
        test = RouteMatch(name="test", via=["ses"], headers={"X-Env": "test"})
        avatar = self.begun(test, RouteMatch(name="all", via=["acs"]))
        avatar.rcpt("second@y.org", {})
        plan = avatar.data().plan
        self.assertEqual([each.route for each in plan(Head(b""), Shape(size=10), {})], ["all"])
        self.assertEqual(
            [each.route for each in plan(Head(b"X-Env: test\r\n"), Shape(size=10), {})], ["test"]
        )

    def test_too_many(self):
        """No more than each provider takes at once; the same one twice is one."""
        avatar = self.begun(RouteMatch(name="all", via=["acs", "ses"]), ses=FakeOutlet(recipients=2))
        avatar.rcpt("second@x.org", {})
        avatar.rcpt("second@X.org", {})
        self.assertRefused(452, "one-delivery", avatar, "rcpt", "third@x.org", {})
        self.assertEqual(len(avatar.data().draft.envelope.recipients), 2)

    def test_no_route(self):
        """Where no route leads, no transaction will help."""
        avatar = self.begun(RouteMatch(name="x", via=["acs"], recipients=Patterns(["*@x.org"])))
        self.assertRefused(550, "route", avatar, "rcpt", "c@own.org", {})

    def test_begins_anew(self):
        """The next transaction may go the other way."""
        own = RouteMatch(name="own", via=["ses"], recipients=Patterns(["*@own.org"]))
        avatar = self.begun(own, RouteMatch(name="all", via=["acs"]))
        avatar.mail("a@b.org", {})
        avatar.rcpt("c@own.org", {})
        self.assertEqual(avatar.data().draft.envelope.addresses, ("c@own.org",))

    def test_other_listeners(self):
        """A listener with a spool takes all recipients at once."""
        own = RouteMatch(name="own", via=["ses"], recipients=Patterns(["*@own.org"]))
        outlets = {"acs": FakeOutlet(recipients=1), "ses": FakeOutlet()}
        avatar = self.avatar(route_matches=[own, RouteMatch(name="all", via=["acs"])], outlets=outlets)
        avatar.mail("a@b.org", {})
        for address in ("a@x.org", "b@x.org", "c@own.org"):
            avatar.rcpt(address, {})
        self.assertEqual(len(avatar.data().plan(Head(b""), Shape(size=10), {})), 3)
