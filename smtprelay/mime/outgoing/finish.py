"""
What every mail needs before it leaves as MIME, whatever the client forgot.

Missing fields are added, private ones are removed, and what the next hop does not take is encoded. A mail
that needs nothing of this leaves octet for octet as it came. The result is the same for each attempt,
delivery and provider: nothing in it depends on the clock or on chance. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import asdict, evolve

from smtprelay.mime.headers import SMALL_HEADER
from smtprelay.mime.outgoing.field_changes import (
    UNCHANGED,
    Additions,
    Changes,
    Header,
    finished,
    is_finished,
    read,
    without_refused,
)
from smtprelay.mime.outgoing.header_fields import FieldOptions, NotConvertible
from smtprelay.mime.outgoing.parts import PartsWalk
from smtprelay.mime.outgoing.plan import DROP, INSERT, KEEP, Plan, PlanDraft
from smtprelay.mime.outgoing.recipients import by_envelope
from smtprelay.mime.parse import charset_guess
from smtprelay.mime.structure import part_of
from smtprelay.model.route import NextHop
from smtprelay.model.shape import Shape, count_eight_bit, shape_of


def short_header(start: bytes, shape: Shape) -> bytes | None:
    """
    Return the header in ``start``, the beginning of a mail of that shape, with its empty line.

    ``None``: it is long. A short mail without an empty line is all header.
    """
    end = start.find(b"\r\n\r\n", 0, SMALL_HEADER)
    if end >= 0:
        return start[: end + 4]
    return start if len(start) == shape.size <= SMALL_HEADER else None


def unchanged_plan(start: bytes, shape: Shape, hop: NextHop) -> Plan | None:
    """Return the plan for a mail that plainly leaves as it is: nearly all do. ``None``: look closer."""
    if (
        hop.by_header
        or not hop.takes(shape)
        or not _has_plain_fields(shape, hop)
        or not is_finished(start, hop)
    ):
        return None
    return _unchanged(shape)


def plan_by_header(start: bytes, shape: Shape, additions: Additions, hop: NextHop) -> Plan:
    """
    Return the plan for a mail of which only the header has to be looked at.

    :param start: its beginning, which holds all of the header.
    """
    header, old = read(start)
    options = None if _has_plain_fields(shape, hop) else _options(header, hop)
    header, last = _for_hop(header, additions, hop, options)
    try:
        new = finished(header, additions, options, last=last)
    except NotConvertible as error:
        return Plan(refusal=str(error), code=error.code)
    if new is None:
        return _unchanged(shape)
    eight_bit = shape.eight_bit and shape.eight_bit - count_eight_bit(start[:old])
    steps = ((INSERT, len(new)), (DROP, old), (KEEP, shape.size - old))
    return Plan(
        steps=tuple(step for step in steps if step[1]),
        inserted=new,
        size=shape.size - old + len(new),
        eight_bit=eight_bit + count_eight_bit(new),
    )


def parameters_of(additions: Additions, hop: NextHop, shape: Shape | None = None) -> Mapping[str, object]:
    """Return the parameters of :func:`plan_mail`; with the mail's shape those of :func:`plan_header`."""
    parameters = {"additions": asdict(additions), "hop": asdict(hop)}
    return parameters if shape is None else {**parameters, "shape": asdict(shape)}


def plan_header(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """Do as :func:`plan_by_header`, as a task of a MIME worker."""
    additions, hop = Additions(**parameters["additions"]), NextHop(**parameters["hop"])
    plan = plan_by_header(octets, Shape(**parameters["shape"]), additions, hop)
    return plan.facts(), plan.inserted


def plan_mail(octets: bytes, parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
    """Plan a whole mail, as a task of a MIME worker; :func:`plan_of` reads what it returns."""
    additions, hop = Additions(**parameters["additions"]), NextHop(**parameters["hop"])
    header, content = read(octets)
    options = _options(header, hop)
    header, last = _for_hop(header, additions, hop, options)
    draft = PlanDraft(octets)

    def finish(changes: Changes) -> None:
        new = finished(header, additions, options, changes, last)
        if new is not None:
            draft.insert(new)
            draft.drop(content)

    try:
        # The fields of parts are content for the next hop.
        of_parts = evolve(options, ascii_only=not hop.eight_bit, embedded=True)
        # A long header alone may be the reason to look at the mail.
        is_taken = hop.quoted_printable and hop.takes(shape_of(octets[content:]))
        if content > SMALL_HEADER and is_taken:
            finish(UNCHANGED)
        else:
            PartsWalk(draft, hop, of_parts, finish).run(content)
    except NotConvertible as error:
        plan = Plan(refusal=str(error), code=error.code)
    else:
        plan = draft.plan()
    return plan.facts(), plan.inserted


def _for_hop(
    header: Header, additions: Additions, hop: NextHop, options: FieldOptions | None
) -> tuple[Header, Sequence[bytes]]:
    """Return the fields that ``hop`` may get, and those that are put behind them."""
    header = without_refused(header, hop)
    return by_envelope(header, additions, options.guess if options else "") if hop.by_header else (header, ())


def _has_plain_fields(shape: Shape, hop: NextHop) -> bool:
    return not shape.long_lines and (not shape.eight_bit or hop.raw_fields)


def _unchanged(shape: Shape) -> Plan:
    return Plan(steps=((KEEP, shape.size),), size=shape.size, eight_bit=shape.eight_bit)


def _options(header: Header, hop: NextHop) -> FieldOptions:
    part = part_of(header.pairs(), 0)
    return FieldOptions(ascii_only=not hop.raw_fields, guess=charset_guess(b"", [part]), kind=part.kind.kind)
