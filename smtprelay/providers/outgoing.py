"""
A decorator around a provider that sends mail as MIME: what it is given to send is finished, then signed.

What that means is in :mod:`smtprelay.mime.outgoing` and :mod:`smtprelay.providers.signer`. Here the mail is
planned, by its header where that is enough, and made while it is sent; its signatures are the first step of
the plan. The MIME worker does what more than a glance is needed for.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from attrs import evolve

from smtprelay.interfaces import Attempt, Body, MailTooCostly, MimeWorker, MimeWorkerUnavailable, Provider
from smtprelay.mime import outgoing
from smtprelay.mime.date import date
from smtprelay.mime.head import MAX_HEADER
from smtprelay.mime.outgoing import Additions, Finishing, Plan
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Failed, Outcome, Results
from smtprelay.model.route import NextHop
from smtprelay.model.shape import Shape, ShapeCounter, shape_of
from smtprelay.providers.json_mail import sendable
from smtprelay.providers.signer import SIGNATURE, MailSigner, SigningFailed
from smtprelay.providers.wrapper import ProviderWrapper, outcome_of

#: A mail up to this size is held while it is sent; the spool gives it in one piece.
_WHOLE: Final = 256 * 1024
#: What the finished mail may have more in its header. It may be without all that a header has.
_HEADER_ROOM: Final = 16 * 1024
#: Maximum number of octets that encoded words, or quoted-printable, add for one octet.
_ENCODED: Final = 4
#: The same for a parameter, for an octet that is not ASCII: it becomes three in UTF-8, each percent-encoded.
_PERCENT_ENCODED: Final = 8
#: What may be put into the headers of a thousand parts.
_PARTS_ROOM: Final = 256 * 1024
#: For a mail that has no delivery yet.
_UNKNOWN: Final = Additions(message_id="<>", date="", sender="")

_ADDRESS: Final = re.compile(r'[^\x00-\x20\x7f-\x9f<>()\[\],;:\\"@]+@[^\x00-\x20\x7f-\x9f<>(),;:\\"@]+')
_ANGLED: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f<>\u2028\u2029]+")


class Unfinishable(Exception):  # noqa: N818 -- it says what the mail is
    """The mail cannot be made what the next hop takes."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.refusal)
        self.outcome = Failed(plan.refusal, plan.code)


