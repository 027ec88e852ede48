"""
What the refusals of Mailgun mean for the mail, as a table. Pure.

It has no error codes: a status, and a sentence.
"""

import re
from typing import Final

from smtprelay.http.outcomes import HTTP, Classification, ErrorTable, blocked_table, retry_after
from smtprelay.model.outcome import TOO_LARGE

ERRORS: Final = ErrorTable(
    meanings={
        **HTTP,
        400: Classification.FAILED,
        402: Classification.BLOCKED,
        404: Classification.BLOCKED,
        420: Classification.THROTTLED,
    },
    enhanced={400: "5.6.0", 413: TOO_LARGE},
    advice={
        401: "check api_key and region",
        402: "see the account's status in Mailgun's control panel",
        403: "see the domain's status in Mailgun's control panel",
        404: "check domain, region and endpoint",
    },
)
#: One address is none that Mailgun takes; it does not say which.
BAD_ADDRESS: Final = ErrorTable(meanings={400: Classification.FAILED}, enhanced={400: "5.1.3"})
#: A domain for tests sends to some addresses only: an operator's to correct, and of no other mail.
TEST_DOMAIN: Final = blocked_table("use a domain that is not for tests", 400, 403, of_sender=True)
#: What answers paths that the API does not have, with a 200.
WRONG_PATH: Final = "Mailgun Magnificent API"

_ABOUT_ADDRESS: Final = re.compile(r"\bto\b\W+parameter is not a valid address|recipient", re.IGNORECASE)
_ABOUT_TEST_DOMAIN: Final = re.compile(r"test purposes only|authorized recipients", re.IGNORECASE)
_AGAIN: Final = re.compile(r"try again after (\w{3}, [\w :]{10,40})")


def table_of(status: int, message: str) -> ErrorTable:
    """Return what a refusal is looked up in."""
    if status in {400, 403} and _ABOUT_TEST_DOMAIN.search(message):
        return TEST_DOMAIN
    return BAD_ADDRESS if status == 400 and _ABOUT_ADDRESS.search(message) else ERRORS  # noqa: PLR2004


def wait_of(message: str, now: float) -> float | None:
    """Return the seconds until the time that a refusal names, ``None`` if it names none."""
    found = _AGAIN.search(message)
    return retry_after(found[1], now) if found else None
