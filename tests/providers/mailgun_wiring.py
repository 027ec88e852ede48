"""A :class:`Mailgun` joined in memory with the fake service."""

from typing import Any

from twisted.internet.task import Clock

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Results
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.registry import BUILT_IN
from smtprelay.settings.secret import fixed
from smtprelay.testing.mailgun import FakeMailgun
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording

NOW = 1_800_000_000.0
KEY, DOMAIN = "key-0123456789", "mg.example.com"
MAIL = (
    b"From: Ann <ann@mail.example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hi\r\n"
    b"Date: Mon, 30 Nov 2026 08:44:25 +0000\r\nMessage-ID: <1@x.example>\r\n\r\nhello\r\n"
)
BOB, CY = "bob@example.net", "cy@example.net"


class JoinedMailgun:
    """A provider, as the relay builds it, with the service that it speaks to, and the clock of both."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.fake = FakeMailgun(self.clock, KEY, [DOMAIN])
        self.joined = WiredHttp.to(self.fake, self.clock)
        self.events = Recording()
        kind = BUILT_IN["mailgun"]
        given = {"domain": DOMAIN, "api_key": fixed(KEY, "inline"), "endpoint": "http://127.0.0.1:8080"}
        made = kind.settings(**{"type": "mailgun", "limits": kind.limits, **given, **settings})
        self.mailgun = kind.build("gun", made, self.joined.context(events=self.events))
        self.provider = OutgoingProvider(
            self.mailgun, InlineMimeWorker(), hostname="relay.example.com", bounces_from="bounces@example.com"
        )

    def deliver(self, *recipients: str, body: bytes = MAIL) -> Results:
        item = delivery(*(recipients or (BOB,)))
        return self.result(self.provider.deliver(Attempt(item, MemoryBody(body))))

    def result(self, coroutine: Any) -> Any:
        return self.joined.result(coroutine, 31)
