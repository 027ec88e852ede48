"""
Settings that are understood but that this version cannot carry out yet.

To accept such a setting and do nothing would be worse than to refuse it. The table
is the only place that knows: who builds one of these removes its row.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from smtprelay.config.tree import Items, Node, Path, Scalar, Table
from smtprelay.config.view import Complaint, View


@frozen
class Row:
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
    Row("providers.*.type", "the provider type", "graph"),
    Row("providers.*.type", "the provider type", "ses"),
    Row("providers.*.proxy", "a proxy"),
    Row("providers.*=capture.timeout", "the timeout of a folder"),
    Row("checkers.*.type", "the checker", "entra"),
    Row("checkers.*.type", "the checker", "azure_table"),
    Row("listeners.*.proxy_trust", "the PROXY protocol"),
    Row("listeners.*.auth.mechanisms.*", "the mechanism", "CRAM-MD5"),
    Row("listeners.*.auth.mechanisms.*", "the mechanism", "SCRAM-SHA-256"),
    Row("listeners.*.tls.client_ca", "checking the certificates of clients"),
    Row("listeners.*.limits.messages", "limiting the rate of messages"),
    Row("users.*.rate", "limiting the rate of messages"),
    Row("routes.*.rewrite", "rewriting"),
    Row("dkim.*", "signing with DKIM"),
    Row("sandbox", "the sandbox"),
    Row("privacy.subjects", "privacy.subjects:", "false"),
    Row("privacy.addresses", "privacy.addresses:", "masked"),
    Row("spool.seal_key", "sealing credentials"),
)


def check_unavailable(view: View) -> Iterator[Complaint]:
    """Complain of each setting that a row of :data:`ROWS` is for."""
    for row in ROWS:
        for path, node in _select(view.root, row.setting.split("."), ()):
            text = node.text.lower() if isinstance(node, Scalar) else ""
            wanted = text != row.idle if row.word is None else text == row.word.lower()
            if wanted:
                what = row.what if row.word is None else f"{row.what} {row.word}"
                yield Complaint(path, f"{what} is not available in this version", "CFG-UNAVAILABLE")


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
