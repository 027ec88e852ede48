"""
What is wrong with a node of the tree, and the first look at any node.

A :class:`Finding` knows which node must go for the rest to be usable; that is what
lets all mistakes of a file be found in one pass.
"""

import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from smtprelay.config.problem import did_you_mean
from smtprelay.config.tree import Items, Mark, Node, Scalar, Table

#: What is said of a file that is something else.
NO_SETTINGS: Final = 'expected settings such as "listeners:", each in a line'


@frozen(eq=False)
class Finding:
    """
    One mistake.

    :ivar culprit: the node that is cut out of the tree.
    :ivar follows: it only follows from another mistake, and is not to be told.
    :ivar meant: what an unknown key is likely to mean, as :func:`.tree.below` names it.
    """

    mark: Mark
    text: str
    code: str
    culprit: Node
    follows: bool = False
    meant: str = ""


class Invalid(Exception):  # noqa: N818 -- it carries findings, several at once
    """What is raised for a node that does not say what it should."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        super().__init__()
        self.findings = tuple(findings)


def wrong(node: Node, text: str, code: str = "CFG-VALUE", culprit: Node | None = None) -> Invalid:
    """Return the finding that ``node`` is wrong; the ``culprit`` is the node itself if none is given."""
    sentence = f"{node.where}: {text}" if node.where else text
    return Invalid([Finding(node.mark, sentence, code, node if culprit is None else culprit)])


def expect_word(node: Node) -> str:
    """Return the text of ``node``, which must be one word."""
    if not isinstance(node, Scalar) or node.null:
        raise wrong(node, f"expected one value, not {_kind(node)}", "CFG-TYPE")
    return node.text


def expect_table(node: Node) -> Table:
    """Return ``node``, which must be a map."""
    if not isinstance(node, Table):
        hint = ': write "name:" in place of each "- "' if isinstance(node, Items) else ""
        raise wrong(node, f"expected settings (key: value), not {_kind(node)}{hint}", "CFG-TYPE")
    return node


def expect_items(node: Node) -> Items:
    """Return ``node``, which must be a list."""
    if not isinstance(node, Items):
        hint = f": write {_list_of(node)}" if isinstance(node, Scalar) and node.literal else ""
        if isinstance(node, Table):
            hint = ': begin each entry with "- "'
        if not node.mark.line:
            hint = f": its first entry is {node.where}.0"
        raise wrong(node, f"expected a list, not {_kind(node)}{hint}", "CFG-TYPE")
    return node


def expect_one_of(
    node: Node, choices: Iterable[str], what: str = "value", culprit: Node | None = None
) -> str:
    """Return the text of ``node``, which must be one of ``choices``."""
    text = expect_word(node)
    known = list(choices)
    if text not in known:
        hint = did_you_mean(text, known) or f": expected {' or '.join(known)}"
        raise wrong(node, f'unknown {what} "{text}"{hint}', f"CFG-UNKNOWN-{what.upper()}", culprit)
    return text


def words_of(node: Scalar) -> list[str]:
    """Return the words that ``node`` has between its commas."""
    return [word.strip() for word in node.text.split(",")]


def _list_of(node: Scalar) -> str:
    """Return the list of those words as YAML spells it: ``*@example.com`` and ``::1`` need quotes there."""
    plain = re.compile(r"[\w./@$-]+")
    words = [word if plain.fullmatch(word) else f'"{word}"' for word in words_of(node)]
    return f"[{', '.join(words)}]"


def _kind(node: Node) -> str:
    if isinstance(node, Table):
        return "a map"
    if isinstance(node, Items):
        return "a list"
    return "nothing" if node.null else "one value"
