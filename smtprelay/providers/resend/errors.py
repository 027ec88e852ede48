"""
What the refusals of Resend mean for the mail, as tables. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from smtprelay.http.outcomes import (
    HTTP,
    Classification,
    ErrorTable,
    ServiceError,
    blocked_table,
    json_object,
    text_in,
)
from smtprelay.model.outcome import TOO_LARGE

_BLOCKED: Final = Classification.BLOCKED

ERRORS: Final = ErrorTable(
    meanings={
        **HTTP,
        400: Classification.FAILED,
        404: _BLOCKED,
        405: _BLOCKED,
        # The same request is under way, or was when its answer was lost.
        409: Classification.UNCERTAIN,
        422: Classification.FAILED,
        "daily_quota_exceeded": _BLOCKED,
        "monthly_quota_exceeded": _BLOCKED,
    },
    enhanced={400: "5.6.0", 413: TOO_LARGE, 422: "5.6.0"},
    advice={
        404: "check endpoint",
        "daily_quota_exceeded": "mail goes on when the quota of 24 hours has room, or with another plan",
        "monthly_quota_exceeded": "mail goes on with the next month, or another plan",
    },
)
#: Our key is refused, with whatever status: a wrong one with 400, 401 or 403.
KEY: Final = blocked_table("check api_key", 400, 401, 403)
#: A domain is not verified, or none is yet: an operator's to correct, and of no other mail.
UNVERIFIED: Final = blocked_table("verify the domain with Resend", 403, of_sender=True)

#: A mail with this key has been sent in the last 24 hours, and its content was another.
SENT_BEFORE: Final = "invalid_idempotent_request"

#: The key may send, and nothing else.
RESTRICTED: Final = "restricted_api_key"

_ABOUT_KEY: Final = re.compile(r"\bAPI key\b", re.IGNORECASE)
_ABOUT_DOMAIN: Final = re.compile(r"not verified|testing emails", re.IGNORECASE)
_ABOUT_RECIPIENTS: Final = re.compile(r"`(?:to|cc|bcc)`|recipient", re.IGNORECASE)


def about_key(error: ServiceError) -> bool:
    """Tell whether a refusal is of our key and not of the mail."""
    return error.status in KEY.meanings and bool(_ABOUT_KEY.search(f"{error.message} {error.code}"))


def about_recipients(error: ServiceError) -> bool:
    """Tell whether one bad address may be why the whole mail was refused."""
    return bool(_ABOUT_RECIPIENTS.search(error.message))


def table_of(error: ServiceError) -> ErrorTable:
    """Return what a refusal is looked up in."""
    if about_key(error):
        return KEY
    return UNVERIFIED if error.status == 403 and _ABOUT_DOMAIN.search(error.message) else ERRORS  # noqa: PLR2004


def error_of(status: int, body: bytes) -> ServiceError:
    """Return the error in an answer: ``name`` and ``message`` of its JSON."""
    said: Mapping[str, Any] = json_object(body)
    return ServiceError(status, text_in(said, "name"), text_in(said, "message"))
