"""
The requests that the supervisor passes on to its workers.

Each worker has a control socket for the supervisor, which has checked who asks and says so. The API's table
of routes is the same on both sides: here each route asks workers instead of the spool. Where the workers
share a spool any of them answers for all, else all are asked and their answers become one.
"""

import json
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from io import BytesIO
from operator import itemgetter
from typing import Any, Final
from urllib.parse import quote, urlencode

from attrs import asdict, define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http import OK
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smtprelay.config.model import Config
from smtprelay.interfaces import RefusedMail
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.service.workers.merge import MERGES, WorkerAnswer
from smtprelay.service.workers.monitor import Worker
from smtprelay.telemetry.aggregate import Gathered
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.api_routes import route_table
from smtprelay.web.auth import ROLE, WHO
from smtprelay.web.context import ReloadFailed, Sources
from smtprelay.web.messages import MAX_BODY, ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.refused import RECORD, REFUSED, wanted
from smtprelay.web.site import PARTS, Parts
from smtprelay.web.streaming import BodyReader

#: How long a worker may take to answer, seconds; when it is asked for its state or its metrics.
PATIENCE: Final = 30.0
SHORT_PATIENCE: Final = 5.0

#: Maximum number of rows of the list that one request records; it must stay below :data:`MAX_BODY`.
MOST_PASSED: Final = 50

#: What the supervisor answers itself.
RELOAD: Final = "/api/v1/reload"
_OWN: Final = ("/api/v1/login", "/api/v1/logout", RELOAD)
_STATUS: Final = "/api/v1/status"
_DRAIN: Final = "/api/v1/drain"

#: Requests that also hold for a worker that starts later, until the next one of the same place.
_REPEATED: Final = {
    _DRAIN: "drain",
    "/api/v1/providers/{name}/suspend": "suspended",
    "/api/v1/providers/{name}/resume": "suspended",
}

_NOTHING: Final = ApiRequest(path={}, query={})


def control_of(config: Config, number: int) -> str:
    """Return the path of a worker's own control socket."""
    return f"{config.control_socket}.{number}"


@implementer(IAgentEndpointFactory)
@frozen
class _Path:
    """Connects to one UNIX socket, whatever the URI."""

    _reactor: Any
    _path: str

    def endpointForURI(self, _uri: object) -> UNIXClientEndpoint:  # noqa: N802 -- Twisted's
        return UNIXClientEndpoint(self._reactor, self._path, timeout=5)


async def ask(reactor: Any, path: str, method: str, uri: str, request: ApiRequest = _NOTHING) -> ApiResponse:
    """Return what the relay at a control socket answers, whatever it is; raises what prevents an answer."""
    agent = Agent.usingEndpointFactory(reactor, _Path(reactor, path))
    named = {
        WHO: request.who,
        ROLE: request.role,
        "Accept": request.accept,
        "Content-Type": request.content_type,
    }
    headers = Headers({name: [value] for name, value in named.items() if value})
    producer = FileBodyProducer(BytesIO(request.body)) if request.body else None
    response = await agent.request(method.encode(), f"http://worker{uri}".encode(), headers, producer)
    kind = response.headers.getRawHeaders("content-type", ["text/plain"])[0]
    length = response.length if isinstance(response.length, int) else 0
    inlet = BodyReader()
    response.deliverBody(inlet)
    if length > MAX_BODY:
        return ApiResponse(status=response.code, pieces=inlet.pieces(), length=length, type=kind)
    body = b"".join([piece async for piece in inlet.pieces()])
    return ApiResponse(status=response.code, body=body, type=kind)


