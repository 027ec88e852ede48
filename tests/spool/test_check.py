"""The recount finds what does not agree, and nothing else."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.queue import Settlement
from smtprelay.spool.check import check
from smtprelay.spool.memory import open_memory
from tests.behaviours.spool_stories import PACES, SpoolStories, done
from tests.dispatch.stage import done as finished
from tests.recording import Recording


class CheckTests(SpoolStories, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.spool = open_memory(clock=self.clock, paces=PACES, events=Recording())
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
            ("INSERT INTO loan VALUES ('x', 'n', 1, 1, 0, 0)", "slots is 1, counted 2"),
            ("UPDATE lane SET due = 9e9", "but a delivery is due"),
            ("UPDATE delivery SET due = NULL WHERE state = 'deferred'", "contradict its state"),
            ("UPDATE recipient SET state = 'open'", "a recipient contradicts its delivery"),
            ("UPDATE recipient SET state = 'delivered'", "nobody to go to"),
            ("UPDATE attempt SET ended = NULL", "without its delivery"),
            ("UPDATE attempt SET ended = 1", "without its attempt"),
            ("DELETE FROM delivery", "a message has no delivery"),
            ("UPDATE message SET finished = 1", "a message is finished before its deliveries"),
            ("UPDATE chunk SET content = x'00'", "a body is not whole"),
            ("INSERT INTO chunk SELECT id, 1, x'00' FROM message WHERE finished > 0", "everybody has it"),
            ("INSERT INTO chunk VALUES ('nobody', 1, x'00')", "belongs to nothing: nobody"),
        ):
            self.connection.execute("BEGIN")
            self.connection.execute(damage)
            found = check(self.connection)
            self.connection.execute("ROLLBACK")
            self.assertTrue([line for line in found if words in line], (damage, found))
