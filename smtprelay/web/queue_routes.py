"""
The queue under ``/api/v1``: lists, changes, hold rules, and the lanes of the providers.

Long lists are written in slices, so that they do not delay mail. A change of many deliveries is answered in
steps: the client continues with the ``mark`` of the answer.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve
from cattrs import Converter
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Body, Operator
from smtprelay.interfaces.spool import QueueAdmin
from smtprelay.mime.head import block
from smtprelay.model.queue import ACTIONS
from smtprelay.model.queue_admin import HoldRule
from smtprelay.web.api_router import Action, ApiRoute
from smtprelay.web.context import Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, NOTE, NUMBER, TEXT, changed, listed, signed
from smtprelay.web.streaming import begun

#: How many deliveries are written at a time.
SLICE: Final = 200

#: The most digits of the number of a hold rule.
_DIGITS: Final = 18

_PATTERNS: Final = ("sender", "recipient", "provider", "route")
_RULE: Final = {**dict.fromkeys(_PATTERNS, TEXT), "why": NOTE, "until": NUMBER, "for": NUMBER}

# cattrs' generated code takes a tenth of the time of attrs.asdict.
plain: Final = Converter().unstructure


def queue_routes(spool: QueueAdmin, sources: Sources) -> Sequence[ApiRoute]:
    """Return the routes of the queue."""

    async def listing(request: ApiRequest) -> ApiResponse:
        found = await spool.search(*listed(request.query))
        shown = request.mask.value if request.mask.hides else _unchanged
        deliveries = await _slices(found.deliveries, sources.clock, shown)
        rest = {"lanes": plain((await spool.stats()).lanes), "mark": found.mark, "partial": found.partial}
        more = json.dumps(shown(rest))[1:]
        return ApiResponse(body=f'{{"deliveries":[{deliveries}],{more}'.encode())

    async def show(request: ApiRequest) -> ApiResponse:
        return json_answer({"deliveries": plain(await spool.show(request.path["id"]))})

    async def raw(request: ApiRequest) -> ApiResponse:
        part = request.query.get("part", ["message"])[0]
        if part not in _PARTS:
            raise ApiProblem(400, f"unknown part {part!r}: it is one of {', '.join(_PARTS)}")
        body = await spool.content(request.path["id"])
        answer = await _PARTS[part](body)
        who = request.signed(request.query.get("who", [""])[0])
        sources.events("queue.read", who=who, message=body.message, part=part)
        disposition = f'attachment; filename="{body.message}.eml"'
        return evolve(answer, type="message/rfc822", headers={"Content-Disposition": disposition})

    def editing(action: str) -> ApiRoute:
        async def edit(request: ApiRequest) -> ApiResponse:
            selection, change, mark = changed(request, action)
            if action == "reroute" and sources.operations.operator is not None:
                sources.operations.operator.check(change.provider)
            return json_answer(plain(await spool.edit(selection, change, mark, sources.operations.operator)))

        return ApiRoute("POST", f"/api/v1/queue/{action}", _answering(edit), "operator")

    return [
        ApiRoute("GET", "/api/v1/queue", _answering(listing)),
        ApiRoute("GET", "/api/v1/queue/{id}", _answering(show)),
        ApiRoute("GET", "/api/v1/queue/{id}/message", _answering(raw), "operator"),
        *(editing(action) for action in ACTIONS),
        *_hold_routes(spool, sources),
    ]


def _hold_routes(spool: QueueAdmin, sources: Sources) -> Sequence[ApiRoute]:
    async def hold_rules(_request: ApiRequest) -> ApiResponse:
        return json_answer({"hold_rules": plain(await spool.hold_rules())})

    async def hold(request: ApiRequest) -> ApiResponse:
        wanted, who = signed(request, _RULE)
        if ("until" in wanted) == ("for" in wanted):
            raise ApiProblem(400, "give until, in seconds since the epoch, or for, in seconds from now")
        given = {name: wanted[name] for name in _PATTERNS if name in wanted}
        _expect_a_match(given, sources)
        until = float(wanted["until"] if "until" in wanted else sources.clock.seconds() + wanted["for"])
        return await apply(
            await spool.hold(HoldRule(**given, reason=wanted.get("why", ""), who=who, until=until))
        )

    async def unhold(request: ApiRequest) -> ApiResponse:
        _, who = signed(request, {})
        number = request.path["id"]
        if not number.isascii() or not number.isdigit() or len(number) > _DIGITS:
            raise ApiProblem(404, f"there is no hold rule {number}: hold-rules list shows those in force")
        return await apply(await spool.unhold(int(number), who))

    async def apply(rule: HoldRule) -> ApiResponse:
        # The first step now, so that the mail of a small queue is held before the answer.
        await spool.apply_hold_rules()
        if sources.operations.operator is not None:
            sources.operations.operator.hold_rules_changed()
        return json_answer({"hold_rule": plain(rule)})

    return [
        ApiRoute("GET", "/api/v1/hold-rules", _answering(hold_rules)),
        ApiRoute("POST", "/api/v1/hold-rules", _answering(hold), "operator"),
        ApiRoute("POST", "/api/v1/hold-rules/{id}/remove", _answering(unhold), "operator"),
    ]


def _expect_a_match(patterns: Mapping[str, str], sources: Sources) -> None:
    """Refuse patterns that match no mail: a domain instead of an address, an unknown provider."""
    for address in (patterns.get("sender", ""), patterns.get("recipient", "")):
        if "." in address and not {"@", "*"} & set(address):
            raise ApiProblem(400, f"{address} is not an address: *@{address} matches all of that domain")
    provider = patterns.get("provider", "")
    if provider and "*" not in provider and sources.operations.operator is not None:
        sources.operations.operator.check(provider)


def provider_routes(spool: QueueAdmin, operator: Operator) -> Sequence[ApiRoute]:
    """Return the routes of the providers' lanes."""

    async def lanes(_request: ApiRequest) -> ApiResponse:
        return json_answer({"lanes": plain(await spool.lanes())})

    async def probe(request: ApiRequest) -> ApiResponse:
        wanted, who = signed(request, {"lane": TEXT, "force": FLAG})
        name, lane = request.path["name"], wanted.get("lane", "")
        await operator.probe(name, lane, who, force=wanted.get("force", False))
        return json_answer({"provider": name, "lane": lane})

    async def suspend(request: ApiRequest) -> ApiResponse:
        wanted, who = signed(request, {"why": NOTE, "for": NUMBER})
        await operator.suspend(request.path["name"], who, wanted.get("why", ""), wanted.get("for"))
        return json_answer({"provider": request.path["name"]})

    async def resume(request: ApiRequest) -> ApiResponse:
        _, who = signed(request, {})
        await operator.resume(request.path["name"], who)
        return json_answer({"provider": request.path["name"]})

    changes = {"probe": probe, "suspend": suspend, "resume": resume}
    path = "/api/v1/providers/{name}/"
    return [
        ApiRoute("GET", "/api/v1/providers", _answering(lanes)),
        *(ApiRoute("POST", path + word, _answering(change), "operator") for word, change in changes.items()),
    ]


