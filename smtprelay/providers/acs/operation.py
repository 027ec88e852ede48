"""
What becomes of a mail after Azure Communication Services took it.

The service answers 202 and decides later; a refusal of all recipients is only seen by asking. That has a
quota of its own (200 an hour), so the pause between two questions grows.
"""

from typing import Final

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.http.outcomes import in_print, json_object, retry_after, text_in, words
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Throttled, Uncertain
from smtprelay.providers.acs.api import AcsApi, refusal
from smtprelay.providers.acs.errors import NO_ERROR, ApiError, acs_failed, acs_refusal, refusal_of

#: The first pause where the service names none, and the longest that doubling leads to; seconds.
FIRST_PAUSE: Final = 5.0
MAX_PAUSE: Final = 30.0

#: Seconds after which the attempt ends ``Uncertain``; the operation can be queried later.
PATIENCE: Final = 900.0

_OK: Final = 200
_UNKNOWN: Final = 404
#: Characters of a status that are shown.
_SHOWN: Final = 100


@frozen
class OperationStatus:
    """
    One answer about an operation.

    :ivar outcome: ``None`` while there is none.
    :ivar why: what was found, in one line.
    :ivar known: the service knows the operation; ``None``: it did not say.
    :ivar pause: seconds that the service asked to wait before the next look.
    :ivar refusal: what it says of a mail that failed.
    """

    outcome: Outcome | None
    why: str
    known: bool | None = None
    pause: float | None = None
    refusal: ApiError = NO_ERROR


async def get_operation(api: AcsApi, clock: IReactorTime, operation_id: str, target: str) -> OperationStatus:
    """Ask once. A refusal of our credentials is a ``Blocked`` outcome; nothing is raised."""
    try:
        answer = await api.status(target)
    except NoAnswerError as exc:
        return OperationStatus(exc.outcome if isinstance(exc.outcome, Blocked) else None, str(exc))
    pause = retry_after(answer.header("Retry-After"), clock.seconds())
    if answer.status == _OK:
        return _of_operation(answer, operation_id, pause)
    api_error = refusal(answer, clock.seconds())
    why = words(answer.status, api_error.code, api_error.message)
    if answer.status == _UNKNOWN:
        return OperationStatus(None, why, known=False, pause=pause)
    outcome = acs_refusal(answer.status, api_error.code, api_error.message)
    return OperationStatus(outcome if isinstance(outcome, Blocked) else None, why, pause=pause)


def _of_operation(answer: Response, operation_id: str, pause: float | None) -> OperationStatus:
    operation = json_object(answer.body)
    status = in_print(text_in(operation, "status")[:_SHOWN]) or "without status"
    outcome: Outcome | None = None
    api_error = NO_ERROR
    if status == "Succeeded":
        outcome = Delivered(operation_id)
    elif status == "Failed":
        error = operation.get("error")
        api_error = refusal_of(error if isinstance(error, dict) else {})
        outcome = acs_failed(api_error.code, api_error.message)
    elif status == "Canceled":
        outcome = Deferred("the service canceled the operation")
    if isinstance(outcome, Deferred | Throttled | Blocked):
        outcome = evolve(outcome, closed=True)
    return OperationStatus(outcome, f"the operation is {status}", known=True, pause=pause, refusal=api_error)


async def wait_for_operation(
    api: AcsApi, clock: IReactorTime, operation_id: str, target: str, *, pause: float | None
) -> tuple[Outcome, ApiError]:
    """
    Wait for the end of an operation that the service has taken; return it, and the error of one that failed.

    It never ends ``Blocked`` for our credentials: the mail is taken, so the outcome is ``Uncertain`` then, as
    after :data:`PATIENCE`.

    :param pause: seconds before the first look, as the service asked.
    """
    end = clock.seconds() + PATIENCE
    wait = max(1.0, FIRST_PAUSE if pause is None else pause)
    why = "the service has taken the mail and not said more"
    while clock.seconds() + wait <= end:
        await deferLater(clock, wait)
        seen = await get_operation(api, clock, operation_id, target)
        why = seen.why
        if isinstance(seen.outcome, Blocked) and not seen.known:
            break
        if seen.outcome is not None:
            return seen.outcome, seen.refusal
        wait = max(seen.pause or 0.0, min(2 * wait, MAX_PAUSE))
    return Uncertain(f"taken by the service, but its outcome is not known: {why}"), NO_ERROR
