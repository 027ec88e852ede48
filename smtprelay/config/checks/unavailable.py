"""
Settings that are understood but that this version cannot carry out yet.

To accept such a setting and do nothing would be worse than to refuse it. The table
is the only place that knows: who builds one of these removes its row.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from attrs import frozen

from smtprelay.config.checks.view import Complaint, View
from smtprelay.config.finding import Finding
from smtprelay.config.tree import Items, Node, Path, Scalar, Table, nearest


@frozen
class UnavailableSetting:
    """
    One thing that is not there.

    :ivar setting: the keys to it; ``*`` is every entry of a map or list, ``*=acs`` every one of that type.
    :ivar what: how the sentence begins.
    :ivar word: the value that is meant, and named in the sentence; ``None`` is every value.
    :ivar idle: the value that asks for nothing, and is no mistake.
    """

    setting: str
    what: str
    word: str | None = None
    idle: str | None = None


ROWS: Final = (
    UnavailableSetting("providers.*.type", "the provider type", "graph"),
    UnavailableSetting("providers.*.type", "the provider type", "ses"),
    UnavailableSetting("providers.*.proxy", "a proxy"),
    UnavailableSetting("providers.*=capture.timeout", "the timeout of a folder"),
    UnavailableSetting("checkers.*.type", "the checker", "entra"),
    UnavailableSetting("checkers.*.type", "the checker", "azure_table"),
    UnavailableSetting("listeners.*.proxy_trust", "the PROXY protocol"),
    UnavailableSetting("listeners.*.auth.mechanisms.*", "the mechanism", "CRAM-MD5"),
    UnavailableSetting("listeners.*.auth.mechanisms.*", "the mechanism", "SCRAM-SHA-256"),
    UnavailableSetting("listeners.*.tls.client_ca", "checking the certificates of clients"),
    UnavailableSetting("listeners.*.limits.messages", "limiting the rate of messages"),
    UnavailableSetting("users.*.rate", "limiting the rate of messages"),
    UnavailableSetting("routes.*.rewrite", "rewriting"),
    UnavailableSetting("dkim.*", "signing with DKIM"),
    UnavailableSetting("sandbox", "the sandbox"),
    UnavailableSetting("privacy.subjects", "privacy.subjects:", "false"),
    UnavailableSetting("privacy.addresses", "privacy.addresses:", "masked"),
    UnavailableSetting("spool.seal_key", "sealing credentials"),
)


def unavailable_types(root: Table) -> list[Finding]:
    """
    Return a finding for each entry whose whole type is not there.

    The rest of such an entry is not looked at: nothing that could be said about it helps.
    """
    return [
        Finding(node.mark, _sentence(row), "CFG-UNAVAILABLE", nearest(root, path[:-1]))
        for row in ROWS
        if row.setting.endswith(".type")
        for path, node in _select(root, row.setting.split("."), ())
        if _is_meant(row, node)
    ]


def available(kinds: Iterable[str], section: str) -> list[str]:
    """Return those of ``kinds`` that are there in this version for a ``section``; all if none is."""
    missing = {row.word for row in ROWS if row.setting == f"{section}.*.type"}
    return [kind for kind in kinds if kind not in missing] or list(kinds)


def check_unavailable(view: View) -> Iterator[Complaint]:
    """Complain of each setting that a row of :data:`ROWS` is for."""
    for row in ROWS:
        for path, node in _select(view.root, row.setting.split("."), ()):
            if _is_meant(row, node):
                yield Complaint(path, _sentence(row), "CFG-UNAVAILABLE")


def not_there(key: str, types: Collection[str]) -> list[str]:
    """
    Return what of a setting is not available, each as a sentence.

    :param key: with ``*`` for each entry: ``listeners.*.proxy_trust``.
    :param types: the types of providers or checkers that alone have it; none if it is for all.
    """
    kinds = {row.word: row for row in ROWS if row.setting == f"{key.partition('.')[0]}.*.type"}
    if types and kinds.keys() >= set(types):
        return [_sentence(kinds[word]) for word in sorted(types)]
    settings = ((re.sub(r"=\w+|\.\*$", "", row.setting), row) for row in ROWS)
    return [_sentence(row) for setting, row in settings if f"{key}.".startswith(f"{setting}.")]


def _is_meant(row: UnavailableSetting, node: Node) -> bool:
    text = node.text.lower() if isinstance(node, Scalar) else ""
    return text != row.idle if row.word is None else text == row.word.lower()


def _sentence(row: UnavailableSetting) -> str:
    what = row.what if row.word is None else f"{row.what} {row.word}"
    return f"{what} is not available in this version"


def _select(node: Node, keys: list[str], path: Path) -> Iterator[tuple[Path, Node]]:
    if isinstance(node, Scalar) and node.null:
        return
    if not keys:
        yield path, node
        return
    entries: Iterable[tuple[str | int, Node]] = ()
    if isinstance(node, Table):
        entries = node.items()
    elif isinstance(node, Items):
        entries = enumerate(node)
    wanted, _, kind = keys[0].partition("=")
    for key, value in entries:
        if wanted in {"*", str(key)} and (not kind or _type(value) == kind):
            yield from _select(value, keys[1:], (*path, key))


def _type(node: Node) -> str:
    kind = node.get("type") if isinstance(node, Table) else None
    return kind.text if isinstance(kind, Scalar) else ""
