"""
What the refusals of Resend mean for the mail, as tables. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, json_object
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
KEY: Final = ErrorTable(
    meanings=dict.fromkeys((400, 401, 403), _BLOCKED),
    advice=dict.fromkeys((400, 401, 403), "check api_key"),
)
#: A domain is not verified, or none is yet: an operator's to correct, and of no other mail.
UNVERIFIED: Final = ErrorTable(meanings={})

#: A mail with this key has been sent in the last 24 hours, and its content was another.
SENT_BEFORE: Final = "invalid_idempotent_request"

#: The key may send, and nothing else.
RESTRICTED: Final = "restricted_api_key"

_ABOUT_KEY: Final = re.compile(r"\bAPI key\b", re.IGNORECASE)
_ABOUT_DOMAIN: Final = re.compile(r"not verified|testing emails", re.IGNORECASE)
_ABOUT_RECIPIENTS: Final = re.compile(r"`(?:to|cc|bcc)`|recipient", re.IGNORECASE)


@frozen
class ResendError:
    """What an answer says of itself: ``name`` and ``message`` of its JSON."""

    status: int
    name: str
    message: str

    @property
    def about_key(self) -> bool:
        """Whether it refuses our key and not the mail."""
        return self.status in KEY.meanings and bool(_ABOUT_KEY.search(f"{self.message} {self.name}"))

    @property
    def about_recipients(self) -> bool:
        """Whether one bad address may be why the whole mail was refused."""
        return bool(_ABOUT_RECIPIENTS.search(self.message))

    @property
    def table(self) -> ErrorTable:
        """What it means."""
        if self.about_key:
            return KEY
        return UNVERIFIED if self.status == 403 and _ABOUT_DOMAIN.search(self.message) else ERRORS  # noqa: PLR2004


def error_of(status: int, body: bytes) -> ResendError:
    """Return the error in an answer."""
    said: Mapping[str, Any] = json_object(body)
    return ResendError(status, str(said.get("name") or ""), str(said.get("message") or ""))
