"""
A folder with one JSON file a message, as the relay that is called "SMTPRelay" keeps its mail.

Its files are read, with its states, so that its users can come over.
"""

import base64
import binascii
import hashlib
import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from smtprelay.cli.archive_files.archive_tar import Item
from smtprelay.mime.head import head_of, message_id_of, subject_of

#: What that relay keeps beside the messages.
_NO_MESSAGE: Final = "retry_queue.json"

#: Our states by its.
_OF_THEIRS: Final = {
    "received": "queued",
    "forwarding": "queued",
    "retrying": "deferred",
    "forwarded": "delivered",
    "failed": "failed",
}

_ID_OF_TIME: Final = re.compile(r"[0-9]{16,20}")


def read(folder: Path) -> Iterator[Item]:
    """Give the messages of a folder by the names of their files; a file that is none comes with why."""
    for file in sorted(folder.glob("*.json")):
        if file.name != _NO_MESSAGE:
            yield _item(file)


def _item(file: Path) -> Item:
    from smtprelay.model.archive_json import loaded  # noqa: PLC0415 -- slow to import

    try:
        values, body = ours(loaded(file.read_bytes()), time.time())
    except (ValueError, OSError, TypeError, AttributeError) as error:
        return Item(file.name, None, None, str(error))
    return Item(file.name, values, io.BytesIO(body))


def ours(document: Any, now: float) -> tuple[dict[str, Any], bytes]:
    """
    Return the values of a message of that relay, and its body; ``ValueError`` for what is none.

    Its id becomes one of ours, always the same one, so that to import twice is to import once.
    """
    if not isinstance(document, dict) or not {"id", "from", "to", "body", "status"} <= set(document):
        raise ValueError("this is no message: id, from, to, body and status are needed")
    try:
        body = base64.b64decode(document["body"] or "", validate=True)
    except (binascii.Error, TypeError):
        raise ValueError("its body is no base64") from None
    body = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    if document["status"] not in _OF_THEIRS:
        raise ValueError(f"unknown status {document['status']!r}")
    if not isinstance(document["to"], list) or not document["to"]:
        raise ValueError("it has no recipients")
    received = _seconds(document.get("received")) or now
    head = head_of(body)
    delivery = _delivery(document, received, now)
    message = {
        "schema": "smtprelay.message.v1",
        "id": _our_id(str(document["id"]), received),
        "sender": document["from"],
        "received": received,
        "size": len(body),
        "subject": subject_of(head),
        "message_id": message_id_of(head),
        "finished": delivery["ended"],
        "deliveries": [delivery],
    }
    return message, body


def _delivery(document: Mapping[str, Any], received: float, now: float) -> dict[str, Any]:
    status = document["status"]
    state = _OF_THEIRS[status]
    error = str(document.get("error") or "")
    attempts = _attempts(document.get("retry_history") or ())
    due = {"queued": now, "deferred": _seconds(document.get("next_retry")) or now}.get(state)
    ended = {
        "delivered": _seconds(document.get("forwarded")) or received,
        "failed": attempts[-1]["ended"] if attempts else received,
    }.get(state)
    each = "open" if ended is None else state
    return {
        "n": 1,
        "route": "",
        "provider": "",
        "state": state,
        "due": due,
        "ended": ended,
        "attempt": len(attempts),
        "uncertain": status == "forwarding",
        "reason": error,
        "recipients": [
            {"address": address, "state": each, "reason": error} for address in dict.fromkeys(document["to"])
        ],
        "attempts": attempts,
    }


def _attempts(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    attempts = []
    for number, each in enumerate(history, start=1):
        when, reason = _seconds(each.get("timestamp")) or 0.0, str(each.get("error") or "")
        common = {"number": number, "provider": "SMTPRelay", "node": "", "started": when, "ended": when}
        attempts.append({**common, "outcome": "deferred", "reason": reason})
    return attempts


def _seconds(text: object) -> float | None:
    """Return a time as Go writes it; ``None`` for none."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    # No mail is older, and Go's zero time is in the year 1.
    return moment.timestamp() if moment.year > 1970 else None  # noqa: PLR2004


def _our_id(theirs: str, received: float) -> str:
    """Return an id of ours for one of theirs, which is the time in nanoseconds."""
    from smtprelay.model.message_id import new_id  # noqa: PLC0415

    seconds = int(theirs[:10]) if _ID_OF_TIME.fullmatch(theirs) else received
    number = int.from_bytes(hashlib.sha256(theirs.encode()).digest()[:8], "big")
    return new_id(seconds, lambda bits: number >> (64 - bits))
