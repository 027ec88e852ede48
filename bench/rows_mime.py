"""
Rows about work on the content of mail: how long it keeps the reactor, and what it costs.
"""

import base64
import os
import signal
import smtplib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

from bench.entry import TURN, TURNS
from bench.ours import ENTRY, Ours, acs
from bench.sinks import HttpSink
from bench.table import Row
from bench.workplace import Workplace

_MB: Final = 1_000_000

#: Until a mail, or the report of it, has come to the sink, seconds.
_BOUND: Final = 120.0

_MIXED: Final = "Content-Type: multipart/mixed"
_HEAD: Final = "From: sender@example.com\r\nTo: somebody@example.net\r\nSubject: bench\r\n"


def stall(work: Workplace) -> Iterator[Row]:
    """The longest iteration of the reactor while mail is taken, mapped to JSON and sent."""
    for measure, mails in (
        ("a mail of 25 MB", {"25 MB": large(25 * _MB)}),
        ("hostile mail of 1 MB", hostile()),
    ):
        with ExitStack() as stack:
            sink = stack.enter_context(HttpSink(work.place("sink")))
            settings = {**acs(sink.port), "limits": {"size": "64MiB"}}
            relay = stack.enter_context(Ours(work.place("mime"), {"out": settings}, program=(ENTRY, "turns")))
            _turn(relay, sink, large(100_000))
            turns = {name: _best(relay, sink, mail, work.rounds) for name, mail in mails.items()}
        name, (longest, spent) = max(turns.items(), key=lambda each: each[1])
        yield Row(
            measure=f"longest turn, {measure}",
            ours=f"{longest * 1000:.1f} ms",
            value=longest * 1000,
            must=20,
            goal=10,
            note=f"{name}: {spent * 1000:.1f} ms of it on the processor; the best of the rounds, as whatever"
            f" else runs makes it longer; all: {_listed(turns)}",
        )


def mapper_cpu(work: Workplace) -> Iterator[Row]:
    """What it costs to read a mail and to make a request of it, by the kind of its content."""
    from smtprelay.providers.acs.request import map_mail  # noqa: PLC0415

    for name, mail in {"attachment": large(5 * _MB), **contents(5 * _MB)}.items():
        spent = [_spent(lambda mail=mail: map_mail(mail, _PARAMETERS)) for _ in range(work.rounds + 2)]
        cost = statistics.median(spent) / (len(mail) / _MB) * 1000
        yield Row(measure=f"mapping to JSON, {name}", ours=f"{cost:.1f} ms/MB", value=cost)


_PARAMETERS: Final[Mapping[str, Any]] = {
    "recipients": ["somebody@example.net"],
    "envelope_sender": "sender@example.com",
    "sender": "sender@example.com",
    "domains": ["example.com"],
    "blind_to": "",
    "without": [],
    "largest": None,
}


def large(size: int) -> bytes:
    """Return a mail with an attachment in base64."""
    line = base64.b64encode(os.urandom(57)).decode() + "\r\n"
    return (
        f"{_HEAD}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n"
        "Content-Type: application/pdf; name=scan.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        f"{line * (size // len(line))}--b--\r\n"
    ).encode()


def contents(size: int) -> Mapping[str, bytes]:
    """Return mails of other kinds of content."""

    def filled(kind: str, line: bytes) -> bytes:
        return f"{_HEAD}Content-Type: {kind}\r\n\r\n".encode() + line * (size // len(line))

    quoted = "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"
    return {
        "text": filled("text/plain", b"a line of text, as there are many\r\n"),
        "html": filled("text/html; charset=utf-8", b"<p>a <b>line</b> of &amp; text</p>\r\n"),
        "quoted-printable": filled(quoted, b"Gr=C3=BC=C3=9Fe aus M=C3=BCnchen=\r\n"),
        "wrong octets": filled("text/plain; charset=big5", b"\x81\xff\r\n"),
    }


def hostile() -> Mapping[str, bytes]:
    """Return mails of up to 1 MB that are made to cost time, some small enough to be worked on at once."""
    kinds = {
        "semicolons": ('Content-Type: text/plain; a="', b";", b"\r\n\r\nx\r\n"),
        "file name": (
            f'{_MIXED}; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename="',
            b";",
            b"\r\n\r\nx\r\n--b--\r\n",
        ),
        "punycode": ("X-A: =?punycode?q?-", b"b", b"?=\r\n\r\nx\r\n"),
        "addresses": ("Cc: ", b"a@b.example,\r\n ", b"\r\n\r\nx\r\n"),
        "at signs": ("Cc: ", b"@", b"\r\n\r\nx\r\n"),
        "brackets": ("Cc: ", b"(", b"\r\n\r\nx\r\n"),
        "fields": ("", b"a: b\r\n", b"\r\nx\r\n"),
        "boundaries": (f"{_MIXED}; boundary=a\r\n\r\n", b"--a", b"\r\n"),
        "parts": (f"{_MIXED}; boundary=a\r\n\r\n", b"--a\r\n\r\nx\r\n", b"--a--\r\n"),
        "wrong octets": ("Content-Type: text/plain; charset=big5\r\n\r\n", b"\x81" * 99 + b"\r\n", b""),
        "escapes": ("Content-Type: text/plain; charset=utf-8\r\n\r\n", b"\x1b$B" * 99 + b"\r\n", b""),
        "tags": ("Content-Type: text/html\r\n\r\n", b"<b>" * 99 + b"\r\n", b""),
    }
    mails = {}
    for size in (30_000, 60_000, 250_000, _MB):
        for name, (head, unit, tail) in kinds.items():
            start = (_HEAD + head).encode()
            count = (size - len(start) - len(tail)) // len(unit)
            mails[f"{name}, {size // 1000} KB"] = start + unit * count + tail
    return mails


def _best(relay: Ours, sink: HttpSink, mail: bytes, rounds: int) -> tuple[float, float]:
    return min(_turn(relay, sink, mail) for _ in range(rounds))


def _turn(relay: Ours, sink: HttpSink, mail: bytes) -> tuple[float, float]:
    """Send a mail and see it through; return the longest turn meanwhile, and how much of it was computing."""
    os.kill(relay.pid, signal.SIGUSR2)
    had, deadline = sink.count(), time.monotonic() + _BOUND
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        try:
            client.sendmail("sender@example.com", ["somebody@example.net"], mail)
        except smtplib.SMTPDataError:
            had -= 1  # refused: that is an end, too
        while sink.count() == had and time.monotonic() < deadline:
            time.sleep(0.005)
    time.sleep(0.05)  # what the answer leads to
    longest, spent = TURN.unpack((relay.folder / TURNS).read_bytes())
    if sink.count() == had:
        raise RuntimeError(f"nothing came of a mail of {len(mail)} octets within {_BOUND:g} s")
    return longest, spent


def _listed(turns: Mapping[str, tuple[float, float]]) -> str:
    worst = sorted(turns.items(), key=lambda each: -each[1][0])[:8]
    return ", ".join(f"{name} {longest * 1000:.1f}" for name, (longest, _) in worst)


def _spent(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began
