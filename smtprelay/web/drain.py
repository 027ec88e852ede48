"""
``/api/v1/drain``: the switch that takes a relay out of service without stopping it, and what it still holds.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import asdict, frozen

from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse, json_answer
from smtprelay.web.router import Endpoint


@frozen(kw_only=True)
class Drained:
    """
    How far it is.

    :ivar sessions: clients that have a message on its way.
    :ivar attempts: deliveries under way.
    :ivar waiting: deliveries that wait in the spool.
    :ivar shared: whether other nodes deliver them.
    """

    draining: bool
    sessions: int
    attempts: int
    waiting: int
    shared: bool


class Draining(Protocol):
    """What drains: a relay, or all its workers."""

    async def turn(self, on: bool, who: str) -> None:
        """
        Take nothing new from now on, no mail and no delivery, or take it again.

        :param who: for the record.
        """

    async def state(self) -> Drained:
        """Return how far it is."""


def drain_routes(draining: Draining) -> Sequence[Endpoint]:
    """Return the routes: asked with GET, turned with POST and ``{"undo": false}``."""

    async def show(_asked: ApiRequest) -> ApiResponse:
        return json_answer(asdict(await draining.state()))

    async def turn(request: ApiRequest) -> ApiResponse:
        wanted = request.json()
        undo, claimed = wanted.pop("undo", False), wanted.pop("who", "")
        if wanted or not isinstance(undo, bool) or not isinstance(claimed, str):
            raise ApiProblem(400, 'send {}, or {"undo": true}; with "who" for the record')
        await draining.turn(not undo, request.signed(claimed))
        return json_answer(asdict(await draining.state()))

    return [
        Endpoint("GET", "/api/v1/drain", show),
        Endpoint("POST", "/api/v1/drain", turn, "operator"),
    ]
