from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.user_secret import hash_for_scram
from smtprelay.testing.certificates import make_certificate
from tests.config.loading import HASH, SMALL, codes, load_text, problems_of, told

SPOOL = "spool: {path: spool}\n"
SHARED = "spool: {engine: postgres, url: {env: URL}}"
LISTENERS = "listeners: [{name: lan, endpoint: 'tcp:2525:interface=127.0.0.1'}]\n"
PROVIDERS = "providers: {local: {type: capture, path: captured}}\n"

#: A relay that needs no spool.
STATELESS = LISTENERS.replace("name: lan", "delivery: synchronous") + PROVIDERS


class SectionsTests(SynchronousTestCase):
    def test_empty(self) -> None:
        """An empty configuration lacks a way in and a way out."""
        expected = [
            f'1:1 CFG-MISSING "{name}" is missing: give at least one' for name in ("listeners", "providers")
        ]
        self.assertEqual(told(problems_of("")), expected)

    def test_routes(self) -> None:
        """One provider needs no routes, several do."""
        self.assertEqual(problems_of(SMALL), [])
        text = SMALL.replace("captured}", "captured}, more: {type: capture, path: x}")
        self.assertEqual(
            told(problems_of(text)),
            ['1:1 CFG-MISSING "routes" is missing: say which provider gets which mail'],
        )


LOGINS = """\
listeners: [{name: a, endpoint: 'tcp:2525:interface=127.0.0.1', auth: {checkers: [m], allow_plaintext: true}}]
checkers: {m: {type: entra}}
providers: {graph: {type: graph, credential: login}, local: {type: capture, path: captured}}
routes: [{via: [graph]}]
bounces: {via: [local]}
spool: {path: spool, seal_key: {env: SEAL}}
"""
SEAL = "k2:" + "B" * 43 + "=\nk1:" + "A" * 43 + "="


class LoginTests(SynchronousTestCase):
    """Mail that is sent with the logins of its clients."""

    def codes(self, *edits: tuple[str, str], seal: str = SEAL) -> list[str]:
        text = LOGINS
        for old, new in edits:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return codes(problems_of(text, {"SEAL": seal}))

    def test_kept_sealed(self) -> None:
        """A listener that stores mail needs a key; a synchronous one needs none."""
        without = (", seal_key: {env: SEAL}", "")
        self.assertEqual(self.codes(), [])
        self.assertEqual(self.codes(without), ["CFG-MISSING"])
        self.assertEqual(self.codes(without, ("name: a", "name: a, delivery: synchronous")), [])

    def test_keys(self) -> None:
        """A key that is none is an error that does not repeat it."""
        for seal in ("short", SEAL + "\nk1:x", f"{SEAL}\n{SEAL}", "k1:" + "A" * 44):
            self.assertEqual(self.codes(seal=seal), ["CFG-SECRET"], seal)
        self.assertEqual(self.codes(seal="A" * 43 + "="), [])

    def test_reports(self) -> None:
        """A report to a sender has no login, so another provider sends it."""
        self.assertEqual(self.codes(("via: [local]", "via: [graph]")), ["CFG-VALUE"])
        self.assertEqual(self.codes(("bounces: {via: [local]}\n", "")), ["CFG-MISSING"])
        stateless = ("spool: {path: spool, seal_key: {env: SEAL}}\n", "")
        alone = (stateless, ("bounces: {via: [local]}\n", ""), ("name: a", "name: a, delivery: synchronous"))
        self.assertEqual(self.codes(*alone), ["CFG-MISSING?"])

    def test_any_tenant(self) -> None:
        """Who sends as himself alone may be of any tenant; through another provider that is an open relay."""
        self.assertEqual(self.codes(("via: [graph]}]", "via: [graph, local]}]")), ["CFG-OPEN-RELAY"])


class KeepTests(SynchronousTestCase):
    def test_bodies_without_history(self) -> None:
        """A body cannot be kept for longer than the message that it belongs to is known."""
        text = SMALL.replace("path: spool", "path: spool, retention: {history: 1d, bodies: 2d}")
        self.assertEqual(codes(problems_of(text)), ["CFG-VALUE"])
        self.assertEqual(problems_of(text.replace("2d", "1d")), [])


