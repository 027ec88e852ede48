"""
Health checks and metrics, for orchestrators and monitoring.

Anyone may ask, under any Host: a kubelet uses an IP address and has no token. Readiness never depends on a
provider: while the spool accepts mail, an outage in the cloud must not take the listeners away.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from smtprelay.telemetry.exposition import bridge_metrics, bridge_numbers, render
from smtprelay.version import VERSION
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.attention import attention
from smtprelay.web.context import Checks, Sources
from smtprelay.web.messages import ApiRequest, ApiResponse, json_answer, text_answer


def health_routes(sources: Sources) -> Sequence[ApiRoute]:
    """Return the health checks, also under the paths of the relays that this one replaces."""

    async def live(_request: ApiRequest) -> ApiResponse:
        return text_answer("ok\n")  # the reactor runs, or there would be no answer

    async def ready(request: ApiRequest) -> ApiResponse:
        checks = await _checks(sources, request.query.get("exclude", ()))
        lines = [f"[-]{name} {why}" if why else f"[+]{name} ok" for name, why in checks.items()]
        if "verbose" in request.query:
            providers = [each for each in attention(await sources.counted()) if each["kind"] != "crash_loop"]
            lines += [f"[i]provider {each['text']}" for each in providers]
        else:
            lines = [line for line in lines if line.startswith("[-]")]
        good = not any(checks.values())
        return text_answer("\n".join([*lines, "ok" if good else "not ready", ""]), 200 if good else 503)

    async def started(_request: ApiRequest) -> ApiResponse:
        why = (await sources.relay.readiness()).get("recovery")
        return text_answer(f"recovery: {why}\n", 503) if why else text_answer("ok\n")

    async def health(_request: ApiRequest) -> ApiResponse:
        good = not any((await _checks(sources)).values())
        return json_answer(_health(sources, good, await sources.exposition()), 200 if good else 503)

    probes = {"/livez": live, "/readyz": ready, "/startupz": started}
    probes |= dict.fromkeys(("/health", "/healthz", "/ready"), health)
    return [ApiRoute("GET", path, action, "anyone") for path, action in probes.items()]


def metrics_routes(sources: Sources) -> Sequence[ApiRoute]:
    """Return ``/metrics``: text or OpenMetrics, or JSON on request (``application/json``)."""

    async def metrics(request: ApiRequest) -> ApiResponse:
        registry = await sources.exposition()
        if "application/json" in request.accept:
            return ApiResponse(body=bridge_metrics(registry, sources.uptime, VERSION))
        body, content_type = render(registry, request.accept)
        return ApiResponse(body=body, type=content_type)

    return [ApiRoute("GET", "/metrics", metrics, "anyone")]


async def _checks(sources: Sources, exclude: Sequence[str] = ()) -> Checks:
    checks = await sources.relay.readiness()
    sources.relay.metrics.ready(not any(checks.values()))
    return {name: why for name, why in checks.items() if name not in exclude}


def _health(sources: Sources, good: bool, registry: CollectorRegistry) -> dict[str, object]:
    now = datetime.fromtimestamp(sources.clock.seconds(), UTC)
    return {
        "name": "smtprelay",
        "status": "ok" if good else "degraded",
        "version": VERSION,
        "uptime_seconds": sources.uptime,
        "timestamp": now.isoformat(timespec="milliseconds"),
        "metrics": bridge_numbers(registry),
    }
