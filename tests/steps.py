"""Counts the lines of code that are executed: work, as no clock measures it, in each run the same."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def counted(work: Callable[[], object], within: str = "") -> int:
    """Return how many lines of Python ``work`` executes, in files named so or in all."""
    lines = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        if within not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines
