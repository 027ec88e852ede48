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
from functools import partial
from typing import Any

from attrs import asdict

from smtprelay.cli.exits import FAILED, CliError
from smtprelay.cli.options import Settings
from smtprelay.cli.place import configuration
from smtprelay.cli.source import Change, Filters, Step, in_words
from smtprelay.mime.head import block
from smtprelay.model.refusal import RefusalFilter
from smtprelay.operating import HoldRule, Prepare
from smtprelay.queue import Edit, Selection
from smtprelay.spool.ground import Ground
from smtprelay.spool.offline import OfflineSpool
from smtprelay.spool.store import QueueSpool
from smtprelay.web.refused import shown


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
            preparing = partial(self._preparing, edit) if needed else None
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

    def refused(self, filters: Filters) -> dict[str, Any]:
        """Read them."""
        with _in_words():
            return shown(self._spool.refused(RefusalFilter(**filters)))

    def clear_refused(self, filters: Filters, who: str) -> int:  # noqa: ARG002 -- nobody writes a log
        """Do it in the spool."""
        with _in_words():
            return self._spool.clear_refused(RefusalFilter(**filters))

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()

    def _preparing(self, edit: Edit, spool: QueueSpool) -> Prepare:
        from smtprelay.service.offline import build_desk  # noqa: PLC0415 -- dear, and seldom needed

        config = configuration(self._settings, os.environ)
        desk = build_desk(config, spool, time.time, random.SystemRandom().getrandbits)
        if edit.action == "reroute":
            desk.check(edit.provider)
        return desk


@contextmanager
def _in_words() -> Iterator[None]:
    with in_words():
        try:
            yield
        except ValueError as error:
            raise CliError(FAILED, str(error)) from error
