import json
from pathlib import Path

import yaml

from smtprelay.config import json_schema
from tests.cli.fakes import CommandCase, data_of

GOOD = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {local: {type: capture, path: captured}}
spool: {path: spool}
"""


class ConfigCase(CommandCase):
    def file(self, text: str) -> str:
        path = self.mktemp()
        Path(path).write_text(text)
        return path


class CheckTests(ConfigCase):
    def test_good(self) -> None:
        """A good file is exit 0 and a summary, wherever its name stands."""
        path = self.file(GOOD)
        for argv in (
            ("config", "check", path),
            ("config", "check", "-c", path),
            ("-c", path, "config", "check"),
        ):
            ran = self.run_command(*argv)
            self.assertEqual((ran.status, ran.err), (0, ""), argv)
            self.assertIn("configuration ok: 1 listener, 1 provider, 1 route\n", ran.out)

    def test_every_mistake(self) -> None:
        """All mistakes are told, each with its place, a caret and a suggestion: exit 78."""
        path = self.file(GOOD + "hostnam: x\nspol: {}\n")
        ran = self.run_command("config", "check", path)
        self.assertEqual((ran.status, ran.out), (78, ""))
        self.assertIn(f"{path}:4:1: error", ran.err)
        self.assertIn(f"{path}:5:1: error", ran.err)
        self.assertIn('did you mean "hostname"?', ran.err)
        self.assertIn("    4 | hostnam: x\n      | ^\n", ran.err)
        self.assertTrue(ran.err.endswith("2 errors.\n"), ran.err)

    def test_sets(self) -> None:
        """--set is checked with the file, wherever it stands, each time it is given."""
        path = self.file(GOOD)
        ran = self.run_command("--set", "hostnam=x", "config", "check", path, "--set", "spol.path=y")
        self.assertEqual(ran.status, 78)
        self.assertIn("--set hostnam", ran.err)
        self.assertIn("--set spol.path", ran.err)

    def test_missing_file(self) -> None:
        """A file that is not there is named: exit 78."""
        ran = self.run_command("config", "check", "no-such-file.yaml")
        self.assertEqual((ran.status, ran.out), (78, ""))
        self.assertIn("no-such-file.yaml", ran.err)

    def test_json(self) -> None:
        """JSON holds the verdict and each problem's place, for an editor."""
        ran = self.run_command("config", "check", self.file(GOOD + "hostnam: x\n"), "-o", "json")
        answer = data_of(ran.out)
        self.assertEqual((ran.status, answer["ok"]), (78, False))
        self.assertEqual((answer["problems"][0]["line"], answer["problems"][0]["severity"]), (4, "error"))

    def test_other_commands(self) -> None:
        """A command that needs the configuration to find the relay says what is wrong in one line."""
        ran = self.run_command("queue", "list", "-c", self.file("spol: x\n"))
        self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (78, "", 1))
        self.assertIn("config check shows all", ran.err)
        self.assertNotIn("config check", self.run_command("queue", "list", "-c", "missing.yaml").err)

    def test_unknown_setting(self) -> None:
        """``explain`` names the key that was probably meant, or those that there are."""
        self.assertIn('did you mean "spool"?', self.run_command("config", "explain", "spoool").err)
        ran = self.run_command("config", "explain", "frob")
        self.assertEqual((ran.status, ran.out), (1, ""))
        self.assertIn('no setting "frob": expected hostname or control_socket or listeners or', ran.err)


