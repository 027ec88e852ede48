"""
Access tokens for a mailbox, from a token endpoint (RFC 6749): Microsoft's, Google's or another one.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from smtprelay.http.client import Http, NoAnswerError, NotSent, Response
from smtprelay.http.outcomes import json_object, words
from smtprelay.http.renewed import Credential

ENTRA: Final = "https://login.microsoftonline.com/{}/oauth2/v2.0/token"
GOOGLE: Final = "https://oauth2.googleapis.com/token"
#: What Entra wants to know: all that the client may do, or to send in the name of its user.
ENTRA_CLIENT: Final = "https://outlook.office365.com/.default"
ENTRA_USER: Final = "https://outlook.office365.com/SMTP.Send offline_access"

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_OK: Final = 200
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
#: Errors that say nothing of us (RFC 6749 §4.1.2.1).
_LATER: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
#: Seconds, if an answer does not say how long its token is valid.
_USUAL_LIFE: Final = 3600.0
_TOKEN: Final = re.compile(r"[!-~]+")


class OauthTokens:
    """
    Obtains the tokens of one mailbox: a :class:`smtprelay.http.renewed.CredentialService` of coroutines.

    :param open_http: makes the client of one request.
    :param read: returns the fields of the request, with the secrets among them; it may read files.
    :param seconds: gives the time, since the epoch.
    """

    required_at_start = False

    def __init__(
        self,
        endpoint: str,
        open_http: Callable[[], Http],
        read: Callable[[], Awaitable[Mapping[str, str]]],
        seconds: Callable[[], float],
    ) -> None:
        self._endpoint = endpoint
        self._open_http = open_http
        self._read = read
        self._seconds = seconds
        #: A refresh token of the configuration, and the one that has replaced it.
        self._replaced = ("", "")

    async def obtain(self, *, refused: bool) -> Credential[str]:  # noqa: ARG002 -- each token is a new one
        """
        Return a new token.

        :raises ValueError: it is refused, or a secret cannot be read; the text is for people.
        :raises NotSent: the endpoint does not answer, or not now.
        """
        fields = dict(await self._read())
        stored = fields.get("refresh_token", "")
        if stored and stored == self._replaced[0]:
            fields["refresh_token"] = self._replaced[1]
        answer = await self._ask(urlencode(fields).encode("ascii"))
        found = json_object(answer.body)
        token = found.get("access_token")
        if answer.status != _OK or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise _refusal(answer, found)
        newer = found.get("refresh_token")
        if stored and isinstance(newer, str):
            self._replaced = (stored, newer)
        life = found.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) else _USUAL_LIFE
        return Credential(token, self._seconds() + seconds, self._endpoint)

    async def revoke(self) -> None:
        """Do nothing: a token ends by itself, within the hour."""

    async def _ask(self, form: bytes) -> Response:
        http = self._open_http()
        try:
            return await http.request("POST", self._endpoint, _FORM, form)
        except NoAnswerError as error:
            # A lost answer may have cost a token, but no mail.
            raise NotSent(f"no token: {error}") from error
        finally:
            await http.close()


def _refusal(answer: Response, found: Mapping[str, Any]) -> Exception:
    code, text = str(found.get("error", "")), str(found.get("error_description", ""))
    why = f"no token: {words(answer.status, code, text)}"
    busy = answer.status == _TOO_MANY or answer.status >= _SERVER_ERROR or code in _LATER
    return NotSent(why) if busy else ValueError(why)
