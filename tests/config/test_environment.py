from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.kind import AcsSettings
from smtprelay.providers.smarthost.kind import SmarthostSettings
from tests.config.loading import SMALL, codes, load_text, problems_of, with_provider


class OverlayTests(SynchronousTestCase):
    def test_scalar(self) -> None:
        """A variable replaces what the file says, and adds what it does not say."""
        environ = {"SMTPRELAY_HOSTNAME": "a.example", "SMTPRELAY_LOGGING__LEVEL": "debug"}
        config = load_text("hostname: b.example\n" + SMALL, environ).config
        self.assertEqual((config.hostname, config.logging.level), ("a.example", "debug"))

    def test_positions(self) -> None:
        """A number is a position in a list; the one after the last appends."""
        environ = {
            "SMTPRELAY_LISTENERS__0__LIMITS__SIZE": "1MB",
            "SMTPRELAY_LISTENERS__0__ALLOW_FROM__0": "127.0.0.1",
            "SMTPRELAY_LISTENERS__0__ALLOW_FROM__1": "10.0.3.0/24",
            "SMTPRELAY_LISTENERS__1__ENDPOINT": "tcp:2526:interface=127.0.0.1",
        }
        first, second = load_text(SMALL, environ).config.listeners
        self.assertEqual(first.limits.size, 10**6)
        self.assertEqual(first.allow_from, (ip_network("127.0.0.1"), ip_network("10.0.3.0/24")))
        self.assertEqual(second.endpoint, "tcp:2526:interface=127.0.0.1")

    def test_names(self) -> None:
        """What is in a list is found by its name, as in a map; in a variable without regard to case."""
        text = SMALL.replace("name: lan", "name: My-Lan")
        for environ, sets in (
            ({"SMTPRELAY_LISTENERS__MY_LAN__LIMITS__SIZE": "1MB"}, []),
            ({}, ["listeners.My-Lan.limits.size=1MB"]),
        ):
            [listener] = load_text(text, environ, sets).config.listeners
            self.assertEqual((listener.name, listener.limits.size), ("My-Lan", 10**6))

    def test_keys_with_hyphens_and_capitals(self) -> None:
        """A key of the file is found without regard to case, and with - for _."""
        text = SMALL.replace("local:", "My-Folder:")
        config = load_text(text, {"SMTPRELAY_PROVIDERS__MY_FOLDER__CONCURRENCY": "3"}).config
        self.assertEqual(config.providers["My-Folder"].concurrency, 3)

    def test_secrets(self) -> None:
        """A secret is set by its value, or by what it is in; the file wins."""
        text = SMALL + "routes: [{via: [local]}]\n"
        environ = {
            "SMTPRELAY_PROVIDERS__A__TYPE": "acs",
            "SMTPRELAY_PROVIDERS__A__SENDER": "a@b",
            "SMTPRELAY_PROVIDERS__A__CONNECTION_STRING": "endpoint=https://x.example;accesskey=a2V5",
        }
        provider = load_text(text, environ).config.providers["a"]
        assert isinstance(provider, AcsSettings)
        assert provider.connection_string is not None
        self.assertEqual(provider.connection_string.place, "environment")
        problems = problems_of(text, environ | {"SMTPRELAY_PROVIDERS__A__CONNECTION_STRING__FILE": "/nope"})
        self.assertEqual(codes(problems), ["CFG-SECRET"])
        self.assertIn("/nope", problems[0].text)

    def test_a_map_for_a_secret(self) -> None:
        """A map in a variable or option is an error that says what works; that replaces the file's place."""
        text = with_provider("type: mailgun, domain: d.org, api_key: {env: K, expires: 2027-01-31}")
        name, option = "SMTPRELAY_PROVIDERS__MORE__API_KEY", "providers.more.api_key"
        for value in ("{file: /tmp/x}", ' {"file": "/tmp/x"}'):
            for environ, sets, works in (
                ({name: value}, [], f"{name}__FILE=…"),
                ({}, [f"{option}={value}"], f"--set {option}.file=…"),
            ):
                [problem] = problems_of(text, environ, sets)
                self.assertIn(f"a map cannot be given here, only what is in it: {works}", problem.text)
        for environ, sets in (({f"{name}__FILE": __file__}, []), ({}, [f"{option}.file={__file__}"])):
            [problem] = problems_of(text, environ, sets)
            self.assertIn("lines, a secret has one", problem.text)
            self.assertIn(__file__, problem.text)

    def test_where_a_secret_is(self) -> None:
        """It is told whether a variable or an option has it."""
        text = with_provider("type: mailgun, domain: d.org")
        for environ, sets, place in (
            ({"SMTPRELAY_PROVIDERS__MORE__API_KEY": "k"}, [], "environment"),
            ({}, ["providers.more.api_key=k"], "--set"),
        ):
            self.assertEqual(load_text(text, environ, sets).config.providers["more"].api_key.place, place)

    def test_set(self) -> None:
        """--set wins over a variable, and the later one over the earlier."""
        sets = ["logging.level=warn", "logging.level=error", "listeners.0.name=x"]
        config = load_text(SMALL, {"SMTPRELAY_LOGGING__LEVEL": "debug"}, sets).config
        self.assertEqual((config.logging.level, config.listeners[0].name), ("error", "x"))

    def test_empty_is_the_default(self) -> None:
        """A variable that is empty gives the default."""
        config = load_text("logging: {level: debug}\n" + SMALL, {"SMTPRELAY_LOGGING__LEVEL": ""}).config
        self.assertEqual(config.logging.level, "info")

    def test_nothing_is_looked_up_in_a_value(self) -> None:
        """A dollar in a variable's value is a dollar."""
        config = load_text(SMALL, {"SMTPRELAY_LISTENERS__0__BANNER": "${X} $$"}).config
        self.assertEqual(config.listeners[0].banner, "${X} $$")

    def test_others(self) -> None:
        """What says where to look, other programs' variables and Kubernetes' links are no settings."""
        environ = {
            "SMTPRELAY_CONFIG": "/x",
            "SMTPRELAY_ENDPOINT": "/run/x",
            "SMTPRELAYX": "1",
            "PATH": "/bin",
            "SMTPRELAY_SERVICE_HOST": "10.0.0.1",
            "SMTPRELAY_SERVICE_PORT": "2525",
            "SMTPRELAY_SERVICE_PORT_SMTP": "2525",
            "SMTPRELAY_PORT": "tcp://10.0.0.1:2525",
            "SMTPRELAY_PORT_2525_TCP_ADDR": "10.0.0.1",
            "SMTPRELAY_METRICS_SERVICE_HOST": "10.0.0.2",
        }
        self.assertEqual(problems_of(SMALL, environ), [])

    def test_the_port_of_a_provider(self) -> None:
        """It is a setting, though Kubernetes' links end so, too."""
        text = SMALL.replace("type: capture, path: captured", "type: smarthost, host: h.example")
        name = "SMTPRELAY_PROVIDERS__LOCAL__PORT"
        provider = load_text(text, {name: "2587"}).config.providers["local"]
        assert isinstance(provider, SmarthostSettings)
        self.assertEqual(provider.port, 2587)
        [problem] = problems_of(text, {name: "x"})
        self.assertEqual((problem.file, problem.severity), (name, "error"))

    def test_not_ours(self) -> None:
        """A variable of one word that is no setting may be somebody else's: a warning, with a suggestion."""
        for name, hint in {
            "SMTPRELAY_IMAGE_TAG": "not a setting, and ignored",
            "SMTPRELAY_HOSTNAM": 'not a setting, and ignored - did you mean "hostname"?',
            "SMTPRELAY_": "not a setting, and ignored",
        }.items():
            [problem] = problems_of(SMALL, {name: "x"})
            self.assertEqual((problem.file, problem.severity, problem.text), (name, "warning", hint))


