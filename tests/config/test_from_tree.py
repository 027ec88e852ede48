import json
import re
from typing import Any

from attrs import fields, has
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config, render
from smtprelay.model.route import Limits, RateLimit, Route, Schedule, Window
from tests.config.loading import SMALL, codes, load_text, problems_of, told, with_provider

FIVE = """\
hostname: relay.example.com
listeners:
  - name: lan
    endpoint: "tcp:2525:interface=127.0.0.1"
    max_conections: 50
providers:
  local: {type: captur, path: x}
  host: {type: smarthost, host: h, tls: startls, timeout: 5 parsecs}
routes:
  - {name: all, via: [locl]}
spool: {path: spool}
"""


class MistakesTests(SynchronousTestCase):
    def test_all_at_once(self) -> None:
        """Five different mistakes are five problems, each at its place and with what was meant."""
        expected = [
            (
                '5:5 CFG-UNKNOWN-KEY unknown key "max_conections" - did you mean "connections"? '
                'It belongs under "limits"'
            ),
            '7:17 CFG-UNKNOWN-TYPE providers.local.type: unknown type "captur" - did you mean "capture"?',
            '8:41 CFG-UNKNOWN-VALUE providers.host.tls: unknown value "startls" - did you mean "starttls"?',
            (
                '8:59 CFG-VALUE providers.host.timeout: "5 parsecs" is not a duration: '
                '"parsecs" is not s, m, h or d; expected one such as 30s, 5m, 4h or 2d'
            ),
            '10:23 CFG-UNKNOWN-NAME unknown provider "locl" - did you mean "local"?',
        ]
        self.assertEqual(told(problems_of(FIVE)), expected)

    def test_a_secret_without_quotes(self) -> None:
        """A secret that YAML tears at its commas is not shown as keys that nobody knows."""
        for add, what in (
            ("users: [{name: u, password_hash: $scrypt$ln=15,r=8,p=1$hunter2hunter$hunter2}]", "hash"),
            (
                "http: [{endpoint: tcp:0, serve: [], tokens: [{hash: $scrypt$ln=15,r=8,p=1$hunter2$x}]}]",
                "hash",
            ),
            ("webhook: {secret: a,hunter2, url: 'https://x.example/'}", "value"),
        ):
            found = problems_of(f"{SMALL}{add}\n")
            self.assertNotIn("hunter", "".join(map(render, found)))
            self.assertNotIn("r=8", "".join(p.text for p in found))
            self.assertEqual(sum(f"put the {what} in quotes" in p.text for p in found), 1)

    def test_where_a_key_belongs(self) -> None:
        """A key that is at home elsewhere is told where: within its section, else anywhere."""
        for add, hint in {
            "limits: {size: 5MB}": 'key "limits": it belongs under "listeners.*" or "providers.*"',
            "bytes: 5MB": 'key "bytes": it belongs under "spool.limit"',
            "bounces: {password: x}": 'key "password": it belongs under "users.*" or "providers.*"',
        }.items():
            self.assertEqual([p.text for p in problems_of(f"{SMALL}{add}\n")], [f"unknown {hint}"])
        [problem] = problems_of(SMALL.replace("path: spool", "path: spool, free: 5%"))
        self.assertEqual(problem.text, 'unknown key "free": it belongs under "limit"')

    def test_a_key_that_is_nowhere(self) -> None:
        """The keys that there are instead are named; what is not available is not."""
        [problem] = problems_of(SMALL.replace("name: lan", "tls: {mode: off, cert: x}"))
        expected = "mode or certificate or key or certificates or client_ca or require or profile or ciphers"
        self.assertEqual(problem.text, f'unknown key "cert": expected {expected}')
        [problem] = problems_of(SMALL.replace("name: lan", "proxies: [10.0.0.1]"))
        self.assertNotIn("proxy_trust", problem.text)

    def test_a_misspelt_key_is_not_missing(self) -> None:
        """A key that is needed, under a wrong or an old name, is one mistake."""
        for right, wrong in (
            ("endpoint:", "endpoints:"),
            ("listeners:", "listener:"),
            ("providers:", "provider:"),
            ("path: captured", "paths: captured"),
        ):
            self.assertEqual(codes(problems_of(SMALL.replace(right, wrong))), ["CFG-UNKNOWN-KEY"], wrong)

    def test_a_word_has_one_mistake(self) -> None:
        """What cannot be a word at all is not judged as a setting, too."""
        for text, place in {
            SMALL.replace("path: spool", 'path: "\\0"'): "spool.path",
            SMALL.replace("path: spool", "path: '${NOPE}'"): "spool.path",
            with_provider('type: smarthost, host: h, username: u, password: {file: "\\0"}'): (
                "providers.more.password.file"
            ),
        }.items():
            [problem] = problems_of(text)
            self.assertTrue(problem.text.startswith(f"{place}: the v"), problem.text)

    def test_a_mistake_has_no_followers(self) -> None:
        """What only follows from another mistake is not told: neither missing keys nor unknown names."""
        text = SMALL.replace("type: capture", "type: captur") + "routes: [{via: [local]}, {via: local}]\n"
        self.assertEqual(codes(problems_of(text)), ["CFG-UNKNOWN-TYPE", "CFG-TYPE"])
        for broken in ("listeners: 3\n", "providers: [x]\n", "listeners: [{}]\n"):
            section = broken.split(":")[0]
            rest = "".join(line + "\n" for line in SMALL.splitlines() if not line.startswith(section))
            self.assertEqual(len(problems_of(broken + rest + "routes: [{via: [local]}]\n")), 1, broken)

    def test_wrong_shapes(self) -> None:
        """A list, a map or a word where another is expected is told in words."""
        cases = {
            "hostname: [a]": "hostname: expected one value, not a list",
            "hostname: {a: b}": "hostname: expected one value, not a map",
            "users: {name: x}": 'users: expected a list, not a map: begin each entry with "- "',
            "users: x": "users: expected a list, not one value: write [x]",
            "users: [x]": "users[0]: expected settings (key: value), not one value",
            "users: [~]": "users[0]: expected settings (key: value), not nothing",
            "logging: []": "logging: expected settings (key: value), not a list",
            "logging: debug": "logging: expected settings (key: value), not one value",
            "checkers: [a]": '(key: value), not a list: write "name:" in place of each "- "',
            "checkers: {a: b}": "checkers.a: expected settings (key: value), not one value",
            "checkers: {a: {}}": 'checkers.a: "type" is missing: expected ',
            "checkers: {a: {type: [x]}}": "checkers.a.type: expected one value, not a list",
            "bounces: {via: [[host]]}": "bounces.via[0]: expected one value, not a list",
            "privacy: {subjects: yes}": 'privacy.subjects: "yes" is neither true nor false',
            "workers: 0.5": 'workers: "0.5" is not a whole number',
            "http: [{serve: [health]}]": 'http[0]: "endpoint" is missing',
        }
        for text, expected in cases.items():
            self.assertIn(expected, "\n".join(p.text for p in problems_of(SMALL + text + "\n")), text)
        texts = [each.text for each in problems_of(with_provider("tpe: ses"))]
        self.assertIn('providers.more: "type" is missing, and "tpe" is unknown: expected acs', texts[0])

    def test_one_word_for_a_list(self) -> None:
        """What should have been a list is shown as one that YAML reads, with quotes where it needs them."""
        for word, expected in {
            "'*@b.org'": '["*@b.org"]',
            "a@b.org": "[a@b.org]",
            "'a@b.org, c@d.org'": "[a@b.org, c@d.org]",
        }.items():
            [problem] = problems_of(SMALL.replace("name: lan", f"allow_senders: {word}"))
            self.assertEqual(
                problem.text,
                f"listeners[0].allow_senders: expected a list, not one value: write {expected}",
            )

    def test_a_wrong_word_for_a_list(self) -> None:
        """The hint is a list that is right, not one of the word that is wrong as well."""
        [problem] = problems_of(SMALL.replace("name: lan", "allow_from: any"))
        self.assertIn('allow_from: "any" is not a network', problem.text)
        for rate, instead in {
            "30": "30/min",
            "30 per minute": "30/min",
            "30/minute": "30/min",
            "100 an hour": "100/h",
            "25 per 10 seconds": "25/10s",
            "30/minute, 100/h": "30/min, 100/h",
        }.items():
            [problem] = problems_of(SMALL.replace("captured}", f"captured, rate: '{rate}'}}"))
            self.assertEqual(
                problem.text,
                f'providers.local.rate: "{rate.partition(",")[0]}" is not a rate: write [{instead}]',
            )
        [problem] = problems_of(SMALL.replace("captured}", "captured, rate: [30]}"))
        self.assertEqual(problem.text, 'providers.local.rate[0]: "30" is not a rate: write 30/min')

    def test_huge_numbers(self) -> None:
        """A number beyond all bounds is out of range and no crash."""
        for number in ("9" * 10, "9" * 30, "9" * 5000, "-1", "1" + "0" * 400 + "MB"):
            for setting in ("workers: {}", "spool: {{limit: {{bytes: {}}}}}", "spool: {{lease: {}s}}"):
                text = SMALL.replace("spool: {path: spool}\n", "") + setting.format(number) + "\n"
                found = codes(problems_of(text))
                self.assertTrue("CFG-VALUE" in found or number == "9" * 10, (setting, number, found))

    def test_many_settings_are_missing(self) -> None:
        """Every key that is missing is told."""
        problems = problems_of(SMALL + "http: [{endpoint: 'tcp:0', serve: [api], tokens: [{}]}]\n")
        texts = [p.text for p in problems if p.code == "CFG-MISSING"]
        found = [re.sub(r".*: ", "", text) for text in texts]
        self.assertEqual(found, ['"name" is missing', '"hash" is missing'])

    def test_bad_names_of_providers(self) -> None:
        """A key that is a name must be one word."""
        problems = problems_of(SMALL.replace("local:", "'a b':"))
        self.assertEqual(told(problems)[0][:41], '2:13 CFG-VALUE providers: "a b" is not a name'[:41])


