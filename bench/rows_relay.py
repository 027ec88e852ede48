"""
Rows about mail that goes through: from a client to a sink, over SMTP and over HTTP.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.comparison import busy, cpu_row, rate_row
from bench.load import Load
from bench.ours import Ours, acs, mailgun, resend, ses, smarthost
from bench.peers import Postfix, Server
from bench.rounds import Side, alternate, median
from bench.sinks import HttpSink, SlowSmtpSink, SmtpSink
from bench.table import Row
from bench.workplace import Workplace, spelled

_SMTP = {10_000: (0.3, 0.15), 100_000: (0.6, 0.4), 5_000_000: (1.2, 0.8)}

_HTTP = {10_000: (0.4, 0.25), 100_000: (0.7, 0.4), 5_000_000: (1.6, 1.2)}

_PROVIDERS = {"acs": acs, "mailgun": mailgun, "resend": resend, "ses": ses, "smarthost": smarthost}

_LATENCY = 0.05
_CONCURRENCY = 50


def relay_cpu(work: Workplace) -> Iterator[Row]:
    """CPU of a message that comes and goes, by SMTP and by HTTP, beside Postfix's by SMTP."""
    for size, bounds in _SMTP.items():
        with ExitStack() as stack:
            to_postfix, to_smarthost = (stack.enter_context(SmtpSink(work.place("sink"))) for _ in range(2))
            to_acs = stack.enter_context(HttpSink(work.place("sink")))
            to_ses = stack.enter_context(HttpSink(work.place("sink"), kind="ses"))
            postfix = stack.enter_context(Postfix(work.place("postfix"), to_postfix.port))
            ours = stack.enter_context(Ours(work.place("smarthost"), {"out": smarthost(to_smarthost.port)}))
            http = stack.enter_context(Ours(work.place("acs"), {"out": acs(to_acs.port)}))
            raw = stack.enter_context(Ours(work.place("ses"), {"out": ses(to_ses.port)}))
            sides = [
                Side(name="ours", port=ours.port, pid=ours.pid, sink=to_smarthost),
                Side(name="acs", port=http.port, pid=http.pid, sink=to_acs),
                Side(name="ses", port=raw.port, pid=raw.pid, sink=to_ses),
                Side(name="postfix", port=postfix.port, pid=postfix.pid, sink=to_postfix),
            ]
            results = alternate(sides, work.load(size), work.rounds)
        over_smtp = {name: results[name] for name in ("ours", "postfix")}
        yield cpu_row(f"relay CPU, smarthost, {spelled(size)}", over_smtp, "postfix", bounds)
        over_http = {"ours": results["ses"], "postfix": results["postfix"]}
        yield cpu_row(f"relay CPU, ses, {spelled(size)}", over_http, "postfix", _HTTP[size])
        as_json = {"ours": results["acs"], "postfix": results["postfix"]}
        yield cpu_row(f"relay CPU, acs, {spelled(size)}", as_json, "postfix")


def delivered_rate(work: Workplace) -> Iterator[Row]:
    """Deliveries a second of one process to an HTTP provider without latency, beside Postfix to its sink."""
    with ExitStack() as stack:
        to_postfix = stack.enter_context(SmtpSink(work.place("sink")))
        to_ses = stack.enter_context(HttpSink(work.place("sink"), kind="ses"))
        postfix = stack.enter_context(Postfix(work.place("postfix"), to_postfix.port))
        ours = stack.enter_context(Ours(work.place("ses"), {"out": ses(to_ses.port)}))
        sides = [
            Side(name="ours", port=ours.port, pid=ours.pid, sink=to_ses),
            Side(name="postfix", port=postfix.port, pid=postfix.pid, sink=to_postfix),
        ]
        results = alternate(sides, work.load(10_000, 50), work.rounds)
    yield rate_row("delivered, HTTP 0 ms ÷ Postfix", results, "postfix", "delivered", (2, 3))


def ceiling(work: Workplace) -> Iterator[Row]:
    """How near deliveries come to what the provider's latency and our concurrency allow."""
    with ExitStack() as stack:
        sink = stack.enter_context(HttpSink(work.place("sink"), _LATENCY, "ses"))
        ours = stack.enter_context(Ours(work.place("ses"), {"out": ses(sink.port, _CONCURRENCY)}))
        sides = [Side(name="ours", port=ours.port, pid=ours.pid, sink=sink)]
        results = alternate(sides, work.load(10_000, 50), work.rounds)
    rate, most = median(results, "ours", "delivered"), _CONCURRENCY / _LATENCY
    yield Row(
        measure="delivered ÷ (concurrency ÷ latency)",
        ours=f"{rate:.0f}/s",
        peer=f"{most:.0f}/s",
        value=rate / most,
        must=0.8,
        goal=0.95,
        more=True,
        note=busy(results),
    )


def awaiting(work: Workplace) -> Iterator[Row]:
    """Beside a relay whose clients wait for its provider."""
    with ExitStack() as stack:
        to_ours = stack.enter_context(HttpSink(work.place("sink"), _LATENCY, "ses"))
        to_peer = stack.enter_context(HttpSink(work.place("sink"), _LATENCY))
        ours = stack.enter_context(Ours(work.place("ses"), {"out": ses(to_ours.port, _CONCURRENCY)}))
        url = f"http://127.0.0.1:{to_peer.port}/"
        peer = stack.enter_context(Server(work.place("aiosmtpd"), "aiosmtpd", url))
        sides = [
            Side(name="ours", port=ours.port, pid=ours.pid, sink=to_ours),
            Side(name="aiosmtpd", port=peer.port, pid=peer.pid, sink=to_peer),
        ]
        # The peer gets fewer: it takes 200 a second at most.
        load, fewer = work.load(10_000), Load(10_000, work.scaled(1000), 10)
        results = {**alternate(sides[:1], load, work.rounds), **alternate(sides[1:], fewer, work.rounds)}
    yield rate_row("accepted ÷ aiosmtpd that awaits", results, "aiosmtpd", "accepted", (10, 20))
    yield rate_row("delivered ÷ aiosmtpd that awaits", results, "aiosmtpd", "delivered", (4, 4.8))


def each_provider(work: Workplace) -> Iterator[Row]:
    """Requests a second, and the CPU of a delivery, of each provider before its fake."""
    for kind, settings in _PROVIDERS.items():
        for latency in (0.0, _LATENCY):
            with ExitStack() as stack:
                place = work.place("sink")
                is_http = settings is not smarthost
                sink = stack.enter_context(
                    HttpSink(place, latency, kind) if is_http else SlowSmtpSink(place, latency)
                )
                # All that it may send at once, also where a connection carries one mail at a time.
                more = {} if is_http else {"connections": _CONCURRENCY}
                provider = {**settings(sink.port, _CONCURRENCY), **more}
                ours = stack.enter_context(Ours(work.place(kind), {"out": provider}))
                side = Side(name="ours", port=ours.port, pid=ours.pid, sink=sink)
                results = alternate([side], work.load(10_000, 50), work.rounds)
            rate, cpu = (median(results, "ours", what) for what in ("delivered", "cpu"))
            name = f"{kind}, {latency * 1000:.0f} ms"
            note = busy(results)
            yield Row(measure=f"requests/s, {name}", ours=f"{rate:.0f}/s", value=rate, more=True, note=note)
            yield Row(measure=f"CPU a delivery, {name}", ours=f"{cpu:.3g} ms", value=cpu)
