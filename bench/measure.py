"""
What a program costs, read from ``/proc``: CPU of it and of all its children, and memory.

A program that starts and reaps processes of its own (Postfix) is charged for those
that have ended too, because the kernel adds them to who reaped them. Work of
the kernel's own threads (writeback, journal) is nobody's.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _CPU = 1, slice(11, 15)


def cpu_seconds(root: int) -> float:
    """Return the user and system seconds of ``root``, of its living descendants and of those they reaped."""
    fields = dict(_processes())
    children: dict[int, list[int]] = {}
    for pid, values in fields.items():
        children.setdefault(int(values[_PARENT]), []).append(pid)
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += sum(int(ticks) for ticks in fields.get(pid, [])[_CPU])
        waiting += children.get(pid, [])
    return total * _TICK


def free_cores(seconds: float = 1.0) -> float:
    """Return how many cores were idle while ``seconds`` passed."""

    def idle() -> int:
        with Path("/proc/stat").open() as file:
            return sum(map(int, file.readline().split()[4:6]))

    before, began = idle(), time.monotonic()
    time.sleep(seconds)
    return (idle() - before) * _TICK / (time.monotonic() - began)


def settled_cpu(root: int, bound: float = 3.0) -> float:
    """Wait until ``root`` has come to rest, at most ``bound`` seconds; return its :func:`cpu_seconds`."""
    spent, deadline = cpu_seconds(root), time.monotonic() + bound
    while time.monotonic() < deadline:
        time.sleep(0.15)
        before, spent = spent, cpu_seconds(root)
        if spent - before <= _TICK:
            break
    return spent


def resident(pid: int) -> int:
    """Return the resident memory of one process, bytes."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """Return the most resident memory that the process had since :func:`forget_peak`, bytes."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Begin to note the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"/proc/{pid}/status has no {name}")


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Give the fields of each ``/proc/<pid>/stat`` behind the name, which may hold anything."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry.name), stat.rpartition(")")[2].split()
