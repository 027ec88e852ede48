"""
The queue of a relay that does not run, in its spool: the same operations, on this process's thread.

Only what needs the providers or writes to somebody builds the relay's parts for it, from its configuration;
nothing is connected, and nothing is sent before the relay runs again.
"""

import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from attrs import asdict

from smtprelay.cli.client import Client
from smtprelay.cli.exits import FAILED, CliError
from smtprelay.cli.options import Settings
from smtprelay.cli.place import configuration
from smtprelay.cli.source import Change, Filters, Step, in_words
from smtprelay.log import Telling
from smtprelay.mime.head import block
from smtprelay.operating import HoldRule, Prepare
from smtprelay.queue import Edit, Selection
from smtprelay.spool.ground import Ground
from smtprelay.spool.offline import OfflineSpool, now
from smtprelay.spool.store import QueueSpool
from smtprelay.web.answers import Answer, Asked, Problem
from smtprelay.web.refused import refused_routes
from smtprelay.web.router import Route


class InProcess(Client):
    """The relay's API without the relay: the same routes, called in this process on its spool."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(str(ground))
        self._spool = OfflineSpool(ground)
        self._routes = refused_routes(self._spool.refusals, Telling(()))

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and the content of the answer; raises what the spool does."""
        path, _, query = path.partition("?")
        route = next(each for each in self._routes if each.method == method and each.pattern.fullmatch(path))
        asked = Asked(
            path={},
            query=parse_qs(query, keep_blank_values=True),
            content_type="application/json",
            body=body or b"",
            who="control",
            role="operator",
        )
        answer = now(_answer(route, asked))
        return answer.status, answer.body

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()


async def _answer(route: Route, asked: Asked) -> Answer:
    try:
        return await route.action(asked)
    except Problem as problem:
        return problem.answer


class Offline:
    """See :class:`smtprelay.cli.source.Source`."""

    def __init__(self, ground: Ground, settings: Settings) -> None:
        self._settings = settings
        self._spool = OfflineSpool(ground)

    def list(self, filters: Filters, mark: str = "") -> dict[str, Any]:
        """Read the queue."""
        with _in_words():
            found = self._spool.search(Selection(**filters), mark)
            lanes = [asdict(lane) for lane in self._spool.lanes()]
            return {**asdict(found), "lanes": lanes}

    def show(self, message: str) -> dict[str, Any]:
        """Read one message."""
        with _in_words():
            return {"deliveries": [asdict(detail) for detail in self._spool.show(message)]}

    def edit(self, filters: Filters, change: Change, mark: str = "") -> Step:
        """Do it in the spool."""
        options = dict(change["options"])
        needed = bool(options.get("bounce")) or change["action"] == "reroute"
        if "to" in options:
            options["provider"] = options.pop("to")
        edit = Edit(
            action=change["action"],
            who=change["who"],
            why=change["why"],
            dry_run=change["dry_run"],
            **options,
        )
        with _in_words():
            preparing = self._preparing if needed else None
            edited = self._spool.edit(Selection(**filters), edit, mark, preparing)
        return {"count": edited.count, "ids": edited.ids, "left": edited.left, "mark": edited.mark}

    def content(self, message: str, part: str) -> Iterator[bytes]:
        """Read it."""
        with _in_words():
            for piece in self._spool.chunks(message):
                if part == "headers":
                    yield block(piece)
                    return
                yield piece

    def holds(self) -> dict[str, Any]:
        """Read the rules."""
        with _in_words():
            return {"hold_rules": [asdict(rule) for rule in self._spool.holds()]}

    def hold(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        """Make it, and hold what waits."""
        fields = {name: value for name, value in rule.items() if name != "why"}
        with _in_words():
            return {"hold_rule": asdict(self._spool.hold(HoldRule(**fields, reason=rule["why"])))}

    def unhold(self, number: int, who: str) -> dict[str, Any]:
        """End it, and release what it held."""
        with _in_words():
            return {"hold_rule": asdict(self._spool.unhold(number, who))}

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()

    def _preparing(self, spool: QueueSpool) -> Prepare:
        from smtprelay.service.offline import build_desk  # noqa: PLC0415 -- dear, and seldom needed

        config = configuration(self._settings, os.environ)
        return build_desk(config, spool, time.time, random.SystemRandom().getrandbits)


@contextmanager
def _in_words() -> Iterator[None]:
    with in_words():
        try:
            yield
        except ValueError as error:
            raise CliError(FAILED, str(error)) from error
