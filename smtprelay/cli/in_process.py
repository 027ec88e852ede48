"""
The API of a relay that does not run: the same routes, called in this process on its spool.

Rerouting and bouncing mail need the providers and routes: these are built from the configuration, but nothing
is connected, and nothing is sent before the relay runs again.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote

from smtprelay.cli.client import ApiClient
from smtprelay.cli.locate import configuration, place
from smtprelay.cli.options import CliSettings
from smtprelay.cli.source import in_words
from smtprelay.interfaces import Operator
from smtprelay.model.archive import RoutingTargets
from smtprelay.model.message import Delivery
from smtprelay.model.privacy import PrivacyMask
from smtprelay.model.queue import Edit
from smtprelay.model.queue_admin import Prepared
from smtprelay.spool.location import OfflineSpool, SpoolLocation, now
from smtprelay.spool.spool import QueueSpool
from smtprelay.telemetry.log import Fanout
from smtprelay.web.api_router import ApiRoute
from smtprelay.web.api_routes import api_routes
from smtprelay.web.context import Operations, Sources
from smtprelay.web.messages import ApiProblem, ApiRequest, ApiResponse


class InProcess(ApiClient):
    """An :class:`ApiClient` that answers by itself, with the same errors."""

    running = False

    def __init__(
        self, location: SpoolLocation, settings: CliSettings, *, keep: bool = False, new: bool = False
    ) -> None:
        super().__init__(str(location))
        self.delivers = location.shared
        self._settings = settings
        # Only an import needs the routes.
        self._targets = RoutingTargets.of(configuration(settings, os.environ)) if new else RoutingTargets()
        self._mask = place(settings, os.environ).privacy.mask
        self._routes: tuple[QueueSpool | None, Sequence[ApiRoute]] = (None, ())
        with in_words():
            self._spool = OfflineSpool(location, keep=keep, new=new)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        answer = self._answer(method, path, body or b"")
        return answer.status, answer.body

    def pieces(self, path: str) -> Iterator[bytes]:
        """Give the body of an answer piece by piece; raises for any status but 200."""
        answer = self._answer("GET", path, b"")
        if answer.status != HTTPStatus.OK:
            self.refuse(answer.status, answer.body)
        yield answer.body
        while answer.pieces is not None:
            with in_words():
                piece = now(anext(answer.pieces, b""))
            if not piece:
                return
            yield piece

    def close(self) -> None:
        """Close the spool."""
        self._spool.close()

    def _answer(self, method: str, target: str, body: bytes) -> ApiResponse:
        with in_words(), self._spool.opened(changing=method != "GET") as spool:
            if spool is not self._routes[0]:
                self._routes = spool, api_routes(_sources(spool, self._settings, self._targets))
            return now(_routed(self._routes[1], method, target, body, self._mask))


async def _routed(
    routes: Sequence[ApiRoute], method: str, target: str, body: bytes, mask: PrivacyMask
) -> ApiResponse:
    path, _, query = target.partition("?")
    matching = ((route, route.pattern.fullmatch(unquote(path))) for route in routes if route.method == method)
    route, found = next((route, found) for route, found in matching if found)
    request = ApiRequest(
        path=found.groupdict(),
        query=parse_qs(query, keep_blank_values=True),
        content_type="application/json",
        body=body,
        who="control",
        role="operator",
        mask=mask,
    )
    try:
        answer = await route.action(request)
    except ApiProblem as problem:
        answer = problem.answer
    return route.masked(answer, mask)


def _sources(spool: QueueSpool, settings: CliSettings, targets: RoutingTargets) -> Sources:
    clock: Any = _Clock()
    operator: Any = _OfflineOperator(spool, settings)
    unseen: Any = None
    return Sources(
        relay=unseen,
        clock=clock,
        events=Fanout(()),
        spool=spool,
        refusals=spool.refusals,
        operations=Operations(lanes=spool.admin, operator=operator, targets=targets),
    )


class _OfflineOperator:
    """What an operator may do to the queue while no relay runs."""

    def __init__(self, spool: QueueSpool, settings: CliSettings) -> None:
        self._spool = spool
        self._settings = settings

    @cached_property
    def _built(self) -> Operator:
        from smtprelay.service.offline import build_operator  # noqa: PLC0415 -- slow to import

        config = configuration(self._settings, os.environ)
        return build_operator(config, self._spool, time.time, random.SystemRandom().getrandbits)

    def check(self, provider: str) -> None:
        """Raise ``LookupError`` if the configuration does not have the provider."""
        self._built.check(provider)

    async def __call__(self, delivery: Delivery, edit: Edit) -> Prepared:
        """Prepare the change of one delivery."""
        return await self._built(delivery, edit)

    def hold_rules_changed(self) -> None:
        """Apply the hold rules; what is due later is left to the relay."""
        while now(self._spool.admin.apply_hold_rules()) == 0.0:
            pass


class _Clock:
    """The clock of a process in which nothing waits."""

    def seconds(self) -> float:
        """Return the time, seconds since the epoch."""
        return time.time()

    def callLater(self, _seconds: float, call: Callable[..., object], *values: object) -> None:  # noqa: N802
        """Call it now."""
        call(*values)
