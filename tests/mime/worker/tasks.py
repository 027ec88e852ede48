"""
Tasks for tests of the MIME worker; it takes them because it is told that tasks may lie here, too.
"""

# ruff: noqa: ARG001 -- a task has these two parameters

import os
import signal
import sys
from collections.abc import Mapping
from time import process_time
from typing import Any

from smtprelay.mime.parse import TooComplexError

#: As in :mod:`smtprelay.mime.worker.inline_budget`, which has Twisted come along.
SMALL_BODY = 32 << 10

Result = tuple[Mapping[str, Any], bytes]


def repeat(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Return the mail, so many times, and what this process is."""
    facts = {"size": len(octets), "pid": os.getpid(), "twisted": "twisted" in sys.modules}
    return facts, octets * parameters.get("times", 1)


def fail(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    raise KeyError(parameters["text"])


def refuse(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    raise TooComplexError(parameters["text"])


def recurse(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    return recurse(octets, parameters)


def burn(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Compute for ever in C, where Python's own signal handlers are not asked."""
    return {}, pow(3, 10**10, 10**1_000_000).to_bytes(1, "big")


def hoard(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Take memory, a little at a time, until there is no more."""
    kept = []
    while True:
        kept.append(list(range(10_000)))


def gulp(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Take much memory at once."""
    return {}, bytes(parameters["octets"])


def wait(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Do nothing, without using the processor, until somebody ends it."""
    signal.pause()
    return {}, b""


def die(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    os.write(2, parameters["words"].encode())
    os.kill(os.getpid(), signal.Signals[parameters["signal"]])
    return {}, b""


def leave(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    os._exit(parameters["status"])


def say(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Print what a library might print."""
    sys.stdout.write(parameters["text"])
    sys.stdout.flush()
    sys.stderr.write(parameters["text"])
    return {"said": True, "input": sys.stdin.read()}, b""


def babble(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Write on the pipe of the answers itself, wherever it is."""
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"this is no frame")
        except OSError:
            continue
    return {}, b""


def large_facts(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    return {"much": "x" * parameters["characters"]}, b""


def no_facts(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    return {"octets": b"JSON has none"}, b""  # type: ignore[dict-item]


def signals(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Send itself what a terminal or a service manager sends to the whole group."""
    for name in parameters["signals"]:
        os.kill(os.getpid(), signal.Signals[name])
    return {"alive": True}, b""


def use(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Compute for some seconds; return how many this process has used."""
    end = process_time() + parameters["seconds"]
    while process_time() < end:
        pass
    return {"used": process_time(), "pid": os.getpid()}, b""


def as_told(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Compute for ever on a mail whose subject says so, but not on the report about it."""
    hostile = b"Subject: hostile" in octets and len(octets) > SMALL_BODY
    return burn(octets, parameters) if hostile else repeat(octets, {"times": 0})


def crumble(octets: bytes, parameters: Mapping[str, Any]) -> Result:
    """Take memory in the smallest pieces of every size, until there is none of any size."""
    kept: list[object] = []
    while True:
        kept.extend(bytes(size) for size in range(1, 600, 8))
