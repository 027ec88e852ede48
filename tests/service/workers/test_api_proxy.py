"""What the supervisor asks its workers: one for all, or all for one answer; and their metrics."""

import json
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.workers.api_proxy import ApiProxy
from smtprelay.service.workers.monitor import Worker
from smtprelay.telemetry.aggregate import Gathered
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.context import ReloadFailed, Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from tests.config.loading import SMALL, load_text
from tests.recording import Recording
from tests.telemetry.test_aggregate import OPENED, exposition
from tests.web.asking import FakeRelay

STATELESS = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1", delivery: synchronous}]
providers: {out: {type: capture, path: captured}}
"""


class ProxyCase(SynchronousTestCase):
    shared = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.one, self.two = (Worker(number, f"control.sock.{number}") for number in (1, 2))
        #: What was asked and is not answered yet, by the worker's number.
        self.asked: dict[int, list[tuple[str, ApiRequest, Deferred[ApiResponse]]]] = {1: [], 2: []}
        self.proxy = ApiProxy(self.clock, [self.one, self.two], self.shared, self.ask)
        for worker in (self.one, self.two):
            worker.pid, worker.ready = 100 + worker.number, True

    async def ask(self, _reactor: Any, path: str, method: str, uri: str, request: ApiRequest) -> ApiResponse:
        answer: Deferred[ApiResponse] = Deferred()
        self.asked[int(path[-1])].append((f"{method} {uri}", request, answer))
        return await answer

    def answer(self, worker: Worker, told: Any, status: int = 200) -> str:
        """Answer the oldest request to a worker, which is returned."""
        what, _, answer = self.asked[worker.number].pop(0)
        if isinstance(told, Exception):
            answer.errback(told)
        else:
            answer.callback(told if isinstance(told, ApiResponse) else json_answer(told, status))
        return what


class RoutesCase(ProxyCase):
    """The API's routes of a supervisor; without a spool."""

    config = STATELESS

    def setUp(self) -> None:
        super().setUp()
        sources = Sources(
            relay=FakeRelay(since=0.0, checks={"workers": None}),
            clock=self.clock,
            events=Recording(),
            spool=None,
            refusals=None,
        )
        routes = self.proxy.parts(load_text(self.config).config)["api"](sources)
        self.routes: dict[str, ApiRoute] = {f"{each.method} {each.path}": each for each in routes}

    def request(
        self, route: str, body: Any = None, query: dict[str, list[str]] | None = None, **path: str
    ) -> Deferred[ApiResponse]:
        octets = b"" if body is None else json.dumps(body).encode()
        asked = ApiRequest(
            path=path,
            query=query or {},
            content_type="application/json",
            body=octets,
            who="ann",
            role="operator",
        )
        return Deferred.fromCoroutine(self.routes[route].action(asked))

    def told(self, answering: Deferred[ApiResponse]) -> Any:
        return json.loads(self.successResultOf(answering).body)


