"""
The API under ``/api/v1``, for the command line and the page.

Everything is JSON; an error is ``{"error": sentence}`` with a fitting status.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

from attrs import evolve

from smtprelay.version import VERSION
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.archive import archive_routes, check_routes
from smtprelay.web.attention import attention, expiring, failing
from smtprelay.web.auth import COOKIE
from smtprelay.web.captured_mail import captured_mail_routes
from smtprelay.web.context import Draining, ReloadFailed, Reloading, Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, signed
from smtprelay.web.queue_routes import plain, provider_routes, queue_routes
from smtprelay.web.refused import refused_routes

#: The status counts the refused mail of this time, seconds.
DAY: Final = 86_400.0


def api_routes(sources: Sources) -> Sequence[ApiRoute]:
    """Return the routes of the API."""
    operations = sources.operations

    async def status(request: ApiRequest) -> ApiResponse:
        return await _status(sources, request)

    async def login(request: ApiRequest) -> ApiResponse:
        return _with_cookie(request, quote(request.token, safe=""), 30 * 86400)

    async def logout(request: ApiRequest) -> ApiResponse:
        return _with_cookie(request, "", 0)

    routes = [
        ApiRoute("GET", "/api/v1/status", status),
        ApiRoute("POST", "/api/v1/login", login),
        ApiRoute("POST", "/api/v1/logout", logout),
    ]
    routes += refused_routes(sources.refusals, sources.events)
    if sources.spool is not None:
        routes += queue_routes(sources.spool.admin, sources)
        routes += archive_routes(sources.spool.archive, operations.targets, operations.operator)
        routes += check_routes(sources.spool.maintenance)
    if operations.lanes is not None and operations.operator is not None:
        routes += provider_routes(operations.lanes, operations.operator)
    if operations.draining is not None:
        routes += _drain_routes(operations.draining)
    if operations.reloading is not None:
        routes.append(_reload_route(operations.reloading))
    if sources.captured is not None:
        routes += captured_mail_routes(sources.captured)
    return routes


def route_table(sources: Sources, *, spool: bool = True) -> Sequence[ApiRoute]:
    """Return the routes of a relay that runs, for their paths and roles: no action of them can be called."""
    unseen: Any = SimpleNamespace(admin=None, archive=None, maintenance=None)
    operations = evolve(sources.operations, lanes=unseen, operator=unseen, draining=unseen)
    return api_routes(evolve(sources, spool=unseen if spool else None, operations=operations))


def _drain_routes(draining: Draining) -> Sequence[ApiRoute]:
    async def show(_request: ApiRequest) -> ApiResponse:
        return json_answer(plain(await draining.state()))

    async def switch(request: ApiRequest) -> ApiResponse:
        wanted, who = signed(request, {"undo": FLAG})
        await draining.switch(not wanted.get("undo", False), who)
        return await show(request)

    return [ApiRoute("GET", "/api/v1/drain", show), ApiRoute("POST", "/api/v1/drain", switch, "operator")]


def _reload_route(reloading: Reloading) -> ApiRoute:
    async def reload(request: ApiRequest) -> ApiResponse:
        _, who = signed(request, {})
        try:
            return json_answer(plain(await reloading.reload(who)))
        except ReloadFailed as failed:
            raise ApiProblem(503 if failed.later else 422, str(failed)) from failed

    return ApiRoute("POST", "/api/v1/reload", reload, "operator")


def _with_cookie(request: ApiRequest, value: str, age: int) -> ApiResponse:
    secure = "; Secure" if request.secure else ""
    cookie = f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    return evolve(json_answer({"who": request.who, "role": request.role}), headers={"Set-Cookie": cookie})


async def _status(sources: Sources, request: ApiRequest) -> ApiResponse:
    checks = dict(await sources.relay.readiness())
    state = await sources.of_spool(sources.clock.seconds() - DAY)
    reloading = sources.operations.reloading
    rejected = None if reloading is None else reloading.rejected
    relay = sources.relay
    lines = [
        *attention(state.stats, relay.log_trouble(), state.silent, rejected),
        *failing(relay.failing_keys()),
        *expiring(relay.expiries(), sources.clock.seconds()),
    ]
    return json_answer(
        {
            "version": VERSION,
            "uptime": sources.uptime,
            "ready": {"ok": not any(checks.values()), "checks": checks},
            "attention": lines,
            "stats": None if sources.spool is None else plain(state.stats),
            "nodes": plain(state.nodes),
            "refused": state.refused,
            "listeners": [dict(listener) for listener in sources.relay.listeners()],
            "captured": sources.captured is not None,
            "who": request.who,
            "role": request.role,
        }
    )
