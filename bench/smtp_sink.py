"""
A mail server that takes its time over each mail: ``python -m bench.smtp_sink PORT LATENCY COUNTER``.

Postfix's ``smtp-sink`` waits for whole seconds only. It counts in a file, as :mod:`bench.http_sink` does.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from bench.http_sink import Counter
from smtprelay.testing.smtp import Pause, SmtpSink


class CountedMail(list[Any]):
    """What was taken, which is counted and not kept."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def append(self, _: Any) -> None:
        """Count one."""
        self._counter.step()


def serve(port: int, latency: float, counter: Counter) -> None:
    """Take mail until the process is ended."""
    sink = SmtpSink(clock=reactor)
    sink.messages = CountedMail(counter)
    sink.always("END", Pause(latency))
    Deferred.fromCoroutine(sink.listen(reactor, port))
    reactor.run()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), Counter(Path(sys.argv[3])))