class ReferencesTests(SynchronousTestCase):
    def test_unknown_names(self) -> None:
        """Each name that leads nowhere is told, with the one that was meant."""
        cases = {
            "routes: [{via: [local, locl]}]": ("4:24", 'unknown provider "locl" - did you mean "local"?'),
            "routes: [{via: [local], match: {listener: [lam]}}]": (
                "4:44",
                'unknown listener "lam" - did you mean "lan"?',
            ),
            "routes: [{via: []}]": ("4:16", "via names no provider"),
            "bounces: {via: [lokal]}": ("4:17", 'unknown provider "lokal" - did you mean "local"?'),
        }
        for text, (place, expected) in cases.items():
            [problem] = problems_of(SMALL + text + "\n")
            self.assertEqual((f"{problem.line}:{problem.column}", problem.text), (place, expected))

    def test_checkers(self) -> None:
        """A listener names users or one of the checkers."""
        listeners = "listeners: [{endpoint: 'unix:x', auth: {checkers: [users, user]}}]\n"
        [problem] = problems_of(listeners + PROVIDERS + SPOOL)
        self.assertEqual(problem.text, 'unknown checker "user" - did you mean "users"?')


class WorkersTests(SynchronousTestCase):
    def test_one(self) -> None:
        """One worker has any spool; it may be supervised."""
        self.assertEqual(problems_of(SMALL + "workers: 1\nsupervise: {}\n"), [])
        self.assertIsNone(load_text(SMALL).config.supervise)

    def test_several(self) -> None:
        """Several need one that they can share, and are supervised."""
        [problem] = problems_of(SMALL + "workers: 2\n")
        expected = (
            "2 workers cannot share a spool of the engine sqlite, the default: set spool.engine: postgres, or"
            ' workers: 1, or only use listeners with delivery: synchronous; the listener "lan" stores mail'
        )
        self.assertEqual((problem.line, problem.code, problem.text), (4, "CFG-WORKERS", expected))
        shared = SMALL.replace("spool: {path: spool}", SHARED)
        config = load_text(shared + "workers: 2\n", {"URL": "postgresql://db"}).config
        self.assertEqual(config.supervise.restarts_per_hour, 5)
        self.assertEqual(
            codes(problems_of(shared + "workers: 0\n", {"URL": "postgresql://db"})), ["CFG-VALUE"]
        )

    def test_synchronous(self) -> None:
        """Synchronous deliveries of all workers are counted in the spool: nothing to warn of."""
        text = SMALL.replace("spool: {path: spool}", SHARED).replace("name: lan", "delivery: synchronous")
        self.assertEqual(problems_of(text + "workers: 2\n", {"URL": "postgresql://db"}), [])

    def test_synchronous_without_a_spool(self) -> None:
        """Only synchronous listeners need no spool; one that cannot be shared is told to be left out."""
        self.assertEqual(problems_of(STATELESS + "workers: 2\n"), [])
        [problem] = problems_of(STATELESS + SPOOL + "workers: 2\n")
        expected = (
            "2 workers cannot share a spool of the engine sqlite, the default: remove spool, which no"
            " synchronous listener needs, or set spool.engine: postgres"
        )
        self.assertEqual((problem.code, problem.text), ("CFG-WORKERS", expected))

    def test_more_workers_than_a_provider_takes(self) -> None:
        """Without a spool a worker would have nothing to send with: the provider is named, and what to do."""
        few = STATELESS.replace("captured}", "captured, concurrency: 3}")
        self.assertEqual(problems_of(few + "workers: 3\n"), [])
        [problem] = problems_of(few + "workers: 4\n")
        expected = (
            'the provider "local" takes 3 at once, fewer than there are workers, 4: set workers to 3 at most,'
            " or raise providers.local.concurrency"
        )
        self.assertEqual((problem.line, problem.code, problem.text), (2, "CFG-WORKERS", expected))
        shared = few + SHARED + "\nworkers: 4\n"
        self.assertEqual(problems_of(shared, {"URL": "postgresql://db"}), [])


