"""
The JSON of an archive: how messages are written in it, and what is read from one.

What comes in is read strictly: what is not understood is refused with a sentence that names it, because what
is silently left out is lost, and what contradicts itself would make a sound spool an unsound one.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

from attrs import evolve
from cattrs import ClassValidationError, Converter, transform_error
from cattrs.v import format_exception

from smtprelay.model.archive import ArchivedDelivery, ArchivedMessage
from smtprelay.model.queue import FINAL, FOR_GOOD, STATES

T = TypeVar("T")

#: The version of the JSON.
SCHEMA: Final = "smtprelay.message.v1"

#: The largest number that every database stores.
_MOST: Final = 2**31 - 1

_ID: Final = re.compile(r"[0-9A-HJKMNP-TV-Z]{16}")


def written(archived: ArchivedMessage) -> dict[str, Any]:
    """Return ``archived`` as JSON's values."""
    return unstructured(archived, SCHEMA)


def read(values: object) -> ArchivedMessage:
    """Return the message that :func:`written` made these values of; ``ValueError`` if it is unsound."""
    archived = _with_deletions(structured(values, ArchivedMessage, SCHEMA))
    for fault in faults(archived):
        raise ValueError(fault)
    return archived


def _with_deletions(archived: ArchivedMessage) -> ArchivedMessage:
    """Return ``archived`` with what an operator deleted as such: in earlier versions that had failed."""
    deliveries = tuple(_deleted(each) if _was_deleted(each) else each for each in archived.deliveries)
    body = archived.body and any(delivery.state != "deleted" for delivery in deliveries)
    return evolve(archived, deliveries=deliveries, body=body)


def _was_deleted(delivery: ArchivedDelivery) -> bool:
    """Tell whether an operator deleted a delivery that is exported as failed."""
    outcomes = (each.outcome for each in delivery.attempts if each.number == delivery.attempt)
    return delivery.state == "failed" and "delete" in outcomes


def _deleted(delivery: ArchivedDelivery) -> ArchivedDelivery:
    recipients = tuple(
        evolve(each, state="deleted") if (each.state, each.reason) == ("failed", delivery.reason) else each
        for each in delivery.recipients
    )
    return evolve(delivery, state="deleted", recipients=recipients)


def unstructured(value: object, schema: str) -> dict[str, Any]:
    """Return a value as JSON's, with the name of its schema."""
    return {"schema": schema, **_CONVERTER.unstructure(value)}


def structured(values: object, kind: type[T], schema: str) -> T:
    """Return the value of ``kind`` that :func:`unstructured` made these of; ``ValueError``: they are none."""
    if not isinstance(values, dict):
        raise ValueError("this is no JSON object")  # noqa: TRY004 -- as all that is wrong with it
    named = values.get("schema")
    if named != schema:
        raise ValueError(f"its schema is {named!r}, this version reads {schema!r}")
    try:
        return _CONVERTER.structure({k: v for k, v in values.items() if k != "schema"}, kind)
    except ClassValidationError as error:
        name = kind.__name__.lower().replace("archivedmessage", "message")
        raise ValueError(transform_error(error, path=name, format_exception=_worded)[0]) from None


