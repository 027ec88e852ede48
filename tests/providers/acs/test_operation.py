from twisted.internet.error import ConnectionRefusedError as Refused

from smtprelay.model.outcome import Blocked, Deferred, Delivered, Uncertain
from smtprelay.providers.acs.operation import PATIENCE
from smtprelay.testing.acs import Answers, EndedOperation, LostConnection
from tests.providers.acs_wiring import BLIND, BOB, MAIL, Case, JoinedAcs, delivery, joined_acs


class OperationTests(Case):
    def test_failed(self):
        """An operation that fails fails the mail, in the service's words."""
        joined = joined_acs()
        joined.fake.script(EndedOperation("Failed", "EmailDroppedAllRecipientsSuppressed", "All suppressed."))
        outcome = self.outcome_of(joined, 1, 2, 4)
        self.assertEqual(outcome.code, "5.7.1")
        self.assertIn("EmailDroppedAllRecipientsSuppressed: All suppressed.", outcome.why)

    def test_canceled(self):
        """A canceled operation is deferred, and over: the next attempt has to be another one."""
        joined = joined_acs()
        joined.fake.script(EndedOperation("Canceled", steps=()))
        outcome = self.outcome_of(joined, 1)
        self.assertIsInstance(outcome, Deferred)
        self.assertTrue(outcome.closed)

    def test_pauses(self):
        """The first poll waits as long as asked; the pauses then double, up to 30 s."""
        joined = joined_acs()
        joined.fake.script(EndedOperation("Succeeded", steps=["Running"] * 7))
        result = joined.start()
        for pause in (1, 2, 4, 8, 16, 30, 30):
            before = len(joined.fake.exchanges)
            joined.joined.advance(pause - 0.01)
            self.assertEqual(len(joined.fake.exchanges), before)
            joined.joined.advance(0.01)
            self.assertEqual(len(joined.fake.exchanges), before + 1)
        self.assertNoResult(result)

    def test_poll_quota(self):
        """Polls that are refused or lost are repeated, not before the service allows it."""
        joined = joined_acs()
        joined.fake.script(
            Answers(429, headers={"Retry-After": "120"}), Answers(503), LostConnection(), on="poll"
        )
        result = joined.start()
        joined.joined.advance(1, 119)
        self.assertEqual(len(joined.fake.exchanges), 2)
        joined.joined.advance(1, 30, 30, 30, 30, 30)
        self.assertIsInstance(self.successResultOf(result)[BOB], Delivered)

    def test_patience(self):
        """An operation without an end is uncertain after 15 minutes."""
        joined = joined_acs()
        joined.fake.script(EndedOperation("Succeeded", steps=["Running"] * 1000))
        outcome = self.outcome_of(joined, *[30] * 31)
        self.assertIsInstance(outcome, Uncertain)
        self.assertIn("the operation is Running", outcome.why)

    def test_key_lost_while_polling(self):
        """A mail that was taken is never blocked: it is uncertain."""
        joined = joined_acs()
        result = joined.start()
        joined.fake.keys = []
        joined.joined.advance(1)
        self.assertIsInstance(self.successResultOf(result)[BOB], Uncertain)

    def test_same_mail_again(self):
        """After a lost answer the same request delivers once, however often it is made."""
        joined = joined_acs()
        joined.fake.script(LostConnection(accepting=True))
        self.assertIsInstance(self.outcome_of(joined), Uncertain)
        self.assertIsInstance(self.outcome_of(joined, 1, 2, 4), Delivered)
        [operation] = joined.fake.mails
        self.assertEqual((operation.posts, operation.delivered), (2, 1))

    def test_changed_mail_again(self):
        """If the request changed since, the first one's verdict counts."""
        joined = joined_acs()
        joined.fake.script(LostConnection(accepting=True))
        self.assertIsInstance(self.outcome_of(joined), Uncertain)
        outcome = self.outcome_of(joined, 5, 10, 20, body=MAIL + b"more")
        self.assertEqual(outcome, Delivered(delivery().operation_id))
        self.assertEqual(len(joined.fake.mails), 1)


