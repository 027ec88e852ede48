"""The limits of a listener that several processes have."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.smtp.connections_elsewhere import OtherProcesses
from smtprelay.smtp.factory import ESMTPFactory
from tests.smtp.doubles import Site
from tests.smtp.test_protocol import lose

ONE, TWO, THREE = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Others(OtherProcesses):
    """Others who have one connection, from :data:`ONE`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.counts = Counter({"": 1, ONE: 1})

    def count(self, address: str) -> int:
        return self.counts[address]

    def note(self, address: str, change: int) -> None:
        self.told.append((address, change))


class ElsewhereTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.site = Site(connections=3, connections_per_client=2)
        self.others = Others()
        self.site.factory = ESMTPFactory(
            self.site.portal, self.site.factory.settings, self.site.clock, self.site.events, self.others
        )

    def test_limits(self) -> None:
        """What others have counts, for the client's number and for the total."""
        self.assertEqual(self.site.connect(ONE).banner[0][:3], "220")
        self.assertEqual(self.site.connect(ONE).banner[0][:9], "421 4.7.0")
        self.assertEqual(self.site.connect(TWO).banner[0][:3], "220")
        self.assertEqual(self.site.connect(THREE).banner[0][:9], "421 4.3.2")

    def test_they_hear_of_ours(self) -> None:
        """Each that is let in is told, when it comes and once when it goes; who is turned away is not."""
        line = self.site.connect(ONE)
        lose(self.site.connect(ONE))
        lose(line)
        lose(line)
        self.assertEqual(self.others.told, [(ONE, 1), (ONE, -1)])
