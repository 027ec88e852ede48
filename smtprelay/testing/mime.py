"""
A worker for tests of what has MIME work done: it works at once, and fails when it is told to.

It is a whole :class:`smtprelay.interfaces.MimeWorker`. Parameters and facts go through JSON, as they do on
their way to a process and back, so that a test sees what cannot be carried.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from smtprelay.interfaces import Body, MimeTask


class InlineMimeWorker:
    """
    Runs each task in this process, in the call.

    :ivar failures: what the next calls raise instead (``None``: this one works); a Deferred is waited for
        first, as for a worker that is busy.
    :ivar tasks: the tasks that were asked for, in order.
    :ivar parameters: so for their parameters.
    """

    def __init__(self, failures: Iterable[Exception | Deferred[None] | None] = ()) -> None:
        self.failures = deque(failures)
        self.tasks: list[MimeTask] = []
        self.parameters: list[Mapping[str, Any]] = []

    async def run(
        self, task: MimeTask, body: Body, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        """Run ``task`` and return what it returned, or raise the next of ``failures``."""
        carried: dict[str, Any] = json.loads(json.dumps(parameters))
        self.tasks.append(task)
        self.parameters.append(carried)
        failure = self.failures.popleft() if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            await failure
        facts, octets = task(await body.whole(), carried)
        return json.loads(json.dumps(facts)), octets
