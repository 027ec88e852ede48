"""
Questions that the process in front passes on to its workers.

Each worker has a control socket that only the front uses; the front has looked at who asks and says so. The
API's table of routes is the same on both sides: here each route asks one worker instead of the spool.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote, urlencode

from attrs import asdict, define, evolve, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http import OK
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from smtprelay.config.model import Config
from smtprelay.interfaces import RefusedMail
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.web.auth import ROLE, WHO
from smtprelay.web.context import Drained, Draining
from smtprelay.web.messages import MAX_BODY, ApiProblem, ApiRequest, ApiResponse
from smtprelay.web.refused import RECORD
from smtprelay.web.router import Action, Endpoint
from smtprelay.web.streaming import BodyReader


def control_of(config: Config, number: int) -> str:
    """Return the path of a worker's own control socket."""
    return f"{config.control_socket}.{number}"


#: How long a worker may take to answer, seconds.
PATIENCE: Final = 30.0

#: So many rows of the ledger are written down by one request; it must be smaller than :data:`MAX_BODY`.
MOST_PASSED: Final = 50

#: What the front answers itself.
_OWN: Final = ("/api/v1/login", "/api/v1/logout", "/api/v1/drain")


@implementer(IAgentEndpointFactory)
@frozen
class _Path:
    """Every URI is at one UNIX socket."""

    _reactor: Any
    _path: str

    def endpointForURI(self, _uri: object) -> UNIXClientEndpoint:  # noqa: N802 -- Twisted's
        return UNIXClientEndpoint(self._reactor, self._path, timeout=5)


