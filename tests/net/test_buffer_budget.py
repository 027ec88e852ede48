"""One budget for the memory of all messages on their way in."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.buffer_budget import Budget


class BudgetTests(SynchronousTestCase):
    def test_a_new_message_waits_for_room(self) -> None:
        """When all is taken the next one is asked to come later; those on their way are never refused."""
        budget = Budget(1000)
        budget.take(999)
        self.assertIsNone(budget.refusal())
        budget.take(500)
        self.assertTrue(budget.exceeded)
        refusal = budget.refusal()
        self.assertEqual((refusal.code, refusal.enhanced, refusal.rule), (452, "4.3.1", "memory"))
        budget.give_back(500)
        self.assertIsNone(budget.refusal())
