"""The API: what the CLI and the page ask and do."""

from attrs import asdict
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.queue import Edit, Selection
from tests.web.asking import DETAIL, LANE, NOW, STOCK, SUMMARY, Fixture


def plain(value: object) -> object:
    """Return what JSON makes of an attrs value."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return plain(asdict(value)) if hasattr(value, "__attrs_attrs__") else value


class StatusTests(SynchronousTestCase):
    def test_status(self):
        """Version, uptime, the checks, the stock and the listeners, and who asks."""
        fixture = Fixture()
        fixture.checks["listener lan"] = "not bound"
        self.assertEqual(
            fixture.get("/api/v1/status").json,
            {
                "version": "1.2.3",
                "uptime": 100.0,
                "ready": {"ok": False, "checks": {"spool": None, "listener lan": "not bound"}},
                "stock": plain(STOCK),
                "nodes": [{"name": "a", "seen": NOW, "draining": False}],
                "listeners": [{"name": "lan", "endpoint": "tcp:2525"}],
                "mailbox": True,
                "who": "local",
                "role": "operator",
            },
        )

    def test_without_a_spool_there_is_no_queue(self):
        """A relay of synchronous listeners has a status; its queue is not there."""
        fixture = Fixture(spool=None)
        self.assertIsNone(fixture.get("/api/v1/status").json["stock"])
        self.assertEqual(fixture.get("/api/v1/queue").status, 404)


class QueueTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_queue(self):
        """Each delivery and each lane as the spool gives them."""
        answer = self.fixture.get("/api/v1/queue").json
        self.assertEqual(
            answer, {"schema": "smtprelay.queue.v1", "deliveries": [plain(SUMMARY)], "lanes": [plain(LANE)]}
        )
        self.assertEqual(self.fixture.spool.asked, [Selection(ids=[], states=[], limit=1000)])

    def test_an_empty_queue(self):
        """It is an empty list."""
        self.fixture.spool.lines = []
        self.assertEqual(self.fixture.get("/api/v1/queue").json["deliveries"], [])

    def test_filters(self):
        """All reach the spool; states and ids may be several, and escapes are undone."""
        self.fixture.get(
            "/api/v1/queue?state=deferred&state=held&provider=acs&sender=a%40x.org&recipient=%C3%BC%40x.org&id=7Q&limit=5"
        )
        (selection,) = self.fixture.spool.asked
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
        ):
            response = self.fixture.get(f"/api/v1/queue?{query}")
            self.assertEqual((response.status, list(response.json)), (400, ["error"]), query)
        self.assertEqual(self.fixture.spool.asked, [])

    def test_one_message(self):
        """All its deliveries with their history."""
        answer = self.fixture.get("/api/v1/queue/7QK2").json
        self.assertEqual(answer, {"schema": "smtprelay.queue.v1", "deliveries": [plain(DETAIL)]})
        self.assertEqual(self.fixture.spool.asked, ["7QK2"])

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
            self.assertEqual(response.json, {"ids": ["7QK29FMD.1"]})
            self.assertEqual(
                self.fixture.spool.asked.pop(),
                (
                    Selection(ids=["7QK2"], states=["held"]),
                    Edit(action=action, who="local (anna)", why="because"),
                ),
            )

    def test_a_dry_run_only_looks(self):
        """It answers the same ids and edits nothing."""
        response = self.fixture.post("/api/v1/queue/delete", {"provider": "acs", "dry_run": True})
        self.assertEqual(response.json, {"ids": ["7QK29FMD.1"]})
        (selection,) = self.fixture.spool.asked
        self.assertEqual(selection.provider, "acs")

    def test_everything_must_be_said(self):
        """Without a filter, or with empty ones, nothing happens unless everything is meant."""
        for body in ({}, {"ids": []}, {"sender": ""}, {"everything": False}, {"why": "x"}):
            response = self.fixture.post("/api/v1/queue/delete", body)
            self.assertEqual(response.status, 400, body)
        self.assertEqual(self.fixture.spool.asked, [])
        self.assertEqual(self.fixture.post("/api/v1/queue/delete", {"everything": True}).status, 200)

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
        self.assertEqual(self.fixture.spool.asked, [])

    def test_only_json_is_read(self):
        """What a form of another site can send is not."""
        headers = {"Content-Type": "text/plain"}
        response = self.fixture.post("/api/v1/queue/delete", {"everything": True}, headers=headers)
        self.assertEqual((response.status, self.fixture.spool.asked), (415, []))

    def test_the_spools_refusals_are_answers(self):
        """Unknown ids are 404, what cannot be done is 400."""
        for error, status in ((LookupError("no message begins with 9"), 404), (ValueError("not held"), 400)):
            self.fixture.spool.error = error
            response = self.fixture.post("/api/v1/queue/release", {"ids": ["9"]})
            self.assertEqual((response.status, response.json), (status, {"error": error.args[0]}))
