"""One table says what the queue can be searched by."""

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.filters import FILTERS
from smtprelay.model.queue import Selection

#: What is no filter, or only the relay's own.
OTHER = {"hold", "everything", "newest", "limit"}


class FilterTests(SynchronousTestCase):
    def test_every_field(self) -> None:
        """Each filter of a selection has a row, an option and what it is compared with; ids have none."""
        self.assertEqual({each.name for each in FILTERS}, {each.name for each in fields(Selection)} - OTHER)
        self.assertEqual([each.name for each in FILTERS if not each.option], ["ids"])
        self.assertEqual([each.name for each in FILTERS if not each.columns], ["ids", "states"])

    def test_parameters(self) -> None:
        """In a query a list is given by a parameter for each of its values."""
        called = {each.name: each.parameter for each in FILTERS if each.parameter != each.name}
        self.assertEqual(called, {"ids": "id", "states": "state"})
