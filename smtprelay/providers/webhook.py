"""
Delivers the events that routes send to a webhook.

An event is a small JSON message in the spool, so it has retries, a rate and a history as mail has. A request
is signed as https://www.standardwebhooks.com describes it, for which there are libraries; its id is the same
at each attempt, so that the receiver can tell a repetition.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from twisted.internet.interfaces import IReactorTime

from smtprelay.http.client import NoAnswerError
from smtprelay.http.outcomes import HTTP, Classification, ErrorTable
from smtprelay.interfaces import Attempt
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.network import is_loopback
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Outcome, Results
from smtprelay.model.route import WEBHOOK, Limits
from smtprelay.providers.call import Caller
from smtprelay.providers.defaults import ProviderDefaults

_SUCCESS: Final = range(200, 300)
_PREFIX: Final = "whsec_"

#: A webhook. What its owner must correct stops it and keeps the events; it knows a repetition by its id, so
#: that a lost answer is none to worry about. Redirects are not followed.
_ERRORS: Final = ErrorTable(
    meanings={
        **HTTP,
        **dict.fromkeys(
            (300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 410), Classification.BLOCKED
        ),
        **dict.fromkeys((400, 406, 411, 413, 415, 422), Classification.FAILED),
        502: Classification.DEFERRED,
        504: Classification.DEFERRED,
    }
)

#: The URL, and the key that requests are signed with; ``b""`` for none.
WebhookTarget = tuple[str, bytes]


class Webhook(ProviderDefaults):
    """
    A :class:`smtprelay.interfaces.Provider` of events.

    :param targets: read for each event, by its recipient: a route's name, or for the relay's own webhook
        :data:`WEBHOOK`.
    """

    name = WEBHOOK
    idempotent = True
    limits = Limits()

    def __init__(self, targets: Mapping[str, Caller[WebhookTarget]], clock: IReactorTime) -> None:
        self._targets = targets
        self._clock = clock

    def lane(self, envelope: Envelope, author: str, login: str) -> str:  # noqa: ARG002 -- the seam's
        """Return one lane for each webhook: a broken one holds up no other."""
        return "".join(envelope.addresses[:1])

    async def deliver(self, attempt: Attempt) -> Results:
        """Send the event once."""
        return attempt.results(await self._send(attempt.delivery, await attempt.body.whole()))

    async def close(self) -> None:
        """Close the connections."""
        for hook in self._targets.values():
            await hook.close()

    async def _send(self, delivery: Delivery, event: bytes) -> Outcome:
        hook = self._targets.get(delivery.lane)
        if hook is None:
            return Blocked("the configuration has no such webhook any more", delivery.lane)
        try:
            url, secret = await hook.read()
            headers = signed(delivery.operation_id, int(self._clock.seconds()), event, secret)
            answer = await hook.request("post", "POST", url, headers, event)
        except NoAnswerError as exc:
            blocked = isinstance(exc.outcome, Blocked)
            return Blocked(str(exc), delivery.lane) if blocked else Deferred(str(exc))
        if answer.status in _SUCCESS:
            return Delivered(why=str(answer.status))
        return hook.refused(answer, _ERRORS, lane=delivery.lane)


def checked(url: str) -> str:
    """
    Return ``url`` as it can be sent to.

    :raises ValueError: it is no URL, holds a login, or leads through clear text to another machine. The
        text does not repeat it, for it may be a secret.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("the URL of the webhook is none that can be used: expected https://host/…")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("http:// is for loopback only: the URL of the webhook must begin with https://")
    return parts._replace(path=parts.path or "/").geturl()


def key_of(secret: str) -> bytes:
    """
    Return the key that ``secret`` means: base64 behind ``whsec_``, else its own bytes.

    :raises ValueError: what follows is no base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("the secret of the webhook is no base64 behind whsec_") from None


def signed(identity: str, timestamp: int, event: bytes, key: bytes) -> dict[str, str]:
    """Return the headers of a request, with a signature if there is a ``key``."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "smtprelay",
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
    }
    if key:
        digest = hmac.digest(key, f"{identity}.{timestamp}.".encode() + event, sha256)
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
