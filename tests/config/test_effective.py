import json

import yaml
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import effective, sources
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


class SpelledTests(SynchronousTestCase):
    def test_it_loads_again(self) -> None:
        """The effective configuration says the same when it is loaded: every value has its unit."""
        text = SMALL.replace("captured}", "captured, rate: [30/min, 25/10s, 7/90m], limits: {size: 10MB}}")
        text += (
            "routes: [{via: [local], expire: never, retry: {first: 500ms, max: 90s}, match: {size: <2MiB}}]\n"
        )
        config = load_text(text).config
        shown = effective(config)
        self.assertEqual(shown["providers"]["local"]["rate"], ["30/min", "25/10s", "7/90m"])
        again = load_text(yaml.safe_dump(shown)).config
        self.assertEqual(effective(again), effective(config))
        self.assertEqual((again.routes, again.providers), (config.routes, config.providers))


class SourcesTests(SynchronousTestCase):
    def sources(self, text: str, environ: dict[str, str], *sets: str) -> dict[str, str]:
        loaded = load_text(text, environ, sets)
        return {name: source.rpartition("/")[2] for name, _, source in sources(loaded, environ)}

    def test_each_kind(self) -> None:
        """A value comes from a line of the file, from a variable, from an option, or is a default."""
        environ = {"SMTPRELAY_LISTENERS__LAN__ALLOW_FROM__0": "10.0.0.0/8", "SMTPRELAY_SPOOL__LEASE": "9s"}
        found = self.sources(SMALL + "hostname: ~\nworkers: 1\n", environ, "spool.lease=8s")
        expected = {
            "hostname": "default",
            "workers": "smtprelay.yaml:5",
            "providers.local.path": "smtprelay.yaml:2",
            "providers.local.rate": "default",
            "listeners[0].allow_from[0]": "SMTPRELAY_LISTENERS__LAN__ALLOW_FROM__0",
            "listeners[0].limits.size": "default",
            "spool.path": "smtprelay.yaml:3",
            "spool.lease": "--set spool.lease",
            "routes[0].via[0]": "default",
        }
        self.assertEqual({name: found.get(name) for name in expected}, expected)

    def test_a_list(self) -> None:
        """Each entry has its own line; an empty list in the file is no default."""
        text = SMALL + "http:\n  - endpoint: tcp:1\n    serve:\n      - health\n      - metrics\nusers: []\n"
        found = self.sources(text, {})
        names = ("http[0].serve[0]", "http[0].serve[1]", "users", "checkers")
        self.assertEqual(
            [found[name] for name in names],
            ["smtprelay.yaml:7", "smtprelay.yaml:8", "smtprelay.yaml:9", "default"],
        )

    def test_a_secret(self) -> None:
        """Of a secret there is its place, and where that is written; the loaded file does not print it."""
        loaded = load_text(with_provider("type: smarthost, host: h, username: u, password: hunter2"))
        rows = {row[0]: row[1:] for row in sources(loaded, {})}
        self.assertEqual(rows["providers.more.password"][0], "‹inline›")
        self.assertTrue(rows["providers.more.password"][1].endswith("smtprelay.yaml:2"))
        self.assertNotIn("hunter", f"{loaded!r}{rows}")