class AllAsOneTests(RoutesCase):
    def test_no_queue(self) -> None:
        """There are the routes of a relay without a spool, and no others."""
        paths = {each.path.removeprefix("/api/v1/").partition("/")[0] for each in self.routes.values()}
        self.assertEqual(paths, {"status", "login", "logout", "refused", "providers", "drain"})

    def test_lanes(self) -> None:
        """A lane is as it is where it is worst, with the requests of all."""
        answering = self.request("GET /api/v1/providers")
        good = {"provider": "out", "lane": "", "active": 2, "waiting": 0, "state": "ok", "blocked_reason": ""}
        bad = {**good, "active": 1, "state": "blocked", "blocked_reason": "535"}
        self.answer(self.one, {"lanes": [bad]})
        self.answer(self.two, {"lanes": [good, {**good, "lane": "x"}]})
        self.assertEqual(self.told(answering), {"lanes": [{**bad, "active": 3}, {**good, "lane": "x"}]})

    def test_refused(self) -> None:
        """What both have refused is one row; the last comes first."""
        answering = self.request("GET /api/v1/refused")
        names = ("listener", "client", "user", "rule", "reply", "domain", "text")
        row = {**dict.fromkeys(names, "x"), "count": 2, "first": 10, "last": 30, "command": "MAIL"}
        other = {**row, "client": "y", "last": 35}
        self.answer(self.one, {"refused": [other, row]})
        self.answer(self.two, {"refused": [{**row, "first": 5, "last": 40, "command": "RCPT"}]})
        both = {**row, "count": 4, "first": 5, "last": 40, "command": "RCPT"}
        self.assertEqual(self.told(answering), {"refused": [both, other]})

    def test_refused_within_limits(self) -> None:
        """Time and number are those of all together; of a row that is old at a worker none is lost."""
        names = ("listener", "user", "rule", "reply", "domain", "text", "command")
        row = {**dict.fromkeys(names, "x"), "count": 2, "first": 1, "last": 30}
        clients = [{**row, "client": name, "last": last} for name, last in (("a", 40), ("b", 30), ("c", 5))]
        answering = self.request(
            "GET /api/v1/refused", query={"limit": ["2"], "since": ["10"], "rule": ["x"]}
        )
        self.assertEqual(self.answer(self.one, {"refused": clients}), "GET /api/v1/refused?rule=x")
        self.answer(self.two, {"refused": [{**row, "client": "c", "last": 50}]})
        told = self.told(answering)["refused"]
        self.assertEqual([(each["client"], each["count"]) for each in told], [("c", 4), ("a", 2)])

    def test_clear(self) -> None:
        """All forget it, and the rows are added up."""
        answering = self.request("POST /api/v1/refused/clear", {"everything": True})
        self.answer(self.one, {"count": 2})
        self.answer(self.two, {"count": 1})
        self.assertEqual(self.told(answering), {"count": 3})

    def test_status(self) -> None:
        """What needs a person at any worker is told, once; what the supervisor knows better is its own."""
        answering = self.request("GET /api/v1/status")
        blocked = {"kind": "blocked", "about": "out", "text": "out is blocked"}
        common = {"version": "1", "stats": None, "ready": {"ok": False}, "listeners": []}
        self.answer(self.one, {**common, "attention": [], "refused": 1})
        self.answer(self.two, {**common, "attention": [blocked], "refused": 2})
        told = self.told(answering)
        self.assertEqual((told["attention"], told["refused"], told["ready"]["ok"]), ([blocked], 3, True))
        self.assertEqual([each["number"] for each in told["workers"]], [1, 2])
        self.assertEqual([each["name"] for each in told["listeners"]], ["lan"])

    def test_one_that_does_not_answer(self) -> None:
        """It is left out of what is shown; a change has to be asked for again."""
        showing = self.request("GET /api/v1/providers")
        self.answer(self.one, {"lanes": []})
        self.answer(self.two, ConnectionError("gone"))
        self.assertEqual(self.told(showing), {"lanes": []})
        changing = self.request("POST /api/v1/providers/{name}/probe", {}, name="out")
        self.answer(self.one, {})
        self.answer(self.two, ConnectionError("gone"))
        self.assertEqual(self.failureResultOf(changing, ApiProblem).value.answer.status, 503)

    def test_one_that_has_nothing_to_do(self) -> None:
        """What some can do is done; what nobody can is told in their words."""
        for status, expected in ((200, 200), (400, 400)):
            changing = self.request("POST /api/v1/providers/{name}/probe", {}, name="o/t")
            self.answer(self.one, {"error": "out is not blocked"}, 400)
            what = self.answer(self.two, {"provider": "out"}, status)
            self.assertEqual(what, "POST /api/v1/providers/o%2Ft/probe")
            self.assertEqual(self.successResultOf(changing).status, expected)

    def test_nobody(self) -> None:
        """It is told what they wait for."""
        self.one.ready = self.two.ready = False
        failure = self.failureResultOf(self.request("GET /api/v1/providers"), ApiProblem)
        self.assertIn("no worker answers: try again", str(failure.value))
        self.two.waiting = True
        failure = self.failureResultOf(self.request("GET /api/v1/providers"), ApiProblem)
        self.assertIn("they wait for the database of the spool", str(failure.value))

    def repeated(self) -> list[tuple[str, Any, str]]:
        """Return what a worker that becomes ready now is told, and answer it."""
        repeating = Deferred.fromCoroutine(self.proxy.repeat(self.two))
        told = []
        while self.asked[2]:
            what, request, _ = self.asked[2][0]
            told.append((what, json.loads(request.body), request.who))
            self.answer(self.two, {})
        self.successResultOf(repeating)
        return told

    def change(self, route: str, body: Any, status: int = 200, **path: str) -> None:
        changing = self.request(route, body, **path)
        told = {"draining": not body.get("undo"), "sessions": 1, "attempts": 0, "waiting": 0}
        for worker in (self.one, self.two):
            self.answer(worker, told, status)
        self.successResultOf(changing)

    def test_one_that_starts_later(self) -> None:
        """It is drained as the others are, and has the same providers suspended, for as long as they."""
        drain, suspend = "POST /api/v1/drain", "POST /api/v1/providers/{name}/suspend"
        self.assertEqual(self.repeated(), [])
        self.change(drain, {})
        self.change(suspend, {"for": 60}, name="out")
        self.change(suspend, {"why": "maintenance"}, name="more")
        self.assertTrue(self.proxy.draining)
        self.clock.advance(20)
        expected = [
            ("POST /api/v1/drain", {}, "ann"),
            ("POST /api/v1/providers/out/suspend", {"for": 40}, "ann"),
            ("POST /api/v1/providers/more/suspend", {"why": "maintenance"}, "ann"),
        ]
        self.assertEqual(self.repeated(), expected)
        self.clock.advance(50)
        self.change(drain, {"undo": True})
        self.change("POST /api/v1/providers/{name}/resume", {}, name="more")
        self.assertFalse(self.proxy.draining)
        told = [("POST /api/v1/drain", {"undo": True}), ("POST /api/v1/providers/more/resume", {})]
        self.assertEqual([each[:2] for each in self.repeated()], told)

    def test_a_reload_while_one_starts(self) -> None:
        """It has read the configuration before, perhaps: it does so again when it is ready."""
        self.two.ready = False
        reloading = Deferred.fromCoroutine(self.proxy.reload())
        self.assertEqual(self.asked[2], [])
        self.assertEqual(self.answer(self.one, {}), "POST /api/v1/reload")
        self.successResultOf(reloading)
        self.two.ready = True
        self.assertEqual(self.repeated(), [("POST /api/v1/reload", {}, "supervisor")])

    def test_a_reload_that_fails(self) -> None:
        """Each worker says why; one that gives no answer is named."""
        reloading = Deferred.fromCoroutine(self.proxy.reload())
        self.answer(self.one, {"error": "no certificate"}, 422)
        self.answer(self.two, ConnectionRefusedError("gone"))
        failure = self.failureResultOf(reloading, ReloadFailed)
        self.assertEqual(failure.getErrorMessage(), "worker 1: no certificate; worker 2: no answer")
        self.assertFalse(failure.value.later)
        reloading = Deferred.fromCoroutine(self.proxy.reload())
        self.answer(self.one, {"error": "the spool cannot be used"}, 503)
        self.answer(self.two, {})
        self.assertTrue(self.failureResultOf(reloading, ReloadFailed).value.later)

    def test_one_of_them_fails(self) -> None:
        """The worker is told the others all the same, and what failed is raised."""
        self.change("POST /api/v1/drain", {})
        self.change("POST /api/v1/providers/{name}/suspend", {}, name="out")
        repeating = Deferred.fromCoroutine(self.proxy.repeat(self.two))
        told = [self.answer(self.two, ConnectionRefusedError("gone")), self.answer(self.two, {})]
        self.assertEqual(told, ["POST /api/v1/drain", "POST /api/v1/providers/out/suspend"])
        self.failureResultOf(repeating, ConnectionRefusedError)

    def test_what_nobody_took(self) -> None:
        """It is not repeated; what was said before still is."""
        self.change("POST /api/v1/drain", {})
        self.change("POST /api/v1/drain", {"undo": 5}, 400)
        self.assertEqual([each[1] for each in self.repeated()], [{}])
        self.assertTrue(self.proxy.draining)