class ResolveTests(Case):
    def resolved(self, joined: JoinedAcs, item: object, *seconds: float) -> object:
        result = joined.joined.run(joined.provider.resolve(item))
        joined.joined.advance(*seconds)
        return self.successResultOf(result)

    def test_known(self):
        """A mail that was taken is followed to its end, and not sent."""
        joined = joined_acs()
        joined.fake.script(LostConnection(accepting=True))
        self.outcome_of(joined)
        self.assertEqual(self.resolved(joined, delivery(), 1, 2), {BOB: Delivered(delivery().operation_id)})
        self.assertEqual(joined.fake.mails[0].posts, 1)

    def test_unknown(self):
        """One that was never seen is ``None``."""
        self.assertIsNone(self.resolved(joined_acs(), delivery()))

    def test_singles(self):
        """Of a mail in single requests each recipient is asked for; those not seen are deferred."""
        joined = joined_acs()
        joined.fake.script(None, LostConnection(accepting=True))
        item = delivery("a@x.org", "b@x.org", "c@x.org")
        result = joined.start(item, BLIND)
        joined.joined.advance(1, 2, 4)
        lost = self.successResultOf(result)
        kinds = [type(lost[address]) for address in item.envelope.addresses]
        self.assertEqual(kinds, [Delivered, Uncertain, Deferred])
        found = self.resolved(joined, item, 1, 2, 4)
        self.assertEqual(
            [type(found[address]) for address in item.envelope.addresses], [Delivered, Delivered, Deferred]
        )

    def test_singles_at_once(self):
        """Those that the service still works on are waited for together, however many they are."""
        people = [f"p{n}@x.org" for n in range(20)]
        joined = joined_acs(accept_on="202")
        joined.fake.script(*[EndedOperation("Succeeded", steps=["Running"] * 1000)] * len(people))
        self.successResultOf(joined.start(delivery(*people), BLIND))
        found = self.resolved(joined, delivery(*people), *[PATIENCE / 30] * 31)
        self.assertEqual(
            {address: type(each) for address, each in found.items()}, dict.fromkeys(people, Uncertain)
        )

    def test_blocked(self):
        """Credentials that are refused block."""
        joined = joined_acs()
        joined.fake.keys = []
        self.assertIsInstance(self.resolved(joined, delivery())[BOB], Blocked)

    def test_no_network(self):
        """Without an answer it stays uncertain."""
        joined = joined_acs()
        joined.joined.wire.refuse = Refused("nobody there")
        self.assertIsInstance(self.resolved(joined, delivery())[BOB], Uncertain)


class ProbeTests(Case):
    def test_probe(self):
        """A probe sends nothing; what it finds is what the lane is."""
        cases = (
            (None, Delivered),
            (Answers(200, body=b"{}"), Delivered),
            (Answers(403), Blocked),
            (Answers(429), Deferred),
            (LostConnection(), Deferred),
        )
        for act, kind in cases:
            with self.subTest(act):
                joined = joined_acs()
                joined.fake.script(act, act, on="poll")
                self.assertIsInstance(
                    self.successResultOf(joined.joined.run(joined.provider.probe(""))), kind
                )
                self.assertEqual({one.method for one in joined.fake.exchanges}, {"GET"})

    def test_probe_with_refused_keys(self):
        """Refused keys stay blocked, and unreadable secrets too."""
        joined = joined_acs()
        joined.fake.keys = []
        self.assertIsInstance(self.successResultOf(joined.joined.run(joined.provider.probe(""))), Blocked)
        joined.secrets = OSError("gone")
        self.assertIsInstance(self.successResultOf(joined.joined.run(joined.provider.probe(""))), Blocked)

    def test_lane_and_close(self):
        """There is one lane, the provider's own; closing closes the connections."""
        joined = joined_acs(accept_on="202")
        self.assertEqual(joined.provider.lane(delivery().envelope, "", ""), "")
        self.outcome_of(joined)
        self.successResultOf(joined.joined.run(joined.provider.close()))
        self.assertTrue(joined.joined.wire.pumps[0].clientIO.disconnected)
