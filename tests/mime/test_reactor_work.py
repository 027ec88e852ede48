"""Of what is in a mail no more is looked at on the reactor than takes a moment, whatever is done with it."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from itertools import product
from typing import Any

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dsn.render import BounceSettings
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.dispatch.synchronous.body_buffer import BodyBuffer
from smtprelay.dispatch.webhook import WebhookNotifier
from smtprelay.interfaces import Attempt, Body, MimeTask, MimeWorkerUnavailable
from smtprelay.mime import headers, outgoing
from smtprelay.mime.content_size import is_plain
from smtprelay.mime.dkim.headers import choose_headers
from smtprelay.mime.head import block
from smtprelay.mime.headers import SMALL_HEADER
from smtprelay.mime.rewrite import rewrite_header
from smtprelay.mime.structure import TooComplexError, parts_of
from smtprelay.mime.worker.inline_budget import SMALL_BODY, SMALL_PARTS, SMALL_TEXT
from smtprelay.mime.worker.mime_worker import ProcessMimeWorker
from smtprelay.model.attempt import NewMessage
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Client, Draft, Envelope, Recipient
from smtprelay.model.outcome import Failed
from smtprelay.model.route import Limits, NextHop
from smtprelay.model.shape import shape_of
from smtprelay.policy.router import RouteMatch, Router
from smtprelay.providers.acs.request import map_mail, measure
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.rewriting import RewritingProvider
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.testing.provider import ScriptedProvider
from smtprelay.web.queue_routes import headers_of
from tests.dispatch.stage import make_claim
from tests.mime.hostile import COSTLY, mails
from tests.mime.worker.fake_process import FakeBody, FakeReactor
from tests.providers.acs_wiring import delivery as acs_delivery
from tests.providers.acs_wiring import joined_acs
from tests.providers.test_rewriting import BOTH
from tests.providers.test_signer import Key, signer
from tests.recording import Recording
from tests.steps import counted

#: Lines of Python that a way may execute for a mail; a machine of today executes thirty million a second.
STEPS = 60_000
#: Octets of mails that are read by nobody but the worker, the smaller ones for what their header costs.
LARGE = 400_000
SIZES = (LARGE, SMALL_HEADER - 500)
PIECE = 64 * 1024


class AbsentWorker:
    """
    A worker that never works.

    :ivar asked: what it was asked to do, and with how many octets.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[MimeTask, int]] = []

    async def run(self, task: MimeTask, body: Body, parameters: Mapping[str, object]) -> Any:
        self.asked.append((task, body.size))
        raise MimeWorkerUnavailable("nobody works")


def pieces_of(mail: bytes) -> list[bytes]:
    return [mail[at : at + PIECE] for at in range(0, len(mail), PIECE)]


CLAIM = make_claim("b@x.org")


async def accept(mail: bytes) -> None:
    """Take it into a spool, on a route by header."""
    provider = ScriptedProvider("one", [])
    rules = [
        RouteMatch(name="a", via=("one",), headers={"X-A": "*a*b*c*", "Subject": "*x*y*"}),
        RouteMatch(name="b", via=("one",)),
    ]
    envelope = Envelope(sender="a@x.org", recipients=(Recipient(address="b@x.org"),))
    client = Client(listener="lan", address="192.0.2.1")
    spool = open_memory(SpoolOptions(rate_limits={}, events=Recording()), clock=Clock())
    draft = Draft(id="M1", envelope=envelope, client=client, received=0.0)
    incoming = spool.incoming(draft, Router(rules, {"one": provider}).plan(client, envelope))
    for piece in pieces_of(mail):
        waiting = incoming.write(piece)
        if waiting is not None:
            await waiting
    reply = await incoming.finish()
    assert reply.code == 250, reply
    await spool.close()


async def hold(mail: bytes) -> None:
    """Keep it for a client who waits."""

    async def on_thread(function: Callable[..., Any], *arguments: object) -> Any:
        return function(*arguments)

    buffer = BodyBuffer(lambda *work: Deferred.fromCoroutine(on_thread(*work)))
    for piece in pieces_of(mail):
        waiting = buffer.write(piece)
        if waiting is not None:
            await waiting
    await buffer.complete()
    assert buffer.shape.size == len(mail)
    buffer.close()


