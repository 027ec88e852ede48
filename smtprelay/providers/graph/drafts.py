"""
A mail too large for one request: a draft, its large attachments one by one, and then it is sent.

Nothing is sent before the last step, so only its lost answer is ``Uncertain``. A draft that is not sent is
deleted; if that fails, or the relay dies, the next attempt finds it by Message-ID and recipients. Exchange
makes the mail anew, so what is signed cannot go this way.
https://learn.microsoft.com/graph/outlook-large-attachments
"""

import base64
import binascii
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import orjson
from attrs import frozen

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import json_object, text_in
from smtprelay.interfaces import Body, MimeWorker
from smtprelay.mime.attachment_cut import CutAttachment, cut_attachments
from smtprelay.mime.head import head_of
from smtprelay.model.message import Delivery
from smtprelay.model.network import is_plain_remote
from smtprelay.model.outcome import TOO_LARGE, Blocked, Deferred, Failed, Outcome, Throttled
from smtprelay.providers.graph.api import TEXT, GraphApi, accepted, is_gone, mailbox_path, unsent
from smtprelay.providers.json_mail import sendable

#: Octets of an attachment that needs an upload session, and of each request to it: a multiple of 320 KiB
#: below the 4 MB of any request.
SESSION: Final = 3_000_000
RANGE: Final = 12 * 320 * 1024

_OK: Final = 200
_CREATED: Final = 201
_NO_CONTENT: Final = 204
_FORBIDDEN: Final = 403
_NEXT: Final = re.compile(r"([0-9]{1,18})(?:-[0-9]*)?")
_NO_URL: Final = Deferred("Graph names no URL that an attachment can be uploaded to")
_PERMISSION: Final = "upload_sessions needs the permission Mail.ReadWrite"