class WebhookTests(SynchronousTestCase):
    def test_it_must_be_somewhere(self) -> None:
        """A route that tells a webhook needs its own or the relay's, and names of ours are taken."""
        hook = "{url: {env: HOOK}}"
        environ = {"HOOK": "https://hooks.example.com/x"}
        cases = {
            "routes: [{via: [local], on_failed: webhook}]": [
                '4:10 CFG-MISSING "webhook" is missing: it has the URL for the events'
            ],
            f"routes: [{{via: [local], on_expired: webhook, webhook: {hook}}}]": [],
            f"routes: [{{via: [local], on_failed: webhook}}]\nwebhook: {hook}": [],
            f"routes: [{{name: webhook, via: [local], on_failed: webhook}}]\nwebhook: {hook}": [
                '4:17 CFG-DUPLICATE the name "webhook" stands for the events for webhooks: choose another one'
            ],
        }
        for text, expected in cases.items():
            self.assertEqual(told(problems_of(SMALL + text + "\n", environ)), expected)

    def test_the_provider_of_ours(self) -> None:
        """A provider called webhook is only in the way where there are events."""
        text = SMALL.replace("local", "webhook") + "routes: [{via: [webhook]}]\n"
        self.assertEqual(problems_of(text), [])
        more = text.replace("via: [webhook]", "via: [webhook], on_failed: webhook, webhook: {url: {env: H}}")
        [problem] = problems_of(more, {"H": "https://x.example/"})
        self.assertEqual(
            problem.text,
            'the name "webhook" stands for the built-in provider for webhooks: choose another one',
        )

    def test_events_need_a_spool(self) -> None:
        """Without one nothing would keep them until they are told."""
        text = (
            "listeners: [{endpoint: 'unix:x', delivery: synchronous}]\n"
            + PROVIDERS
            + "routes: [{via: [local], on_failed: webhook, webhook: {url: {env: H}}}]\n"
        )
        [problem] = problems_of(text, {"H": "https://x.example/"})
        self.assertEqual(
            problem.text, "events for a webhook need a spool, which keeps them until they are delivered"
        )

    def test_where_events_may_go(self) -> None:
        """Only through TLS, or to this machine; the URL, which may be a secret, is not repeated."""
        text = SMALL + "webhook: {url: {env: H}}\n"
        for url, code in (
            ("https://x.example/SECRET", None),
            ("http://127.0.0.1:8080/SECRET", None),
            ("http://x.example/SECRET", "CFG-CLEAR-TEXT"),
            ("x.example/SECRET", "CFG-VALUE"),
        ):
            problems = problems_of(text, {"H": url})
            self.assertEqual([problem.code for problem in problems], [code] if code else [])
            self.assertNotIn("SECRET", str(problems))


class LoginsTests(SynchronousTestCase):
    def test_one_secret(self) -> None:
        """A user has a password or its hash, and not both."""
        for keys, code, expected in (
            ("", "CFG-MISSING", "there is neither password nor password_hash: nobody can log in"),
            (
                f", password_hash: '{HASH}', password: {{env: P}}",
                "CFG-VALUE?",
                "password_hash does not count beside password: remove one of them",
            ),
        ):
            [problem] = problems_of(f"{SMALL}users: [{{name: u{keys}}}]\n", {"P": "x"})
            self.assertEqual((codes([problem]), problem.text, problem.line), ([code], expected, 4))
        self.assertEqual(problems_of(f"{SMALL}users: [{{name: u, password: {{env: P}}}}]\n", {"P": "x"}), [])

    def test_by_certificate(self) -> None:
        """EXTERNAL and client_ca need each other; a user may then have no secret."""
        made = make_certificate(Path(self.mktemp()).absolute())
        user = "users: [{name: u}]\n"
        pair = f"certificate: {made.certificate}, key: {made.key}"
        for tls, mechanisms, expected in (
            (f"{pair}, client_ca: {made.ca}", "[EXTERNAL, SCRAM-SHA-256]", []),
            (f"{pair}, client_ca: {made.ca}", "[PLAIN]", ["CFG-AUTH?", "CFG-MISSING"]),
            (pair, "[PLAIN, EXTERNAL]", ["CFG-AUTH?"]),
            (f"{pair}, client_ca: {made.key}", "[EXTERNAL]", ["CFG-FILE"]),
        ):
            listener = f"name: lan, tls: {{{tls}}}, auth: {{mechanisms: {mechanisms}}}"
            found = codes(problems_of(SMALL.replace("name: lan", listener) + user))
            self.assertEqual(sorted(found), expected, (tls, mechanisms))

    def test_mechanisms(self) -> None:
        """A mechanism by which a user cannot log in is worth a warning, and so is one without users."""
        scram = hash_for_scram(b"x", bytes(16), 4096)
        users = {
            "hashed": f"password_hash: '{HASH}'",
            "scram": f"password_hash: '{scram}'",
            "clear": "password: {env: P}",
        }
        found = {}
        for name, secret in users.items():
            for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"):
                auth = f"name: lan, auth: {{allow_plaintext: true, mechanisms: [{mechanism}]}}"
                text = SMALL.replace("name: lan", auth) + f"users: [{{name: {name}, {secret}}}]\n"
                found[name, mechanism] = [each.text for each in problems_of(text, {"P": "x"})]
        wrong = {(name, mechanism) for (name, mechanism), texts in found.items() if texts}
        self.assertEqual(
            wrong,
            {
                ("hashed", "CRAM-MD5"),
                ("hashed", "SCRAM-SHA-256"),
                ("hashed", "SCRAM-SHA-256-PLUS"),
                ("scram", "CRAM-MD5"),
            },
        )
        needs = "needs users with a password, or a hash by `smtprelay hash-password --scram`"
        [text] = found["hashed", "SCRAM-SHA-256"]
        self.assertEqual(text, f'SCRAM-SHA-256 {needs}, which "hashed" does not have')
        auth = "name: lan, auth: {allow_plaintext: true, checkers: [open], mechanisms: [PLAIN, CRAM-MD5]}"
        [problem] = problems_of(SMALL.replace("name: lan", auth) + "checkers: {open: {type: any}}\n")
        self.assertEqual(problem.text, "nobody can log in by CRAM-MD5: it is for the checker users alone")


