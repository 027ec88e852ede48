"""
Export, import and the check of the spool under ``/api/v1``.

Everything goes in portions that fit a request: messages as JSON with small bodies in base64 beside them,
larger bodies piece by piece. So neither side ever needs more memory than for one portion.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cattrs import Converter

from smtprelay.interfaces import Spool
from smtprelay.model import operator_settings
from smtprelay.model.archived_message import read, written
from smtprelay.model.export_import import ArchiveItem, RoutingTargets, check_route, packed
from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.queue_admin import Operator
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, NOTE, OBJECT, STRINGS, TEXT, ValueKind, checked, filtered
from smtprelay.web.router import Endpoint

#: Messages in one request of an import at most.
MOST: Final = 200

_MESSAGES: Final = ValueKind(
    lambda value: isinstance(value, list) and len(value) <= MOST, f"a list of at most {MOST}"
)

_PIECE: Final = "/api/v1/transfer/{id}/pieces/{n}"


def transfer_routes(
    spool: Spool, targets: RoutingTargets, operator: Operator | None = None
) -> Sequence[Endpoint]:
    """Return the routes; ``targets`` are those that what is imported may take."""

    async def export(request: ApiRequest) -> ApiResponse:
        return await _export(spool, request)

    async def exported(request: ApiRequest) -> ApiResponse:
        wanted = checked(request.json(), {"ids": STRINGS, "attempts": OBJECT, "who": NOTE})
        ids, attempts = _needed(wanted, "ids"), wanted.get("attempts")
        gone = await spool.transfer.exported(ids, _who(request, wanted), attempts)
        return json_answer({"ids": list(gone)})

    async def piece(request: ApiRequest) -> ApiResponse:
        content = await spool.transfer.piece(request.path["id"], _number(request))
        if content is None:
            raise ApiProblem(404, f"the body of {request.path['id']} has no such piece")
        return ApiResponse(body=content, type="application/octet-stream")

    async def put(request: ApiRequest) -> ApiResponse:
        return await _import(spool, targets, request)

    async def put_piece(request: ApiRequest) -> ApiResponse:
        try:
            taken = await spool.transfer.put_piece(request.path["id"], _number(request), request.body)
        except ValueError as error:
            raise ApiProblem(400, str(error)) from None
        return json_answer({"taken": taken})

    async def check(request: ApiRequest) -> ApiResponse:
        found = await spool.upkeep.check(deep=request.query.get("deep") == ["1"])
        return json_answer(Converter().unstructure(found))

    async def recount(_asked: ApiRequest) -> ApiResponse:
        return json_answer({"lanes": await spool.upkeep.recount()})

    return [
        Endpoint("POST", "/api/v1/transfer/export", export, "operator"),
        Endpoint("POST", "/api/v1/transfer/exported", exported, "operator"),
        Endpoint("POST", "/api/v1/transfer/import", put, "operator"),
        *_order_routes(spool, targets, operator),
        Endpoint("GET", _PIECE, piece, "operator"),
        Endpoint("POST", _PIECE, put_piece, "operator"),
        Endpoint("GET", "/api/v1/spool/check", check, "operator"),
        Endpoint("POST", "/api/v1/spool/check/recount", recount, "operator"),
    ]


def _order_routes(spool: Spool, targets: RoutingTargets, operator: Operator | None) -> Sequence[Endpoint]:
    path = "/api/v1/transfer/orders"

    async def give(_asked: ApiRequest) -> ApiResponse:
        return json_answer(operator_settings.written(await spool.transfer.orders()))

    async def apply_settings(request: ApiRequest) -> ApiResponse:
        wanted = checked(request.json(), {"orders": OBJECT, "who": NOTE})
        try:
            given = operator_settings.read(wanted.get("orders"), targets)
            obeyed = await spool.transfer.apply_settings(given, _who(request, wanted))
        except ValueError as error:
            raise ApiProblem(400, str(error)) from None
        if operator is not None:
            operator.holds_changed()
        return json_answer(Converter().unstructure(obeyed))

    return [Endpoint("GET", path, give, "operator"), Endpoint("POST", path, apply_settings, "operator")]


async def _export(spool: Spool, request: ApiRequest) -> ApiResponse:
    wanted = checked(request.json(), {"filters": OBJECT, "mark": TEXT, "moving": FLAG, "who": NOTE})
    selection = filtered(wanted.get("filters", {}))
    try:
        portion = await spool.transfer.export(
            selection,
            wanted.get("mark", ""),
            moving=wanted.get("moving", False),
            who=_who(request, wanted),
        )
    except LookupError as error:
        raise ApiProblem(404, str(error.args[0])) from None
    messages = [_told(each) for each in portion.packed]
    return json_answer({"messages": messages, "mark": portion.mark, "left": list(portion.left)})


async def _import(spool: Spool, targets: RoutingTargets, request: ApiRequest) -> ApiResponse:
    wanted = checked(request.json(), {"messages": _MESSAGES, "route": TEXT, "who": NOTE})
    messages, route = _needed(wanted, "messages"), wanted.get("route", "")
    try:
        check_route(targets, route)
    except ValueError as error:
        raise ApiProblem(400, str(error)) from None
    results: list[bool | Exception | None] = []
    sound: list[ArchiveItem] = []
    for each in messages:
        try:
            sound.append(_packed(each, targets, route))
            results.append(None)
        except ValueError as error:
            results.append(error)
    put = iter(await spool.transfer.put(sound, _who(request, wanted)))
    return json_answer({"results": [_result(next(put) if each is None else each) for each in results]})


def _result(result: bool | Exception) -> dict[str, str]:
    if isinstance(result, SpoolUnavailable):
        raise result
    if isinstance(result, Exception):
        return {"done": "refused", "why": str(result)}
    return {"done": "imported" if result else "present", "why": ""}


def _told(each: ArchiveItem) -> dict[str, Any]:
    told: dict[str, Any] = {"message": written(each.archived)}
    if each.content is not None:
        told["content"] = base64.b64encode(each.content).decode()
    return told


def _packed(value: object, targets: RoutingTargets, route: str) -> ArchiveItem:
    if not isinstance(value, dict) or set(value) - {"message", "content"}:
        raise ValueError("expected message and content")
    archived, content = read(value.get("message")), value.get("content")
    try:
        body = None if content is None else base64.b64decode(content, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("content is no base64") from None
    return packed(archived, targets, route, body)


def _needed(wanted: Mapping[str, Any], name: str) -> Any:
    if name not in wanted:
        raise ApiProblem(400, f"{name} is missing")
    return wanted[name]


def _who(request: ApiRequest, wanted: Mapping[str, Any]) -> str:
    return request.signed(wanted.get("who", ""))


def _number(request: ApiRequest) -> int:
    text = request.path["n"]
    if not text.isascii() or not text.isdigit() or len(text) > len("1000000"):
        raise ApiProblem(400, "pieces are numbered from 1")
    return int(text)