def loaded(text: str | bytes) -> Any:
    """Return the values of a JSON text; ``ValueError`` for what is none, and for numbers that none has."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def faults(archived: ArchivedMessage) -> Iterator[str]:
    """Give a sentence for each thing that contradicts another."""
    if not _ID.fullmatch(archived.id):
        yield f"{archived.id[:40]!r} is no id of a message"
    parameters = archived.parameters
    for text in (
        archived.sender,
        archived.author,
        *parameters,
        *parameters.values(),
        *archived.client.values(),
    ):
        yield from _unprintable(text)
    if not archived.deliveries:
        yield "it has no delivery"
    numbers = [delivery.n for delivery in archived.deliveries]
    if len(set(numbers)) < len(numbers) or 0 in numbers:
        yield f"its deliveries are numbered {numbers}"
    for delivery in archived.deliveries:
        yield from (f"delivery {delivery.n}: {fault}" for fault in _delivery_faults(delivery))
    if (archived.finished is None) == all(delivery.state in FINAL for delivery in archived.deliveries):
        yield "it is finished before its deliveries, or not with them"
    if archived.shape is not None and archived.shape.size != archived.size:
        yield f"its shape is that of {archived.shape.size} bytes, its size is {archived.size}"
    if not archived.body and any(delivery.state not in FOR_GOOD for delivery in archived.deliveries):
        yield "its body is missing, and some recipients do not have it"


def _delivery_faults(delivery: ArchivedDelivery) -> Iterator[str]:
    state = delivery.state
    if state not in STATES or state == "active":
        yield f"unknown state {state!r}"
    if (delivery.due is not None) != (state in ("queued", "deferred")):
        yield f"it is {state} and due {delivery.due}"
    if (delivery.ended is not None) != (state in FINAL):
        yield f"it is {state} and ended {delivery.ended}"
    if delivery.generation < 1:
        yield "its generation is 0"
    for text in (delivery.route, delivery.provider, delivery.lane, delivery.key_id):
        yield from _unprintable(text)
    yield from _recipient_faults(delivery)
    numbers = [attempt.number for attempt in delivery.attempts]
    if len(set(numbers)) < len(numbers) or max(numbers, default=0) > delivery.attempt:
        yield f"it has made {delivery.attempt} attempts, and they are numbered {numbers}"
    if any(attempt.ended is None for attempt in delivery.attempts):
        yield "an attempt is under way"


#: Which states of recipients a delivery has, one of the first at least.
_RECIPIENTS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "delivered": (frozenset({"delivered"}), frozenset()),
    "failed": (frozenset({"failed"}), frozenset({"delivered"})),
    "deleted": (frozenset({"failed", "deleted"}), frozenset({"delivered"})),
}
_ALIVE: Final = (frozenset({"open"}), frozenset({"delivered", "failed"}))


def _recipient_faults(delivery: ArchivedDelivery) -> Iterator[str]:
    for recipient in delivery.recipients:
        for text in (recipient.address, recipient.notify, recipient.orcpt):
            yield from _unprintable(text)
        if not recipient.address:
            yield "a recipient has no address"
    states = {recipient.state for recipient in delivery.recipients}
    needed, others = _RECIPIENTS.get(delivery.state, _ALIVE)
    if not needed & states or not states <= needed | others:
        yield f"it is {delivery.state}, and its recipients are {', '.join(sorted(states)) or 'none'}"


def _unprintable(text: str) -> Iterator[str]:
    """Complain of what would break a line of SMTP, or of the log."""
    if any(character < " " or character == "\x7f" for character in text):
        yield f"{text[:40]!r} has a control character"


def _worded(error: BaseException, kind: type | None) -> str:
    """Return our own words for what is wrong, and those of cattrs for what it finds itself."""
    own = str(error) if isinstance(error, TypeError | ValueError) else ""
    return own or format_exception(error, kind)


# --- strictly: cattrs would make a number of "1", and a text of anything ---


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair cannot be stored") from None
    return value


def _strict(
    kinds: Collection[type], expected: str, is_good: Callable[[Any], bool] = lambda _: True
) -> Callable[[object, type], Any]:
    def structure(value: object, kind: type) -> Any:
        if type(value) not in kinds or not is_good(value):
            raise TypeError(f"expected {expected}")
        return kind(value)

    return structure


_count: Final = _strict({int}, f"a number from 0 to {_MOST}", lambda number: 0 <= number <= _MOST)
_seconds: Final = _strict({int, float}, "seconds", math.isfinite)
_flag: Final = _strict({bool}, "true or false")

_CONVERTER: Final = Converter(forbid_extra_keys=True)
_CONVERTER.register_structure_hook(str, _text)
_CONVERTER.register_structure_hook(int, _count)
_CONVERTER.register_structure_hook(float, _seconds)
_CONVERTER.register_structure_hook(bool, _flag)
