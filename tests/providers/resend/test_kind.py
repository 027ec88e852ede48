"""What must be right about the settings of Resend."""

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import codes, load_text, problems_of, with_provider


class ResendKindTests(SynchronousTestCase):
    def test_settings(self) -> None:
        """It needs a key, and has the documented limits."""
        self.assertEqual(codes(problems_of(with_provider("type: resend"))), ["CFG-MISSING"])
        loaded = load_text(with_provider("type: resend, api_key: {env: KEY}"), {"KEY": "re_key"})
        limits = loaded.config.providers["more"].limits
        self.assertEqual((list(loaded.warnings), limits.request, limits.recipients), ([], 40_000_000, 50))
