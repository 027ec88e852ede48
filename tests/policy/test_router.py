"""Which way each recipient goes, and what may be announced as the largest size."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Unmeasured
from smtprelay.mime.head import Head
from smtprelay.model.message import Client, Envelope, Planned, Recipient, Refused
from smtprelay.model.patterns import Patterns
from smtprelay.model.shape import Shape
from smtprelay.policy.networks import Networks
from smtprelay.policy.router import RouteMatch, Router
from tests.policy.doubles import FakeOutlet
from tests.steps import counted

CLIENT = Client(address="10.0.3.7", listener="lan", user="ann")
SMALL, LARGE, ENDLESS = FakeOutlet(size=1000), FakeOutlet(size=5000), FakeOutlet()


def envelope(*recipients: str, sender: str = "a@b.org") -> Envelope:
    return Envelope(sender=sender, recipients=tuple(Recipient(address=each) for each in recipients))


def router(*route_matches: RouteMatch, **outlets: FakeOutlet) -> Router:
    return Router(route_matches, {"acs": FakeOutlet(), "ses": FakeOutlet()} | outlets)


def targets(planned: list[Planned]) -> list[tuple]:
    return [
        (each.route, each.provider, each.lane, [to.address for to in each.recipients]) for each in planned
    ]


class MatchTests(SynchronousTestCase):
    def assertRoute(self, conditions: dict, *, takes: list[dict], leaves: list[dict]):
        """Check a rule against situations that differ from a harmless one as given."""
        routes = router(
            RouteMatch(name="special", via=["acs"], **conditions), RouteMatch(name="default", via=["ses"])
        )
        for situations, expected in ((takes, "special"), (leaves, "default")):
            for changes in situations:
                way = {
                    "client": CLIENT,
                    "sender": "a@b.org",
                    "to": "x@y.org",
                    "headers": Head(b""),
                    "size": 100,
                } | changes
                plan = routes.plan(way["client"], envelope(way["to"], sender=way["sender"]))
                self.assertEqual(
                    [each.route for each in plan(way["headers"], Shape(size=way["size"]), {})],
                    [expected],
                    changes,
                )

    def test_client(self):
        """A route for a network takes its clients, mapped IPv4 included."""
        self.assertRoute(
            {"clients": Networks.parse(["10.0.3.0/24"])},
            takes=[{"client": Client(address="10.0.3.9")}, {"client": Client(address="::ffff:10.0.3.9")}],
            leaves=[{"client": Client(address="10.0.4.9")}, {"client": Client(address="unix")}],
        )

    def test_listener_and_user(self):
        """Listener and user are compared by name; ``*`` is any user, but not nobody."""
        self.assertRoute(
            {"listeners": frozenset({"lan"}), "users": frozenset({"ann"})},
            takes=[{}],
            leaves=[
                {"client": Client(address="10.0.3.7", listener="wan", user="ann")},
                {"client": Client(address="10.0.3.7", listener="lan", user="bob")},
                {"client": Client(address="10.0.3.7", listener="lan")},
            ],
        )
        self.assertRoute(
            {"users": frozenset({"*"})}, takes=[{}], leaves=[{"client": Client(address="10.0.3.7")}]
        )

    def test_sender_and_recipient(self):
        """Sender and recipient are compared with patterns."""
        self.assertRoute(
            {"senders": Patterns(["*@b.org", "<>"]), "recipients": Patterns(["*@y.org"])},
            takes=[{}, {"sender": "c@B.org"}, {"sender": ""}],
            leaves=[{"sender": "a@c.org"}, {"to": "x@z.org"}, {"to": "x@y.org.evil.com"}],
        )

    def test_header(self):
        """A header is compared by name and by a pattern for its value, wherever it stands."""
        for filler in (b"", b"Y: y\r\n" * 40_000):
            self.assertRoute(
                {"headers": {"X-Env": "test*", "X-App": "*"}},
                takes=[
                    {"headers": Head(filler + b"x-env:  Testing \r\nX-App:\r\n")},
                    {"headers": Head(b"X-Env: live\r\nX-Env: test\r\n 2\r\n" + filler + b"X-App: a\r\n")},
                ],
                leaves=[
                    {"headers": Head(filler)},
                    {"headers": Head(b"X-Env: test\r\n" + filler)},
                    {"headers": Head(b"X-Env: a test\r\nX-App: a\r\n" + filler)},
                    {"headers": Head(filler + b"X-Env2: test\r\nX-App: a\r\n")},
                ],
            )

    def test_a_header_is_read_once(self):
        """Many routes that look at a header of many fields cost no more for each of them than one does."""
        many = [
            RouteMatch(name=f"r{n}", via=["acs"], headers={"X-Env": f"e{n}", "X": "y*"}) for n in range(40)
        ]
        head = b"X-Field: y\r\n" * 23_000 + b"X-Env: e39\r\n"
        few = router(*many[:2], RouteMatch(name="default", via=["ses"])).plan(CLIENT, envelope("x@y.org"))
        all_ = router(*many, RouteMatch(name="default", via=["ses"])).plan(CLIENT, envelope("x@y.org"))
        steps = [counted(lambda plan=plan: plan(Head(head), Shape(size=1), {})) for plan in (few, all_)]
        self.assertLess(steps[1] - steps[0], 2_000)

    def test_size(self):
        """A size range has its beginning in it and its end not."""
        self.assertRoute(
            {"size_from": 100, "size_below": 200},
            takes=[{"size": 100}, {"size": 199}],
            leaves=[{"size": 99}, {"size": 200}],
        )


class WaysTests(SynchronousTestCase):
    def test_until_nothing_is_open(self):
        """The ways end with the first route that needs no header and no size to match."""
        routes = router(
            RouteMatch(name="test", via=["acs"], headers={"X-Env": "test"}),
            RouteMatch(name="other", via=["acs"], listeners=frozenset({"wan"})),
            RouteMatch(name="small", via=["acs"], size_below=1000, recipients=Patterns(["*@x.org"])),
            RouteMatch(name="all", via=["ses"]),
            RouteMatch(name="never", via=["acs"]),
        )
        self.assertEqual(routes.targets(CLIENT, "a@b.org", "c@x.org"), ("test", "small", "all"))
        self.assertEqual(routes.targets(CLIENT, "a@b.org", "c@y.org"), ("test", "all"))

    def test_none(self):
        """Where no route leads there are none."""
        routes = router(RouteMatch(name="own", via=["acs"], recipients=Patterns(["*@own.org"])))
        self.assertEqual(routes.targets(CLIENT, "a@b.org", "c@x.org"), ())

    def test_same_ways_same_route(self):
        """Recipients with the same ways are planned together, whatever the message is."""
        routes = router(
            RouteMatch(name="test", via=["acs"], headers={"X-Env": "test"}),
            RouteMatch(name="large", via=["ses"], size_from=1000),
            RouteMatch(name="all", via=["acs"]),
        )
        to = ("c@x.org", "d@y.org")
        self.assertEqual(len({routes.targets(CLIENT, "a@b.org", each) for each in to}), 1)
        for head, size in ((b"", 10), (b"X-Env: test\r\n", 10), (b"", 5000)):
            self.assertEqual(len(routes.plan(CLIENT, envelope(*to))(Head(head), Shape(size=size), {})), 1)

    def test_most_recipients(self):
        """The smallest limit of all providers that may be asked counts."""
        route_matches = [
            RouteMatch(name="test", via=["acs", "ses"], headers={"X": "y"}),
            RouteMatch(name="all", via=["ses"]),
        ]
        routes = router(*route_matches, acs=FakeOutlet(recipients=5), ses=FakeOutlet(recipients=50))
        self.assertEqual(routes.most_recipients(["test", "all"]), 5)
        self.assertEqual(routes.most_recipients(["all"]), 50)
        self.assertIsNone(router(*route_matches).most_recipients(["test", "all"]))


class PlanTests(SynchronousTestCase):
    def test_first_match_wins_for_each_recipient(self):
        """Recipients of one message go different ways, in the order in which the ways were met."""
        routes = router(
            RouteMatch(name="own", via=["acs"], recipients=Patterns(["*@own.org"])),
            RouteMatch(name="all", via=["ses", "acs"]),
            RouteMatch(name="never", via=["acs"]),
        )
        plan = routes.plan(CLIENT, envelope("a@x.org", "b@own.org", "c@x.org"))
        self.assertEqual(
            targets(plan(Head(b""), Shape(size=10), {})),
            [("all", "ses", "", ["a@x.org", "c@x.org"]), ("own", "acs", "", ["b@own.org"])],
        )

    def test_split_by_the_smallest_recipient_limit(self):
        """A delivery has at most as many recipients as each provider of its way takes."""
        routes = router(
            RouteMatch(name="all", via=["acs", "ses"]),
            acs=FakeOutlet(recipients=50),
            ses=FakeOutlet(recipients=2),
        )
        addresses = [f"r{n}@x.org" for n in range(5)]
        planned = routes.plan(CLIENT, envelope(*addresses))(Head(b""), Shape(size=10), {})
        self.assertEqual([len(each.recipients) for each in planned], [2, 2, 1])
        self.assertEqual([to.address for each in planned for to in each.recipients], addresses)

    def test_lane(self):
        """The first provider says the lane: by the recipients, whom From names, and who logged in."""
        asked = []

        class ByRecipient(FakeOutlet):
            def lane(self, envelope: Envelope, author: str, login: str) -> str:
                asked.append((envelope.sender, author, login))
                return envelope.addresses[0]

        routes = router(RouteMatch(name="all", via=["acs"]), acs=ByRecipient(recipients=1))
        plan = routes.plan(evolve(CLIENT, user="ann"), envelope("a@x.org", "b@x.org"))
        planned = plan(Head(b"From: Boss <boss@b.org>\r\n"), Shape(size=10), {})
        self.assertEqual([each.lane for each in planned], ["a@x.org", "b@x.org"])
        self.assertEqual(asked, [("a@b.org", "boss@b.org", "ann")] * 2)
        self.assertEqual({each.author for each in planned}, {"boss@b.org"})

    def test_author_that_is_set(self):
        """Whom From will name at delivery counts, whatever it names now."""
        routes = router(RouteMatch(name="all", via=["acs"]), acs=FakeOutlet())
        plan = routes.plan(CLIENT, envelope("a@x.org"), "scan@b.org")
        [planned] = plan(Head(b"From: Boss <boss@b.org>\r\n"), Shape(size=10), {})
        self.assertEqual(planned.author, "scan@b.org")

    def test_the_first_provider_that_takes_the_size(self):
        """A message goes first to the first provider of ``via`` that it fits."""
        routes = router(RouteMatch(name="all", via=["acs", "ses"]), acs=SMALL, ses=LARGE)
        plan = routes.plan(CLIENT, envelope("a@x.org"))
        self.assertEqual(
            [plan(Head(b""), Shape(size=size), {})[0].provider for size in (1000, 1001, 5000)],
            ["acs", "ses", "ses"],
        )

    def test_too_large_for_all(self):
        """What no provider of the way takes is 552, with the limit."""
        routes = router(RouteMatch(name="all", via=["ses", "acs"]), acs=SMALL, ses=LARGE)
        reply = self.assertRaises(
            Refused, routes.plan(CLIENT, envelope("a@x.org")), Head(b""), Shape(size=5001), {}
        ).reply
        self.assertEqual((reply.code, reply.enhanced, reply.rule), (552, "5.3.4", "provider-size"))
        self.assertIn("5000", reply.text)

    def test_what_its_request_becomes_decides(self):
        """A limit of the request is compared with what the shape makes of it at least, and at most."""
        acs, ses = FakeOutlet(request=1000, least=2, most=4), FakeOutlet(size=5000)
        plan = router(RouteMatch(name="all", via=["acs", "ses"]), acs=acs, ses=ses).plan(
            CLIENT, envelope("a@x.org")
        )
        for size, provider in ((0, "acs"), (250, "acs"), (501, "ses"), (5000, "ses")):
            self.assertEqual(
                [each.provider for each in plan(Head(b""), Shape(size=size), {})], [provider], size
            )
        for size in (251, 500):
            unknown = self.assertRaises(Unmeasured, plan, Head(b""), Shape(size=size), {})
            self.assertEqual((unknown.provider, unknown.measure), ("acs", acs.measure))
            for measured, provider in ((1000, "acs"), (1001, "ses")):
                planned = plan(Head(b""), Shape(size=size), {"acs": measured})
                self.assertEqual([each.provider for each in planned], [provider])

    def test_each_provider_is_measured_for_itself(self):
        """One after the other, in the order of the route; then it is 552, with all the sizes."""
        outlets = {"acs": FakeOutlet(request=1000, most=4), "ses": FakeOutlet(request=1200, most=4)}
        plan = router(RouteMatch(name="all", via=["acs", "ses"]), **outlets).plan(CLIENT, envelope("a@x.org"))
        shape = Shape(size=600)
        self.assertEqual(self.assertRaises(Unmeasured, plan, Head(b""), shape, {}).provider, "acs")
        self.assertEqual(self.assertRaises(Unmeasured, plan, Head(b""), shape, {"acs": 1100}).provider, "ses")
        reply = self.assertRaises(Refused, plan, Head(b""), shape, {"acs": 1100, "ses": 2000}).reply
        self.assertEqual((reply.code, reply.enhanced), (552, "5.3.4"))
        self.assertIn("acs takes requests of 1000 bytes, this one needs 1100", reply.text)
        self.assertIn("ses takes requests of 1200 bytes, this one needs 2000", reply.text)

    def test_the_size_counts_beside_the_request(self):
        """A provider may limit both."""
        outlet = FakeOutlet(size=100, request=10_000)
        plan = router(RouteMatch(name="all", via=["acs"]), acs=outlet).plan(CLIENT, envelope("a@x.org"))
        self.assertEqual(len(plan(Head(b""), Shape(size=100), {})), 1)
        self.assertIn(
            "acs takes 100", self.assertRaises(Refused, plan, Head(b""), Shape(size=101), {}).reply.text
        )

    def test_own_login(self) -> None:
        """A provider that sends with the client's login gets no other mail; without another it is refused."""
        ways = [RouteMatch(name="r", via=("graph", "acs")), RouteMatch(name="s", via=("graph",), users=None)]
        providers = {"graph": FakeOutlet(uses_login=True), "acs": FakeOutlet()}
        own = evolve(CLIENT, user="t@c", application="t/c/0")
        for client, planned in ((CLIENT, ("acs", True)), (own, ("graph", True))):
            [found] = Router(ways, providers).plan(client, envelope("a@x.org"))(Head(b""), Shape(size=1), {})
            self.assertEqual((found.provider, found.needs_login), planned)
        plan = Router(ways[1:], providers).plan(CLIENT, envelope("a@x.org"))
        refused = self.assertRaises(Refused, plan, Head(b""), Shape(size=1), {})
        self.assertEqual((refused.reply.code, refused.reply.rule), (550, "own-login"))

    def test_no_route(self):
        """A message with a recipient that no route takes in the end is refused whole."""
        routes = router(
            RouteMatch(name="test", via=["acs"], headers={"X-Env": "test"}),
            RouteMatch(name="own", via=["acs"], recipients=Patterns(["*@own.org"])),
        )
        plan = routes.plan(CLIENT, envelope("a@own.org", "b@x.org"))
        reply = self.assertRaises(Refused, plan, Head(b""), Shape(size=10), {}).reply
        self.assertEqual((reply.code, reply.enhanced, reply.rule), (550, "5.7.1", "route"))
        self.assertIn("b@x.org", reply.text)
        self.assertEqual(len(plan(Head(b"X-Env: test\r\n"), Shape(size=10), {})), 1)

    def test_a_missing_provider_is_found_at_once(self):
        """A route to a provider that does not exist cannot be built."""
        with self.assertRaises(KeyError):
            router(RouteMatch(name="all", via=["nowhere"]))