class WrongTests(SynchronousTestCase):
    def test_unknown(self) -> None:
        """A variable that is no setting is an error by its name, with what was meant."""
        for name, hint in {
            "SMTPRELAY_LOGGINGS__LEVEL": 'unknown key "loggings" - did you mean "logging"?',
            "SMTPRELAY_LOGGING__LEVLE": 'unknown key "levle" - did you mean "level"?',
        }.items():
            [problem] = problems_of(SMALL, {name: "x"})
            self.assertEqual((problem.file, problem.line, problem.text), (name, 0, hint))

    def test_values(self) -> None:
        """A wrong value is told by the variable or option it came from."""
        [problem] = problems_of(SMALL, {}, ["spool.lease=soon"])
        self.assertIn('--set spool.lease: error: spool.lease: "soon" is not a duration', str(problem))
        [problem] = problems_of(SMALL, {"SMTPRELAY_HOSTNAME": "a\ud800"})
        self.assertEqual(str(problem), "SMTPRELAY_HOSTNAME: error: it is not UTF-8 [CFG-SET]")
        [problem] = problems_of(SMALL, {}, ["a\ud800=1"])
        self.assertEqual(problem.text, "it is not UTF-8")

    def test_depth(self) -> None:
        """Levels without end are an error that is short, and no crash."""
        for environ, sets in (({}, ["a." * 2000 + "b=1"]), ({"SMTPRELAY_A" + "__B" * 2000: "1"}, [])):
            [problem] = problems_of(SMALL, environ, sets)
            self.assertEqual(problem.text, "nested deeper than 32 levels")
            self.assertLess(len(str(problem)), 150)

    def test_shapes(self) -> None:
        """What fits no place is an error in words."""
        cases = {
            "listeners.wan.name=x": 'listeners is a list: expected a position from 0 to 1, or lan, not "wan"',
            "listeners.7.name=x": 'listeners is a list: expected a position from 0 to 1, or lan, not "7"',
            "listeners.²=x": 'listeners is a list: expected a position from 0 to 1, or lan, not "²"',
            "listeners=x": (
                "listeners: expected a list, not one value: its first entry is --set listeners.0=VALUE"
            ),
            "providers.local.rate=[1/2s]": (
                "providers.local.rate: expected a list, not one value:"
                " its first entry is --set providers.local.rate.0=VALUE"
            ),
            "users.ann.name=x": "users: expected a list, not a map: its first entry is users.0",
            "logging.levels.smtprelay.smtp=debug": (
                "logging.levels.smtprelay: a name with a dot can only be given in the file"
            ),
            "hostname.x=y": "hostname: expected one value, not a map",
            "a..b=c": "not a setting: a part of the name is empty",
            "nonsense": "expected a.b=value",
            "=x": "not a setting: a part of the name is empty",
        }
        for assignment, expected in cases.items():
            texts = [problem.text for problem in problems_of("hostname: h\n" + SMALL, {}, [assignment])]
            self.assertEqual(texts, [expected], assignment)

    def test_names_that_nothing_can_spell(self) -> None:
        """A list offers the position of an entry whose name has a dot, or is a number."""
        users = [f"{{name: '{name}', password: {{env: P}}}}" for name in ("cam.one", "ann", "0")]
        problems = problems_of(
            f"{SMALL}users: [{', '.join(users)}]\n", {"P": "x"}, ["users.cam.one.rate=1/s"]
        )
        expected = 'expected a position from 0 to 3 (0 is cam.one), or ann (2 is 0), not "cam"'
        self.assertIn(f"users is a list: {expected}", [problem.text for problem in problems])

    def test_a_secret_that_is_no_assignment(self) -> None:
        """What stands behind the name of a setting that is not set is perhaps a secret, and not shown."""
        for assignment in (
            "users.0.password: hunter2",
            "users.0.password hunter2",
            "users.0.password:hunter2=x",
        ):
            problems = problems_of(SMALL, {}, [assignment])
            self.assertNotIn("hunter", str(problems))
            self.assertEqual(problems[0].file, "--set users.0.password…")
