"""
What the refusals of Amazon SES mean for the mail, as tables. Pure.

Both versions of the API have nearly the same codes; v1 and STS leave ``Exception`` away.
"""

import re
from collections.abc import Mapping
from typing import Final

from smtprelay.http.outcomes import (
    HTTP,
    Classification,
    ErrorTable,
    Meanings,
    ServiceError,
    blocked_table,
    json_object,
    text_in,
)
from smtprelay.model.outcome import SETUP
from smtprelay.providers.ses.request import SesOptions, member

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
_BLOCKED: Final = ("AccountSendingPaused", "AccountSuspended", "NotFound", "SendingPaused")
_CONFIGURATION_SET: Final = ("ConfigurationSetDoesNotExist", "ConfigurationSetSendingPaused")
_THROTTLED: Final = ("TooManyRequests", "Throttling", "RequestThrottled", "RequestLimitExceeded")
_PARAMETERS: Final = ("BadRequest", "InvalidParameterValue", "Validation", "ValidationError")

_MEANINGS: Final[Meanings] = {
    **HTTP,
    404: Classification.BLOCKED,
    **dict.fromkeys((*_BLOCKED, *_CONFIGURATION_SET, *CREDENTIALS), Classification.BLOCKED),
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
_REFUSED: Final = (400, 403, 404, 554)
ERRORS: Final = ErrorTable(
    meanings=_MEANINGS, enhanced={"MessageRejected": "5.7.1", 413: "5.3.4"}, advice=_ADVICE
)
#: The quota of 24 hours is used up: the lane is open again when a probe finds room.
QUOTA: Final = blocked_table(
    "mail goes on when the quota of 24 hours has room; AWS raises it on request", 400, 429
)
#: Keys that have replaced others may be unknown to SES for some seconds.
YOUNG: Final = ErrorTable(meanings={})
#: Sending is paused for the account; SES also says so in the words of a rejected mail.
PAUSED: Final = blocked_table("see the account's status in the SES console", *_REFUSED)
#: The sender is not verified, or not in the policy, or the account is in the sandbox: an operator's to mend,
#: and of no other mail.
SENDER: Final = blocked_table(
    "verify this identity, and allow it in the policy; in the sandbox the recipients, too",
    *_REFUSED,
    of_sender=True,
)
#: A configuration set that is paused, does not exist or is not in the policy.
CONFIGURATION_SET: Final = blocked_table("check this configuration set and the policy", *_REFUSED)
#: A value of our configuration is refused, which is in every mail.
OPTION: Final = blocked_table("check what the provider's settings say of it", *_REFUSED)

#: Maximum length of a message, and of a code, in a reason.
_REPEATED: Final = 500
_LONGEST_CODE: Final = 100
_ABOUT_PAUSE: Final = re.compile(r"\b(?:paused|suspended)\b", re.IGNORECASE)
_ABOUT_QUOTA: Final = re.compile(r"daily message quota|quota exceeded", re.IGNORECASE)
_ABOUT_IDENTITY: Final = re.compile(r"not verified|not authority to send", re.IGNORECASE)
_ABOUT_ADDRESS: Final = re.compile(r"address|domain|recipient|destination|local part", re.IGNORECASE)
_ABOUT_HEADER: Final = re.compile(r"header", re.IGNORECASE)
_ABOUT_SET: Final = re.compile(r"\bconfiguration[ -]?set", re.IGNORECASE)
_SET_NAME: Final = re.compile(
    r"\bconfiguration[ -]?set(?:/|[ :]+[<'\"`\[])([\w-]{1,64})", re.IGNORECASE | re.ASCII
)
_ADDRESS: Final = re.compile(r"[^\s<>'\"]+@[^\s<>'\"]+")
#: How SES calls what the configuration says of all mail.
_OPTIONS: Final[Mapping[str, re.Pattern[str]]] = {
    "tags": re.compile(r"\b(?:email|message)?[ _]?tags?\b|EmailTag", re.IGNORECASE),
    "identity_arn": re.compile(r"\b\w*arn\b|arn:", re.IGNORECASE),
    "tenant": re.compile(r"\btenant", re.IGNORECASE),
    "contact_list": re.compile(r"contact ?list|list ?management|\btopic", re.IGNORECASE),
    "feedback": re.compile(r"feedback", re.IGNORECASE),
}


def table_of(error: ServiceError, options: SesOptions) -> ErrorTable:
    """Return what a refusal is looked up in, of a request with these options."""
    code, message = error.code, error.message
    rejected = code in (*_PARAMETERS, "MessageRejected")
    tables = (
        (QUOTA, code in (*_THROTTLED, "LimitExceeded") and _ABOUT_QUOTA.search(message)),
        (SENDER, _about_sender(error)),
        (CONFIGURATION_SET, _about_set(error)),
        (PAUSED, rejected and _ABOUT_PAUSE.search(message)),
        (OPTION, code in _PARAMETERS and _about_options(message, options)),
    )
    return next((table for table, applies in tables if applies), ERRORS)


def lane_of(table: ErrorTable, error: ServiceError, options: SesOptions) -> str:
    """
    Return the lane that a refusal stops: ``""`` if it is about what all mail has.

    A configuration set may also be a client's, or that of an identity, and so may other values be a client's.
    """
    if table is OPTION:
        return f"{SETUP}x-ses-headers" if options.keep_commands else ""
    if table is not CONFIGURATION_SET:
        return ""
    found, ours = _SET_NAME.search(error.message), options.configuration_set
    if found is None:
        # What is none by its form is the client's: ours is checked before the relay starts.
        is_ours = ours and not options.keep_commands and error.code not in _PARAMETERS
        return "" if is_ours else f"{SETUP}configuration-set"
    return "" if found[1] == ours else f"{SETUP}configuration-set/{found[1]}"


def about_recipients(error: ServiceError) -> bool:
    """Tell whether one bad address may be why the whole mail was refused."""
    return (
        error.code in _PARAMETERS
        and bool(_ABOUT_ADDRESS.search(error.message))
        and not _ABOUT_HEADER.search(error.message)
    )


def _about_sender(error: ServiceError) -> bool:
    """Tell whether who sends is refused: an identity that is not verified, or not in the policy."""
    return (
        error.code == "MailFromDomainNotVerified"
        or (error.code == "MessageRejected" and bool(_ABOUT_IDENTITY.search(error.message)))
        or (error.code == "AccessDenied" and ":identity/" in error.message)
    )


def _about_set(error: ServiceError) -> bool:
    """Tell whether a configuration set is refused; a field of the mail that has its name is not one."""
    if error.code in _CONFIGURATION_SET:
        return True
    told = error.code in (*_PARAMETERS, "MessageRejected", "AccessDenied", "NotFound")
    return told and bool(_ABOUT_SET.search(error.message)) and not _ABOUT_HEADER.search(error.message)


def _about_options(message: str, options: SesOptions) -> bool:
    """Tell whether a refusal is about what the configuration says; addresses and fields are the mail's."""
    if options.feedback and options.feedback in message:
        return True
    if _ABOUT_HEADER.search(message):
        return False
    said = _ADDRESS.sub("", message)
    return any(getattr(options, name) and about.search(said) for name, about in _OPTIONS.items())


def error_of(status: int, header: str, body: bytes) -> ServiceError:
    """
    Return the error in an answer: of v2 in a header and JSON, of v1 in XML; its code without ``Exception``.

    :param header: ``x-amzn-ErrorType``; it may have a URL behind a colon, or a name space before a ``#``.
    """
    fields: Mapping[str, object] = json_object(body)
    code = header or text_in(fields, "__type") or text_in(fields, "code") or member(body, "Code")
    message = text_in(fields, "message") or text_in(fields, "Message") or member(body, "Message")
    name = code.partition(":")[0].rpartition("#")[2]
    code = name[:_LONGEST_CODE].removesuffix("Exception")
    return ServiceError(status, code, repeatable(message))


def repeatable(message: str) -> str:
    """
    Return what may be repeated of a message of AWS.

    About a wrong signature it repeats our request, which has the session token.
    """
    return message.partition("The Canonical String")[0].strip()[:_REPEATED]