class ShowTests(ConfigCase):
    def test_effective(self) -> None:
        """The whole configuration with its defaults and --set, as YAML or JSON, wherever it is named."""
        path = self.file(GOOD)
        for argv in (
            ("config", "show", path),
            ("-c", path, "config", "show"),
            ("config", "show", "-c", path),
        ):
            ran = self.run_command(*argv, "--set", "spool.lease=90s")
            self.assertEqual((ran.status, ran.err), (0, ""))
            shown = yaml.safe_load(ran.out)
            self.assertEqual((shown["spool"]["lease"], shown["spool"]["limit"]["free"]), ("90s", "5%"))
        self.assertEqual(
            data_of(self.run_command("config", "show", path, "-o", "json").out)["spool"]["lease"], "1m"
        )

    def test_shares(self) -> None:
        """Workers without a spool have shares of each provider, which YAML tells in comments."""
        text = (
            "listeners: [{delivery: synchronous, endpoint: 'tcp:2525:interface=127.0.0.1'}]\n"
            "providers: {local: {type: capture, path: x, concurrency: 5, rate: [30/min, 5/h]}}\n"
        )
        path = self.file(text)
        self.assertNotIn("# ", self.run_command("config", "show", path).out)
        ran = self.run_command("config", "show", path, "--set", "workers=2")
        self.assertEqual(yaml.safe_load(ran.out)["providers"]["local"]["concurrency"], 5)
        told = "# providers.local: concurrency 3 + 2, rate 30/2m each, rate 5/2h each\n"
        self.assertTrue(ran.out.endswith(told), ran.out)
        ran = self.run_command("config", "show", path, "--set", "workers=2", "-o", "json")
        expected = {"local": {"concurrency": [3, 2], "rate": ["30/2m", "5/2h"]}}
        self.assertEqual(data_of(ran.out)["shares"], expected)

    def test_sources(self) -> None:
        """Each value with the place that it comes from, as a table or as JSON."""
        path = self.file(GOOD)
        ran = self.run_command("config", "show", "--sources", path, "--set", "spool.lease=90s")
        self.assertEqual((ran.status, ran.err), (0, ""))
        rows = {words[0]: words[1:] for words in map(str.split, ran.out.splitlines())}
        self.assertEqual(rows["spool.lease"], ["90s", "--set", "spool.lease"])
        self.assertEqual(rows["spool.path"][1], f"{path}:3")
        self.assertEqual(rows["workers"], ["1", "default"])
        told = data_of(self.run_command("config", "show", "--sources", path, "-o", "json").out)
        self.assertIn({"setting": "workers", "value": 1, "source": "default"}, told)

    def test_secrets(self) -> None:
        """Of a secret only its place is shown, and it need not be there."""
        more = "host: {type: smarthost, host: h, username: u, password: hunter2}"
        path = self.file(GOOD.replace("local:", f"{more}, local:") + "routes: [{via: [host]}]\n")
        ran = self.run_command("config", "show", path)
        self.assertEqual(ran.status, 0, ran.err)
        self.assertNotIn("hunter2", ran.out)
        self.assertIn("password: ‹inline›", ran.out)

    def test_mistakes(self) -> None:
        """A wrong one is not shown: every mistake is told, exit 78."""
        ran = self.run_command("config", "show", self.file(GOOD + "hostnam: x\ncontrol: y\n"))
        self.assertEqual((ran.status, ran.out), (78, ""))
        self.assertIn('did you mean "hostname"?', ran.err)
        self.assertIn('the key "control" is now called "control_socket"', ran.err)


