"""
What it means that Entra gives no token, by its numbers: AADSTS7000215 and the like. Pure.

A wrong secret is an operator's mistake, which blocks; an outage of Entra is none, and passes.
"""

from collections.abc import Mapping
from typing import Final

from smtprelay.http.client import NoAnswerError
from smtprelay.http.oauth import OAUTH_ERRORS, NoTokenError
from smtprelay.http.outcomes import Classification, ErrorTable
from smtprelay.model.outcome import Blocked

#: What an operator can do, by the number. https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_ADVICE: Final[Mapping[int, str]] = {
    7000215: "client_secret is wrong: use the secret's value, not its id",
    7000222: "client_secret has expired: make a new one for the application, and put it where the old one is",
    7000216: "Entra wants client_secret, or a certificate",
    7000218: "Entra wants client_secret, or a certificate",
    700016: "client_id is no application of this tenant: check client_id, tenant and cloud",
    90002: "tenant is not known to Entra: check tenant and cloud",
    900023: "tenant is neither an id nor a domain: check tenant",
    90013: "Entra cannot use this request: check tenant and client_id",
    700027: "Entra does not know the certificate, or it has expired: upload it for the application",
    7000214: "Entra does not know the certificate, or it has expired: upload it for the application",
    700021: "the token of the workload is not for client_id",
    700023: "the token of the workload is not for this cloud: check cloud and authority",
    700024: "the assertion is outside its time: check the clock of this machine",
    70021: "no federated credential of the application matches: check its issuer, subject and audience",
    700211: "no federated credential of the application matches the issuer of the workload's token",
    700212: "no federated credential of the application matches the audience of the workload's token",
    700213: "no federated credential of the application matches the subject of the workload's token",
    70011: "Entra does not know this scope: check cloud and scope",
    500011: "the service is not known in this tenant: check cloud and scope",
    7000112: "the application is disabled in this tenant: enable it in Enterprise applications",
    7000229: "the application has no service principal in this tenant: an administrator must consent to it",
    53003: "a policy of conditional access forbids it: let the application in from this network",
    50059: "tenant is missing",
    65001: "an administrator must consent to the application",
}
#: An outage, or too many requests, whatever the status.
_PASSING: Final[Mapping[int, Classification]] = {
    90033: Classification.DEFERRED,
    90006: Classification.DEFERRED,
    50196: Classification.THROTTLED,
    90055: Classification.THROTTLED,
}


def _code(number: int) -> str:
    return f"AADSTS{number}"


#: What is wrong with our request for whoever logs in: these say nothing of the login.
_OURS: Final = (70011, 500011)
#: Entra does not take a login, by its numbers, and by OAuth's names where it gives none.
_LOGIN_REFUSED: Final = frozenset(
    {"invalid_client", "unauthorized_client", *(_code(each) for each in _ADVICE if each not in _OURS)}
)

ENTRA_ERRORS: Final = ErrorTable(
    meanings={
        **OAUTH_ERRORS.meanings,
        # The metadata service of a machine says so of itself.
        "unknown_error": Classification.DEFERRED,
        **{_code(number): Classification.BLOCKED for number in _ADVICE},
        **{_code(number): meaning for number, meaning in _PASSING.items()},
    },
    advice={_code(number): text for number, text in _ADVICE.items()},
)


def refuses_login(error: NoAnswerError) -> bool:
    """Tell whether Entra does not take a login, and not only a request, or none now."""
    known = isinstance(error, NoTokenError) and error.code in _LOGIN_REFUSED
    return known and isinstance(error.outcome, Blocked)
