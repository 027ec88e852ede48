"""
Refused mail under ``/api/v1/refused``: list it and clear it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import asdict, fields

from smtprelay.interfaces import Events, RefusedMail
from smtprelay.model.refusal import MOST_ROWS, RefusalFilter, RefusalRow
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.query_params import FLAG, NUMBER, TEXT, ValueKind, checked, number, signed
from smtprelay.web.remedies import remedy

#: Lists it; the supervisor sends what it has refused itself to the other one.
REFUSED: Final = "/api/v1/refused"
RECORD: Final = f"{REFUSED}/record"

_TEXTS: Final = ("client", "user", "rule")
_ROW: Final = {
    **{each.name: TEXT for each in fields(RefusalRow)},
    **dict.fromkeys(("first", "last"), NUMBER),
    "count": ValueKind(lambda value: type(value) is int and 0 < value < 2**53, "a whole number, positive"),
}
_FILTERS: Final = {**dict.fromkeys(_TEXTS, TEXT), "since": NUMBER}


def refused_routes(refusals: RefusedMail, events: Events) -> Sequence[ApiRoute]:
    """Return the routes of refused mail."""

    async def show(request: ApiRequest) -> ApiResponse:
        rows = await refusals.refused(wanted(request.query))
        return json_answer({"refused": [asdict(row) | remedy(row)._asdict() for row in rows]})

    async def clear(request: ApiRequest) -> ApiResponse:
        given, who = signed(request, {**_FILTERS, "everything": FLAG})
        filters = {name: given[name] for name in _FILTERS if given.get(name)}
        if not filters and not given.get("everything"):
            raise ApiProblem(400, "give a filter (client, user, rule, since), or everything: true")
        count = await refusals.clear(RefusalFilter(**filters))
        events("refused.cleared", who=who, count=count)
        return json_answer({"count": count})

    return [
        ApiRoute("GET", REFUSED, show),
        ApiRoute("POST", f"{REFUSED}/clear", clear, "operator"),
    ]


def record_route(refusals: RefusedMail) -> ApiRoute:
    """Return the route that a worker has for the supervisor."""

    async def record(request: ApiRequest) -> ApiResponse:
        value = request.json().get("rows")
        if not isinstance(value, list) or not all(
            isinstance(row, dict) and {*row} == {*_ROW} for row in value
        ):
            raise ApiProblem(400, f"rows must be a list of objects with {', '.join(_ROW)}")
        rows = [RefusalRow(**checked(row, _ROW)) for row in value]
        await refusals.record(rows)
        return json_answer({"count": len(rows)})

    return ApiRoute("POST", RECORD, record, "operator")


def wanted(query: Mapping[str, list[str]]) -> RefusalFilter:
    """Return the filter of a query. Raises :class:`ApiProblem`."""
    unknown = sorted(set(query) - {*_FILTERS, "limit"})
    if unknown:
        raise ApiProblem(400, f"unknown parameter: {', '.join(unknown)}")
    given: dict[str, Any] = {name: query[name][-1] for name in _TEXTS if name in query}
    if "since" in query:
        given["since"] = number(query["since"][-1], "since")
    if "limit" in query:
        given["limit"] = min(MOST_ROWS, int(number(query["limit"][-1], "limit")))
    return RefusalFilter(**given)