class ExplainTests(ConfigCase):
    def test_a_setting(self) -> None:
        """Key, help, type, default and example, each in a line."""
        ran = self.run_command("config", "explain", "spool.lease")
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertEqual(
            ran.out,
            "spool.lease\n  time after which other nodes take over the deliveries of a node that has stopped"
            " responding.\n  type       duration (30s, 5m, 4h)\n  unit       ms, s, m, h, d\n"
            "  default    1m\n  example    1m\n  variable   SMTPRELAY_SPOOL__LEASE\n"
            "  option     --set spool.lease=…\n",
        )

    def test_what_it_depends_on(self) -> None:
        """A default that depends on other settings is told in words, and what a setting excludes."""
        out = self.run_command("config", "explain", "listeners.banner").out
        self.assertIn("\n  default    <hostname> ESMTP\n", out)
        out = self.run_command("config", "explain", "providers.acs.access_keys").out
        self.assertIn("\n  instead of connection_string\n", out)

    def test_a_section(self) -> None:
        """Its keys follow, without the example of them all."""
        out = self.run_command("config", "explain", "listeners").out
        self.assertIn("\n  allow_senders: allowed envelope senders. Default: any.\n", out)
        self.assertNotIn("example", out)

    def test_its_value(self) -> None:
        """With a configuration it has the value in force, and where that comes from."""
        gun = "gun: {type: mailgun, domain: d.org, api_key: {env: K}}, local:"
        explain = ("-c", (path := self.file(GOOD.replace("local:", gun))), "config", "explain")
        self.assertIn("type mailgun: Mailgun.", self.run_command(*explain, "providers").out)
        ran = self.run_command(*explain, "providers.gun.domain", "--set", "routes.0.via.0=gun")
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertIn(f"\n  value      d.org\n  source     {path}:2\n", ran.out)
        sets = ("--set", "routes.0.via.0=gun", "--set", "providers.gun.rate.0=9/s")
        ran = self.run_command(*explain, "providers.gun.rate", *sets, "-o", "json")
        told = data_of(ran.out)
        self.assertEqual((told["value"], told["source"]), (["9/s"], "--set providers.gun.rate.0"))
        self.assertEqual(told["option"], "providers.gun.rate.0")

    def test_a_secret(self) -> None:
        """How a variable and an option name its file is told, also for its key ``file``; a hash is none."""
        gun = "gun: {type: mailgun, domain: d.org, api_key: {env: K}}, local:"
        text = GOOD.replace("local:", gun) + "routes: [{via: [gun]}]\nusers: [{name: ann, password: x}]\n"
        explain = ("-c", self.file(text), "config", "explain")
        told = "SMTPRELAY_PROVIDERS__GUN__API_KEY__FILE=PATH, --set providers.gun.api_key.file=PATH"
        for key in ("providers.gun.api_key", "providers.gun.api_key.file", "providers.gun.api_key.env"):
            self.assertIn(f"\n  in a file  {told}\n", self.run_command(*explain, key).out)
        ran = self.run_command(*explain, "users.0.password_hash")
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertNotIn("‹hidden›", ran.out)
        ran = self.run_command("-c", explain[1], "config", "show", "--sources", "-o", "json")
        self.assertIn(
            {"setting": "users[0].password_hash", "value": None, "source": "default"}, data_of(ran.out)
        )

    def test_beside_mistakes(self) -> None:
        """A configuration with errors says which entries there are, but no value."""
        path = self.file(GOOD + "hostnam: x\n")
        ran = self.run_command("-c", path, "config", "explain", "providers.local.path")
        self.assertEqual(ran.status, 0)
        self.assertIn("\n  variable   SMTPRELAY_PROVIDERS__LOCAL__PATH\n", ran.out)
        self.assertNotIn("value ", ran.out)
        self.assertIn("the configuration has errors", ran.err)
        for path in ("missing.yaml", self.file("a: [\n")):
            ran = self.run_command("-c", path, "config", "explain", "providers")
            self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (78, "", 1))

    def test_json(self) -> None:
        """The same for programs."""
        told = data_of(self.run_command("config", "explain", "spool.lease", "-o", "json").out)
        self.assertEqual((told["key"], told["default"], told["required"]), ("spool.lease", "1m", False))

    def test_unknown(self) -> None:
        """A key that is none is an error, with what was meant."""
        ran = self.run_command("config", "explain", "spool.leese")
        self.assertEqual((ran.status, ran.out), (1, ""))
        self.assertIn('did you mean "lease"?', ran.err)


class PrintTests(ConfigCase):
    def test_example(self) -> None:
        """The example is printed as it is, and it is a good configuration."""
        out = self.run_command("config", "example").out
        ran = self.run_command("config", "show", self.file(out))
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertIn("#control_socket: ", out)

    def test_schema(self) -> None:
        """The schema is JSON."""
        self.assertEqual(json.loads(self.run_command("config", "schema").out), json_schema())