async def to_acs(mail: bytes) -> None:
    """Measure it and send it to ACS."""
    provider, worker = joined_acs().provider, AbsentWorker()
    provider._worker = worker
    with contextlib.suppress(MimeWorkerUnavailable):
        await provider.measure(acs_delivery().envelope, MemoryBody(mail))
    await provider.deliver(Attempt(acs_delivery(), MemoryBody(mail)))
    assert worker.asked == [(measure, len(mail)), (map_mail, len(mail))]


async def to_smarthost(mail: bytes) -> None:
    """Measure it and finish it, with its shape and without."""
    worker = AbsentWorker()
    inner = ScriptedProvider("one", [])
    inner.limits = Limits(request=LARGE)
    provider = OutgoingProvider(inner, worker, hostname="relay.test", bounces_from="b@relay.test")
    for shape in (None, shape_of(mail)):
        for body in (MemoryBody(mail), FakeBody(*pieces_of(mail))):
            await provider.deliver(Attempt(evolve(CLAIM.delivery, shape=shape), body))
    with contextlib.suppress(MimeWorkerUnavailable):
        await provider.measure(CLAIM.delivery.envelope, MemoryBody(mail))


async def rewrite(mail: bytes) -> None:
    """Have its header rewritten, and deliver what comes of it."""

    class RewritingWorker(AbsentWorker):
        async def run(self, task: MimeTask, body: Body, parameters: Mapping[str, object]) -> Any:
            assert task is rewrite_header
            return {
                "content": body.size,
                "grown": 0,
                "long_lines": False,
                "author": "",
            }, b"From: a@x.org\r\n\r\n"

    inner = ScriptedProvider("one", [])
    provider = RewritingProvider(inner, RewritingWorker(), routes={CLAIM.delivery.route: BOTH}, users={})
    for body in (MemoryBody(mail), FakeBody(*pieces_of(mail))):
        await provider.deliver(Attempt(evolve(CLAIM.delivery, shape=shape_of(mail)), body))
    assert len(inner.sent) == 2


async def sign(mail: bytes) -> None:
    """Hash it in both canonical forms; the worker has chosen what is signed of its header."""

    class ChoosingWorker(AbsentWorker):
        async def run(self, task: MimeTask, body: Body, parameters: Mapping[str, object]) -> Any:
            assert task is choose_headers
            return {"domain": "", "chosen": [(number, 4, 0) for number in range(2)]}, b"from" * 2

    keys = [Key(), Key(relaxed_body=False)]
    signatures = signer(ChoosingWorker(), Recording(), keys).signatures(
        FakeBody(*pieces_of(mail)), NextHop(), 1.7e9
    )
    assert await signatures


async def report(mail: bytes) -> None:
    """Tell its sender and a program that it failed."""
    refused = {"b@x.org": Failed("no such user")}
    settings = BounceSettings(sender="b@relay.test", hostname="relay.test")
    for wish in ("FULL", "HDRS"):
        envelope = evolve(CLAIM.delivery.envelope, parameters={"RET": wish})
        claim = evolve(CLAIM, delivery=evolve(CLAIM.delivery, envelope=envelope, size=len(mail)))
        reporter = DsnReporter(
            settings, lambda _envelope, body, _id: NewMessage(draft=None, planned=(), body=body)
        )
        told = await reporter.bounce(claim, refused, MemoryBody(mail), 0.0)
        assert told is not None
    notifier = WebhookNotifier(post=lambda _route, event, _id: NewMessage(draft=None, planned=(), body=event))
    await notifier.notify(CLAIM, {"failed": refused}, MemoryBody(mail), 0.0)


async def show(mail: bytes) -> None:
    """Show its header to an operator."""
    await headers_of(FakeBody(*pieces_of(mail)))


WAYS: Mapping[str, Callable[[bytes], Awaitable[None]]] = {
    each.__name__: each for each in (accept, hold, to_acs, to_smarthost, rewrite, sign, report, show)
}


