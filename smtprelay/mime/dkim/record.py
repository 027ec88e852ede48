"""
What DNS says of a key: the TXT record at ``SELECTOR._domainkey.DOMAIN`` (RFC 6376 §3.6). Pure.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from smtprelay.mime.dkim.key import GOOD_BITS, SigningKey

#: Octets that one string of a TXT record holds (RFC 1035 §3.3).
MOST_OCTETS: Final = 255

_TAG: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.DOTALL)


@frozen
class RecordFinding:
    """
    What is wrong with a record, in words.

    :ivar is_error: signatures are not valid because of it; else it is advice.
    """

    text: str
    is_error: bool = True


def record_name(domain: str, selector: str) -> str:
    """Return where the record of a key is."""
    return f"{selector}._domainkey.{domain}"


def record_of(key: SigningKey) -> str:
    """Return the text of the record for a key."""
    return f"v=DKIM1; k={key.kind}; p={base64.b64encode(key.public).decode()}"


def zone_line(name: str, text: str) -> str:
    """Return a record as a zone file has it; its text is several strings if it is long."""
    strings = [f'"{text[start : start + MOST_OCTETS]}"' for start in range(0, len(text), MOST_OCTETS)]
    return f"{name}. IN TXT ( {' '.join(strings)} )"


def check_record(texts: Sequence[str], key: SigningKey) -> Iterator[RecordFinding]:
    """
    Tell what is wrong with the records that were found for ``key``.

    :param texts: of each record, its strings joined.
    """
    if not texts:
        yield RecordFinding(f"there is no record: publish the text {record_of(key)}")
        return
    if len(texts) > 1:
        yield RecordFinding(f"there are {len(texts)} records, and receivers take any of them: leave one")
    for text in texts:
        try:
            yield from _check_tags(_tags(text), key)
        except ValueError as error:
            yield RecordFinding(f"the record {error}")


def _tags(text: str) -> Mapping[str, str]:
    """Return the tags of a record; raises ``ValueError`` with the rest of a sentence."""
    found: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        tag = _TAG.fullmatch(part)
        if tag is None:
            raise ValueError(f'has "{part.strip()[:40]}", which is no tag such as p=…')
        if tag[1] in found:
            raise ValueError(f"has the tag {tag[1]}= twice")
        found[tag[1]] = tag[2]
    if "v" in found and (next(iter(found)) != "v" or found["v"] != "DKIM1"):
        raise ValueError("does not begin with v=DKIM1")
    if "p" not in found:
        raise ValueError("has no tag p=, the public key")
    return found


def _check_tags(tags: Mapping[str, str], key: SigningKey) -> Iterator[RecordFinding]:
    kind = tags.get("k", "rsa").lower()
    if not tags["p"]:
        yield RecordFinding("the key is revoked: p= is empty")
    elif kind != key.kind:
        yield RecordFinding(f"the record is for another kind of key: it says k={kind}, the key is {key.kind}")
    else:
        yield from _check_public(tags["p"], key)
    if "h" in tags and "sha256" not in _words(tags["h"]):
        yield RecordFinding(f"the record allows only the hash h={tags['h']}, signatures have sha256")
    if not {"*", "email"} & _words(tags.get("s", "*")):
        yield RecordFinding(f"the record is not for mail: it says s={tags['s']}")
    if "y" in _words(tags.get("t", "")):
        text = "the record says t=y, a test: receivers treat mail as if it were not signed"
        yield RecordFinding(text, is_error=False)
    if key.kind == "rsa" and key.bits < GOOD_BITS:
        text = f"the key has {key.bits} bits: some receivers want {GOOD_BITS}"
        yield RecordFinding(text, is_error=False)


def _check_public(text: str, key: SigningKey) -> Iterator[RecordFinding]:
    try:
        public = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        yield RecordFinding("p= is not base64: it was cut, or has a character too many")
        return
    if public == key.public:
        return
    if key.public.startswith(public):
        yield RecordFinding("p= is only the beginning of the key: the text was cut")
    else:
        yield RecordFinding("the record has another key than the configuration")


def _words(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(":")}