class MeaningTests(SynchronousTestCase):
    def test_null_is_the_default(self) -> None:
        """Null and nothing give the default, for a section too."""
        config = load_text(SMALL + "hostname: ~\nusers:\nlogging:\n  level: null\n").config
        self.assertEqual((config.users, config.logging.level, bool(config.hostname)), ((), "info", True))

    def test_quotes_do_not_matter(self) -> None:
        """A setting has its meaning with and without quotes."""
        config = load_text(with_provider('type: smarthost, host: h, port: "26", verify: "true"')).config
        self.assertEqual(getattr(config.providers["more"], "port", None), 26)

    def test_words_that_look_like_numbers(self) -> None:
        """Text keeps its zeros, and no word becomes a boolean."""
        config = load_text(with_provider("type: smarthost, host: h, username: 0123, password: off")).config
        self.assertEqual(getattr(config.providers["more"], "username", None), "0123")
        self.assertEqual(config.providers["more"].password.reveal(), "off")

    def test_values_of_other_stations(self) -> None:
        """Routes and providers give the values that the stations work with."""
        text = with_provider(
            "type: capture, path: x, rate: [30/min, 100/h], concurrency: 3, limits: {size: 1MB}"
        )
        text = text.replace(
            "{via: [more]}",
            "{name: all, via: [more, local], failover_after: 2, expire: never, on_failed: hold,"
            " retry: {first: 10s, max: 5m, jitter: 10%, attempts: 4}}",
        )
        config = load_text(text).config
        more = config.providers["more"]
        windows = (Window(count=30, seconds=60.0), Window(count=100, seconds=3600.0))
        self.assertEqual(more.rate_limit, RateLimit(concurrency=3, windows=windows))
        self.assertEqual(more.limits, Limits(size=10**6, recipients=None))
        expected = Route(
            name="all",
            via=("more", "local"),
            failover_after=2,
            retry=Schedule(first=10.0, max=300.0, jitter=0.1, attempts=4),
            expire=None,
            on_failed="hold",
        )
        self.assertEqual(config.routes[0].dispatch_route, expected)

    def test_defaults_agree_with_the_stations(self) -> None:
        """What a route does when nothing is said is what message.Route does."""
        config = load_text(SMALL).config
        self.assertEqual(config.routes[0].dispatch_route, Route(name="default", via=("local",)))


def some_values() -> st.SearchStrategy[Any]:
    """Return anything that JSON, and so YAML, can hold."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
    )


def shaped(cls: type) -> st.SearchStrategy[dict[str, Any]]:
    """Return maps with the keys of ``cls`` and anything as their values, or maps shaped as they should be."""
    nested = {
        field.name.rstrip("_"): shaped(field.type) | some_values() if has(field.type) else some_values()
        for field in fields(cls)
    }
    return st.fixed_dictionaries({}, optional=nested)


class HypothesisTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(
        st.binary(max_size=200)
        | st.text(alphabet="ab:-[]{}&*!|>'\"#%@, \n\t${}?~0\\", max_size=60).map(str.encode)
    )
    def test_any_text(self, content: bytes) -> None:
        """Any text gives a list of problems, and nothing else."""
        self.assertNotEqual(problems_of(content), [])

    @settings(max_examples=60, deadline=None)
    @given(shaped(Config))
    def test_any_values(self, value: dict[str, Any]) -> None:
        """Any values under the known keys give problems with places, and nothing else."""
        for problem in problems_of(json.dumps(value)):
            self.assertRegex(str(problem), r":[0-9]+:[0-9]+: (error|warning): .+ \[CFG-[A-Z-]+\]$")