class ReactorTests(SynchronousTestCase):
    def test_ways(self) -> None:
        """Every way of a mail through the relay leaves what is in it to the worker."""
        for (kind, make), size in product(COSTLY.items(), SIZES):
            mail = make(size)
            for name, way in WAYS.items():
                with self.subTest(kind, way=name, size=size):
                    steps = counted(
                        lambda way=way, mail=mail: self.successResultOf(Deferred.fromCoroutine(way(mail))),
                        "smtprelay/",
                    )
                    self.assertLess(steps, STEPS)


# --- what the worker does itself


def _is_large(mail: bytes) -> bool:
    """Tell whether a mail is beyond one of the thresholds, by reading it."""
    if len(mail) > max(SMALL_TEXT, SMALL_BODY) or headers.split(mail)[1] > SMALL_HEADER + 2:
        return True
    try:
        parts = len(parts_of(mail))
    except TooComplexError:
        return True
    is_text = mail.isascii() and parts == 1 and is_plain(block(mail))
    return len(mail) > (SMALL_TEXT if is_text else SMALL_BODY) or parts > SMALL_PARTS + 1


_ADDITIONS = outgoing.Additions(message_id="<a@b>", date="", sender="a@b")
TASKS: Mapping[MimeTask, Mapping[str, object]] = {
    map_mail: {},
    measure: {},
    outgoing.plan_mail: outgoing.parameters_of(_ADDITIONS, NextHop()),
}
FIELD = b"X-A: " + b"b" * 73 + b"\r\n"
PART = b"\r\n--b\r\n\r\nx"
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


class ThresholdTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        mail=mails(),
        times=st.integers(1, 60),
        fields=st.sampled_from((0, 10, 100, 250)),
        parts=st.sampled_from((0, 10, SMALL_PARTS - 1, SMALL_PARTS, SMALL_PARTS + 2, 100)),
        length=st.sampled_from((0, 100, SMALL_BODY - 500, SMALL_BODY, SMALL_BODY + 1, 50_000)),
        task=st.sampled_from(sorted(TASKS, key=lambda task: task.__name__)),
    )
    @example(mail=b"", times=1, fields=0, parts=0, length=SMALL_BODY, task=measure)
    @example(mail=b"", times=1, fields=0, parts=0, length=SMALL_BODY + 1, task=measure)
    @example(mail=b"", times=1, fields=250, parts=0, length=0, task=map_mail)
    @example(mail=MULTIPART, times=1, fields=0, parts=SMALL_PARTS + 2, length=0, task=outgoing.plan_mail)
    def test_process(  # noqa: PLR0917 - what a mail is made of
        self, mail: bytes, times: int, fields: int, parts: int, length: int, task: MimeTask
    ) -> None:
        """What is beyond a threshold is done in the process, with all of its octets, and never here."""
        mail = FIELD * fields + mail * times + PART * parts + b"x" * length
        done: list[bytes] = []

        def work(octets: bytes, _parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], bytes]:
            done.append(octets)
            return {}, b""

        work.__module__, work.__qualname__ = task.__module__, task.__qualname__
        reactor = FakeReactor()
        worker = ProcessMimeWorker(reactor, Recording())
        running = Deferred.fromCoroutine(worker.run(work, MemoryBody(mail), TASKS[task]))
        if _is_large(mail):
            self.assertEqual(done, [])
        if not done:
            [process] = reactor.processes
            self.assertEqual(process.bodies, [mail])
            self.assertEqual(process.task["task"], f"{task.__module__}:{task.__qualname__}")
            process.answers({})
        else:
            self.assertEqual((done, reactor.processes), ([mail], []))
        self.successResultOf(running)

    def test_at_the_thresholds(self) -> None:
        """A mail that is at all three thresholds, and beyond none, may be worked on here."""
        head = b"X-A: " + b"b" * (SMALL_HEADER - 60) + b"\r\n" + MULTIPART
        mail = head + PART * (SMALL_PARTS - 1)
        mail += b"y" * (SMALL_BODY - len(mail))
        self.assertFalse(_is_large(mail))
        reactor = FakeReactor()
        worker = ProcessMimeWorker(reactor, Recording())
        parameters = TASKS[outgoing.plan_mail]
        self.successResultOf(
            Deferred.fromCoroutine(worker.run(outgoing.plan_mail, MemoryBody(mail), parameters))
        )
        self.assertEqual(reactor.processes, [])
