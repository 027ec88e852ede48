"""The recount finds what does not agree, and nothing else."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.attempt import Block, Settlement
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.maintenance.check import check
from tests.behaviours.spool_stories import RATE_LIMITS, SpoolStories, done
from tests.dispatch.stage import done as finished
from tests.recording import Recording


class CheckTests(SpoolStories, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.spool = open_memory(SpoolOptions(rate_limits=RATE_LIMITS, events=Recording()), clock=self.clock)
        self.connection = self.spool._writer.writer.connection
        for number in range(1, 6):
            finished(self.send(self.spool, number=number))
        first, second = finished(self.spool.claim()).claims
        finished(self.spool.settle(first, done(first)))
        finished(self.spool.settle(second, Settlement(state="deferred", outcomes={}, due=2000.0)))
        finished(self.spool.claim(1))

    def test_a_sound_spool_has_nothing_to_say(self) -> None:
        """With mail in every stage of its life."""
        self.assertEqual([], check(self.connection))

    def test_whatever_was_damaged_is_named(self) -> None:
        """One sentence for each damage, whichever table it is in."""
        for damage, words in (
            ("UPDATE lane SET queued = queued + 1", "queued is 3, counted 2"),
            ("UPDATE lane SET slots = 0", "slots is 0, counted 1"),
            ("INSERT INTO permit VALUES ('x', 'n', 1, 1, 0, 0)", "slots is 1, counted 2"),
            ("UPDATE lane SET due = 9e9", "but a delivery is due"),
            ("UPDATE delivery SET due = NULL WHERE state = 'deferred'", "contradict its state"),
            ("UPDATE recipient SET state = 'open'", "a recipient contradicts its delivery"),
            ("UPDATE recipient SET state = 'delivered'", "has no recipients"),
            ("UPDATE attempt SET ended = NULL", "without its delivery"),
            ("UPDATE attempt SET ended = 1", "without its attempt"),
            ("DELETE FROM delivery", "a message has no delivery"),
            ("UPDATE message SET finished = 1", "a message is finished before its deliveries"),
            ("UPDATE chunk SET content = x'00'", "a body is not whole"),
            ("INSERT INTO chunk SELECT id, 1, x'00' FROM message WHERE finished > 0", "is not needed"),
            ("UPDATE recipient SET state = 'deleted'", "a recipient contradicts its delivery"),
            ("UPDATE delivery SET state = 'deleted' WHERE state = 'queued'", "contradict its state"),
            ("UPDATE delivery SET state = 'deleted' WHERE state = 'delivered'", "no recipient without"),
            ("INSERT INTO chunk VALUES ('nobody', 1, x'00')", "belongs to nothing: nobody"),
            ("DELETE FROM message", "a delivery belongs to no message"),
            ("DELETE FROM delivery", "an attempt belongs to no delivery"),
            (
                "INSERT INTO credential VALUES ('nobody', 1, 'k', x'00')",
                "a credential belongs to no delivery",
            ),
            ("UPDATE delivery SET lane = 99", "a lane that does not exist: 99"),
            ("UPDATE delivery SET node = 'x' WHERE state = 'queued'", "contradict its state"),
            ("UPDATE chunk SET n = 5", "a body has a gap"),
            ("UPDATE delivery SET hold = 7 WHERE state = 'queued'", "a rule that is not there"),
            ("UPDATE delivery SET attempt = 0", "comes after the last one"),
            ("UPDATE lane SET blocked_until = 5", "whether it is stopped: main"),
            ("INSERT INTO permit VALUES ('x', 'n', 99, 1, 0, 0)", "a permit is of a lane"),
        ):
            self.connection.execute("BEGIN")
            self.connection.execute(damage)
            found = check(self.connection)
            self.connection.execute("ROLLBACK")
            self.assertTrue([line for line in found if words in line], (damage, found))

    def test_a_blocked_lane_is_looked_at_when_its_mail_is_really_due(self) -> None:
        """A recount puts right when its mail may go elsewhere, too."""
        for number in (6, 7):
            finished(self.send(self.spool, number=number, provider="other", lane="box"))
        finished(self.spool.block(Block(provider="other", lane="box", until=9e9, reason="gone")))
        damage = "UPDATE lane SET due = 9e9, turn = 9e9 WHERE key = 'box'"
        self.successResultOf(self.spool._writer.do(lambda tx: (tx.execute(damage), tx.lanes.forget())))
        self.assertEqual([], list(finished(self.spool.claim()).stopped))
        self.assertEqual(1, finished(self.spool.maintenance.recount()))
        self.assertEqual([("other", "box")], list(finished(self.spool.claim()).stopped))

    def test_a_spool_that_is_very_wrong(self) -> None:
        """Of each kind of damage a hundred are told, and how many more there are."""
        self.connection.executemany(
            "INSERT INTO chunk VALUES (?, 1, x'00')", [(f"nobody{number}",) for number in range(150)]
        )
        found = [line for line in check(self.connection) if "belongs to nothing" in line]
        self.assertEqual((101, "a piece of a body belongs to nothing: 50 more"), (len(found), found[-1]))
