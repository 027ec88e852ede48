"""Delivery by Postbox, which takes a mail with its recipients as one JSON request."""

import base64
import json
from typing import Literal

from attrs import frozen

from smtprelay.http.client import Response
from smtprelay.http.outcomes import HTTP, Classification, ErrorTable
from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Delivered, Outcome, Results
from smtprelay.model.route import Limits
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.defaults import ProviderDefaults
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings.provider import HttpProviderSettings
from smtprelay.settings.secret import Secret

#: What its refusals mean; any other is ``Deferred``.
ERRORS = ErrorTable(meanings={**HTTP, 400: Classification.FAILED, 422: Classification.FAILED})


@frozen(kw_only=True)
class PostboxSettings(HttpProviderSettings):
    """
    Postbox.

    :ivar api_key: the key of the account. Example: ``{file: /run/secrets/postbox}``.
    :ivar stream: what kind of mail it is; Postbox counts each apart.
    """

    type: Literal["postbox"]
    api_key: Secret
    stream: Literal["alerts", "bulk"] = "alerts"


class Postbox(ProviderDefaults):
    """A :class:`smtprelay.interfaces.Provider`: one request for all recipients."""

    idempotent = True  # Postbox remembers the Idempotency-Key of each request

    def __init__(self, name: str, settings: PostboxSettings, context: ProviderContext) -> None:
        self.name = name
        self.limits = settings.limits
        self._url = settings.endpoint or "https://api.postbox.example"
        self._stream = settings.stream
        self._caller = context.caller(name, settings, settings.api_key.reveal)

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the mail; the envelope says to whom, whatever its header says."""
        envelope = attempt.delivery.envelope
        mail = base64.b64encode(await attempt.body.whole()).decode()
        request = {"from": envelope.sender, "to": envelope.addresses, "stream": self._stream, "mail": mail}
        octets = json.dumps(request).encode()
        return attempt.results(await self._ask("POST", "/send", octets, attempt.delivery.operation_id))

    async def probe(self, lane: str) -> Outcome | None:
        """Ask for the account: that works if the key does."""
        return await self._ask("GET", "/account")

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    async def _ask(self, method: str, path: str, body: bytes = b"", key: str = "") -> Outcome:
        async def send(api_key: str) -> Response:
            headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key}
            return await self._caller.request(path[1:], method, self._url + path, headers, body)

        return await self._caller.outcome(send, succeeded, ERRORS)


def succeeded(answer: Response) -> Outcome | None:
    return Delivered(answer.header("X-Postbox-Id")) if answer.status == 200 else None


POSTBOX = ProviderKind(settings=PostboxSettings, build=Postbox, limits=Limits(recipients=50), raw=True)
