"""
Delivery by Microsoft Graph: a mail is sent raw, through the mailbox of its sender.

Graph gets no envelope, so the finished mail names its recipients and nobody else. It knows no idempotency: a
lost answer is ``Uncertain``.
"""

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from smtprelay.http.base64_upload import Base64Upload, base64_size
from smtprelay.http.client import NoAnswerError
from smtprelay.http.credentials import CredentialSource
from smtprelay.interfaces import Attempt, Body, Events, MimeWorker
from smtprelay.mime.head import Head, head_of
from smtprelay.mime.rewrite import RewriteRule
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import TOO_LARGE, Deferred, Delivered, Failed, Outcome, Results
from smtprelay.model.route import Limits, NextHop
from smtprelay.model.shape import Shape
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.graph.api import ACCEPTED, TEXT, GraphApi, accepted, is_gone, mailbox_path, unsent
from smtprelay.providers.graph.drafts import DraftSender, MailboxUnknown
from smtprelay.providers.graph.errors import BAD_RECIPIENT
from smtprelay.providers.graph.mailboxes import Mailboxes
from smtprelay.providers.json_mail import sendable, unsendable
from smtprelay.providers.mapped_mail import tell_corrected
from smtprelay.providers.rewriting import rewritten

#: What a mailbox takes unless its administrator allows more (35 MB), in base64.
LARGEST_DRAFT: Final = base64_size(35_000_000)
_BAD_REQUEST: Final = 400


