"""How fast a provider may be asked, by its settings."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.route import RateLimit, Window
from smtprelay.providers.smarthost.kind import SmarthostSettings

SECOND = Window(count=14, seconds=1.0)


class PacedTests(SynchronousTestCase):
    def test_rate_and_concurrency(self) -> None:
        """They are the provider's; a lane has no bound of its own."""
        settings = SmarthostSettings(type="smarthost", host="h", rate=(SECOND,), concurrency=3)
        self.assertEqual(RateLimit(concurrency=3, windows=(SECOND,)), settings.rate_limit)
