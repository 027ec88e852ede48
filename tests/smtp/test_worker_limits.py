"""The limits of a listener that several processes have."""

import os

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.worker_memory import WorkerMemory, new_memory
from smtprelay.smtp.factory import ESMTPFactory
from tests.smtp.doubles import Site
from tests.smtp.test_protocol import lose

ONE, TWO, THREE = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class ElsewhereTests(SynchronousTestCase):
    def setUp(self) -> None:
        number = new_memory(2)
        self.addCleanup(os.close, number)
        ours, self.others = WorkerMemory(number, 1), WorkerMemory(number, 2)
        self.others.count("lan", ONE, 1)
        self.site = Site(connections=3, connections_per_client=2, listener="lan")
        self.site.factory = ESMTPFactory(
            self.site.portal, self.site.factory.settings, self.site.clock, self.site.events, memory=ours
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
        self.assertEqual((self.others.elsewhere("lan", ONE), self.others.elsewhere("lan")), (1, 1))
        lose(self.site.connect(ONE))
        self.assertEqual(self.others.elsewhere("lan", ONE), 1)
        lose(line)
        lose(line)
        self.assertEqual((self.others.elsewhere("lan", ONE), self.others.elsewhere("lan")), (0, 0))