class Graph(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider`: one request for all recipients.

    :param tokens: what ``api`` asks with.
    :param limits: ``request`` is that of one request; a larger mail needs ``upload_sessions``.
    :ivar next_hop: what Graph takes. It breaks soft line breaks of quoted-printable, and may read fields such
        as Resent-To as more recipients.
    """

    next_hop = NextHop(
        raw_fields=False,
        commands=("resent-to", "resent-cc", "apparently-to"),
        by_header=True,
        quoted_printable=False,
    )

    def __init__(
        self,
        api: GraphApi,
        tokens: CredentialSource[str],
        mailboxes: Mailboxes,
        worker: MimeWorker,
        *,
        limits: Limits,
        events: Events,
        upload_sessions: bool = False,
    ) -> None:
        self.name = api.caller.name
        self._one_request = limits.request
        self.limits = evolve(limits, request=LARGEST_DRAFT) if upload_sessions else limits
        self._api = api
        self._tokens = tokens
        self._mailboxes = mailboxes
        self._worker = worker
        self._events = events
        self._drafts = DraftSender(api, worker, limits.request or LARGEST_DRAFT) if upload_sessions else None

    def lane(self, envelope: Envelope, author: str, login: str) -> str:  # noqa: ARG002 -- the seam's signature
        """Return the lane of the mailbox."""
        return self._mailboxes.lane(envelope, author)

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the size in base64, twice."""
        size = base64_size(shape.size)
        return size, size

    async def measure(self, envelope: Envelope, body: Body) -> int:  # noqa: ARG002 -- the seam's signature
        """Return the size in base64."""
        return base64_size(body.size)

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the mail; ``attempt.body`` names those of its recipients that Graph can name."""
        results = unsendable(attempt.delivery.envelope.addresses)
        count = len(attempt.delivery.envelope.addresses) - len(results)
        if not count:
            return results
        outcome = await self._send(attempt.delivery, attempt.body)
        if isinstance(outcome, Failed):
            outcome = evolve(outcome, whole=count > 1 and outcome.code == BAD_RECIPIENT)
        return {**attempt.results(outcome), **results}

    async def probe(self, lane: str) -> Outcome | None:
        """Send no mail at all: that it is none is only said to an application and a mailbox that may send."""
        mailbox = lane or self._mailboxes.fixed or self._mailboxes.sender
        try:
            if not mailbox:
                await self._tokens.current()
                return None
            answer = await self._api.ask("probe", f"POST {mailbox_path(mailbox)}/sendMail", kind=TEXT)
        except NoAnswerError as error:
            return unsent(error.outcome)
        return None if answer.status in (_BAD_REQUEST, ACCEPTED) else self._api.refused(answer, lane)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.caller.close()

    async def _send(self, delivery: Delivery, body: Body) -> Outcome:
        mailbox = self._mailboxes.of(delivery.envelope, delivery.sends_as or delivery.author)
        if self._mailboxes.may_remap:
            try:
                other = await self._mailboxes.remapped(mailbox, delivery, await _head(body))
            except NoAnswerError as error:
                text = f"it is not known whose mailbox sends it: domain_table was not read yet: {error}"
                return Deferred(text, ours=True)
            if other:
                return await self._send_instead(other, delivery, body, f"{mailbox}, which is remapped")
        try:
            return await self._send_as(mailbox, delivery, body)
        except MailboxUnknown as error:
            outcome = error.outcome
        other = self._mailboxes.instead(mailbox, delivery, await _head(body))
        if not other:
            return outcome
        return await self._send_instead(other, delivery, body, f"{mailbox}: {outcome.why}")

    async def _send_instead(self, other: str, delivery: Delivery, body: Body, before: str) -> Outcome:
        """Send through another mailbox than that of the sender, with its address in From."""
        # A signature covers From.
        rule = RewriteRule(author=other, reply_to="original", removed=("DKIM-Signature",))
        changed, _ = await rewritten(self._worker, body, delivery.envelope.sender, (rule,))
        try:
            return await self._send_as(other, evolve(delivery, sends_as=other), changed, before)
        except MailboxUnknown as error:
            return error.outcome

    async def _send_as(self, mailbox: str, delivery: Delivery, body: Body, before: str = "") -> Outcome:
        """Send through a mailbox; raises :class:`MailboxUnknown`."""
        if not mailbox:
            text = "the mail names no mailbox to send from: set sender of the provider"
            raise MailboxUnknown(Deferred(text, ours=True))
        if not sendable(mailbox):
            raise MailboxUnknown(Failed(f"Graph has no such mailbox: <{mailbox}>", "5.1.7"))
        author = delivery.sends_as or delivery.author
        notes = _notes(mailbox, author if sendable(author) else delivery.envelope.sender or mailbox, before)
        outcome = await self._send_body(mailbox, delivery, body, "; ".join((f"mailbox {mailbox}", *notes)))
        if isinstance(outcome, Delivered):
            tell_corrected(self._events, delivery, self.name, [("From", note) for note in notes])
        return outcome

    async def _send_body(self, mailbox: str, delivery: Delivery, body: Body, why: str) -> Outcome:
        if self._one_request is None or base64_size(body.size) <= self._one_request:
            return await self._send_whole(mailbox, delivery, body, why)
        if self._drafts is not None:
            return await self._drafts.send(mailbox, delivery, body, why)
        text = f"too large: {body.size} bytes, Graph takes them with upload_sessions only"
        return Failed(text, TOO_LARGE)

    async def _send_whole(self, mailbox: str, delivery: Delivery, body: Body, why: str) -> Outcome:
        try:
            answer = await self._api.ask(
                "send",
                f"POST {mailbox_path(mailbox)}/sendMail",
                body=Base64Upload(body),
                kind=TEXT,
                request_id=delivery.operation_id,
            )
        except NoAnswerError as error:
            return error.outcome
        outcome = accepted(answer, why) or self._api.refused(answer, delivery.lane)
        if is_gone(answer):
            raise MailboxUnknown(outcome)
        return outcome


async def _head(body: Body) -> Head:
    return head_of(await anext(body.chunks(), b""))


def _notes(mailbox: str, author: str, before: str) -> Sequence[str]:
    """Return what people are told of From."""
    notes = [f"sent by {mailbox} instead of {before}"] if before else []
    if author.lower() != mailbox.lower():
        text = "unless the tenant sends from aliases, people see the mailbox's primary address"
        notes.append(f"it is {author}, and the mailbox {mailbox}: {text}")
    return notes