@define(eq=False)
class ApiProxy:
    """
    Asks workers on behalf of those who ask the supervisor.

    :ivar shared: the workers share a spool, or there is only one.
    :ivar draining: the relay is drained.
    :ivar ask: sends a request to a control socket.
    """

    reactor: Any
    workers: Sequence[Worker]
    shared: bool
    ask: Callable[..., Coroutine[Deferred[Any], Any, ApiResponse]] = ask
    draining: bool = field(default=False, init=False)
    #: Repeated to workers that start later: when it was made, its URI and the request, by what it changes.
    _repeated: dict[tuple[str, str], tuple[float, str, ApiRequest]] = field(factory=dict, init=False)

    def parts(self, config: Config) -> Parts:
        """Return what a site of the supervisor may serve."""

        def routes(sources: Sources) -> Sequence[ApiRoute]:
            table = route_table(sources, spool=config.spool is not None)
            return [self._passing(route, sources) for route in table]

        return {**PARTS, "api": routes}

    def _passing(self, route: ApiRoute, sources: Sources) -> ApiRoute:
        async def action(request: ApiRequest) -> ApiResponse:
            if self.shared and route.path != _DRAIN:
                answer = await self.one(route.method, _uri(route.path, request), request)
            elif route.path == REFUSED:
                answer = await self._refused(route, request)
            else:
                answer = await self._all_as_one(route, request)
            return await self._with_workers(answer, sources) if route.path == _STATUS else answer

        return route if route.path in _OWN else evolve(route, action=action)

    async def one(self, method: str, uri: str, request: ApiRequest) -> ApiResponse:
        """
        Return the answer of one worker; of the next, if the first cannot be reached to ask something.

        :raises ApiProblem: 503, no worker answers.
        """
        for worker in self._ready():
            try:
                return await self._ask(worker, method, uri, request)
            except Exception as error:  # noqa: BLE001 -- whatever it is, there may be another worker
                if method != "GET":
                    text = f"worker {worker.number} gave no answer, {error}: see whether it was done"
                    raise ApiProblem(503, text) from None
        raise self._no_answer()

    async def all(
        self, method: str, uri: str, request: ApiRequest = _NOTHING, patience: float = PATIENCE
    ) -> dict[int, ApiResponse]:
        """Return the answers of those workers that give one, by their numbers."""
        answers: dict[int, ApiResponse] = {}

        async def ask(worker: Worker) -> None:
            answers[worker.number] = await self._ask(worker, method, uri, request, patience)

        asking = [Deferred.fromCoroutine(ask(worker)) for worker in self._ready()]
        await DeferredList(asking, consumeErrors=True)
        return answers

    async def gather(self, gathered: Gathered) -> None:
        """
        Ask the workers for their metrics; without an answer the last one counts.

        A counter that goes back looks like a restart to Prometheus. So each answer is taken when it comes,
        and never for another process that has the same number by then.
        """

        async def take(worker: Worker) -> None:
            pid = worker.pid
            answer = await self._ask(worker, "GET", "/metrics", _NOTHING, SHORT_PATIENCE)
            if answer.status == OK and worker.pid == pid:
                gathered.take(worker.number, answer.body.decode())

        taking = [Deferred.fromCoroutine(take(worker)) for worker in self._ready()]
        await DeferredList(taking, consumeErrors=True)

    async def reload(self) -> None:
        """
        Have all workers reload the configuration; one that is starting, when it is ready.

        :raises ReloadFailed: what prevents some of them.
        """
        expected = {worker.number for worker in self._ready()}
        request = evolve(
            _NOTHING, content_type="application/json", body=b"{}", who="supervisor", role="operator"
        )
        # A worker that becomes ready may have read what was there before.
        self._repeated["reload", ""] = (self.reactor.seconds(), RELOAD, request)
        answers = await self.all("POST", RELOAD, request)
        said = dict.fromkeys(expected - answers.keys(), "no answer")
        said |= {n: _error_of(each) for n, each in answers.items() if each.status != OK}
        if said:
            wrong = any(each.status == HTTPStatus.UNPROCESSABLE_ENTITY for each in answers.values())
            why = "; ".join(f"worker {n}: {text}" for n, text in sorted(said.items()))
            raise ReloadFailed(why, later=not wrong)

    async def repeat(self, worker: Worker) -> None:
        """Send what also holds for it to a worker that has become ready; raises if one of them fails."""
        asking = []
        for made, uri, request in self._repeated.values():
            order = json.loads(request.body)
            if "for" in order:
                order["for"] -= self.reactor.seconds() - made
            if order.get("for", 1) > 0:
                repeated = evolve(request, body=json.dumps(order).encode())
                asking.append(Deferred.fromCoroutine(self._ask(worker, "POST", uri, repeated)))
        try:
            await gatherResults(asking, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()

    async def _all_as_one(self, route: ApiRoute, request: ApiRequest) -> ApiResponse:
        uri = _uri(route.path, request)
        about = (
            _REPEATED.get(route.path, "") if route.method == "POST" else "",
            request.path.get("name", ""),
        )
        before = self._repeated.get(about)
        if about[0]:
            # Before it is sent: a worker may become ready meanwhile.
            self._repeated[about] = (self.reactor.seconds(), uri, request)
        expected = len(self._ready())
        answers = list((await self.all(route.method, uri, request)).values())
        good = [json.loads(await _whole(answer)) for answer in answers if answer.status == OK]
        if about[0] and not good:
            del self._repeated[about]
            self._repeated |= {} if before is None else {about: before}
        elif about[0] == "drain":
            self.draining = good[0]["draining"]
        if not answers:
            raise self._no_answer()
        if route.method != "GET" and len(answers) < expected:
            raise ApiProblem(503, "not all workers have answered: try again")
        return json_answer(MERGES.get(route.path, itemgetter(0))(good)) if good else answers[0]

    async def _refused(self, route: ApiRoute, request: ApiRequest) -> ApiResponse:
        """Return the rows that are meant; of each row a worker knows only a part, so it is asked for all."""
        meant = wanted(request.query)
        query = {name: each for name, each in request.query.items() if name not in ("since", "limit")}
        answer = await self._all_as_one(route, evolve(request, query=query))
        if answer.status != OK:
            return answer
        rows = json.loads(answer.body)["refused"]
        since = [row for row in rows if meant.since is None or row["last"] >= meant.since]
        return json_answer({"refused": since[: meant.limit]})

    async def _with_workers(self, answer: ApiResponse, sources: Sources) -> ApiResponse:
        """Return the answer about the relay's state, of which a worker knows only a part."""
        if answer.status != OK:
            return answer
        checks = await sources.relay.readiness()
        workers = [{"number": each.number, "pid": each.pid, "ready": each.ready} for each in self.workers]
        status: WorkerAnswer = json.loads(answer.body) | {
            "uptime": sources.uptime,
            "ready": {"ok": not any(checks.values()), "checks": checks},
            "listeners": sources.relay.listeners(),
            "workers": workers,
        }
        return json_answer(status)

    def _ready(self) -> Sequence[Worker]:
        return [worker for worker in self.workers if worker.ready]

    def _no_answer(self) -> ApiProblem:
        if any(worker.waiting for worker in self.workers):
            return ApiProblem(503, "no worker is ready: they wait for the database of the spool; try again")
        return ApiProblem(503, "no worker answers: try again, or see the log")

    async def _ask(
        self, worker: Worker, method: str, uri: str, request: ApiRequest, patience: float = PATIENCE
    ) -> ApiResponse:
        asking = Deferred.fromCoroutine(self.ask(self.reactor, worker.path, method, uri, request))
        return await asking.addTimeout(patience, self.reactor)


@frozen
class RemoteRefusals(RefusedMail):
    """The list of refused mail, for what the supervisor itself refuses: a worker records it."""

    _proxy: ApiProxy

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Have a worker add up ``rows``; raises :class:`ApiProblem` if no worker can."""
        for start in range(0, len(rows), MOST_PASSED):
            some = [asdict(row) for row in rows[start : start + MOST_PASSED]]
            body = json.dumps({"rows": some}).encode()
            request = evolve(_NOTHING, content_type="application/json", body=body, role="operator")
            answer = await self._proxy.one("POST", RECORD, request)
            if answer.status != OK:
                raise ApiProblem(answer.status, answer.body.decode("utf-8", "replace"))

    async def refused(self, _wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Return nothing: workers are asked instead."""
        return ()

    async def clear(self, _wanted: RefusalFilter) -> int:
        """Clear nothing: workers are asked instead."""
        return 0


def _error_of(answer: ApiResponse) -> str:
    try:
        return str(json.loads(answer.body)["error"])
    except (ValueError, TypeError, KeyError):
        return f"it answered {answer.status}"


async def _whole(answer: ApiResponse) -> bytes:
    return answer.body if answer.pieces is None else b"".join([piece async for piece in answer.pieces])


def _uri(path: str, request: ApiRequest) -> str:
    found = path.format_map({name: quote(value, safe="") for name, value in request.path.items()})
    query = urlencode(request.query, doseq=True)
    return f"{found}?{query}" if query else found
