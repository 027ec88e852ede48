"""
What the sites of the process in front serve: the API passed on, all else of its own.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from smtprelay.config.model import Config
from smtprelay.service.workers.api_proxy import ApiProxy, Worker
from smtprelay.web.api import api_routes
from smtprelay.web.context import Sources
from smtprelay.web.messages import ApiRequest, ApiResponse, json_answer
from smtprelay.web.router import Endpoint
from smtprelay.web.site import PARTS, Parts

_STATUS: Final = "/api/v1/status"


def front_parts(config: Config, passing: ApiProxy, workers: Sequence[Worker]) -> Parts:
    """Return what a site in front of ``workers`` may serve."""

    def routes(sources: Sources) -> Sequence[Endpoint]:
        # The table has the queue's routes where there is a spool; no action of theirs is called here.
        unseen: Any = None if config.spool is None else object()
        table = passing.routes(api_routes(evolve(sources, spool=unseen, permits=unseen, operator=unseen)))
        return [_with_workers(route, sources, workers) if route.path == _STATUS else route for route in table]

    return {**PARTS, "api": routes}


def _with_workers(route: Endpoint, sources: Sources, workers: Sequence[Worker]) -> Endpoint:
    """Return the route of the status, which one worker knows in part."""

    async def status(asked: ApiRequest) -> ApiResponse:
        answer = await route.action(asked)
        if answer.status != 200:  # noqa: PLR2004 -- OK
            return answer
        told: dict[str, Any] = json.loads(answer.body)
        checks = await sources.readiness()
        told |= {
            "uptime": sources.uptime,
            "ready": {"ok": not any(checks.values()), "checks": checks},
            "listeners": sources.listeners(),
            "workers": [
                {"number": worker.number, "pid": worker.pid, "ready": worker.ready} for worker in workers
            ],
        }
        return json_answer(told)

    return evolve(route, action=status)