class ReachesTests(SynchronousTestCase):
    def test_what_rcpt_can_know(self):
        """A recipient is out of reach when no header and no size could change it."""
        routes = router(
            RouteMatch(
                name="test", via=["acs"], recipients=Patterns(["*@test.org"]), headers={"X-Env": "test"}
            ),
            RouteMatch(name="big", via=["acs"], recipients=Patterns(["*@big.org"]), size_from=1000),
            RouteMatch(name="bob", via=["acs"], users=frozenset({"bob"})),
        )
        reached = [
            address
            for address in ("a@test.org", "a@big.org", "a@x.org")
            if routes.reaches(CLIENT, "a@b.org", address)
        ]
        self.assertEqual(reached, ["a@test.org", "a@big.org"])
        self.assertTrue(routes.reaches(Client(address="10.0.3.7", user="bob"), "a@b.org", "a@x.org"))


class LargestTests(SynchronousTestCase):
    def largest(
        self, route_matches: list[RouteMatch], limit: int | None = None, listener: str = "lan"
    ) -> int | None:
        return Router(route_matches, {"small": SMALL, "large": LARGE, "endless": ENDLESS}).largest(
            listener, limit
        )

    def test_the_most_generous_way(self):
        """It is the largest limit of any provider of any route, within the listener's own."""
        route_matches = [RouteMatch(name="a", via=["small"]), RouteMatch(name="b", via=["small", "large"])]
        self.assertEqual(self.largest(route_matches), 5000)
        self.assertEqual(self.largest(route_matches, 2000), 2000)
        self.assertEqual(self.largest(route_matches, 9000), 5000)

    def test_no_limit(self):
        """One provider without a limit leaves only the listener's."""
        route_matches = [RouteMatch(name="a", via=["small", "endless"])]
        self.assertIsNone(self.largest(route_matches))
        self.assertEqual(self.largest(route_matches, 2000), 2000)
        self.assertEqual(self.largest([], 2000), 2000)

    def test_routes_of_other_listeners_do_not_count(self):
        """A route that this listener cannot take makes no promise for it."""
        route_matches = [
            RouteMatch(name="a", via=["small"]),
            RouteMatch(name="b", via=["endless"], listeners=frozenset({"wan"})),
        ]
        self.assertEqual(self.largest(route_matches), 1000)
        self.assertIsNone(self.largest(route_matches, listener="wan"))

    def test_a_limit_of_the_request(self):
        """The largest mail whose request may fit is announced, whatever others become."""
        outlets = {"acs": FakeOutlet(request=10_000_000, least=2, most=9), "tiny": FakeOutlet(request=0)}
        for via, size in ((["acs"], 5_000_000), (["tiny"], 0), (["tiny", "acs"], 5_000_000)):
            self.assertEqual(Router([RouteMatch(name="a", via=via)], outlets).largest("lan", None), size)
        self.assertEqual(Router([RouteMatch(name="a", via=["acs"])], outlets).largest("lan", 1000), 1000)
        both = {"acs": FakeOutlet(size=300, request=10_000)}
        self.assertEqual(Router([RouteMatch(name="a", via=["acs"])], both).largest("lan", None), 300)

    def test_routes_for_small_mail(self):
        """A route for mail below a size takes at most one byte less."""
        self.assertEqual(self.largest([RouteMatch(name="a", via=["endless"], size_below=300)]), 299)


class CountsContentTests(SynchronousTestCase):
    def test_only_for_whom_it_decides(self):
        """The content is counted if a provider of the listener's routes limits what becomes of it."""
        providers = {
            "raw": FakeOutlet(size=1000, request=2000),
            "json": FakeOutlet(request=2000, reads_content=True),
            "endless": FakeOutlet(reads_content=True),
        }
        routes = [
            RouteMatch(name="a", via=["raw", "json"], listeners=frozenset({"lan"})),
            RouteMatch(name="b", via=["endless", "raw"]),
        ]
        router = Router(routes, providers)
        self.assertEqual((router.counts_content("lan"), router.counts_content("wan")), (True, False))
