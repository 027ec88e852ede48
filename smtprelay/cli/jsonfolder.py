"""
A folder with one JSON file a message, as the relay that is called "SMTPRelay" keeps its mail.

Its files are read, with its states, and written so that its users' scripts go on working. What its form
has no place for (routes, several deliveries, each recipient's state) stands beside, under ``smtprelay``, so
that what we wrote comes back whole.
"""

import base64
import binascii
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

from smtprelay.cli.archive import ORDERS, Item
from smtprelay.cli.newfile import new_file
from smtprelay.mime import headers
from smtprelay.mime.encoded_words import raw_text
from smtprelay.mime.head import block, head_of, message_id_of, subject_of
from smtprelay.queue import RECORDED, SPLIT

#: What that relay keeps beside the messages.
_NO_MESSAGES: Final = frozenset({"retry_queue.json", ORDERS})

#: Under which key our own values stand.
_OURS: Final = "smtprelay"

#: Its states by ours, and ours by its. For what an operator holds or deletes it has no word.
_THEIRS: Final = {
    "queued": "received",
    "active": "forwarding",
    "deferred": "retrying",
    "held": "received",
    "delivered": "forwarded",
    "failed": "failed",
    "deleted": "failed",
}
_OF_THEIRS: Final = {
    "received": "queued",
    "forwarding": "queued",
    "retrying": "deferred",
    "forwarded": "delivered",
    "failed": "failed",
}

#: Of several deliveries the one that is told is in the first of these states.
_ORDER: Final = ("deferred", "queued", "held", "failed", "delivered", "deleted")

#: Bytes of a body that are encoded at a time: whole groups of base64, and more than a header has.
_PIECE: Final = 3 * 256 * 1024

_ID_OF_TIME: Final = re.compile(r"[0-9]{16,20}")


def write(folder: Path, values: Mapping[str, Any], body: IO[bytes], *, overwrite: bool) -> None:
    """Write the file of one message, synced, for our eyes only; its body goes through memory in pieces."""
    head = block(body.read(_PIECE))
    body.seek(0)
    place = uuid4().hex
    before, _, after = json.dumps(theirs(values, head, place), indent=2).partition(place)
    pieces = map(base64.b64encode, iter(lambda: body.read(_PIECE), b""))
    with new_file(folder / f"{values['id']}.json", overwrite=overwrite) as out:
        out.writelines(chain([before.encode()], pieces, [after.encode()]))


