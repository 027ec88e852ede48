import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import effective
from tests.config.loading import SMALL, load_text, with_provider


class EffectiveTests(SynchronousTestCase):
    def test_json(self) -> None:
        """It goes to JSON, by the keys of the file and with its units, with the defaults."""
        text = SMALL + "routes: [{via: [local], match: {client: [10.0.0.0/8], size: '<1MB'}}]\n"
        shown = json.loads(json.dumps(effective(load_text(text).config)))
        self.assertEqual(shown["routes"][0]["match"]["client"], ["10.0.0.0/8"])
        self.assertEqual(shown["routes"][0]["match"]["size"], "<1MB")
        self.assertIn("from", shown["bounces"])
        self.assertEqual(shown["spool"]["lease"], "1m")
        self.assertEqual(shown["spool"]["limit"], {"bytes": "10GiB", "deliveries": 1_000_000, "free": "5%"})

    def test_no_secret(self) -> None:
        """Of secrets only the place is shown, of hashes and logins in URLs nothing."""
        text = "hostname: h\n" + with_provider(
            "type: acs, sender: a@b, endpoint: 'https://x.org', access_keys: [{env: K}, hunter33]"
        )
        secret = f"$scrypt$ln=15,r=8,p=1${'hunter4' * 3}4${'hunter5' * 6}w"
        text += f"users: [{{name: u, password_hash: '{secret}'}}]\n"
        config = load_text(text, {"K": "hunter22"}).config
        shown = effective(config)
        self.assertNotIn("hunter", json.dumps(shown))
        self.assertEqual(shown["providers"]["more"]["access_keys"], ["‹env K›", "‹inline›"])
        login = evolve(config.providers["more"], endpoint="https://u:hunter1@x.org")
        shown = effective(evolve(config, providers={"more": login}))
        self.assertEqual(shown["providers"]["more"]["endpoint"], "https://‹hidden›@x.org")
