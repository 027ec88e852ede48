"""
The API under ``/api/v1``: what the CLI and the page ask and do.

Everything is JSON; an error is ``{"error": sentence}`` with the status that fits. The
spool answers, this module only translates; long lists are written in slices, so that they
do not hold up the mail.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from attrs import evolve
from cattrs import Converter
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import Spool
from smtprelay.queue import STATES, Edit, Selection
from smtprelay.web.access import COOKIE
from smtprelay.web.answers import Answer, Asked, Problem, json_answer
from smtprelay.web.drain import drain_routes
from smtprelay.web.mailbox import mailbox_routes
from smtprelay.web.router import Route
from smtprelay.web.sources import Sources
from smtprelay.web.transfer import transfer_routes

#: The version of the queue's JSON.
SCHEMA: Final = "smtprelay.queue.v1"

ACTIONS: Final = ("retry", "hold", "release", "delete")

#: The most deliveries in one answer, and how many are written at a time.
MOST_LISTED: Final = 10_000
SLICE: Final = 200

#: What a dry run looks at: there is no list without a limit.
EVERYTHING: Final = 10_000_000

_FILTERS: Final = ("ids", "states", "provider", "sender", "recipient")


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


#: The keys of an edit's body, and what their values must be.
_KEYS: Final[Mapping[str, Callable[[object], bool]]] = {
    **dict.fromkeys(("ids", "states"), _is_list),
    **dict.fromkeys(("provider", "sender", "recipient", "why", "who"), _is_text),
    **dict.fromkeys(("everything", "dry_run"), _is_flag),
}
_MEANING: Final[Mapping[Callable[[object], bool], str]] = {
    _is_list: "a list of strings",
    _is_text: "a string",
    _is_flag: "true or false",
}


def api_routes(sources: Sources) -> Sequence[Route]:
    """Return the API's routes; those of the mailbox only where there is one."""

    async def status(asked: Asked) -> Answer:
        return await _status(sources, asked)

    async def login(asked: Asked) -> Answer:
        return _with_cookie(asked, quote(asked.token, safe=""), 30 * 86400)

    async def logout(asked: Asked) -> Answer:
        return _with_cookie(asked, "", 0)

    routes = [
        Route("GET", "/api/v1/status", status),
        Route("POST", "/api/v1/login", login),
        Route("POST", "/api/v1/logout", logout),
    ]
    if sources.spool is not None:
        routes += _queue_routes(sources.spool, sources.clock)
        routes += transfer_routes(sources.spool, sources.ways)
    if sources.draining is not None:
        routes += drain_routes(sources.draining)
    if sources.mailbox is not None:
        routes += mailbox_routes(sources.mailbox)
    return routes


def _with_cookie(asked: Asked, value: str, age: int) -> Answer:
    secure = "; Secure" if asked.secure else ""
    cookie = f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
    return evolve(json_answer({"who": asked.who, "role": asked.role}), headers={"Set-Cookie": cookie})


async def _status(sources: Sources, asked: Asked) -> Answer:
    checks = dict(await sources.readiness())
    stock = None if sources.spool is None else await sources.spool.stock()
    nodes = () if sources.spool is None else await sources.spool.nodes()
    return json_answer(
        {
            "version": sources.version,
            "uptime": sources.uptime,
            "ready": {"ok": not any(checks.values()), "checks": checks},
            "stock": _plain(stock),
            "nodes": _plain(nodes),
            "listeners": [dict(listener) for listener in sources.listeners()],
            "mailbox": sources.mailbox is not None,
            "who": asked.who,
            "role": asked.role,
        }
    )


def _queue_routes(spool: Spool, clock: IReactorTime) -> Sequence[Route]:
    async def listing(asked: Asked) -> Answer:
        deliveries = await _slices(await spool.list(_selection(asked.query)), clock)
        lanes = json.dumps(_plain((await spool.stock()).lanes))
        return Answer(body=f'{{"schema":"{SCHEMA}","deliveries":[{deliveries}],"lanes":{lanes}}}'.encode())

    async def show(asked: Asked) -> Answer:
        try:
            found = await spool.show(asked.path["id"])
        except LookupError as error:
            raise Problem(404, _sentence(error)) from None
        return json_answer({"schema": SCHEMA, "deliveries": _plain(found)})

    def editing(action: str) -> Route:
        async def edit(asked: Asked) -> Answer:
            return await _edit(spool, asked, action)

        return Route("POST", f"/api/v1/queue/{action}", edit, "operator")

    return [
        Route("GET", "/api/v1/queue", listing),
        Route("GET", "/api/v1/queue/{id}", show),
        *(editing(action) for action in ACTIONS),
    ]


# cattrs' generated code takes a tenth of the time of attrs.asdict.
_plain: Final = Converter().unstructure


async def _slices(values: Sequence[object], clock: IReactorTime) -> str:
    """Return ``values`` as the inside of a JSON list, letting the reactor turn between slices."""
    parts = []
    for start in range(0, len(values), SLICE):
        if start:
            turn: Deferred[None] = Deferred()
            clock.callLater(0, turn.callback, None)
            await turn
        parts.append(json.dumps(_plain(values[start : start + SLICE]))[1:-1])
    return ",".join(parts)


async def _edit(spool: Spool, asked: Asked, action: str) -> Answer:
    wanted = _checked(asked.json())
    filters = {name: wanted[name] for name in _FILTERS if wanted.get(name)}
    if not filters and not wanted.get("everything"):
        raise Problem(400, "give ids or a filter, or everything: true")
    selection = Selection(**filters, everything=bool(wanted.get("everything")))
    _check_states(selection.states)
    try:
        if wanted.get("dry_run"):
            ids: Sequence[str] = [line.id for line in await spool.list(evolve(selection, limit=EVERYTHING))]
        else:
            ids = await spool.edit(
                selection,
                Edit(action=action, who=asked.signed(wanted.get("who", "")), why=wanted.get("why", "")),
            )
    except LookupError as error:
        raise Problem(404, _sentence(error)) from None
    except ValueError as error:
        raise Problem(400, _sentence(error)) from None
    return json_answer({"ids": list(ids)})


def _selection(query: Mapping[str, list[str]]) -> Selection:
    unknown = sorted(set(query) - {"state", "provider", "sender", "recipient", "id", "limit"})
    if unknown:
        raise Problem(400, f"unknown parameter: {', '.join(unknown)}")
    states = query.get("state", [])
    _check_states(states)
    return Selection(
        ids=query.get("id", []),
        states=states,
        provider=_one(query, "provider"),
        sender=_one(query, "sender"),
        recipient=_one(query, "recipient"),
        limit=_limit(_one(query, "limit") or "1000"),
    )


def _one(query: Mapping[str, list[str]], name: str) -> str:
    values = query.get(name, [""])
    if len(values) > 1:
        raise Problem(400, f"{name} may be given once")
    return values[0]


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_LISTED:
        raise Problem(400, f"limit must be a number from 1 to {MOST_LISTED}")
    return int(text)


def _check_states(states: Sequence[str]) -> None:
    for state in states:
        if state not in STATES:
            raise Problem(400, f"unknown state {state!r}: it is one of {', '.join(STATES)}")


def _checked(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in wanted.items():
        if name not in _KEYS:
            raise Problem(400, f"unknown key {name!r}")
        if not _KEYS[name](value):
            raise Problem(400, f"{name} must be {_MEANING[_KEYS[name]]}")
    return wanted


def _sentence(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__