class FinishedBody:
    """
    A :class:`smtprelay.interfaces.Body`: the mail as it leaves, for the next hop that ``hop`` describes.

    :ivar size: exact.
    :ivar eight_bit: whether there is an octet in it that is not ASCII.
    """

    def __init__(self, mail: "_FinishedMail", plan: Plan, hop: NextHop) -> None:
        self.size = plan.size
        self.eight_bit = plan.eight_bit > 0
        self._mail = mail
        self._plan = plan
        self._hop = hop

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the mail in pieces, made while they are asked for."""
        finishing = None if self._plan.untouched else Finishing(self._plan)
        async for chunk in self._mail.body.chunks():
            piece = chunk if finishing is None else finishing.feed(chunk)
            if piece:
                yield piece
        if finishing is not None and (rest := finishing.end()):
            yield rest

    async def whole(self) -> bytes:
        """Give all at once."""
        stored = await self._mail.body.whole()
        if self._plan.untouched:
            return stored
        finishing = Finishing(self._plan)
        return finishing.feed(stored) + finishing.end()

    def made_for(self, hop: NextHop) -> "FinishedBody | None":
        """Return the same mail for another next hop; ``None``: :meth:`for_hop` has yet to make it."""
        if hop == self._hop or not self._mail.shape.eight_bit:
            return self
        return self._mail.made(hop)

    async def for_hop(self, hop: NextHop) -> "FinishedBody":
        """
        Return the same mail for another next hop. It may have to wait for the MIME worker, for minutes.

        :raises Unfinishable: it cannot be had for that one.
        :raises SigningFailed: it cannot be signed for that one.
        :raises MailTooCostly: of :class:`smtprelay.interfaces.MimeWorker`. So :class:`MimeWorkerTimeout` and
            :class:`MimeWorkerUnavailable`.
        """
        return self.made_for(hop) or await self._mail.finished(hop)


#: Returns the signatures of a mail for a next hop.
_Sign = Callable[[Body, NextHop], Awaitable[bytes]]


class _FinishedMail:
    """One stored mail that leaves, and what is known of it; ``sign`` may be set."""

    def __init__(
        self, body: Body, start: bytes, shape: Shape, additions: Callable[[], Additions], worker: MimeWorker
    ) -> None:
        self.body = body
        self.shape = shape
        self.sign: _Sign | None = None
        self._start = start
        self._additions = additions
        self._worker = worker
        self._plans: dict[NextHop, Plan] = {}

    def made(self, hop: NextHop) -> FinishedBody | None:
        plan = self._plans.get(hop)
        return None if plan is None else FinishedBody(self, plan, hop)

    async def finished(self, hop: NextHop) -> FinishedBody:
        plan = None if self.sign is None else await self._signed(hop, self.sign)
        if plan is None:
            plan = await self._usable(hop)
        self._plans[hop] = plan
        return FinishedBody(self, plan, hop)

    async def _signed(self, hop: NextHop, sign: _Sign) -> Plan | None:
        """Return the plan of a signed mail; ``None``: it is of no domain that signs."""
        # A hop that takes one signature takes ours.
        replaced = (SIGNATURE,) if SIGNATURE in hop.once else ()
        plan = await self._usable(evolve(hop, commands=(*hop.commands, *replaced)) if replaced else hop)
        signatures = await sign(FinishedBody(self, plan, hop), hop)
        if signatures:
            return plan.preceded_by(signatures)
        return None if replaced else plan

    async def _usable(self, hop: NextHop) -> Plan:
        plan = await self._plan(hop)
        if plan.refusal:
            raise Unfinishable(plan)
        return plan

    async def _plan(self, hop: NextHop) -> Plan:
        start, shape = self._start, self.shape
        plan = outgoing.unchanged_plan(start, shape, hop)
        if plan is not None:
            return plan
        is_taken = hop.quoted_printable and hop.takes(shape)
        header = outgoing.short_header(start, shape) if is_taken else None
        task, body = (
            (outgoing.plan_mail, self.body) if header is None else (outgoing.plan_header, MemoryBody(header))
        )
        parameters = outgoing.parameters_of(self._additions(), hop, shape)
        return outgoing.plan_of(*await self._worker.run(task, body, parameters))


class OutgoingProvider(ProviderWrapper):
    """
    A :class:`smtprelay.interfaces.Provider` that hands ``provider`` each mail as a :class:`FinishedBody`.

    :param hostname: of the relay, for Message-ID.
    :param bounces_from: who From names in a mail that has neither a From nor a sender.
    :param signer: ``None``: no mail is signed.
    """

    def __init__(
        self,
        provider: Provider,
        worker: MimeWorker,
        *,
        hostname: str,
        bounces_from: str,
        signer: MailSigner | None = None,
    ) -> None:
        super().__init__(provider)
        self._worker = worker
        self._hostname = hostname
        self._bounces_from = bounces_from
        self._signer = signer

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the sizes that the provider says, with what finishing the mail may change of them."""
        least, most = shape.size - MAX_HEADER, shape.size + _HEADER_ROOM
        if not self.next_hop.takes(shape) or shape.eight_bit:
            grown = _ENCODED * shape.size + _PERCENT_ENCODED * shape.eight_bit
            least, most = 0, shape.size + grown + _PARTS_ROOM
        encoded_size = self._provider.encoded_size
        return encoded_size(shape.resized(max(0, least)))[0], encoded_size(shape.resized(most))[1]

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """Return the size of the largest form of the mail, and some room for what is not known yet."""
        mail = await self._read(body, None, lambda: _UNKNOWN)
        sizes = [await self._provider.measure(envelope, body)]
        for hop in (self.next_hop, evolve(self.next_hop, eight_bit=False, raw_fields=False)):
            with suppress(Unfinishable):
                sizes.append(await self._provider.measure(envelope, await mail.finished(hop)))
        return max(sizes) + _HEADER_ROOM

    async def deliver(self, attempt: Attempt) -> Results:
        """Finish the mail, sign it and deliver it; one that cannot be finished fails."""
        outcome: Outcome
        delivery = attempt.delivery
        try:
            mail = await self._read(attempt.body, delivery.shape, partial(self._additions, delivery))
            if self._signer is not None:
                mail.sign = partial(self._signer.signatures, time=delivery.received)
            finished = await mail.finished(self.next_hop)
            return await self._provider.deliver(evolve(attempt, body=finished))
        except (Unfinishable, SigningFailed) as error:
            outcome = error.outcome
        except (MailTooCostly, MimeWorkerUnavailable) as error:
            outcome = outcome_of(error, "finish", "finished")
        return attempt.results(outcome)

    async def _read(
        self, body: Body, shape: Shape | None, additions: Callable[[], Additions]
    ) -> _FinishedMail:
        if body.size <= _WHOLE:
            content = await body.whole()
            known = shape is not None and shape.size == len(content)
            shape = shape if known and shape is not None else shape_of(content)
            return _FinishedMail(MemoryBody(content), content, shape, additions, self._worker)
        begun = _Begun(body)
        start = await begun.start()
        if shape is None or shape.size != body.size:
            shape = await _counted(body)
        return _FinishedMail(begun, start, shape, additions, self._worker)

    def _additions(self, delivery: Delivery) -> Additions:
        return Additions(
            message_id=f"<{delivery.message}@{self._hostname}>",
            date=date(delivery.received),
            sender=_sender(delivery.envelope.sender) or self._bounces_from,
            recipients=self._named(delivery.envelope) if self.next_hop.by_header else (),
        )

    @staticmethod
    def _named(envelope: Envelope) -> Sequence[str]:
        """Return the recipients that a header can name; the provider tells what becomes of others."""
        return tuple(filter(None, map(sendable, envelope.addresses)))


class _Begun(Body):
    """A large body whose beginning was looked at: the first time it is read on from there."""

    def __init__(self, body: Body) -> None:
        self.size = body.size
        self._body = body
        self._rest: AsyncIterator[bytes] | None = None
        self._first = b""

    async def start(self) -> bytes:
        self._rest = self._body.chunks()
        self._first = await anext(self._rest, b"")
        return self._first

    async def chunks(self) -> AsyncIterator[bytes]:
        rest, self._rest = self._rest, None
        if rest is None:
            rest = self._body.chunks()
        else:
            yield self._first
        async for chunk in rest:
            yield chunk


async def _counted(body: Body) -> Shape:
    counter = ShapeCounter()
    async for chunk in body.chunks():
        counter.feed(chunk)
    return counter.shape()


def _sender(address: str) -> str:
    """Return an envelope's sender as the value of From, ``""`` if it cannot be one."""
    if _ADDRESS.fullmatch(address):
        return address
    return f"<{address}>" if _ANGLED.fullmatch(address) else ""
