"""
What an error of Azure Communication Services means, and which recipient or field it is about.

The service takes or refuses a request as a whole. Its answer may name the recipient at fault, by address or
by place in the request, or an optional field, or nothing. One recipient's fault must not cost the others
their mail, so all texts of the answer are searched. Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import evolve, frozen

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, Meanings, text_in
from smtprelay.model.outcome import TOO_LARGE, Blocked, Deferred, Failed, Outcome, Results
from smtprelay.providers.acs.request import OPTIONAL

#: Codes that refuse the sender's address. Whose fault that is depends on who chose it.
_SENDER_CODES: Final = ("InvalidSenderUserName", "InvalidSender")
_BY_CODE: Final[Meanings] = {
    "DomainNotLinked": Classification.BLOCKED,
    "EmailServiceNotLinked": Classification.BLOCKED,
    "TooManyRequests": Classification.THROTTLED,
}

#: ``POST /emails:send``, for a sender that the operator has configured.
_ERRORS: Final = ErrorTable(
    meanings={
        **HTTP,
        400: Classification.FAILED,
        404: Classification.BLOCKED,
        422: Classification.FAILED,
        **_BY_CODE,
        **dict.fromkeys(_SENDER_CODES, Classification.BLOCKED),
    },
    enhanced={
        "EmailDroppedAllRecipientsSuppressed": "5.7.1",
        "InvalidEmailAddress": "5.1.3",
        "InvalidSender": "5.1.8",
        "InvalidSenderUserName": "5.1.8",
        "TooManyRecipients": "5.5.3",
        400: "5.6.0",
        413: TOO_LARGE,
        422: "5.6.0",
    },
    advice={
        401: "check the access key and this machine's clock; with Entra tenant, client_id and cloud",
        403: "check the linked domains of the resource, and with Entra the role of the application there",
        404: "check the endpoint: this resource or its domain does not exist",
    },
)
#: The same for a sender that the mail named: only that mail fails.
_MAIL_ERRORS: Final = evolve(
    _ERRORS, meanings={**_ERRORS.meanings, **dict.fromkeys(_SENDER_CODES, Classification.FAILED)}
)
#: An operation that has failed.
_OPERATION: Final = "operation failed:"
_OPERATION_ERRORS: Final = evolve(_ERRORS, meanings={**_BY_CODE, _OPERATION: Classification.FAILED})

#: Codes that are about a recipient, whichever it is.
_RECIPIENT_CODES: Final = frozenset(
    {
        "InvalidEmailAddress",
        "InvalidRecipient",
        "InvalidRecipients",
        "InvalidRecipientAddress",
        "TooManyRecipients",
    }
)
#: A code that says that every recipient is at fault.
_ALL_AT_FAULT: Final = "EmailDroppedAllRecipientsSuppressed"
#: What is written where a code says nothing: the service's own sentence, and the path of a field.
_ABOUT_RECIPIENTS: Final = re.compile(r"email address|\brecipients?\b", re.IGNORECASE)
_PLACE: Final = re.compile(r"\brecipients\W{0,3}(to|cc|bcc)\W{0,3}([0-9]{1,4})", re.IGNORECASE)
#: The name of a field, as a path in the request: letters, dots and indexes.
_PATH: Final = re.compile(
    r"(?<![\w.])(?:headers|replyTo|recipients|attachments)(?:\.\w+|\[[^\]\s]{1,100}\])*", re.IGNORECASE
)
#: The same in a sentence.
_FILE_TYPE: Final = re.compile(
    r"\battachment\b.{0,60}\b(?:content|mime|media|file)[- ]?(?:type|extension)|attachment (?:type|extension)"
    r"|\b(?:content|mime|media|file)[- ]?(?:type|extension)\b.{0,60}\battachment",
    re.IGNORECASE,
)
_INDEX: Final = re.compile(r"\[[^\]]*\]")

#: Enhanced status codes that say why a recipient is refused; others are about the mail.
_CODES: Final = ("5.1.", "5.2.", "5.7.")

_MAX_TEXTS: Final = 200
_MAX_SIZE: Final = 20_000
_MAX_DEPTH: Final = 5


@frozen
class ApiError:
    """
    What an error says of itself.

    :ivar code: ``error.code``; the same for ``message``: each the best there is.
    :ivar texts: all that it says, targets and details too.
    """

    code: str
    message: str
    texts: Sequence[str] = ()


NO_ERROR: Final = ApiError("", "")


@frozen
class Sent:
    """The lists of a request, as it was sent: an answer counts in them."""

    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    bcc: Sequence[str] = ()

    @property
    def addresses(self) -> Sequence[str]:
        """All of them."""
        return (*self.to, *self.cc, *self.bcc)


def acs_refusal(
    status: int, code: str, message: str, *, wait: float | None = None, own_sender: bool = True
) -> Outcome:
    """
    Return what a refusal of ``emails:send`` means for the mail.

    :param code: ``error.code``, or ``x-ms-error-code``; ``""`` if there is none.
    :param message: ``error.message``, as it came.
    :param wait: seconds of ``Retry-After``, for what is deferred.
    :param own_sender: the refused sender is the configured default. Then all mail
        stops until the operator mends it; else only the mail that named it fails.
    """
    errors = _ERRORS if own_sender else _MAIL_ERRORS
    return errors.outcome(status, code, message, retry_after=wait)


def acs_failed(code: str, message: str) -> Outcome:
    """Return what an operation that ended ``Failed`` means for the mail."""
    return _OPERATION_ERRORS.outcome(_OPERATION, code, message)


def refusal_of(error: Mapping[str, Any], code: str = "", message: str = "") -> ApiError:
    """Return what an ``error`` object says; ``code`` and ``message`` are what is known besides."""
    code = text_in(error, "code") or code
    message = text_in(error, "message") or message
    texts: list[str] = []
    octets = len(message)
    for text in _texts(error):
        octets += len(text)
        if octets > _MAX_SIZE or len(texts) == _MAX_TEXTS:
            break
        texts.append(text)
    return ApiError(code, message, (message[:_MAX_SIZE], *texts))


def _texts(error: Any, depth: int = 0) -> Iterator[str]:
    """Give every text in ``error``, some levels deep."""
    if isinstance(error, str):
        yield error
    elif depth < _MAX_DEPTH and isinstance(error, Mapping | list):
        for value in error.values() if isinstance(error, Mapping) else error:
            yield from _texts(value, depth + 1)


def recipients_named(refusal: ApiError, addresses: Sequence[str], sent: Sent) -> frozenset[str]:
    """Return those of ``addresses``, and of the lists of ``sent``, that ``refusal`` names."""
    known = {address.lower(): address for address in (*addresses, *sent.addresses)}
    lists = {"to": sent.to, "cc": sent.cc, "bcc": sent.bcc}
    # Of two where one begins within the other the longer one is meant.
    choice = "|".join(re.escape(each) for each in sorted(known, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.+%!#$&*^~/-])(?:{choice})(?![\w@-]|\.\w)", re.IGNORECASE)
    found: set[str] = set()
    for text in refusal.texts:
        found.update(known[match[0].lower()] for match in pattern.finditer(text) if match[0].lower() in known)
        for match in _PLACE.finditer(text):
            people = lists[match[1].lower()]
            if int(match[2]) < len(people) and "displayname" not in text[match.end() :][:20].lower():
                found.add(people[int(match[2])])
    return frozenset(found)


def results_of(outcome: Outcome, refusal: ApiError, addresses: Sequence[str], sent: Sent) -> Results:
    """
    Return the outcome of each of ``addresses`` after ``sent`` ended as ``outcome``.

    A recipient that ``refusal`` names has failed; the others go again without that recipient. If it names
    none of several, all have failed as a whole, so that they are tried in halves. If it names only
    ``blind_to``, the lane is blocked: the operator must correct it.
    """
    if not isinstance(outcome, Failed):
        return dict.fromkeys(addresses, outcome)
    at_fault = recipients_named(refusal, addresses, sent)
    if not at_fault:
        whole = len(addresses) > 1 and is_about_recipients(refusal)
        return dict.fromkeys(addresses, evolve(outcome, whole=whole))
    if at_fault.isdisjoint(addresses):
        return dict.fromkeys(addresses, Blocked(outcome.why))
    code = outcome.code if outcome.code.startswith(_CODES) else "5.1.3"
    refused = Failed(outcome.why, code)
    others = Deferred(f"refused for other recipients: {outcome.why}", closed=True, again=True)
    return {address: refused if address in at_fault else others for address in addresses}


def is_about_recipients(refusal: ApiError) -> bool:
    """Tell whether a refusal that names no recipient may be due to one."""
    if refusal.code == _ALL_AT_FAULT or field_named(refusal):
        return False
    return refusal.code in _RECIPIENT_CODES or bool(_ABOUT_RECIPIENTS.search(refusal.message))


def field_named(refusal: ApiError) -> str:
    """Return which of :data:`OPTIONAL` a refusal names; ``""`` if it names none."""
    for text in refusal.texts:
        for match in _PATH.finditer(text):
            path = _INDEX.sub("", match[0]).lower()
            for field in OPTIONAL:
                if path.startswith(field.lower()) or (
                    field == "displayName" and path.endswith(".displayname")
                ):
                    return field
    named = any(map(_FILE_TYPE.search, refusal.texts))
    return "attachments.contentType" if named else ""
