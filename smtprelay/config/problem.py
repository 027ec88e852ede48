"""
What is wrong with a configuration, where, and how a person reads it.

All problems of a file are told at once, each with its place, so that an
operator corrects the file once and not once for each mistake.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from attrs import field, frozen

from smtprelay.config.masking import LONGEST, masked
from smtprelay.config.tree import Mark

#: What would break a line of the log, or cannot be printed at all.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@frozen(kw_only=True)
class Problem:
    """
    One mistake, or one warning.

    :ivar file: the configuration file, or the name of the variable or option that is wrong.
    :ivar line: from 1; 0 where there are no lines.
    :ivar column: from 1; 0 where there are no columns.
    :ivar severity: ``"error"`` or ``"warning"``.
    :ivar text: one sentence, without the place.
    :ivar code: stable, for ``smtprelay explain`` (``"CFG-UNKNOWN-KEY"``).
    :ivar snippet: the line and the one before it with a caret under the column, or ``""``.
    """

    file: str
    line: int
    column: int
    severity: str
    text: str
    code: str
    snippet: str = field(default="", repr=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.severity}: {self.text} [{self.code}]"


class ConfigError(Exception):
    """
    The configuration cannot be used.

    :ivar problems: all that was found, warnings too, in the order of their places.
    :ivar status: the exit status that says so to a service manager (``EX_CONFIG`` of sysexits.h).
    """

    status: Final = 78

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def make_problem(mark: Mark, text: str, code: str, lines: Sequence[str], severity: str = "error") -> Problem:
    """Return the problem at ``mark``; ``lines`` are the lines of the file, for the snippet."""
    return Problem(
        file=mark.file,
        line=mark.line,
        column=mark.column,
        severity=severity,
        text=_UNPRINTABLE.sub("�", text[:LONGEST]),
        code=code,
        snippet=_snippet(mark, lines),
    )


def render(problem: Problem) -> str:
    """Return ``problem`` as several lines: the sentence, then the snippet if there is one."""
    return f"{problem}\n{problem.snippet}" if problem.snippet else str(problem)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``' - did you mean "x"?'`` for what of ``known`` is close to ``word``, or ``""``."""
    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1)
    return f' - did you mean "{by_fold[close[0]]}"?' if close else ""


def _snippet(mark: Mark, lines: Sequence[str]) -> str:
    if not 1 <= mark.line <= len(lines) or mark.column > LONGEST:
        return ""
    numbers = range(max(1, mark.line - 1), mark.line + 1)
    # A line may hold a secret beside the mistake.
    visible = (_UNPRINTABLE.sub("�", masked(lines, number - 1)) for number in numbers)
    shown = [f"{number:5d} | {line}" for number, line in zip(numbers, visible, strict=True)]
    return "\n".join([*shown, f"      | {' ' * (mark.column - 1)}^"])