class SharedTests(RoutesCase):
    """Workers that share a spool."""

    shared = True
    config = SMALL

    def test_one_for_all(self) -> None:
        """The first that can be reached answers; of a change it is not known whether it was done."""
        showing = self.request("GET /api/v1/queue")
        self.answer(self.one, ConnectionError("gone"))
        self.assertEqual(self.asked[1], [])
        self.answer(self.two, {"deliveries": []})
        self.assertEqual(self.told(showing), {"deliveries": []})
        changing = self.request("POST /api/v1/providers/{name}/suspend", {}, name="out")
        self.answer(self.one, ConnectionError("gone"))
        self.assertIn(
            "worker 1 gave no answer, gone: see", str(self.failureResultOf(changing, ApiProblem).value)
        )
        self.assertEqual(self.asked[2], [])

    def test_drain(self) -> None:
        """Each is drained by itself; what waits in their spool is counted once."""
        draining = self.request("POST /api/v1/drain", {})
        for worker in (self.one, self.two):
            told = {"draining": True, "sessions": 1, "attempts": 2, "waiting": 7, "shared": True}
            self.answer(worker, told)
        expected = {"draining": True, "sessions": 2, "attempts": 4, "waiting": 7, "shared": True}
        self.assertEqual(self.told(draining), expected)


class GatherTests(ProxyCase):
    """No counter ever goes back while workers come and go."""

    def setUp(self) -> None:
        super().setUp()
        self.gathered = Gathered(CollectorRegistry())
        self.registry = CollectorRegistry()
        self.registry.register(self.gathered)

    def gather(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.proxy.gather(self.gathered))

    def tell(self, worker: Worker, sessions: int) -> None:
        """Answer the oldest question: so many sessions there were."""
        self.answer(worker, ApiResponse(body=exposition(*[OPENED] * sessions).encode()))

    def sessions(self) -> float | None:
        """Return what Prometheus is told."""
        labels = {"listener": "lan", "result": "accepted"}
        return self.registry.get_sample_value("smtprelay_smtp_connections_total", labels)

    def restart(self, worker: Worker) -> None:
        """Let a worker die, and another process have its number."""
        self.gathered.worker_ended(worker.number)
        worker.pid += 1

    def test_an_answer_is_taken_when_it_comes(self) -> None:
        """Nobody waits for a worker that does not answer, and none that does is forgotten for it."""
        gathering = self.gather()
        self.tell(self.one, 3)
        self.assertEqual(self.sessions(), 3)
        self.answer(self.two, ConnectionError("gone"))
        self.successResultOf(gathering)
        self.assertEqual(self.sessions(), 3)

    def test_an_answer_that_comes_after_the_next_one_began(self) -> None:
        """What a worker had told before it died is counted once, whatever else was slow to answer then."""
        self.gather()
        self.tell(self.one, 5)
        self.restart(self.one)
        self.gather()
        self.tell(self.one, 1)
        self.assertEqual(self.sessions(), 6)
        self.tell(self.two, 0)
        self.assertEqual(self.sessions(), 6)

    def test_the_answer_of_one_that_died(self) -> None:
        """It is not the next one's."""
        self.gather()
        self.tell(self.one, 5)
        self.gather()
        self.restart(self.one)
        self.tell(self.one, 7)
        self.assertEqual(self.sessions(), 5)

    def test_deaths(self) -> None:
        """Over many lives the count only grows."""
        seen: list[float] = []
        for life in range(4):
            for count in (1, 4):
                self.gather()
                self.tell(self.one, count)
                self.tell(self.two, 4 * life + count)
                seen.append(self.sessions() or 0)
            self.restart(self.one)
            seen.append(self.sessions() or 0)
        self.assertEqual(seen, sorted(seen))
