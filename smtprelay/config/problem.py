"""
What is wrong with a configuration, where, and how it is reported.

All problems of a file are reported at once, each with its place. A :class:`Finding` names the node that must
be removed for the rest to be usable; so all mistakes are found in one pass.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen

from smtprelay.config.quoted_lines import LONGEST, masked, without_secret
from smtprelay.config.tree import Items, Mark, Scalar, Table, TreeNode
from smtprelay.settings.complaint import did_you_mean

#: Characters that would break a line of the log, or cannot be printed.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@frozen(kw_only=True)
class Problem:
    """
    One error or warning.

    :ivar file: the configuration file, or the name of the variable or option.
    :ivar line: from 1; 0 for a variable or option.
    :ivar column: from 1; 0 for a variable or option.
    :ivar severity: ``"error"`` or ``"warning"``.
    :ivar text: one sentence, without the place.
    :ivar code: stable, for programs (``"CFG-UNKNOWN-KEY"``).
    :ivar snippet: the line and the one before it, with a caret below the column, or ``""``.
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

    :ivar problems: errors and warnings, in the order of their places.
    :ivar status: the exit status (``EX_CONFIG`` of sysexits.h).
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
        text=_UNPRINTABLE.sub("�", without_secret(text[:LONGEST], lines, mark.line - 1, mark.column - 1)),
        code=code,
        snippet=_snippet(mark, lines),
    )


def render(problem: Problem) -> str:
    """Return the sentence of ``problem``, and its snippet if there is one."""
    return f"{problem}\n{problem.snippet}" if problem.snippet else str(problem)


def _snippet(mark: Mark, lines: Sequence[str]) -> str:
    if not 1 <= mark.line <= len(lines) or mark.column > LONGEST:
        return ""
    numbers = range(max(1, mark.line - 1), mark.line + 1)
    # There may be a secret on the same line.
    visible = (_UNPRINTABLE.sub("�", masked(lines, number - 1)) for number in numbers)
    shown = [f"{number:5d} | {line}" for number, line in zip(numbers, visible, strict=True)]
    return "\n".join([*shown, f"      | {' ' * (mark.column - 1)}^"])


@frozen(eq=False)
class Finding:
    """
    One mistake.

    :ivar removed: the node that is removed from the tree.
    :ivar follows: it only follows from another mistake, and is not reported.
    :ivar meant: the name, as :func:`.tree.below` has it, that an unknown key probably means.
    """

    mark: Mark
    text: str
    code: str
    removed: TreeNode
    follows: bool = False
    meant: str = ""


class Invalid(Exception):  # noqa: N818 -- it carries findings, several at once
    """A node is not what is expected."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        super().__init__()
        self.findings = tuple(findings)


def wrong(node: TreeNode, text: str, code: str = "CFG-VALUE", removed: TreeNode | None = None) -> Invalid:
    """Return the error that ``node`` is wrong; the ``removed`` is by default the node itself."""
    sentence = f"{node.where}: {text}" if node.where else text
    return Invalid([Finding(node.mark, sentence, code, node if removed is None else removed)])


def expect_word(node: TreeNode) -> str:
    """Return the text of ``node``, which must be one value."""
    if not isinstance(node, Scalar) or node.null:
        raise wrong(node, f"expected one value, not {_kind(node)}", "CFG-TYPE")
    return node.text


def expect_table(node: TreeNode) -> Table:
    """Return ``node``, which must be a map."""
    if not isinstance(node, Table):
        hint = ': write "name:" in place of each "- "' if isinstance(node, Items) else ""
        raise wrong(node, f"expected settings (key: value), not {_kind(node)}{hint}", "CFG-TYPE")
    return node


def expect_items(node: TreeNode) -> Items:
    """Return ``node``, which must be a list."""
    if not isinstance(node, Items):
        hint = f": write {_list_of(node)}" if isinstance(node, Scalar) and node.literal else ""
        if isinstance(node, Table):
            hint = ': begin each entry with "- "'
        if not node.mark.line:
            name = node.mark.file if isinstance(node, Scalar) else node.where
            end = (
                "__0" if name.startswith("SMTPRELAY_") else ".0=VALUE" if name.startswith("--set ") else ".0"
            )
            hint = f": its first entry is {name}{end}"
        raise wrong(node, f"expected a list, not {_kind(node)}{hint}", "CFG-TYPE")
    return node


def expect_one_of(
    node: TreeNode, choices: Iterable[str], what: str = "value", removed: TreeNode | None = None
) -> str:
    """Return the text of ``node``, which must be one of ``choices``."""
    text = expect_word(node)
    known = list(choices)
    if text not in known:
        hint = did_you_mean(text, known) or f": expected {' or '.join(known)}"
        raise wrong(node, f'unknown {what} "{text}"{hint}', f"CFG-UNKNOWN-{what.upper()}", removed)
    return text


def words_of(node: Scalar) -> list[str]:
    """Return the words of ``node`` between its commas."""
    return [word.strip() for word in node.text.split(",")]


def _list_of(node: Scalar) -> str:
    """Return these words as a YAML list, in which ``*@example.com`` and ``::1`` need quotes."""
    plain = re.compile(r"[\w./@$-]+")
    words = [word if plain.fullmatch(word) else f'"{word}"' for word in words_of(node)]
    return f"[{', '.join(words)}]"


def _kind(node: TreeNode) -> str:
    if isinstance(node, Table):
        return "a map"
    if isinstance(node, Items):
        return "a list"
    return "nothing" if node.null else "one value"