class MailboxUnknown(Exception):  # noqa: N818 -- it says what the mailbox is
    """The mailbox does not exist: ``outcome``, unless another one can send the mail."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class _StepRefused(Exception):  # noqa: N818 -- a state, not an error of ours
    """A step did not succeed; ``outcome`` is that of the mail."""

    def __init__(self, outcome: Outcome, *, not_found: bool = False) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.not_found = not_found


@frozen
class _DraftMail:
    """
    A mail on its way.

    :ivar path: of the mailbox.
    """

    path: str
    delivery: Delivery
    body: Body
    message_id: str


class DraftSender:
    """
    Sends large mail.

    :param one_request: octets of a request in base64.
    """

    def __init__(self, api: GraphApi, worker: MimeWorker, one_request: int) -> None:
        self._api = api
        self._worker = worker
        self._one_request = one_request

    async def send(self, mailbox: str, delivery: Delivery, body: Body, why: str) -> Outcome:
        """
        Send a mail through a mailbox.

        :raises MailboxUnknown: there is no such mailbox.
        :raises MailTooCostly: of :class:`smtprelay.interfaces.MimeWorker`. So :class:`MimeWorkerUnavailable`.
        """
        facts, rest = await self._worker.run(cut_attachments, body, {"most": self._one_request // 4 * 3})
        if not rest:
            text = "the mail is too large for one request without its attachments, or is signed or encrypted"
            return Failed(text, TOO_LARGE)
        draft = _DraftMail(mailbox_path(mailbox), delivery, body, head_of(rest).first("Message-ID"))
        known = ""
        try:
            await self._discard_leftovers(draft)
            known = await self._create(draft, rest)
            await self._attach(draft, known, [CutAttachment(**part) for part in facts["parts"]])
            return await self._submit(draft, known, why)
        except _StepRefused as refusal:
            await self._discard(draft, known)
            # Later it is the draft that is not there.
            if refusal.not_found and not known:
                raise MailboxUnknown(refusal.outcome) from None
            return refusal.outcome

    async def _create(self, draft: _DraftMail, rest: bytes) -> str:
        answer = await self._step(
            draft, "draft", f"POST {draft.path}/messages", base64.b64encode(rest), kind=TEXT, wanted=_CREATED
        )
        known = json_object(answer.body).get("id")
        if not isinstance(known, str) or not known:
            raise _StepRefused(Deferred(f"{_CREATED} without the id that Graph gives each draft"))
        return known

    async def _attach(self, draft: _DraftMail, known: str, parts: Sequence[CutAttachment]) -> None:
        url, at = "", 0
        async for part, piece in contents(draft.body, parts):
            if part.size < SESSION:
                content = base64.b64encode(piece).decode()
                file = {
                    "@odata.type": "#microsoft.graph.fileAttachment",
                    **_told(part),
                    "contentBytes": content,
                }
                place = f"POST {draft.path}/messages/{quote(known, safe='')}/attachments"
                await self._step(draft, "attach", place, orjson.dumps(file), wanted=_CREATED)
                continue
            if at == 0:
                url = await self._begin_upload(draft, known, part)
            at = await self._put(draft, url, piece, at, part.size) % part.size

    async def _begin_upload(self, draft: _DraftMail, known: str, part: CutAttachment) -> str:
        """Return the URL that an attachment is uploaded to."""
        place = f"POST {draft.path}/messages/{quote(known, safe='')}/attachments/createUploadSession"
        item = {"AttachmentItem": {"attachmentType": "file", "size": part.size, **_told(part)}}
        session = await self._step(draft, "upload-session", place, orjson.dumps(item), wanted=_CREATED)
        url = json_object(session.body).get("uploadUrl")
        if not isinstance(url, str) or is_plain_remote(url) or not url.startswith("http"):
            raise _StepRefused(_NO_URL)
        return url

    async def _put(self, draft: _DraftMail, url: str, piece: bytes, at: int, size: int) -> int:
        """Upload octets of an attachment; return where it goes on."""
        end = at + len(piece)
        # The URL is the permission: the token is not for its host.
        headers = {
            "Content-Range": f"bytes {at}-{end - 1}/{size}",
            "Content-Type": "application/octet-stream",
        }
        try:
            answer = await self._api.caller.request("upload", "PUT", url, headers, piece)
        except NoAnswerError as error:
            raise _StepRefused(unsent(error.outcome)) from None
        except ValueError:  # no request can be sent to that
            raise _StepRefused(_NO_URL) from None
        if answer.status != (_CREATED if end == size else _OK):
            outcome = unsent(self._api.refused(answer, draft.delivery.lane))
            # It says nothing of the mailbox, and not much of the mail.
            raise _StepRefused(outcome if isinstance(outcome, Throttled) else Deferred(outcome.why))
        if end < size and _next_range(answer) != end:
            raise _StepRefused(Deferred(f"Graph does not go on with octet {end} of the attachment"))
        return end

    async def _submit(self, draft: _DraftMail, known: str, why: str) -> Outcome:
        path = f"POST {draft.path}/messages/{quote(known, safe='')}/send"
        try:
            answer = await self._api.ask("send", path, request_id=draft.delivery.operation_id)
        except NoAnswerError as error:
            raise _StepRefused(error.outcome) from None
        outcome = accepted(answer, why)
        if outcome is None:
            raise _StepRefused(self._api.refused(answer, draft.delivery.lane))
        return outcome

    async def _step(
        self,
        draft: _DraftMail,
        operation: str,
        request: str,
        body: bytes = b"",
        *,
        kind: str = "",
        wanted: int,
    ) -> Response:
        """Take a step that sends no mail; raises :class:`_StepRefused` unless ``wanted`` is the answer."""
        try:
            answer = await self._api.ask(
                operation,
                request,
                body=body,
                kind=kind,
                request_id=draft.delivery.operation_id,
            )
        except NoAnswerError as error:
            raise _StepRefused(unsent(error.outcome)) from None
        if answer.status != wanted:
            raise self._refusal(draft, answer)
        return answer

    def _refusal(self, draft: _DraftMail, answer: Response) -> _StepRefused:
        outcome = unsent(self._api.refused(answer, draft.delivery.lane))
        if answer.status == _FORBIDDEN and isinstance(outcome, Blocked):
            # Small mail may be sent all the same.
            outcome = Deferred(f"{outcome.why} ({_PERMISSION})", ours=True)
        return _StepRefused(outcome, not_found=is_gone(answer))

    async def _discard(self, draft: _DraftMail, known: str) -> None:
        """Delete the draft; what cannot be deleted is found by the next attempt."""
        try:
            if known:
                await self._api.ask("discard", f"DELETE {draft.path}/messages/{quote(known, safe='')}")
            else:
                await self._discard_leftovers(draft)
        except (NoAnswerError, _StepRefused):
            return

    async def _discard_leftovers(self, draft: _DraftMail) -> None:
        """Delete what an attempt before has left. Other deliveries of the mail have other recipients."""
        literal = draft.message_id.replace("'", "''")
        wanted = quote(f"internetMessageId eq '{literal}'", safe="")
        shown = "id,isDraft,toRecipients,ccRecipients,bccRecipients"
        answer = await self._step(
            draft, "find", f"GET {draft.path}/messages?$filter={wanted}&$select={shown}", wanted=_OK
        )
        ours = {sendable(address).lower() for address in draft.delivery.envelope.addresses}
        for found in _objects(json_object(answer.body).get("value")):
            if found.get("isDraft") is True and _people(found) & ours:
                path = f"DELETE {draft.path}/messages/{quote(text_in(found, 'id'), safe='')}"
                await self._step(draft, "discard", path, wanted=_NO_CONTENT)


async def contents(body: Body, parts: Sequence[CutAttachment]) -> AsyncIterator[tuple[CutAttachment, bytes]]:
    """
    Give the contents of attachments, decoded, in pieces of :data:`RANGE` octets at most.

    :param parts: in their order in ``body``, which is read once.
    """
    waiting = deque(parts)
    ready, letters, at = bytearray(), b"", 0
    async for chunk in body.chunks():
        while waiting and waiting[0].begin < at + len(chunk):
            part = waiting[0]
            piece = chunk[max(0, part.begin - at) : part.end - at]
            if part.is_base64:
                letters += piece.translate(None, b"\r\n")
                whole = len(letters) // 4 * 4
                piece, letters = binascii.a2b_base64(letters[:whole]), letters[whole:]
            ready += piece
            is_whole = part.end <= at + len(chunk)
            while len(ready) >= RANGE or (ready and is_whole):
                yield part, bytes(ready[:RANGE])
                del ready[:RANGE]
            if not is_whole:
                break
            waiting.popleft()
        at += len(chunk)


def _told(part: CutAttachment) -> Mapping[str, Any]:
    told = {"name": part.name, "contentType": part.kind, "isInline": part.inline}
    return {**told, "contentId": part.content_id} if part.content_id else told


def _next_range(answer: Response) -> int | None:
    found = json_object(answer.body).get("nextExpectedRanges")
    first = found[0] if isinstance(found, list) and found else None
    match = _NEXT.fullmatch(first) if isinstance(first, str) else None
    return int(match[1]) if match else None


def _people(message: Any) -> set[str]:
    """Return whom a message is to, in lower case."""
    lists = [_objects(message.get(f"{name}Recipients")) for name in ("to", "cc", "bcc")]
    people = _objects([each.get("emailAddress") for found in lists for each in found])
    return {text_in(each, "address").lower() for each in people}


def _objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list of JSON; none of what is no list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else ()
