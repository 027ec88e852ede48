import json

from attrs import asdict, evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client, Reply
from smtprelay.model.refusal import RefusalFilter
from smtprelay.service.workers.api_proxy import RemoteRefusals
from smtprelay.smtp.refusals import Refusals
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.web.messages import MAX_BODY, ApiProblem, ApiRequest, ApiResponse
from smtprelay.web.refused import record_route
from tests.dispatch.stage import done
from tests.recording import Recording
from tests.web.asking import NOW, Fixture

NO = Reply(code=550, enhanced="5.7.1", text="no", rule="network")
SYNTAX = Reply(code=501, enhanced="5.5.4", text="Syntax error", rule="syntax")


class RefusedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.fixture = Fixture()
        self.tables = self.fixture.sources.refusals
        spool = open_memory(SpoolOptions(rate_limits={}, events=Recording()), clock=self.fixture.clock)
        self.tables.store = spool.refusals
        self.tables.turned_away(Client(address="10.0.3.7", listener="lan"), NO)
        self.tables.turned_away(Client(address="10.0.3.8", listener="lan"), SYNTAX)

    def rules(self) -> list[str]:
        return sorted(row["rule"] for row in self.fixture.get("/api/v1/refused").json["refused"])

    def test_rows(self) -> None:
        """Each row with the setting that lets it in, or what the client must do."""
        answer = self.fixture.get("/api/v1/refused").json
        first, second = sorted(answer["refused"], key=lambda row: row["client"])
        self.assertEqual(first["setting"], "listeners[lan].allow_from: add 10.0.3.7/32")
        self.assertEqual((first["count"], first["first"], first["reply"]), (1, NOW, "550 5.7.1"))
        self.assertEqual(second["setting"], "")
        self.assertIn("RFC 5321", second["advice"])

    def test_filters(self) -> None:
        """What is asked for is found; what is not understood is refused."""
        for query, count in (
            ("client=10.0.3.7", 1),
            ("rule=*&limit=1", 1),
            (f"since={NOW + 1}", 0),
            ("user=joe", 0),
        ):
            self.assertEqual(len(self.fixture.get(f"/api/v1/refused?{query}").json["refused"]), count, query)
        for query in ("colour=red", "since=yesterday", "limit=-1"):
            self.assertEqual(self.fixture.get(f"/api/v1/refused?{query}").status, 400, query)

    def test_cleared(self) -> None:
        """Rows are cleared by filters; who did that is told."""
        answer = self.fixture.post("/api/v1/refused/clear", {"rule": "syntax", "who": "anna"})
        self.assertEqual(answer.json, {"count": 1})
        self.assertEqual(self.fixture.events.of("refused.cleared"), [{"who": "local (anna)", "count": 1}])
        self.assertEqual(self.rules(), ["network"])
        self.assertEqual(self.fixture.post("/api/v1/refused/clear", {"rule": 5}).status, 400)

    def test_everything_cleared(self) -> None:
        """Without a filter it must be asked for, so that nobody does it by mistake."""
        for body in ({}, {"who": "anna"}, {"rule": ""}, {"everything": False}):
            answer = self.fixture.post("/api/v1/refused/clear", body)
            self.assertEqual(answer.status, 400, body)
            self.assertIn("everything: true", answer.json["error"])
        self.assertEqual(len(self.rules()), 2)
        self.assertEqual(self.fixture.post("/api/v1/refused/clear", {"everything": True}).json, {"count": 2})

    def test_in_the_status(self) -> None:
        """It says how many rows there are of the last day."""
        self.assertEqual(self.fixture.get("/api/v1/status").json["refused"], 2)
        self.fixture.clock.advance(86_401)
        self.assertEqual(self.fixture.get("/api/v1/status").json["refused"], 0)
        self.tables.turned_away(Client(address="10.0.3.7", listener="lan"), NO)
        self.assertEqual(self.fixture.get("/api/v1/status").json["refused"], 1)

    def test_without_a_spool(self) -> None:
        """A relay of synchronous listeners has it, too."""
        fixture = Fixture(refusals=self.tables, spool=None)
        self.assertEqual(len(fixture.get("/api/v1/refused").json["refused"]), 2)

    def test_the_supervisor(self) -> None:
        """What it refuses itself a worker writes down; the API of no other site takes rows."""
        self.assertEqual(self.fixture.post("/api/v1/refused/record", {"rows": []}).status, 404)
        route = record_route(self.tables)

        class Proxy:
            """Passes on as the real one does."""

            async def one(self, method: str, uri: str, request: ApiRequest) -> object:
                assert (method, uri) == (route.method, route.path)
                return await route.action(request)

        refusals = Refusals(self.fixture.clock, self.fixture.events)
        refusals.turned_away(Client(address="2001:db8::1", listener="lan"), NO)
        done(refusals.flush())
        refusals.store = RemoteRefusals(Proxy())
        done(refusals.flush())
        self.assertEqual(self.rules(), ["network", "network", "syntax"])
        done(refusals.flush())
        [row] = done(self.tables.refused(RefusalFilter(client="2001:db8::1")))
        self.assertEqual(row.count, 1)

    def test_rows_that_are_none(self) -> None:
        """They are answered with a sentence, and none of them is written down."""
        action = record_route(self.tables).action
        [row] = done(self.tables.refused(RefusalFilter(client="10.0.3.7")))
        good = asdict(row)
        for body in (
            {},
            {"rows": 5},
            {"rows": [5]},
            {"rows": [{}]},
            {"rows": [good, {**good, "colour": "red"}]},
            {"rows": [good, {**good, "rule": None}]},
            {"rows": [good, {**good, "last": "now"}]},
            {"rows": [{**good, "count": 0.5}]},
        ):
            octets = json.dumps(body).encode()
            request = ApiRequest(path={}, query={}, content_type="application/json", body=octets)
            failure = self.failureResultOf(Deferred.fromCoroutine(action(request)), ApiProblem)
            self.assertEqual(failure.value.answer.status, 400, body)
            self.assertRegex(str(failure.value), "^[a-z]+ must be ", body)
        self.assertEqual(done(self.tables.refused(RefusalFilter(client="10.0.3.7"))), [row])

    def test_many_rows_of_the_supervisor(self) -> None:
        """They are passed on in bodies that are read whole."""
        sizes = []

        class Proxy:
            async def one(self, _method: str, _uri: str, request: ApiRequest) -> ApiResponse:
                sizes.append(len(request.body))
                return ApiResponse()

        refusal = evolve(NO, text="\U0001f600" * 500)
        refusals = Refusals(self.fixture.clock, self.fixture.events)
        refusals.store = RemoteRefusals(Proxy())
        for number in range(900):
            client = Client(address=f"10.{number // 250}.0.{number % 250}", listener="lan")
            refusals.turned_away(client, refusal)
        done(refusals.flush())
        self.assertGreater(sum(sizes), MAX_BODY)
        self.assertLess(max(sizes), MAX_BODY // 2)

    def test_a_worker_that_cannot(self) -> None:
        """What it does not take stays with the supervisor."""

        class Proxy:
            async def one(self, *_request: object) -> object:
                return ApiProblem(503, "the spool does not answer").answer

        refusals = Refusals(self.fixture.clock, self.fixture.events)
        refusals.store = RemoteRefusals(Proxy())
        refusals.turned_away(Client(address="10.0.3.9", listener="lan"), NO)
        self.fixture.clock.advance(5)
        self.assertIn("does not answer", self.fixture.events.of("spool.failed")[-1]["reason"])
        refusals.store = self.tables.store
        self.fixture.clock.advance(5)
        self.assertEqual(self.rules(), ["network", "network", "syntax"])
