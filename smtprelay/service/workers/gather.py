"""
What workers count, asked for and handed on to be added up.

A counter that goes back looks to Prometheus like a restart, and like a flood of what it counts. So what a
process has told is taken when it comes, and never for what another one under the same number tells.
"""

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList

from smtprelay.service.workers.api_proxy import Worker
from smtprelay.telemetry.aggregate import Gathered

#: How long a worker may take to answer, seconds.
_ANSWER: Final = 5.0

_OK: Final = 200


class Gathering:
    """Asks ``workers`` on behalf of ``gathered``."""

    def __init__(self, reactor: Any, workers: Sequence[Worker], gathered: Gathered) -> None:
        self._reactor = reactor
        self._workers = workers
        self._gathered = gathered

    async def gather(self) -> None:
        """Have those that answer tell what they have counted; whoever does not keeps what it told before."""
        asking = [Deferred.fromCoroutine(self._ask(worker)) for worker in self._workers if worker.ready]
        await DeferredList(asking, consumeErrors=True)

    async def _ask(self, worker: Worker) -> None:
        pid = worker.pid
        answer = await worker.ask(self._reactor, "GET", "/metrics", patience=_ANSWER)
        if answer.status == _OK and worker.pid == pid:
            self._gathered.take(worker.number, answer.body.decode())