class DuplicatesTests(SynchronousTestCase):
    def test_names_and_endpoints(self) -> None:
        """What has the name or the endpoint of another is told at the second one."""
        text = (
            "listeners: [{name: a, endpoint: 'unix:x'}, {name: a, endpoint: 'unix:y'}]\n"
            + PROVIDERS
            + "http: [{endpoint: 'unix:y', serve: [health]}]\n"
            + "routes: [{name: r, match: {size: <1MB}, via: [local, local]}, {name: r, via: [local]}]\n"
            + "users: [{name: u, password_hash: &H}, {name: u, password_hash: &H}]\n".replace(
                "&H", f"'{HASH}'"
            )
            + SPOOL
        )
        expected = [
            '1:51 CFG-DUPLICATE the name "a" is given twice',
            '3:19 CFG-DUPLICATE the endpoint "unix:y" is given twice',
            '4:54 CFG-DUPLICATE the provider "local" is given twice',
            '4:70 CFG-DUPLICATE the name "r" is given twice',
            '5:117 CFG-DUPLICATE the name "u" is given twice',
        ]
        self.assertEqual([t for t in told(problems_of(text)) if "DUPLICATE" in t], expected)

    def test_any_port(self) -> None:
        """Port 0 is another port each time."""
        text = SMALL.replace("tcp:2525", "tcp:0")
        http = "http: [{endpoint: 'tcp:0:interface=127.0.0.1', serve: [health]}]\n"
        self.assertEqual(problems_of(text + http), [])


class ServicesTests(SynchronousTestCase):
    def test_nothing_to_do(self) -> None:
        """What can take, serve or log nothing is told."""
        cases = {
            SMALL.replace("name: lan", "limits: {size: 0}"): (
                "CFG-VALUE",
                "size is 0: all mail would be refused",
            ),
            SMALL + "http: [{endpoint: 'tcp:1', serve: []}]\n": ("CFG-VALUE", "serve names nothing"),
            SMALL + "http: [{endpoint: 'tcp:1:interface=127.0.0.1', serve: [dashboard]}]\n": (
                "CFG-VALUE?",
                "dashboard needs api, too",
            ),
            SMALL + "logging: {levels: {smtprelay.smpt: debug}}\n": (
                "CFG-UNKNOWN-NAME?",
                'unknown logger "smtprelay.smpt" - did you mean "smtprelay.smtp"?',
            ),
        }
        for text, (code, expected) in cases.items():
            [problem] = problems_of(text)
            self.assertEqual((codes([problem]), problem.text), ([code], expected))

    def test_loggers(self) -> None:
        """Stations, their events and other people's loggers may all have a level."""
        levels = "{smtprelay: warn, smtprelay.dispatch: debug, smtprelay.lane: error, twisted.web: info}"
        self.assertEqual(problems_of(SMALL + f"logging: {{levels: {levels}}}\n"), [])


