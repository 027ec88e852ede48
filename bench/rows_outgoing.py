"""
Rows about mail that is finished before it leaves: what a look costs, and what it costs to encode a mail anew.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from bench.table import Row
from bench.workplace import Workplace
from smtprelay.mime import outgoing
from smtprelay.mime.outgoing import Additions, Finishing, Plan
from smtprelay.model.route import NextHop
from smtprelay.model.shape import Shape, shape_of

_ADDITIONS: Final = Additions(
    message_id="<1@relay.example.com>", date="Mon, 30 Nov 2026 08:44:25 +0000", sender="a@example.com"
)
_SEVEN_BIT: Final = NextHop(eight_bit=False, raw_fields=False)
_HEADER: Final = (
    b"Received: from client.example ([192.0.2.1])\r\n\tby relay.example.com (smtprelay) with ESMTP id 1;\r\n"
    b"\tMon, 30 Nov 2026 08:44:25 +0000\r\nTo: Bob <bob@example.net>\r\nSubject: Report of the week\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX-Mailer: Mailer 1.0\r\n"
)
_COMPLETE: Final = _HEADER + (
    b"From: Ann <ann@example.com>\r\nDate: Mon, 30 Nov 2026 09:44:25 +0100\r\nMessage-ID: <1@client>\r\n\r\n"
)
_CHUNK: Final = 256 * 1024
_SIZE: Final = 5_000_000


def outgoing_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of finishing a mail: of one that needs nothing, for each message; of others, for each MB."""
    latin, cyrillic = ("Die Grüße kommen heute an.\r\n".encode(), "Привет, мир\r\n".encode())
    ordinary = _COMPLETE + b"hello\r\n" * 1400
    shape = shape_of(ordinary)
    seconds = _best(lambda: outgoing.unchanged_plan(ordinary, shape, NextHop()), work.scaled(10_000))
    yield _row("outgoing, mail that needs nothing", seconds * 1e6, "µs")
    for name, mail, hop in (
        ("fields added", _HEADER + b"\r\n" + (b"x" * 76 + b"\r\n") * (_SIZE // 78), NextHop()),
        ("quoted-printable", _COMPLETE + latin * (_SIZE // len(latin)), _SEVEN_BIT),
        ("base64", _COMPLETE + cyrillic * (_SIZE // len(cyrillic)), _SEVEN_BIT),
        ("one long line", _COMPLETE + b"z" * _SIZE, NextHop()),
    ):
        yield from _large(name, mail[:_SIZE], hop)


def _large(name: str, mail: bytes, hop: NextHop) -> Iterator[Row]:
    shape, megabytes = shape_of(mail), len(mail) / 1e6
    yield _row(f"outgoing, {name}: plan", _best(lambda: _plan(mail, shape, hop)) * 1e3 / megabytes, "ms/MB")
    plan = _plan(mail, shape, hop)
    yield _row(f"outgoing, {name}: send", _best(lambda: _send(plan, mail)) * 1e3 / megabytes, "ms/MB")


def _plan(mail: bytes, shape: Shape, hop: NextHop) -> Plan:
    if not hop.takes(shape):
        return outgoing.plan_of(*outgoing.plan_mail(mail, outgoing.parameters_of(_ADDITIONS, hop)))
    return outgoing.plan_by_header(mail[:_CHUNK], shape, _ADDITIONS, hop)


def _send(plan: Plan, mail: bytes) -> None:
    finishing = Finishing(plan)
    for at in range(0, len(mail), _CHUNK):
        finishing.feed(mail[at : at + _CHUNK])
    finishing.end()


def _best(call: Callable[[], object], count: int = 1) -> float:
    """Return the seconds of one call, in the best of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(count):
            call()
        rounds.append((time.process_time() - began) / count)
    return min(rounds)


def _row(measure: str, value: float, unit: str) -> Row:
    return Row(measure=measure, ours=f"{value:.3g} {unit}", value=value)
