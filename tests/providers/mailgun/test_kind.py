"""What must be right about the settings of Mailgun."""

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import codes, load_text, problems_of, with_provider


class MailgunKindTests(SynchronousTestCase):
    def test_settings(self) -> None:
        """It needs a domain and a key; a domain that would be another path of the API is an error."""
        good = "type: mailgun, domain: mg.example.com, api_key: {env: KEY}"
        for settings, expected in (
            (good, []),
            (f"{good}, region: eu, x_mailgun_headers: keep, endpoint: 'http://127.0.0.1:1'", []),
            ("type: mailgun, domain: mg.example.com", ["CFG-MISSING"]),
            ("type: mailgun, api_key: {env: KEY}", ["CFG-MISSING"]),
            (f"{good}, region: de", ["CFG-UNKNOWN-VALUE"]),
            ("type: mailgun, domain: 'a.example/..', api_key: {env: KEY}", ["CFG-VALUE"]),
            (f"{good}, endpoint: 'http://api.example.com'", ["CFG-CLEAR-TEXT"]),
        ):
            told = codes(problems_of(with_provider(settings), {"KEY": "key"}))
            self.assertEqual(told, expected, settings)

    def test_limits(self) -> None:
        """The documented limits are there, and can be replaced."""
        more = with_provider("type: mailgun, domain: a.example, api_key: k, limits: {recipients: 10}")
        limits = load_text(more).config.providers["more"].limits
        self.assertEqual((limits.request, limits.recipients), (25_000_000, 10))