async def _whole(body: Body) -> ApiResponse:
    return ApiResponse(pieces=await begun(body.chunks()), length=body.size)


async def headers_of(body: Body) -> ApiResponse:
    """Return the header, which is in the first piece."""
    return ApiResponse(body=block(await anext(body.chunks(), b"")))


_PARTS: Final[dict[str, Callable[[Body], Awaitable[ApiResponse]]]] = {
    "message": _whole,
    "headers": headers_of,
}


def _answering(action: Action) -> Action:
    """Return an action that answers ``LookupError`` with 404 and ``ValueError`` with 400."""

    async def answer(request: ApiRequest) -> ApiResponse:
        try:
            return await action(request)
        except (LookupError, ValueError) as error:
            sentence = str(error.args[0]) if error.args else type(error).__name__
            raise ApiProblem(404 if isinstance(error, LookupError) else 400, sentence) from None

    return answer


def _unchanged(value: Any) -> Any:
    return value


async def _slices(values: Sequence[Any], clock: IReactorTime, shown: Callable[[Any], Any]) -> str:
    """Return what is ``shown`` of ``values`` as the inside of a JSON list, with pauses for other events."""
    parts = []
    for start in range(0, len(values), SLICE):
        if start:
            pause: Deferred[None] = Deferred()
            clock.callLater(0, pause.callback, None)
            await pause
        parts.append(json.dumps(shown(plain(values[start : start + SLICE])))[1:-1])
    return ",".join(parts)
