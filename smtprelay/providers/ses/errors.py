"""
What the refusals of Amazon SES mean for the mail, as tables. Pure.

Both versions of the API have nearly the same codes; v1 and STS leave ``Exception`` away.
"""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, Meanings
from smtprelay.providers.ses.request import content, member

#: What refuses our keys and not the mail.
CREDENTIALS: Final = frozenset(
    {
        *(
            "AccessDenied",
            "ExpiredToken",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
        ),
        *(
            "InvalidSignature",
            "MissingAuthenticationToken",
            "NotAuthorized",
            "OptInRequired",
            "RequestExpired",
        ),
        *("SignatureDoesNotMatch", "UnrecognizedClient"),
    }
)
_BLOCKED: Final = (
    *("AccountSendingPaused", "AccountSuspended", "ConfigurationSetDoesNotExist"),
    *("ConfigurationSetSendingPaused", "MailFromDomainNotVerified", "NotFound", "SendingPaused"),
)
_THROTTLED: Final = ("TooManyRequests", "Throttling", "RequestThrottled", "RequestLimitExceeded")
_PARAMETERS: Final = ("BadRequest", "InvalidParameterValue", "Validation", "ValidationError")

_MEANINGS: Final[Meanings] = {
    **HTTP,
    404: Classification.BLOCKED,
    **dict.fromkeys((*_BLOCKED, *CREDENTIALS), Classification.BLOCKED),
    **dict.fromkeys(_THROTTLED, Classification.THROTTLED),
    **dict.fromkeys((*_PARAMETERS, "MessageRejected"), Classification.FAILED),
}
_ADVICE: Final[Mapping[int | str, str]] = {
    "AccessDenied": "the policy must allow ses:SendRawEmail and ses:SendEmail",
    "AccountSendingPaused": "see the account's status in the SES console",
    "SendingPaused": "see the account's status in the SES console",
    "SignatureDoesNotMatch": "the secret key is wrong, or this machine's clock",
    "InvalidSignature": "the secret key is wrong, or this machine's clock",
    404: "check region, endpoint, configuration_set, tenant and list",
}
ERRORS: Final = ErrorTable(
    meanings=_MEANINGS, enhanced={"MessageRejected": "5.7.1", 413: "5.3.4"}, advice=_ADVICE
)
#: The quota of 24 hours is used up: the lane is open again when a probe finds room.
QUOTA: Final = ErrorTable(
    meanings=dict.fromkeys((400, 429), Classification.BLOCKED),
    advice=dict.fromkeys(
        (400, 429), "mail goes on when the quota of 24 hours has room; AWS raises it on request"
    ),
)
#: An identity is not verified, or the account is in the sandbox: an operator's to mend, and of no other mail.
UNVERIFIED: Final = ErrorTable(meanings={})
#: Keys that have replaced others may be unknown to SES for some seconds.
YOUNG: Final = ErrorTable(meanings={})

#: Sending is paused for the account, or a set; SES also says so in the words of a rejected mail.
PAUSED: Final = ErrorTable(
    meanings=dict.fromkeys((400, 403, 554), Classification.BLOCKED),
    advice=dict.fromkeys((400, 403, 554), "see the account's status in the SES console"),
)

#: Maximum length of a message, and of a code, in a reason.
_REPEATED: Final = 500
_LONGEST_CODE: Final = 100
_ABOUT_PAUSE: Final = re.compile(r"\b(?:paused|suspended)\b", re.IGNORECASE)
_ABOUT_QUOTA: Final = re.compile(r"daily message quota|quota exceeded", re.IGNORECASE)
_ABOUT_IDENTITY: Final = re.compile(r"not verified|not authority to send", re.IGNORECASE)
_ABOUT_ADDRESS: Final = re.compile(r"address|domain|recipient|destination|local part", re.IGNORECASE)
_ABOUT_HEADER: Final = re.compile(r"header", re.IGNORECASE)


@frozen
class SesError:
    """What an answer says of itself; ``code`` is without ``Exception``."""

    code: str
    message: str

    @property
    def table(self) -> ErrorTable:
        """What it means."""
        if _ABOUT_QUOTA.search(self.message) and (self.code in (*_THROTTLED, "LimitExceeded")):
            return QUOTA
        if self.code == "MessageRejected" and _ABOUT_IDENTITY.search(self.message):
            return UNVERIFIED
        if self.code in (*_PARAMETERS, "MessageRejected") and _ABOUT_PAUSE.search(self.message):
            return PAUSED
        return ERRORS

    @property
    def about_recipients(self) -> bool:
        """Whether one bad address may be why the whole mail was refused."""
        return (
            self.code in _PARAMETERS
            and bool(_ABOUT_ADDRESS.search(self.message))
            and not _ABOUT_HEADER.search(self.message)
        )


def error_of(header: str, body: bytes) -> SesError:
    """
    Return the error in an answer: of v2 in a header and JSON, of v1 in XML.

    :param header: ``x-amzn-ErrorType``; it may have a URL behind a colon, or a name space before a ``#``.
    """
    fields: Mapping[str, object] = content(body)
    code = header or fields.get("__type") or fields.get("code") or member(body, "Code")
    message = fields.get("message") or fields.get("Message") or member(body, "Message")
    name = str(code).partition(":")[0].rpartition("#")[2]
    return SesError(name[:_LONGEST_CODE].removesuffix("Exception"), repeatable(str(message)))


def repeatable(message: str) -> str:
    """
    Return what may be repeated of a message of AWS.

    About a wrong signature it repeats our request, which has the session token.
    """
    return message.partition("The Canonical String")[0].strip()[:_REPEATED]
