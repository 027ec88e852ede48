"""
Access tokens from a token endpoint (RFC 6749): Microsoft's, Google's or another one.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from attrs import evolve

from smtprelay.http.client import Http, NoAnswerError, NotSent, OutcomeError, Response, request_once
from smtprelay.http.outcomes import Classification, ErrorTable, json_object, retry_after, text_in
from smtprelay.http.renewed import Credential
from smtprelay.model.outcome import Outcome

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_OK: Final = 200
#: Seconds, if an answer does not say how long its token is valid.
_USUAL_LIFE: Final = 3600.0
_LONGEST_LIFE: Final = 366 * 86_400
_TOKEN: Final = re.compile(r"[!-~]+")
#: Microsoft's descriptions begin with a number, which says more than the error's name.
_NUMBERED: Final = re.compile(r"(AADSTS[0-9]+): ")

_MEANINGS: Final[Mapping[int | str, Classification]] = {
    # What is no token is none of a token endpoint: the URL is wrong, or its tenant.
    **dict.fromkeys((200, 301, 302, 307, 308, 400, 401, 403, 404, 405), Classification.BLOCKED),
    429: Classification.THROTTLED,
    # RFC 6749 §4.1.2.1, and RFC 8628 §3.5
    "slow_down": Classification.THROTTLED,
    "temporarily_unavailable": Classification.DEFERRED,
    "server_error": Classification.DEFERRED,
}
#: What it means that there is no token: what is not in it passes.
OAUTH_ERRORS: Final = ErrorTable(meanings=_MEANINGS)


class NoTokenError(OutcomeError):
    """
    There is no token, so that nothing was sent.

    :ivar code: the name or number of the refusal; ``""``: there is none.
    """

    def __init__(self, outcome: Outcome, code: str = "") -> None:
        super().__init__(outcome)
        self.code = code


class OauthTokens:
    """
    Obtains tokens of one endpoint: a :class:`smtprelay.http.renewed.CredentialService` of coroutines.

    :param open_http: makes the client of one request.
    :param read: returns the fields of the request, with the secrets among them; it may read files.
    :param seconds: gives the time, since the epoch.
    :param errors: what refusals mean.
    """

    required_at_start = False

    def __init__(
        self,
        endpoint: str,
        open_http: Callable[[], Http],
        read: Callable[[], Awaitable[Mapping[str, str]]],
        seconds: Callable[[], float],
        errors: ErrorTable = OAUTH_ERRORS,
    ) -> None:
        self._endpoint = endpoint
        self._open_http = open_http
        self._read = read
        self._seconds = seconds
        self._errors = errors
        #: A refresh token of the configuration, and the one that has replaced it.
        self._replaced = ("", "")

    async def obtain(self, *, refused: bool = False) -> Credential[str]:  # noqa: ARG002 -- each is a new one
        """
        Return a new token.

        :raises ValueError: a secret cannot be read; the text is for people.
        :raises NoTokenError: it is refused.
        :raises NotSent: the endpoint does not answer.
        """
        fields = dict(await self._read())
        stored = fields.get("refresh_token", "")
        if stored and stored == self._replaced[0]:
            fields["refresh_token"] = self._replaced[1]
        answer = await self._ask(urlencode(fields).encode("ascii"))
        found = json_object(answer.body)
        token = found.get("access_token")
        if answer.status != _OK or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._refusal(answer, found)
        newer = found.get("refresh_token")
        if stored and newer and isinstance(newer, str):
            self._replaced = (stored, newer)
        life = found.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) and 0 < life < _LONGEST_LIFE else _USUAL_LIFE
        return Credential(token, self._seconds() + seconds, self._endpoint)

    async def revoke(self) -> None:
        """Do nothing: a token ends by itself, within the hour."""

    async def _ask(self, form: bytes) -> Response:
        try:
            return await request_once(self._open_http, "POST", self._endpoint, _FORM, form)
        except NoAnswerError as error:
            # A lost answer may have cost a token, but no mail.
            raise NotSent(f"no token: {error}") from error

    def _refusal(self, answer: Response, found: Mapping[str, Any]) -> NoTokenError:
        wait = retry_after(answer.header("Retry-After"), self._seconds())
        code, text = text_in(found, "error"), text_in(found, "error_description")
        return no_token(self._errors, answer.status, code, text, wait)


def no_token(
    errors: ErrorTable, status: int | str, code: str, text: str, wait: float | None = None
) -> NoTokenError:
    """
    Return what a refusal means.

    :param code: ``error`` of the answer; ``text`` its ``error_description``.
    :param wait: seconds that it asks to wait.
    """
    numbered = _NUMBERED.match(text)
    if numbered and code not in _MEANINGS:
        code, text = numbered[1], text[numbered.end() :]
    outcome = errors.outcome(status, code, text, retry_after=wait)
    return NoTokenError(evolve(outcome, why=f"no token: {outcome.why}"), code)
