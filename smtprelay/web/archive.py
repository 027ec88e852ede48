"""
Export, import and the check of the spool under ``/api/v1``.

Everything goes in portions that fit a request: messages as JSON with small bodies in base64 beside them,
larger bodies piece by piece. So neither side ever needs more memory than for one portion.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from cattrs import Converter

from smtprelay.interfaces import Operator
from smtprelay.interfaces.spool import Archive, Maintenance
from smtprelay.model import operator_settings
from smtprelay.model.archive import ArchiveItem, RoutingTargets, archive_item, check_route
from smtprelay.model.archive_json import read, written
from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.privacy import PrivacyMask
from smtprelay.web.api_router import ApiRoute, as_it_is
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, NOTE, OBJECT, STRINGS, TEXT, ValueKind, checked, filtered

#: Messages in one request of an import at most.
MOST: Final = 200

_MESSAGES: Final = ValueKind(
    lambda value: isinstance(value, list) and len(value) <= MOST, f"a list of at most {MOST}"
)

_API: Final = "/api/v1/archive"


def archive_routes(
    archive: Archive, targets: RoutingTargets, operator: Operator | None = None
) -> Sequence[ApiRoute]:
    """Return the routes; ``targets`` are those that what is imported may take."""
    actions = (
        ("POST", "/export", partial(_export, archive)),
        ("POST", "/exported", partial(_exported, archive)),
        ("POST", "/import", partial(_import, archive, targets)),
        ("GET", "/operator-settings", partial(_settings, archive)),
        ("POST", "/operator-settings", partial(_apply_settings, archive, targets, operator)),
        ("GET", "/{id}/pieces/{n}", partial(_piece, archive)),
        ("POST", "/{id}/pieces/{n}", partial(_put_piece, archive)),
    )
    masking = {"/export": _masked, "/operator-settings": as_it_is}
    return [
        ApiRoute(method, _API + path, action, "operator", masking.get(path, PrivacyMask.value))
        for method, path, action in actions
    ]


def check_routes(maintenance: Maintenance) -> Sequence[ApiRoute]:
    """Return the routes of the spool's check."""

    async def check(request: ApiRequest) -> ApiResponse:
        found = await maintenance.check(deep=request.query.get("deep") == ["1"])
        return json_answer(Converter().unstructure(found))

    async def recount(_request: ApiRequest) -> ApiResponse:
        return json_answer({"lanes": await maintenance.recount()})

    return [
        ApiRoute("GET", "/api/v1/spool/check", check, "operator"),
        ApiRoute("POST", "/api/v1/spool/check/recount", recount, "operator"),
    ]


async def _export(archive: Archive, request: ApiRequest) -> ApiResponse:
    wanted = checked(request.json(), {"filters": OBJECT, "mark": TEXT, "moving": FLAG, "who": NOTE})
    selection, mark = filtered(wanted.get("filters", {})), wanted.get("mark", "")
    moving = wanted.get("moving", False)
    try:
        page = await archive.export(selection, mark, moving=moving, who=_who(request, wanted))
    except LookupError as error:
        raise ApiProblem(404, str(error.args[0])) from None
    return json_answer(
        {"messages": list(map(_listed, page.items)), "mark": page.mark, "left": list(page.left)}
    )


async def _exported(archive: Archive, request: ApiRequest) -> ApiResponse:
    wanted = checked(request.json(), {"ids": STRINGS, "attempts": OBJECT, "who": NOTE})
    ids, attempts = _needed(wanted, "ids"), wanted.get("attempts")
    return json_answer({"ids": list(await archive.exported(ids, _who(request, wanted), attempts))})


async def _import(archive: Archive, targets: RoutingTargets, request: ApiRequest) -> ApiResponse:
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
            sound.append(_item(each, targets, route))
            results.append(None)
        except ValueError as error:
            results.append(error)
    put = iter(await archive.put(sound, _who(request, wanted)))
    return json_answer({"results": [_result(next(put) if each is None else each) for each in results]})


async def _settings(archive: Archive, _request: ApiRequest) -> ApiResponse:
    return json_answer(operator_settings.written(await archive.settings()))


async def _apply_settings(
    archive: Archive, targets: RoutingTargets, operator: Operator | None, request: ApiRequest
) -> ApiResponse:
    wanted = checked(request.json(), {"settings": OBJECT, "who": NOTE})
    try:
        given = operator_settings.read(wanted.get("settings"), targets)
        applied = await archive.apply_settings(given, _who(request, wanted))
    except ValueError as error:
        raise ApiProblem(400, str(error)) from None
    if operator is not None:
        operator.hold_rules_changed()
    return json_answer(Converter().unstructure(applied))


async def _piece(archive: Archive, request: ApiRequest) -> ApiResponse:
    content = await archive.piece(request.path["id"], _number(request))
    if content is None:
        raise ApiProblem(404, f"the body of {request.path['id']} has no such piece")
    return ApiResponse(body=content, type="application/octet-stream")


async def _put_piece(archive: Archive, request: ApiRequest) -> ApiResponse:
    try:
        taken = await archive.put_piece(request.path["id"], _number(request), request.body)
    except ValueError as error:
        raise ApiProblem(400, str(error)) from None
    return json_answer({"taken": taken})


def _result(result: bool | Exception) -> dict[str, str]:
    if isinstance(result, SpoolUnavailable):
        raise result
    if isinstance(result, Exception):
        return {"done": "refused", "why": str(result)}
    return {"done": "imported" if result else "present", "why": ""}


def _listed(item: ArchiveItem) -> dict[str, Any]:
    content = {} if item.content is None else {"content": base64.b64encode(item.content).decode()}
    return {"message": written(item.archived), **content}


def _masked(mask: PrivacyMask, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an answer of :func:`_export` with the history of the messages masked."""
    messages = [{**each, "message": mask.archived(each["message"])} for each in answer.get("messages", ())]
    return {**answer, "messages": messages} if messages else answer


def _item(value: object, targets: RoutingTargets, route: str) -> ArchiveItem:
    if not isinstance(value, dict) or set(value) - {"message", "content"}:
        raise ValueError("expected message and content")
    archived, content = read(value.get("message")), value.get("content")
    try:
        body = None if content is None else base64.b64decode(content, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("content is no base64") from None
    return archive_item(archived, targets, route, body)


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
