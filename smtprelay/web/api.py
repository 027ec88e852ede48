"""
The API under ``/api/v1``: what the CLI and the page ask and do.

Everything is JSON; an error is ``{"error": sentence}`` with the status that fits. The
rest of the relay answers, this package only translates.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from attrs import evolve

from smtprelay.web.archive import archive_routes, check_routes
from smtprelay.web.attention import attention
from smtprelay.web.auth import COOKIE
from smtprelay.web.captured_mail import mailbox_routes
from smtprelay.web.context import Sources
from smtprelay.web.drain import drain_routes
from smtprelay.web.messages import ApiRequest, ApiResponse, json_answer
from smtprelay.web.queue import plain, provider_routes, queue_routes
from smtprelay.web.refused import refused_routes
from smtprelay.web.router import Endpoint

#: Refused mail is told in the status for so long, seconds.
DAY: Final = 86_400.0


def api_routes(sources: Sources) -> Sequence[Endpoint]:
    """Return the API's routes; those of the mailbox only where there is one."""

    async def status(request: ApiRequest) -> ApiResponse:
        return await _status(sources, request)

    async def login(request: ApiRequest) -> ApiResponse:
        return _with_cookie(request, quote(request.token, safe=""), 30 * 86400)

    async def logout(request: ApiRequest) -> ApiResponse:
        return _with_cookie(request, "", 0)

    routes = [
        Endpoint("GET", "/api/v1/status", status),
        Endpoint("POST", "/api/v1/login", login),
        Endpoint("POST", "/api/v1/logout", logout),
    ]
    routes += refused_routes(sources.refusals, sources.events)
    if sources.spool is not None:
        routes += queue_routes(sources.spool.admin, sources)
        routes += archive_routes(sources.spool.archive, sources.targets, sources.operator)
        routes += check_routes(sources.spool.maintenance)
    if sources.permits is not None and sources.operator is not None:
        routes += provider_routes(sources.permits.admin, sources.operator)
    if sources.draining is not None:
        routes += drain_routes(sources.draining)
    if sources.mailbox is not None:
        routes += mailbox_routes(sources.mailbox)
    return routes


def _with_cookie(request: ApiRequest, value: str, age: int) -> ApiResponse:
    secure = "; Secure" if request.secure else ""
    cookie = f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    return evolve(json_answer({"who": request.who, "role": request.role}), headers={"Set-Cookie": cookie})


async def _status(sources: Sources, request: ApiRequest) -> ApiResponse:
    checks = dict(await sources.readiness())
    told = await sources.of_spool(sources.clock.seconds() - DAY)
    return json_answer(
        {
            "version": sources.version,
            "uptime": sources.uptime,
            "ready": {"ok": not any(checks.values()), "checks": checks},
            "attention": attention(told.stock, sources.log_trouble(), told.silent),
            "stock": None if sources.spool is None else plain(told.stock),
            "nodes": plain(told.nodes),
            "refused": told.refused,
            "listeners": [dict(listener) for listener in sources.listeners()],
            "mailbox": sources.mailbox is not None,
            "who": request.who,
            "role": request.role,
        }
    )