def write_orders(folder: Path, orders: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write an operator's orders beside the messages."""
    with new_file(folder / ORDERS, overwrite=overwrite) as out:
        out.write(json.dumps(orders, indent=2).encode())


def read(folder: Path) -> Iterator[Item]:
    """
    Give the messages of a folder by the names of their files; a file that is none comes with why.

    Before them come the :data:`ORDERS`, by that name, if there are any.
    """
    if (folder / ORDERS).exists():
        yield _orders(folder / ORDERS)
    for file in sorted(folder.glob("*.json")):
        if file.name not in _NO_MESSAGES:
            yield _item(file)


def _item(file: Path) -> Item:
    from smtprelay.parcel import loaded  # noqa: PLC0415 -- dear

    try:
        values, body = ours(loaded(file.read_bytes()), time.time())
    except (ValueError, OSError, TypeError, AttributeError) as error:
        return Item(file.name, None, None, str(error))
    return Item(file.name, values, io.BytesIO(body) if values.get("body", True) else None)


def _orders(file: Path) -> Item:
    from smtprelay.parcel import loaded  # noqa: PLC0415 -- dear

    try:
        return Item(ORDERS, dict(loaded(file.read_bytes())), None)
    except (ValueError, OSError, TypeError) as error:
        return Item(ORDERS, None, None, str(error))


# --- theirs


def theirs(values: Mapping[str, Any], head: bytes, body: str) -> dict[str, Any]:
    """Return a message as that relay writes it; ``head`` is its header, and ``body`` in base64."""
    delivery = min(values["deliveries"], key=lambda each: _ORDER.index(each["state"]))
    status = _THEIRS[delivery["state"]]
    if delivery["uncertain"] and status == "received":
        status = "forwarding"
    open_ones = [
        each for one in values["deliveries"] for each in one["recipients"] if each["state"] == "open"
    ]
    told = open_ones or [each for one in values["deliveries"] for each in one["recipients"]]
    tried = [each for each in delivery["attempts"] if each["outcome"] not in (*RECORDED, SPLIT)]
    refused = [each for each in tried if each["outcome"] != "delivered"]
    document = {
        "id": values["id"],
        "from": values["sender"],
        "to": [each["address"] for each in told],
        "headers": {name: raw_text(value) for name, value in headers.split(head + b"\r\n")[0]},
        "body": body,
        "received": _written(values["received"]),
        "forwarded": _written(delivery["ended"] if status == "forwarded" else None),
        "status": status,
        "next_retry": _written(delivery["due"] if status == "retrying" else None),
        "retry_attempt": len(tried),
        "retry_history": [
            {"attempt": number, "timestamp": _written(each["started"]), "error": each["reason"]}
            for number, each in enumerate(refused, start=1)
        ],
        _OURS: values,
    }
    if delivery["reason"]:
        document["error"] = delivery["reason"]
    return document


def _written(seconds: float | None) -> str:
    """Return a time as Go writes it; it has a year 1 for none."""
    if seconds is None:
        return "0001-01-01T00:00:00Z"
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


# --- ours


def ours(document: Any, now: float) -> tuple[dict[str, Any], bytes]:
    """
    Return the values of a message of that relay, and its body.

    Its id becomes one of ours, always the same one, so that to import twice is to import once.

    :raises ValueError: it is none, or nobody is to get it.
    """
    if not isinstance(document, dict) or not {"id", "from", "to", "body", "status"} <= set(document):
        raise ValueError("this is no message: id, from, to, body and status are needed")
    try:
        body = base64.b64decode(document["body"] or "", validate=True)
    except (binascii.Error, TypeError):
        raise ValueError("its body is no base64") from None
    if _OURS in document:
        return dict(document[_OURS]), body
    body = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    status = document["status"]
    if status not in _OF_THEIRS:
        raise ValueError(f"unknown status {status!r}")
    to = document["to"]
    if not isinstance(to, list) or not to:
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
    over = (attempts[-1]["ended"] if attempts else received) if state == "failed" else None
    due = {"queued": now, "deferred": _seconds(document.get("next_retry")) or now}.get(state)
    ended = (_seconds(document.get("forwarded")) or received) if state == "delivered" else over
    each = {"delivered": "delivered", "failed": "failed"}.get(state, "open")
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
    times = [_seconds(each.get("timestamp")) or 0.0 for each in history]
    return [
        {
            "number": number,
            "provider": "SMTPRelay",
            "node": "",
            "started": when,
            "ended": when,
            "outcome": "deferred",
            "reason": str(each.get("error") or ""),
        }
        for number, (each, when) in enumerate(zip(history, times, strict=True), start=1)
    ]


def _seconds(text: object) -> float | None:
    """Return a time as Go writes it; ``None`` for none."""
    if not text:
        return None
    moment = datetime.fromisoformat(str(text))
    # Nobody had mail before that, and Go's "never" is in the year 1.
    return moment.timestamp() if moment.year > 1970 else None  # noqa: PLR2004


def _our_id(theirs_: str, received: float) -> str:
    """Return an id of ours for one of theirs, which is the time in nanoseconds."""
    from smtprelay.spool.identity import new_id  # noqa: PLC0415

    seconds = int(theirs_[:10]) if _ID_OF_TIME.fullmatch(theirs_) else received
    number = int.from_bytes(hashlib.sha256(theirs_.encode()).digest()[:8], "big")
    return new_id(seconds, lambda bits: number >> (64 - bits))
