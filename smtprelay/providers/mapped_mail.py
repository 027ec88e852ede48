"""
Has the MIME worker make the requests of a mail: what providers share whose API takes JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from smtprelay.interfaces import Body, Events, MailTooCostly, MimeTask, MimeWorker, MimeWorkerUnavailable
from smtprelay.mime.parse import TooComplexError
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import TOO_LARGE, Deferred, Failed, Outcome


async def mapped_mail(
    worker: MimeWorker, task: MimeTask, body: Body, parameters: Mapping[str, Any], *, provider: str
) -> tuple[Mapping[str, Any], bytes] | Outcome:
    """
    Return the facts and octets of ``task``, or what it means for the mail that there are none.

    :param parameters: ``largest`` among them. A mail is too large if ``requests`` of the facts is empty.
    :raises MimeWorkerTimeout: the dispatcher counts it.
    """
    try:
        facts, octets = await worker.run(task, body, parameters)
    except (TooComplexError, MailTooCostly) as exc:
        return Failed(str(exc), "5.6.0")
    except MimeWorkerUnavailable as exc:
        return Deferred(str(exc))
    if not facts["requests"]:
        size, most = facts["size"], parameters["largest"]
        return Failed(f"too large: {size} bytes as a request, {provider} takes {most} bytes", TOO_LARGE)
    return facts, octets


async def measured_mail(worker: MimeWorker, task: MimeTask, body: Body, parameters: Mapping[str, Any]) -> int:
    """Return the ``size`` of the facts of ``task``; raises as :meth:`Provider.measure`."""
    try:
        facts, _ = await worker.run(task, body, parameters)
    except TooComplexError as exc:
        raise MailTooCostly(str(exc)) from exc
    size: int = facts["size"]
    return size


def tell_corrected(events: Events, delivery: Delivery, provider: str, notes: Sequence[Sequence[str]]) -> None:
    """Report each (field, reason) of what was corrected in a mail."""
    for field, reason in notes:
        common = {"message": delivery.message, "delivery": delivery.id, "provider": provider}
        events("message.corrected", field=field, reason=reason, **common)
