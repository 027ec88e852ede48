"""
Which fields of a header a signature covers, and their octets: a task of the MIME worker. Pure.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from smtprelay.mime.author import address_in
from smtprelay.mime.dkim.canonical import canonical_field
from smtprelay.model.address import ascii_domain

#: What is signed by default, as common signers have it (RFC 6376 §5.4.1), in lower case.
SIGNED: Final = tuple(
    """
    from sender reply-to subject date message-id to cc mime-version content-type
    content-transfer-encoding content-id content-description in-reply-to references resent-date
    resent-from resent-sender resent-to resent-cc resent-message-id list-id list-help
    list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner list-archive
    """.split()  # noqa: SIM905 -- read as words
)
#: Signed to be missing, too, so that nobody can add one (RFC 6376 §5.4, "oversigning").
ALWAYS_CLOSED: Final = frozenset({"from", "reply-to", "subject", "to", "cc"})
#: Servers on the way may add these again.
_OPEN: Final = ("resent-", "list-")
#: Fields that servers on the way add or change (RFC 6376 §5.4.1), or that other signatures are in.
UNSIGNABLE: Final = frozenset(
    {"return-path", "received", "dkim-signature", "authentication-results", "bcc", "resent-bcc"}
)

_FIELD_END: Final = re.compile(rb"\r\n(?![ \t])")
_FOLD: Final = re.compile(r"\r\n(?=[ \t])")
#: Octets of From that are read.
_READ: Final = 4096


def choose_headers(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """
    Return what each signature covers of a header, as a task of the MIME worker.

    :param octets: the header.
    :param parameters: ``rules``: for each signature its ``domain``, whether fields are ``relaxed``, and the
        ``names`` to sign in lower case. ``replaced``: fields that the next server writes anew, which are left
        out.
    :return: ``domain``: that From names. ``chosen``: of each rule for it its number, and the sizes of two
        pieces of the octets: the names that are signed, with colons between them, and these fields in
        canonical form.
    """
    fields = _fields(octets)
    domain = _author_domain(fields)
    replaced = frozenset(parameters["replaced"])
    chosen, pieces = [], []
    for number, rule in enumerate(parameters["rules"]):
        if domain != rule["domain"]:
            continue
        names = signed_names([name for name in rule["names"] if name not in replaced], fields)
        covered = _covered(fields, names, relaxed=rule["relaxed"])
        named = ":".join(names).encode("ascii")
        chosen.append((number, len(named), len(covered)))
        pieces += [named, covered]
    return {"domain": domain, "chosen": chosen}, b"".join(pieces)


def signed_names(names: Sequence[str], present: Mapping[str, Sequence[bytes]]) -> list[str]:
    """
    Return the names for ``h=``: each as often as the header has it, and once more if nobody may add one.

    :param present: fields by name.
    """
    found = []
    for name in dict.fromkeys(names):
        count = len(present.get(name, ()))
        closed = name in ALWAYS_CLOSED or (count > 0 and not name.startswith(_OPEN))
        found += [name] * (count + closed)
    return found


def unfit_headers(names: Sequence[str] | None) -> Iterator[tuple[int | None, str]]:
    """Give why a signature cannot cover just these fields, with the place of the one that is wrong."""
    if names is not None and "from" not in map(str.lower, names):
        yield None, "From is missing: a signature must cover it"
    for place, name in enumerate(names or ()):
        if name.lower() in UNSIGNABLE:
            yield place, f"{name} changes on the way: a signature cannot cover it"


def _fields(octets: bytes) -> Mapping[str, Sequence[bytes]]:
    """Return the fields by their names in lower case, each without its line end."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for field in _FIELD_END.split(octets):
        name, colon, _ = field.partition(b":")
        if colon:
            found[name.rstrip(b" \t").lower().decode("latin-1")].append(field)
    return found


def _author_domain(fields: Mapping[str, Sequence[bytes]]) -> str:
    """Return the domain of the first address in From, as DNS has it; ``""`` if it names none."""
    [first, *_] = fields.get("from") or [b":"]
    value = first.partition(b":")[2][:_READ].decode("utf-8", "replace")
    return ascii_domain(address_in(_FOLD.sub("", value).strip(" \t")).rpartition("@")[2])


def _covered(fields: Mapping[str, Collection[bytes]], names: Sequence[str], *, relaxed: bool) -> bytes:
    """Return the fields that ``names`` mean: of those of one name the last comes first."""
    left = {name: list(fields.get(name, ())) for name in set(names)}
    return b"".join(
        canonical_field(left[name].pop() + b"\r\n", relaxed=relaxed) for name in names if left[name]
    )
