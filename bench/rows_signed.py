"""
Rows about mail that is changed on its way out: signed with DKIM, and rewritten.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.comparison import cpu_row
from bench.load import SENDER, Conversation
from bench.measure import forget_peak, peak, resident, settled_cpu
from bench.ours import DOMAIN, Ours, smarthost
from bench.peers import Opendkim, Postfix
from bench.program import PYTHON, ROOT
from bench.rounds import Side, alternate, median
from bench.sinks import SmtpSink
from bench.table import Row
from bench.workplace import Workplace, spelled

_MIB: Final = 1 << 20
_LARGE: Final = 25_000_000
_SELECTOR: Final = "bench"
_LINES: Final = b"a line of text, as there are many in a large mail\r\n"


def signed_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of a message that is signed by RSA of 2048 bits, beside Postfix with opendkim as its milter."""
    key = _key(work.place("key"))
    for size in (10_000, 5_000_000):
        with ExitStack() as stack:
            sinks = {
                name: stack.enter_context(SmtpSink(work.place("sink"))) for name in ("ours", "plain", "peer")
            }
            signed = stack.enter_context(
                Ours(work.place("signed"), {"out": smarthost(sinks["ours"].port)}, more=_dkim(key))
            )
            plain = stack.enter_context(Ours(work.place("plain"), {"out": smarthost(sinks["plain"].port)}))
            sides = [
                Side(name="ours", port=signed.port, pid=signed.pid, sink=sinks["ours"]),
                Side(name="plain", port=plain.port, pid=plain.pid, sink=sinks["plain"]),
            ]
            has_peer = shutil.which("opendkim") is not None
            if has_peer:
                milter = stack.enter_context(Opendkim(work.place("opendkim"), DOMAIN, _SELECTOR, key))
                postfix = stack.enter_context(
                    Postfix(work.place("postfix"), sinks["peer"].port, milter.settings)
                )
                own = {"port": postfix.port, "pid": postfix.pid, "sink": sinks["peer"]}
                sides.append(Side(name="postfix", helper=milter.pid, **own))
            results = alternate(sides, work.load(size), work.rounds)
        if has_peer:
            pair = {name: results[name] for name in ("ours", "postfix")}
            yield cpu_row(f"relay CPU, signed, {spelled(size)} ÷ Postfix with opendkim", pair, "postfix")
        cost = median(results, "ours", "cpu") - median(results, "plain", "cpu")
        note = (
            f"{median(results, 'ours', 'cpu'):.3g} ms with it, {median(results, 'plain', 'cpu'):.3g} without"
        )
        yield Row(measure=f"DKIM, {spelled(size)}", ours=f"{cost:.3g} ms", value=cost, note=note)


def rewritten_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of a message whose From and recipient are replaced, beside Postfix with canonical maps."""
    rule = {"from": f"relay@{DOMAIN}", "recipients": {"*@example.net": "*@example.org"}}
    route = {"name": "default", "via": ["out"], "rewrite": rule}
    canonical = (
        f"sender_canonical_maps = static:relay@{DOMAIN}\nrecipient_canonical_maps = static:a@example.org"
    )
    with ExitStack() as stack:
        ours, peer = (stack.enter_context(SmtpSink(work.place("sink"))) for _ in range(2))
        relay = stack.enter_context(
            Ours(work.place("rewritten"), {"out": smarthost(ours.port)}, more={"routes": [route]})
        )
        postfix = stack.enter_context(Postfix(work.place("postfix"), peer.port, canonical))
        sides = [
            Side(name="ours", port=relay.port, pid=relay.pid, sink=ours),
            Side(name="postfix", port=postfix.port, pid=postfix.pid, sink=peer),
        ]
        results = alternate(sides, work.load(10_000), work.rounds)
    yield cpu_row("relay CPU, rewritten, 10 KB ÷ Postfix with canonical maps", results, "postfix")


def signed_memory(work: Workplace) -> Iterator[Row]:
    """
    Memory of a mail of 25 MB that is taken, signed and delivered.

    Not that of the first one, which fills the page cache of SQLite: that stays, whatever comes.
    """
    key = _key(work.place("key"))
    with ExitStack() as stack:
        sink = stack.enter_context(SmtpSink(work.place("sink")))
        relay = stack.enter_context(
            Ours(work.place("signed"), {"out": smarthost(sink.port)}, more=_dkim(key))
        )
        first, above = (_above_idle(relay, sink) for _ in range(2))
    yield Row(
        measure="memory of a mail of 25 MB, signed",
        ours=f"{above:.1f} MiB",
        value=above,
        must=8,
        note=f"peak above idle, from its first octet to its delivery; of the first one {first:.1f} MiB",
    )


def _above_idle(relay: Ours, sink: SmtpSink) -> float:
    settled_cpu(relay.pid)
    before, had = resident(relay.pid), sink.count()
    forget_peak(relay.pid)
    client = Conversation(relay.port)
    header = f"From: {SENDER}\r\nSubject: large\r\n\r\n".encode()
    client.send(header + _LINES * (_LARGE // len(_LINES)))
    client.close()
    while sink.count() == had:
        settled_cpu(relay.pid)
    return (peak(relay.pid) - before) / _MIB


def _key(folder: Path) -> Path:
    """Return a new key of 2048 bits."""
    file = folder / "dkim.pem"
    command = [
        PYTHON,
        "-m",
        "smtprelay",
        "dkim",
        "keygen",
        DOMAIN,
        "--selector",
        _SELECTOR,
        "--out",
        str(file),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return file


def _dkim(key: Path) -> Mapping[str, Any]:
    return {"dkim": [{"domain": DOMAIN, "selector": _SELECTOR, "key": {"file": str(key)}}]}
