"""
Rounds: the same load on each side in turn, so that whatever the machine does meets all of them.

Ours is the median of its rounds, and the peer's the best of its own. Each round is preceded by a
tenth of its load, so that nobody pays for starting.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen

from bench.load import BOUND, Load, Source, send
from bench.measure import cpu_seconds, settled_cpu
from bench.sinks import Sink

_SAMPLE: Final = 0.02

#: The share of the deliveries, at the beginning and at the end, that no rate is taken from.
_RAMP: Final = 0.1


@frozen(kw_only=True)
class Side:
    """
    One of those that are compared.

    :ivar helper: another process whose CPU is the side's; 0: there is none.
    :ivar sink: where its mail ends; ``None``: it keeps it.
    :ivar clean: called after each round.
    """

    name: str
    port: int
    pid: int
    helper: int = 0
    sink: Sink | None = None
    clean: Callable[[], object] = lambda: None

    def cpu(self) -> float:
        """Return its :func:`settled_cpu`, with that of its helper."""
        return settled_cpu(self.pid) + (cpu_seconds(self.helper) if self.helper else 0.0)


@frozen(kw_only=True)
class Round:
    """
    What one load on one side showed.

    :ivar cpu: milliseconds a message, of all processes of the side.
    :ivar accepted: messages a second; so ``delivered``, which is 0 without a sink.
    :ivar source: how busy the source was, as a share of one core; so ``sink``, and the side: ``busy``.
    """

    cpu: float
    accepted: float
    delivered: float
    busy: float
    source: float
    sink: float


Results = Mapping[str, Sequence[Round]]


def alternate(sides: Sequence[Side], load: Load, rounds: int) -> Results:
    """Measure all sides, one after the other, so many times."""
    results: dict[str, list[Round]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            results[side.name].append(measure(side, load))
            side.clean()
    return results


def measure(side: Side, load: Load) -> Round:
    """Send ``load`` to one side and see it through."""
    _see_through(side, load.shorter(10))
    before = side.cpu()
    sink_before = cpu_seconds(side.sink.pid) if side.sink else 0.0
    began = time.monotonic()
    source, samples = _see_through(side, load)
    lasted = max(samples[-1][0], began + source.seconds) - began if samples else source.seconds
    spent = side.cpu() - before
    sink = cpu_seconds(side.sink.pid) - sink_before if side.sink else 0.0
    return Round(
        cpu=spent / load.messages * 1000,
        accepted=load.messages / source.seconds,
        delivered=steady_rate(samples),
        busy=spent / lasted,
        source=source.cpu / source.seconds,
        sink=sink / lasted,
    )


def _see_through(side: Side, load: Load) -> tuple[Source, list[tuple[float, int]]]:
    """Send, and wait for the end of the delivery; return when how many had arrived."""
    if side.sink is None:
        return send(side.port, load), []
    before, deadline = side.sink.count(), time.monotonic() + BOUND
    source, samples = Source(side.port, load), []
    arrived = 0
    while source.running() or arrived < load.messages:
        time.sleep(_SAMPLE)
        arrived = side.sink.count() - before
        samples.append((time.monotonic(), arrived))
        if time.monotonic() > deadline:
            raise RuntimeError(f"{side.name}: {arrived} of {load.messages} messages after {BOUND:g} s")
    return source, samples


def steady_rate(samples: Sequence[tuple[float, int]]) -> float:
    """Return the rate between the first and the last tenth of what arrived."""
    if not samples:
        return 0.0
    total = samples[-1][1]
    steady = [(at, count) for at, count in samples if _RAMP * total <= count <= (1 - _RAMP) * total]
    if len(steady) < 2:
        return 0.0
    (first, low), (last, high) = steady[0], steady[-1]
    return (high - low) / (last - first)


def median(results: Results, name: str, what: str) -> float:
    """Return the median of one figure over the rounds of a side."""
    return statistics.median(getattr(each, what) for each in results[name])


def cheapest(results: Results, name: str) -> float:
    """Return the CPU of the best round of a side."""
    return min(each.cpu for each in results[name])


def fastest(results: Results, name: str, what: str) -> float:
    """Return the rate of the best round of a side."""
    return max(getattr(each, what) for each in results[name])
