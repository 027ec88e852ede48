"""
User names of logins at Microsoft Entra: ``TENANT@CLIENT``, and ``NAME@lookup`` for a row of a table. Pure.
"""

import base64
import binascii
import re
import uuid
from typing import Final

#: Octets of a UUID in base64url.
_SHORT: Final = re.compile("[A-Za-z0-9_-]{22}")
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LOOKUP: Final = "lookup"


def parse_application(name: str, delimiter: str) -> tuple[str, str] | None:
    """
    Return tenant and client id as UUIDs in lower case; ``None`` for the name of somebody else.

    What follows the first dot does not count: some devices want a name that looks like a mail address.
    """
    parts = _parts(name, delimiter)
    ids = [parse_id(part) for part in parts]
    return (ids[0], ids[1]) if len(ids) == 2 and all(ids) else None  # noqa: PLR2004 -- tenant and client


def parse_lookup(name: str, delimiter: str) -> str | None:
    """Return which row is meant; ``None`` for the name of somebody else. Dots count as before."""
    key, *rest = _parts(name, delimiter)
    return key if key and [each.lower() for each in rest] == [_LOOKUP] else None


def lookup_name(key: str, delimiter: str) -> str:
    """Return the user name of a row."""
    return f"{key}{delimiter}{_LOOKUP}"


def application_names(tenant: str, client_id: str, delimiter: str) -> tuple[str, str]:
    """
    Return the user name of an application by UUIDs, and the short one in base64url.

    :raises ValueError: one of the two is no UUID, in neither form.
    """
    ids = [parse_id(tenant), parse_id(client_id)]
    for given, found in zip((tenant, client_id), ids, strict=True):
        if not found:
            raise ValueError(f"{given}: not a UUID, nor its 16 octets in base64url")
    return delimiter.join(ids), delimiter.join(map(_short, ids))


def parse_id(text: str) -> str:
    """Return a UUID in lower case, from either form; ``""`` from anything else."""
    if _UUID.fullmatch(text):
        return text.lower()
    if not _SHORT.fullmatch(text):
        return ""
    try:
        return str(uuid.UUID(bytes=base64.urlsafe_b64decode(f"{text}==")))
    except (binascii.Error, ValueError):
        return ""


def _parts(name: str, delimiter: str) -> list[str]:
    return name.partition(".")[0].split(delimiter)


def _short(text: str) -> str:
    return base64.urlsafe_b64encode(uuid.UUID(text).bytes).decode().rstrip("=")
