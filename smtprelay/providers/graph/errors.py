"""
What the refusals of Graph mean for the mail, as a table. Pure.

Graph answers for many services, so an error often has another one within it that says more.
https://learn.microsoft.com/graph/errors
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, Meanings, json_object, text_in
from smtprelay.model.outcome import TOO_LARGE

#: One recipient is none that Exchange takes; it does not say which.
BAD_RECIPIENT: Final = "5.1.3"
#: Seconds until a mailbox is asked again that has sent its mail of the day.
QUOTA_PAUSE: Final = 3600.0

_CREDENTIALS: Final = ("InvalidAuthenticationToken", "unauthenticated", "AuthenticationError")
_PERMISSIONS: Final = (
    *("ErrorAccessDenied", "Authorization_RequestDenied", "accessDenied"),
    *("ErrorMessageSubmissionBlocked", "ErrorAccountSuspend", "AccountSuspended"),
)
_MAILBOXES: Final = (
    *("MailboxNotEnabledForRESTAPI", "MailboxNotSupportedForRESTAPI", "ErrorInvalidUser"),
    *("ErrorNonExistentMailbox", "Request_ResourceNotFound", "ResourceNotFound"),
)
_MALFORMED: Final = (
    *("ErrorMimeContentInvalidBase64String", "ErrorMimeContentInvalid", "BadRequest"),
    *("RequestBodyRead", "ErrorInvalidRequest"),
)
_BUSY: Final = ("ApplicationThrottled", "TooManyRequests", "activityLimitReached", "MailboxConcurrency")
_QUOTA: Final = "ErrorExceededMessageLimit"
_TOO_LARGE: Final = ("ErrorMessageSizeExceeded", "RequestEntityTooLarge")
#: An operator's to mend, and of this mail only: it waits.
_WAITS: Final = (
    *("ErrorSendAsDenied", "ErrorQuotaExceeded", "ErrorInternalServerError"),
    *("ErrorMailboxStoreUnavailable", "ErrorIrresolvableConflict", "ErrorItemNotFound"),
)

_MEANINGS: Final[Meanings] = {
    **HTTP,
    404: Classification.BLOCKED,
    509: Classification.THROTTLED,
    **dict.fromkeys((*_CREDENTIALS, *_PERMISSIONS, *_MAILBOXES), Classification.BLOCKED),
    **dict.fromkeys((*_MALFORMED, *_TOO_LARGE, "ErrorInvalidRecipients"), Classification.FAILED),
    **dict.fromkeys((*_BUSY, _QUOTA), Classification.THROTTLED),
    **dict.fromkeys(_WAITS, Classification.DEFERRED),
}
_PERMISSION: Final = "the application needs the permission Mail.Send, with an administrator's consent"
_ADVICE: Final[Mapping[int | str, str]] = {
    401: "check tenant, client_id and cloud",
    403: f"{_PERMISSION}, and may be limited to other mailboxes",
    "ErrorMessageSubmissionBlocked": "see the account's status in the Microsoft 365 admin center",
    404: "there is no such mailbox: check the sender, its licence, and cloud",
}
ERRORS: Final = ErrorTable(
    meanings=_MEANINGS,
    enhanced={
        **dict.fromkeys(_MALFORMED, "5.6.0"),
        **dict.fromkeys((413, *_TOO_LARGE), TOO_LARGE),
        "ErrorInvalidRecipients": BAD_RECIPIENT,
    },
    advice=_ADVICE,
)
#: A gateway gave up, whatever it says of what lies behind it.
GATEWAY: Final = ErrorTable(meanings={502: Classification.UNCERTAIN, 504: Classification.UNCERTAIN})
#: The request is too large, in whatever words.
LARGE: Final = ErrorTable(meanings={400: Classification.FAILED}, enhanced={400: TOO_LARGE})

_ABOUT_SIZE: Final = re.compile(r"maximum request length", re.IGNORECASE)
#: Errors within one another that are looked at, and characters of what they say.
_DEPTH: Final = 5
_REPEATED: Final = 500
_LONGEST_CODE: Final = 100


@frozen
class GraphError:
    """
    What an answer says of itself.

    :ivar code: the innermost one that is known, else the outermost.
    """

    code: str
    message: str

    def table(self, status: int) -> ErrorTable:
        """Return what it is looked up in."""
        if status in GATEWAY.meanings:
            return GATEWAY
        return LARGE if status in LARGE.meanings and _ABOUT_SIZE.search(self.message) else ERRORS

    @property
    def about_quota(self) -> bool:
        """Whether the mailbox has sent its mail of the day."""
        return self.code == _QUOTA


def error_of(body: bytes) -> GraphError:
    """Return the error in an answer."""
    errors = list(_errors(json_object(body).get("error")))
    codes = [code for code, _ in errors]
    code = next((code for code in reversed(codes) if code in _MEANINGS), next(iter(codes), ""))
    message = next((message for each, message in errors if each == code and message), "")
    return GraphError(code, message or next((text for _, text in errors if text), ""))


def _errors(error: Any) -> Iterator[tuple[str, str]]:
    for _ in range(_DEPTH):
        if not isinstance(error, Mapping):
            return
        code, message = text_in(error, "code"), text_in(error, "message")
        if code:
            yield code[:_LONGEST_CODE], message[:_REPEATED]
        error = error.get("innerError") or error.get("innererror")
