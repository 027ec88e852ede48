"""
Refused mail under ``/api/v1/refused``: looking at the ledger, and clearing it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import asdict

from smtprelay.interfaces import Events
from smtprelay.model.refusal import MOST_ROWS, RefusalFilter, RefusalRow
from smtprelay.refused_mail import Ledger
from smtprelay.remedies import remedy
from smtprelay.web.answers import Answer, Asked, Problem, json_answer
from smtprelay.web.asked import NUMBER, TEXT, checked
from smtprelay.web.router import Route

_TEXTS: Final = ("client", "user", "rule")
_FILTERS: Final = {**dict.fromkeys(_TEXTS, TEXT), "since": NUMBER}


def refused_routes(ledger: Ledger, events: Events) -> Sequence[Route]:
    """Return the routes of the ledger."""

    async def show(asked: Asked) -> Answer:
        return json_answer(shown(await ledger.refused(_wanted(asked.query))))

    async def clear(asked: Asked) -> Answer:
        given = checked(asked.json(), {**_FILTERS, "who": TEXT})
        wanted = RefusalFilter(**{name: given[name] for name in _FILTERS if name in given})
        count = await ledger.clear(wanted)
        events("refused.cleared", who=asked.signed(given.get("who", "")), count=count)
        return json_answer({"count": count})

    return [
        Route("GET", "/api/v1/refused", show),
        Route("POST", "/api/v1/refused/clear", clear, "operator"),
    ]


def shown(rows: Sequence[RefusalRow]) -> dict[str, Any]:
    """Return what is answered: each row with the setting that would let it in."""
    return {"refused": [_row(row) for row in rows]}


def _row(row: RefusalRow) -> dict[str, Any]:
    found = remedy(row)
    return {**asdict(row), "setting": found.setting, "advice": found.advice}


def _wanted(query: Mapping[str, list[str]]) -> RefusalFilter:
    """Return what a query asks for; what is not understood is refused."""
    unknown = sorted(set(query) - {*_FILTERS, "limit"})
    if unknown:
        raise Problem(400, f"unknown parameter: {', '.join(unknown)}")
    given: dict[str, Any] = {name: query[name][-1] for name in _TEXTS if name in query}
    if "since" in query:
        given["since"] = _number(query["since"][-1], "since")
    if "limit" in query:
        given["limit"] = min(MOST_ROWS, int(_number(query["limit"][-1], "limit")))
    return RefusalFilter(**given)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not NUMBER.fits(value):
        raise Problem(400, f"{name} must be {NUMBER.name}")
    return value