@define
class Worker:
    """
    One worker, as it is asked.

    :ivar number: from 1.
    :ivar path: of its control socket.
    :ivar pid: of its process; 0 while there is none.
    :ivar waiting: it has told that it cannot reach its spool's database.
    :ivar ready: it has told that it takes mail.
    """

    number: int
    path: str
    pid: int = 0
    waiting: bool = False
    ready: bool = False

    async def ask(
        self,
        reactor: Any,
        method: str,
        uri: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> ApiResponse:
        """Return its answer, whatever it is; raises what prevents one, in time."""
        agent = Agent.usingEndpointFactory(reactor, _Path(reactor, self.path))
        sent = Headers({name: [value] for name, value in (headers or {}).items() if value})
        answering = Deferred.fromCoroutine(self._exchange(agent, method, uri, body, sent))
        answer: ApiResponse = await answering.addTimeout(patience, reactor)
        return answer

    async def _exchange(
        self, agent: Agent, method: str, uri: str, body: bytes, headers: Headers
    ) -> ApiResponse:
        producer = FileBodyProducer(BytesIO(body)) if body else None
        response = await agent.request(method.encode(), f"http://worker{uri}".encode(), headers, producer)
        kind = response.headers.getRawHeaders("content-type", ["text/plain"])[0]
        length = response.length if isinstance(response.length, int) else 0
        if length > MAX_BODY:
            inlet = BodyReader()
            response.deliverBody(inlet)
            return ApiResponse(status=response.code, pieces=inlet.pieces(), length=length, type=kind)
        return ApiResponse(status=response.code, body=await readBody(response), type=kind)


@frozen
class ApiProxy:
    """Asks workers on behalf of whoever asked the front."""

    _reactor: Any
    _workers: Sequence[Worker]

    def routes(self, routes: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """Return ``routes``, answered by the workers, but for what the front knows itself."""
        return [
            route if route.path in _OWN else evolve(route, action=self._action(route)) for route in routes
        ]

    def _action(self, route: Endpoint) -> Action:
        async def pass_on(asked: ApiRequest) -> ApiResponse:
            return await self.one(route.method, _uri(route.path, asked), asked)

        return pass_on

    async def one(self, method: str, uri: str, asked: ApiRequest) -> ApiResponse:
        """
        Return the answer of one worker; of the next, if the first cannot be reached to ask something.

        :raises Problem: 503, no worker answers.
        """
        headers = {
            WHO: asked.who,
            ROLE: asked.role,
            "Accept": asked.accept,
            "Content-Type": asked.content_type,
        }
        for worker in self._workers:
            if not worker.ready:
                continue
            try:
                return await worker.ask(self._reactor, method, uri, body=asked.body, headers=headers)
            except Exception as error:  # noqa: BLE001 -- whatever it is, there may be another worker
                if method != "GET":
                    # It may have been done.
                    raise ApiProblem(503, f"worker {worker.number} gave no answer: {error}") from None
        if any(worker.waiting for worker in self._workers):
            raise ApiProblem(503, "no worker of the relay is ready: they wait for the spool's database")
        raise ApiProblem(503, "no worker of the relay answers")

    async def all(
        self, method: str, uri: str, body: bytes = b"", patience: float = PATIENCE
    ) -> dict[int, ApiResponse]:
        """Return the answers of those workers that give one, by their numbers."""
        headers = {"Content-Type": "application/json"}
        answers: dict[int, ApiResponse] = {}

        async def ask(worker: Worker) -> None:
            with suppress(Exception):  # then it is not among the answers
                answers[worker.number] = await worker.ask(
                    self._reactor, method, uri, body=body, headers=headers, patience=patience
                )

        ready = [worker for worker in self._workers if worker.ready]
        await gatherResults([Deferred.fromCoroutine(ask(worker)) for worker in ready])
        return answers


@frozen
class RemoteLedger(RefusedMail):
    """The ledger of refused mail, for what the front itself refuses: a worker writes it down."""

    _passing: ApiProxy

    async def record(self, rows: Sequence[RefusalRow]) -> None:
        """Have a worker add up ``rows``; raises :class:`ApiProblem` if no worker can."""
        for start in range(0, len(rows), MOST_PASSED):
            some = [asdict(row) for row in rows[start : start + MOST_PASSED]]
            body = json.dumps({"rows": some}).encode()
            asked = ApiRequest(path={}, query={}, content_type="application/json", body=body, role="operator")
            answer = await self._passing.one("POST", RECORD, asked)
            if answer.status != OK:
                raise ApiProblem(answer.status, answer.body.decode("utf-8", "replace"))

    async def refused(self, _wanted: RefusalFilter) -> Sequence[RefusalRow]:
        """Nothing: workers are asked instead."""
        return ()

    async def clear(self, _wanted: RefusalFilter) -> int:
        """Nothing, as :meth:`refused`."""
        return 0


class AllDrain(Draining):
    """Drains all workers; one that starts later has to be told."""

    def __init__(self, passing: ApiProxy, shared: bool) -> None:
        self.on = False
        self._passing = passing
        self._shared = shared
        self._who = ""

    async def turn(self, on: bool, who: str) -> None:
        """Take nothing new from now on, no mail and no delivery, or take it again."""
        self.on, self._who = on, who
        await self.tell()

    async def tell(self) -> None:
        """Tell all workers what was said last."""
        body = json.dumps({"undo": not self.on, "who": self._who}).encode()
        await self._passing.all("POST", "/api/v1/drain", body)

    async def state(self) -> Drained:
        """Return how far it is."""
        answers = await self._passing.all("GET", "/api/v1/drain")
        states = [json.loads(answer.body) for answer in answers.values()]
        return Drained(
            draining=self.on,
            sessions=sum(state["sessions"] for state in states),
            attempts=sum(state["attempts"] for state in states),
            waiting=max((state["waiting"] for state in states), default=0),
            shared=self._shared,
        )


def _uri(path: str, asked: ApiRequest) -> str:
    found = path.format_map({name: quote(value, safe="") for name, value in asked.path.items()})
    query = urlencode(asked.query, doseq=True)
    return f"{found}?{query}" if query else found
