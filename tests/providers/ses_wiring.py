"""A :class:`Ses` joined in memory with the fake service."""

from collections.abc import Callable
from typing import Any

from botocore.credentials import ReadOnlyCredentials
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smtprelay.http.renewed import Credential
from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Results
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import BUILT_IN
from smtprelay.providers.ses.credentials import AwsAccess
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from smtprelay.testing.ses import FakeSes
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording

NOW = 1_800_000_000.0
ENDPOINT = "http://127.0.0.1:8080"
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
MAIL = (
    b"From: Ann <ann@mail.example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hi\r\n"
    b"Date: Mon, 30 Nov 2026 08:44:25 +0000\r\nMessage-ID: <1@x.example>\r\n\r\nhello\r\n"
)
BOB, CY = "bob@example.net", "cy@example.net"


def access(
    key: str = KEY, secret: str = SECRET, token: str | None = None, endpoint: str = ENDPOINT
) -> AwsAccess:
    return AwsAccess(ReadOnlyCredentials(key, secret, token), "eu-west-1", endpoint)


class JoinedSes:
    """
    A provider, as the relay builds it, with the service that it speaks to, and the clock of both.

    :ivar held: what is obtained when credentials are; an exception is raised.
    """

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.fake = FakeSes(self.clock, {KEY: SECRET})
        self.joined = WiredHttp.to(self.fake, self.clock)
        self.events = Recording()
        self.held: Credential[AwsAccess] | Exception = Credential(access(), None, "a test")
        context = self.joined.context(events=self.events, defer_to_own_thread=self._obtain)
        kind = BUILT_IN["ses"]
        made = kind.settings(**{"type": "ses", "limits": kind.limits, **settings})
        self.ses = kind.build("ses", made, context)
        self.provider = OutgoingProvider(
            self.ses, InlineMimeWorker(), hostname="relay.example.com", bounces_from="bounces@example.com"
        )

    def deliver(self, *recipients: str, body: bytes = MAIL, sender: str = "ann@mail.example.com") -> Results:
        item = delivery(*(recipients or (BOB,)), sender=sender)
        return self.joined.result(self.provider.deliver(Attempt(item, MemoryBody(body))), 31)

    def result(self, coroutine: Any) -> Any:
        return self.joined.result(coroutine, 31)

    def _obtain(self, work: Callable[[], Any]) -> "Deferred[Any]":
        done: Deferred[Any] = Deferred()
        done.callback(self.held) if not isinstance(self.held, Exception) else done.errback(self.held)
        return done