class RoutesTests(SynchronousTestCase):
    def test_users(self) -> None:
        """A user whom nobody knows is an error; where a checker takes other names, too, a warning."""
        users = f"users: [{{name: ann, password_hash: '{HASH}'}}]\n"
        routes = "routes: [{match: {user: [%s]}, via: [local]}, {via: [local]}]\n"
        self.assertEqual(problems_of(SMALL + users + routes % "ann, '*'"), [])
        [problem] = problems_of(SMALL + users + routes % "any")
        self.assertEqual((problem.severity, problem.line, problem.column), ("error", 5, 26))
        self.assertEqual(problem.text, 'unknown user "any" - did you mean "ann"?')
        [problem] = problems_of(SMALL + "checkers: {open: {type: any}}\n" + routes % "printer")
        self.assertEqual((problem.severity, problem.line), ("warning", 5))
        self.assertEqual(problem.text, 'unknown user "printer": only open may know it')

    def test_unreachable(self) -> None:
        """Behind a route without conditions nothing can match: a warning at each such route."""
        routes = "routes:\n  - {name: a, match: {sender: [x@a]}, via: [local]}\n  - {name: b, via: [local]}\n"
        more = "  - {name: c, match: {sender: [y@a]}, via: [local]}\n"
        self.assertEqual(problems_of(SMALL + routes), [])
        [problem] = problems_of(SMALL + routes + more)
        self.assertEqual((problem.severity, problem.line), ("warning", 7))
        self.assertEqual(problem.text, '"c" can never match: "b" before it has no condition')

    def test_retry(self) -> None:
        """The longest delay is not shorter than the first, and the first is one."""
        for retry, expected in {
            "first: 2h": "retry.max is shorter than retry.first",
            "first: 0s": "retry.first is 0: mail would be tried again without a pause",
        }.items():
            [problem] = problems_of(SMALL + f"routes: [{{via: [local], retry: {{{retry}}}}}]\n")
            self.assertEqual((problem.code, problem.text), ("CFG-VALUE", expected))


class DeadlineTests(SynchronousTestCase):
    def test_deadline(self) -> None:
        """A deadline must leave time, be within what clients wait, and have something to do."""
        for settings, expected in {
            "delivery: synchronous": [],
            "delivery: synchronous, reply_deadline: 10m": [],
            "delivery: synchronous, reply_deadline: 11m": ["CFG-VALUE?"],
            "delivery: synchronous, reply_deadline: 0": ["CFG-VALUE"],
            "reply_deadline: 60s": [],
            "reply_deadline: 30s": ["CFG-VALUE?"],
        }.items():
            text = (
                f"listeners: [{{endpoint: 'tcp:25:interface=127.0.0.1', {settings}}}]\n" + PROVIDERS + SPOOL
            )
            self.assertEqual(codes(problems_of(text)), expected, settings)

    def test_no_time(self) -> None:
        """A limit within which nothing can happen is an error: no mail would ever leave, or come in."""
        host = "providers: {host: {type: smarthost, host: h.example, timeout: 0}}\n"
        hook = "webhook: {url: {env: HOOK}, timeout: 0s}\n"
        slow = "listeners: [{endpoint: 'tcp:25:interface=127.0.0.1', limits: {command_time: 0}}]\n"
        for text in (
            LISTENERS + host + SPOOL,
            SMALL + hook,
            slow + PROVIDERS + SPOOL,
            LISTENERS + PROVIDERS + "spool: {path: spool, lease: 0m}\n",
        ):
            [problem] = problems_of(text, {"HOOK": "https://h.example/"})
            self.assertIn("leaves no time: expected one such as 30s", problem.text)


class SpoolTests(SynchronousTestCase):
    def test_needless(self) -> None:
        """Where all listeners are synchronous none is missed, nor is its folder."""
        listeners = "listeners: [{endpoint: 'tcp:25:interface=127.0.0.1', delivery: synchronous}]\n"
        self.assertEqual(problems_of(listeners + PROVIDERS + "control_socket: control.sock\n"), [])

    def test_postgres_needs_a_url(self) -> None:
        """The engine postgres without a url is told."""
        problems = problems_of(LISTENERS + PROVIDERS + "spool: {engine: postgres}\n")
        self.assertIn("CFG-MISSING", codes(problems))
