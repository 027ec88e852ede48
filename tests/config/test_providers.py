"""How fast a provider may be asked, by its settings."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.providers import Graph, LaneSettings, Ses, SmarthostSettings
from smtprelay.model.route import RateLimit, Window

SECOND = Window(count=14, seconds=1.0)


class PacedTests(SynchronousTestCase):
    def test_rate_and_concurrency(self) -> None:
        """They are the provider's; a lane has no bound of its own."""
        settings = SmarthostSettings(type="smarthost", host="h", rate=(SECOND,), concurrency=3)
        self.assertEqual(RateLimit(concurrency=3, windows=(SECOND,)), settings.paced)

    def test_ses_counts_recipients(self) -> None:
        """Its rates are not of requests."""
        windows = (Window(count=14, seconds=1.0, unit="recipients"),)
        settings = Ses(type="ses", region="eu-west-1", rate=(SECOND,))
        self.assertEqual(RateLimit(windows=windows), settings.paced)

    def test_graph_has_limits_of_a_mailbox(self) -> None:
        """Four requests at once, unless they are others."""
        settings = Graph(type="graph", tenant="t", client_id="c")
        self.assertEqual(RateLimit(per_lane=4), settings.paced)
        lane = LaneSettings(concurrency=2, rate=(SECOND,))
        settings = Graph(type="graph", tenant="t", client_id="c", lane=lane)
        self.assertEqual(RateLimit(per_lane=2, lane_windows=(SECOND,)), settings.paced)
