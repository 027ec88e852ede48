"""The API: what the CLI and the page ask and do."""

from attrs import asdict, evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.queue import STATES, Edit, Selection, Unreachable
from smtprelay.model.queue_admin import HoldRule
from smtprelay.smtp.refusals import Refusals
from smtprelay.telemetry.log_writer import LogTrouble
from smtprelay.version import VERSION
from smtprelay.web.auth import Access, Token
from tests.recording import Recording
from tests.web.asking import DETAIL, LANE, NOW, STATS, SUMMARY, WHOLE_ID, Fixture, parse


def plain(value: object) -> object:
    """Return what JSON makes of an attrs value."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return plain(asdict(value)) if hasattr(value, "__attrs_attrs__") else value


class StatusTests(SynchronousTestCase):
    def test_status(self):
        """Version, uptime, the checks, the stats and the listeners, and who asks."""
        fixture = Fixture()
        fixture.checks["listener lan"] = "not bound"
        self.assertEqual(
            fixture.get("/api/v1/status").json,
            {
                "version": VERSION,
                "uptime": 100.0,
                "ready": {"ok": False, "checks": {"spool": None, "listener lan": "not bound"}},
                "attention": [
                    {
                        "kind": "blocked",
                        "about": "graph ups@example.com",
                        "text": "graph ups@example.com is blocked, 3 waiting: the client secret has expired",
                        "since": None,
                        "until": LANE.blocked_until,
                    }
                ],
                "stats": plain(STATS),
                "nodes": [{"name": "a", "seen": NOW, "draining": False}],
                "refused": 0,
                "listeners": [{"name": "lan", "endpoint": "tcp:2525"}],
                "captured": True,
                "who": "local",
                "role": "operator",
            },
        )

    def test_a_spool_that_does_not_answer(self):
        """All else is told, also that the log cannot be written; that the spool is away needs a person."""
        fixture = Fixture()
        fixture.relay.trouble = LogTrouble("no space", NOW - 5)
        fixture.spool.error = SpoolUnavailable("no connection to the database")
        response = fixture.get("/api/v1/status")
        self.assertEqual(response.status, 200)
        status = response.json
        self.assertEqual([line["kind"] for line in status["attention"]], ["log", "spool"])
        self.assertEqual(
            status["attention"][1]["text"],
            "the spool does not answer: no connection to the database",
        )
        self.assertEqual((status["stats"], status["nodes"], status["refused"]), (None, [], None))
        self.assertEqual((status["version"], status["ready"]["ok"]), (VERSION, True))

    def test_what_expires(self):
        """A secret that ends soon needs a person, and a metric has the end of each."""
        fixture = Fixture()
        fixture.relay.ends = {
            "providers.acs.connection_string": NOW + 86_400,
            "listeners[0].tls.certificate": 9e9,
        }
        fixture.spool.stopped = ()
        [line] = fixture.get("/api/v1/status").json["attention"]
        self.assertEqual((line["kind"], line["about"]), ("expiring", "providers.acs.connection_string"))
        self.assertIn("providers.acs.connection_string expires on 2026-09-", line["text"])
        metrics = fixture.get("/metrics").body.decode()
        self.assertIn(
            'smtprelay_expiry_timestamp_seconds{name="listeners[0].tls.certificate"} 9e+09', metrics
        )

    def test_failing_keys(self):
        """A key that cannot sign needs a person."""
        fixture = Fixture()
        fixture.spool.stopped = ()
        fixture.relay.failing = ["mail of example.com waits"]
        [line] = fixture.get("/api/v1/status").json["attention"]
        self.assertEqual((line["kind"], line["text"]), ("dkim", "mail of example.com waits"))

    def test_a_spool_that_hangs(self):
        """After some seconds all else is told; the question is given up."""
        fixture = Fixture()
        asked: Deferred[None] = Deferred()
        fixture.spool.stats = lambda: asked
        transport = fixture.send("GET", "/api/v1/status")
        fixture.clock.advance(3)
        self.assertEqual(transport.value(), b"")
        fixture.clock.advance(2)
        status = parse(transport.value()).json
        told = "the spool does not answer: no answer within 4 s: look whether its database or disk hangs"
        self.assertEqual([line["text"] for line in status["attention"]], [told])
        self.assertEqual((status["stats"], status["version"]), (None, VERSION))
        self.assertTrue(asked.called)

    def test_a_part_of_the_spool_that_does_not_answer(self):
        """What was answered before is told."""

        class Broken(Refusals):
            async def refused(self, _wanted):
                raise OSError

        fixture = Fixture(refusals=Broken(Clock(), Recording()))
        status = fixture.get("/api/v1/status").json
        self.assertEqual((status["stats"]["bytes"], status["refused"]), (STATS.bytes, None))
        self.assertEqual(status["attention"][0]["kind"], "spool")

    def test_a_removed_provider(self):
        """Mail that waits for a provider which the configuration lost needs a person."""
        fixture = Fixture()
        lane = evolve(LANE, provider="old", lane="", state="removed", blocked_reason="")
        fixture.spool.stopped = (lane,)
        [line] = fixture.get("/api/v1/status").json["attention"]
        self.assertEqual((line["kind"], line["about"]), ("removed", "old"))
        self.assertIn("old is not configured any more, 3 waiting", line["text"])

    def test_what_this_process_knows(self):
        """Without a spool the lanes that are blocked, and what cannot be reached, are told all the same."""
        fixture = Fixture(spool=None)
        fixture.spool.unreachable = (
            Unreachable("out", NOW - 60, "h:25", "connect", "connect at h:25: refused."),
        )
        unreachable, blocked = fixture.get("/api/v1/status").json["attention"]
        self.assertEqual(unreachable["text"], "out cannot be reached: connect at h:25: refused")
        self.assertEqual((unreachable["host"], unreachable["stage"]), ("h:25", "connect"))
        self.assertEqual((blocked["kind"], blocked["about"]), ("blocked", "graph ups@example.com"))

    def test_without_a_spool_there_is_no_queue(self):
        """A relay of synchronous listeners has a status; its queue is not there."""
        fixture = Fixture(spool=None)
        self.assertIsNone(fixture.get("/api/v1/status").json["stats"])
        self.assertEqual(fixture.get("/api/v1/queue").status, 404)


class QueueTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_queue(self):
        """Each delivery and each lane as the spool gives them."""
        answer = self.fixture.get("/api/v1/queue").json
        self.assertEqual(
            answer,
            {
                "deliveries": [plain(SUMMARY)],
                "lanes": [plain(LANE)],
                "mark": "",
                "partial": False,
            },
        )
        self.assertEqual(self.fixture.spool.calls, [Selection(limit=1000)])

    def test_an_empty_queue(self):
        """It is an empty list."""
        self.fixture.spool.lines = []
        self.assertEqual(self.fixture.get("/api/v1/queue").json["deliveries"], [])

    def test_filters(self):
        """All reach the spool; states and ids may be several, and escapes are undone."""
        self.fixture.get(
            "/api/v1/queue?state=deferred&state=held&provider=acs&sender=a%40x.org&recipient=%C3%BC%40x.org&id=7Q&limit=5"
        )
        (selection,) = self.fixture.spool.calls
        self.assertEqual(
            selection,
            Selection(
                ids=["7Q"],
                states=["deferred", "held"],
                provider="acs",
                sender="a@x.org",
                recipient="ü@x.org",
                limit=5,
            ),
        )

    def test_bad_filters_are_400(self):
        """A filter that is not understood must not widen the list."""
        for query in (
            "stat=held",
            "state=lost",
            "limit=0",
            "limit=x",
            "limit=99999999999",
            "sender=a&sender=b",
            "since=yesterday",
            "until=nan",
            "min_size=-1",
            "order=oldest",
            "everything=true",
        ):
            response = self.fixture.get(f"/api/v1/queue?{query}")
            self.assertEqual((response.status, list(response.json)), (400, ["error"]), query)
        self.assertEqual(self.fixture.spool.calls, [])

    def test_every_filter(self):
        """Each field of a selection is a parameter, numbers as numbers; a list goes on at its mark."""
        texts = ["text", "route", "lane", "subject", "message_id", "provider_id", "error", "client", "user"]
        query = "&".join(f"{name}=x" for name in texts)
        self.fixture.get(f"/api/v1/queue?{query}&since=5&until=9.5&min_size=100&order=newest&after=id/M1")
        ((selection, mark),) = self.fixture.spool.calls
        self.assertEqual(mark, "id/M1")
        self.assertEqual(
            selection,
            Selection(
                **dict.fromkeys(texts, "x"),
                since=5.0,
                until=9.5,
                min_size=100,
                newest=True,
            ),
        )

    def test_any_state(self):
        """A search for a mail of which nobody knows what became of it; only alone, and only in a list."""
        self.fixture.get("/api/v1/queue?text=scan&state=any")
        self.assertEqual(self.fixture.spool.calls, [Selection(states=STATES, text="scan")])
        self.assertEqual(self.fixture.get("/api/v1/queue?state=any&state=held").status, 400)
        self.assertEqual(self.fixture.post("/api/v1/queue/delete", {"states": ["any"]}).status, 400)

    def test_one_message(self):
        """All its deliveries with their history."""
        answer = self.fixture.get("/api/v1/queue/7QK2").json
        self.assertEqual(answer, {"deliveries": [plain(DETAIL)]})
        self.assertEqual(self.fixture.spool.calls, ["7QK2"])

    def test_an_unknown_message_is_404_in_the_spools_words(self):
        """The sentence reaches the person."""
        self.fixture.spool.error = LookupError("two messages begin with 7")
        response = self.fixture.get("/api/v1/queue/7")
        self.assertEqual((response.status, response.json), (404, {"error": "two messages begin with 7"}))


class EditTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_each_action_reaches_the_spool(self):
        """With the selection, the reason, and who it was."""
        for action in ("retry", "hold", "release", "delete"):
            response = self.fixture.post(
                f"/api/v1/queue/{action}",
                {"ids": ["7QK2"], "states": ["held"], "why": "because", "who": "anna"},
            )
            self.assertEqual(
                response.json, {"count": 1, "ids": ["7QK29FMD.1"], "left": {"under way": 2}, "mark": ""}
            )
            self.assertEqual(
                self.fixture.spool.calls.pop(),
                (
                    Selection(ids=["7QK2"], states=["held"]),
                    Edit(action=action, who="local (anna)", why="because"),
                ),
            )

    def test_a_dry_run_only_looks(self):
        """It answers the same ids, and the spool is told that nothing is to be changed."""
        response = self.fixture.post("/api/v1/queue/delete", {"provider": "acs", "dry_run": True})
        self.assertEqual(response.json["ids"], ["7QK29FMD.1"])
        ((selection, edit),) = self.fixture.spool.calls
        self.assertEqual((selection.provider, edit.dry_run), ("acs", True))

    def test_each_action_has_its_options(self):
        """When a retry is due, who hears of a deletion, where a reroute goes; and the next step."""
        for action, given, expected in (
            ("retry", {"at": 5}, {"at": 5}),
            ("delete", {"bounce": True}, {"bounce": True}),
            ("reroute", {"to": "graph", "force": True}, {"provider": "graph", "force": True}),
        ):
            body = {"provider": "acs", "mark": "m", **given}
            response = self.fixture.post(f"/api/v1/queue/{action}", body)
            self.assertEqual(response.json["mark"], "more")
            request = self.fixture.spool.calls.pop()
            self.assertEqual(
                request, (Selection(provider="acs"), Edit(action=action, who="local", **expected), "m")
            )

    def test_options_of_other_actions_are_refused(self):
        """What an action does not take is not left out silently."""
        for action, given in (
            ("hold", {"at": 5}),
            ("retry", {"bounce": True}),
            ("retry", {"at": "soon"}),
            ("retry", {"at": 1e18}),
            ("reroute", {}),
            ("reroute", {"to": ""}),
            ("delete", {"rule": 3}),
        ):
            response = self.fixture.post(f"/api/v1/queue/{action}", {"ids": ["A"], **given})
            self.assertEqual(response.status, 400, (action, given))
        self.assertEqual(self.fixture.spool.calls, [])

    def test_everything_must_be_said(self):
        """Without a filter, or with empty ones, nothing happens unless everything is meant."""
        for body in ({}, {"ids": []}, {"sender": ""}, {"everything": False}, {"why": "x"}):
            response = self.fixture.post("/api/v1/queue/delete", body)
            self.assertEqual(response.status, 400, body)
        self.assertEqual(self.fixture.spool.calls, [])
        self.assertEqual(self.fixture.post("/api/v1/queue/delete", {"everything": True}).status, 200)

    def test_long_reasons_are_400(self):
        """Who and why are stored with each delivery: up to 500 characters are taken, more are refused."""
        for path in ("queue/hold", "hold-rules", "providers/acs/suspend"):
            for key in ("who", "why"):
                response = self.fixture.post(f"/api/v1/{path}", {key: "x" * 501})
                error = f"{key} must be a string of at most 500 characters"
                self.assertEqual((response.status, response.json), (400, {"error": error}), path)
        self.assertEqual(self.fixture.spool.calls, [])
        response = self.fixture.post("/api/v1/queue/hold", {"everything": True, "why": "x" * 500})
        self.assertEqual(response.status, 200)

    def test_bad_bodies_are_400(self):
        """Each with a sentence, and nothing reaches the spool."""
        bad = ([], "x", None, {"id": ["a"]}, {"ids": "a"}, {"ids": [1]}, {"sender": 1}, {"everything": "yes"})
        for body in (*bad, {"states": ["lost"]}):
            response = self.fixture.post("/api/v1/queue/delete", body)
            self.assertEqual((response.status, list(response.json)), (400, ["error"]), body)
        headers = {"Content-Type": "application/json", "X-Smtprelay-CSRF": "1"}
        for raw in (b"{", b"\xff", b"[" * 100_000):
            response = self.fixture.ask("POST", "/api/v1/queue/delete", headers=headers, body=raw)
            self.assertEqual(response.status, 400, raw[:10])
        self.assertEqual(self.fixture.spool.calls, [])

    def test_only_json_is_read(self):
        """What a form of another site can send is not."""
        headers = {"Content-Type": "text/plain"}
        response = self.fixture.post("/api/v1/queue/delete", {"everything": True}, headers=headers)
        self.assertEqual((response.status, self.fixture.spool.calls), (415, []))

    def test_the_spools_refusals_are_answers(self):
        """Unknown ids are 404, what cannot be done is 400."""
        for error, status in ((LookupError("no message begins with 9"), 404), (ValueError("not held"), 400)):
            self.fixture.spool.error = error
            response = self.fixture.post("/api/v1/queue/release", {"ids": ["9"]})
            self.assertEqual((response.status, response.json), (status, {"error": error.args[0]}))


class RerouteTests(SynchronousTestCase):
    def test_a_provider_that_is_not_there(self):
        """It is told before anything is looked for, with those that are."""
        fixture = Fixture()
        fixture.operator.error = LookupError("there is no provider 'tow': one, two")
        response = fixture.post("/api/v1/queue/reroute", {"everything": True, "to": "tow"})
        self.assertEqual(
            (response.status, response.json), (404, {"error": "there is no provider 'tow': one, two"})
        )
        self.assertEqual(fixture.spool.calls, [])
        self.assertEqual(fixture.operator.calls, [("check", "tow")])


class ContentTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_stored_message(self):
        """An operator gets it as it came, or its header; the log says who read what."""
        response = self.fixture.get("/api/v1/queue/7QK2/message")
        self.assertEqual((response.status, response.body), (200, b"Subject: Scan\r\n\r\nhello\r\n"))
        self.assertEqual(response.headers["content-type"], "message/rfc822")
        self.assertEqual(
            self.fixture.get("/api/v1/queue/7QK2/message?part=headers").body, b"Subject: Scan\r\n"
        )
        read = self.fixture.events.of("queue.read")
        self.assertEqual(
            [(each["who"], each["message"], each["part"]) for each in read],
            [("local", WHOLE_ID, "message"), ("local", WHOLE_ID, "headers")],
        )

    def test_who_has_read_it(self):
        """Over the socket whoever asks says who he is, as with a change."""
        fixture = Fixture(access=lambda clock: Access(clock, control=True))
        fixture.get("/api/v1/queue/7QK2/message?part=message&who=ann")
        (read,) = fixture.events.of("queue.read")
        self.assertEqual((read["who"], read["message"]), ("ann", WHOLE_ID))

    def test_what_is_not_there(self):
        """A body that is gone is 404 in the spool's words, an unknown part 400; neither was read."""
        self.assertEqual(self.fixture.get("/api/v1/queue/7QK2/message?part=x").status, 400)
        self.fixture.spool.error = LookupError("the body is gone")
        response = self.fixture.get("/api/v1/queue/7QK2/message")
        self.assertEqual((response.status, response.json), (404, {"error": "the body is gone"}))
        self.assertEqual(self.fixture.events.of("queue.read"), [])


class HoldTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_rules(self):
        """Each with what it holds."""
        (rule,) = self.fixture.get("/api/v1/hold-rules").json["hold_rules"]
        self.assertEqual((rule["id"], rule["recipient"], rule["count"]), (3, "*@example.org", 2))

    def test_a_rule_is_made(self):
        """It is in force when it is answered, what waits is seen to, and who asked is recorded."""
        body = {"recipient": "*@x.org", "until": NOW + 60, "why": "incident", "who": "anna"}
        self.assertEqual(self.fixture.post("/api/v1/hold-rules", body).json["hold_rule"]["id"], 3)
        rule = HoldRule(recipient="*@x.org", until=NOW + 60, reason="incident", who="local (anna)")
        self.assertEqual(self.fixture.spool.calls, [rule, "apply_hold_rules"])
        self.assertEqual(self.fixture.operator.calls, [("holds",)])

    def test_a_rule_for_a_time(self):
        """Its end is counted from now, by the relay's clock."""
        self.fixture.post("/api/v1/hold-rules", {"recipient": "*@x.org", "for": 60})
        self.assertEqual(self.fixture.spool.calls[0].until, NOW + 60)

    def test_a_rule_is_ended(self):
        """By its number; what is none is not there."""
        self.assertEqual(self.fixture.post("/api/v1/hold-rules/3/remove", {}).status, 200)
        self.assertEqual(self.fixture.spool.calls, [(3, "local"), "apply_hold_rules"])
        for number in ("x", "-1", "9" * 40):
            self.assertEqual(self.fixture.post(f"/api/v1/hold-rules/{number}/remove", {}).status, 404)

    def test_bad_rules(self):
        """Without an end, or with what a rule does not have, there is none."""
        for body in (
            {"recipient": "*"},
            {"until": "x"},
            {"until": 5, "subject": "x"},
            {"recipient": "*", "until": NOW + 60, "for": 60},
            {"recipient": "x.org", "for": 60},
        ):
            self.assertEqual(self.fixture.post("/api/v1/hold-rules", body).status, 400, body)
        self.fixture.operator.error = LookupError("there is no provider 'nope'")
        self.assertEqual(self.fixture.post("/api/v1/hold-rules", {"provider": "nope", "for": 60}).status, 404)
        self.assertEqual(self.fixture.spool.calls, [])


class ProviderTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_lanes(self):
        """All of them, with what waits."""
        self.assertEqual(self.fixture.get("/api/v1/providers").json, {"lanes": [plain(LANE)]})

    def test_changes(self):
        """Each reaches the operator's desk with who asked."""
        for what, body in (
            ("probe", {"lane": "box", "force": True}),
            ("suspend", {"why": "maintenance"}),
            ("suspend", {"for": 60}),
            ("resume", {"who": "anna"}),
        ):
            self.assertEqual(self.fixture.post(f"/api/v1/providers/acs/{what}", body).status, 200)
        self.assertEqual(
            self.fixture.operator.calls,
            [
                ("probe", "acs", "box", "local", ("force", True)),
                ("suspend", "acs", "local", "maintenance", None),
                ("suspend", "acs", "local", "", 60),
                ("resume", "acs", "local (anna)"),
            ],
        )

    def test_refusals(self):
        """What cannot be done is 400, what is not there 404, in words."""
        for error, status in ((ValueError("acs is not blocked"), 400), (LookupError("no provider"), 404)):
            self.fixture.operator.error = error
            response = self.fixture.post("/api/v1/providers/acs/probe", {})
            self.assertEqual((response.status, response.json), (status, {"error": error.args[0]}))


class RoleTests(SynchronousTestCase):
    """What a viewer's token opens."""

    def test_a_viewer_looks_and_changes_nothing(self):
        """Lists, rules and lanes are for a viewer; what changes something, or is a mail, is not."""

        async def verify(password: str, hashed: str) -> bool:
            return password == hashed

        fixture = Fixture(
            access=lambda clock: Access(
                clock, tokens=[Token(name="v", hash="pass", role="viewer")], verify=verify
            )
        )
        headers = {"Authorization": "Bearer pass"}
        for path in ("queue", "queue/7QK2", "hold-rules", "providers"):
            self.assertEqual(fixture.get(f"/api/v1/{path}", headers=headers).status, 200, path)
        self.assertEqual(fixture.get("/api/v1/queue/7QK2/message", headers=headers).status, 403)
        for path in ("queue/reroute", "hold-rules", "hold-rules/3/remove", "providers/acs/suspend"):
            self.assertEqual(fixture.post(f"/api/v1/{path}", {}, headers=headers).status, 403, path)
        self.assertEqual(fixture.operator.calls, [])
