"""A :class:`Resend` joined in memory with the fake service."""

from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Results
from smtprelay.providers.registry import BUILT_IN
from smtprelay.settings.secret import fixed
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from smtprelay.testing.resend import FakeResend
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording

NOW = 1_800_000_000.0
KEY = "re_0123456789"
MAIL = b"From: Ann <ann@mail.example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hi\r\n\r\nhello\r\n"
BLIND = b"From: ann@mail.example.com\r\nTo: list@example.org\r\nSubject: Hi\r\n\r\nhello\r\n"
BOB, CY = "bob@example.net", "cy@example.net"


class JoinedResend:
    """A provider, as the relay builds it, with the service that it speaks to, and the clock of both."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.fake = FakeResend(self.clock, [KEY], ["mail.example.com"])
        self.joined = WiredHttp.to(self.fake, self.clock)
        self.events = Recording()
        self.worker = InlineMimeWorker()
        kind = BUILT_IN["resend"]
        given = {"api_key": fixed(KEY, "inline"), "endpoint": "http://127.0.0.1:8080"}
        made = kind.settings(**{"type": "resend", "limits": kind.limits, **given, **settings})
        context = self.joined.context(events=self.events, mime=self.worker)
        self.provider = kind.build("re", made, context)

    def deliver(
        self,
        *recipients: str,
        body: bytes = MAIL,
        sender: str = "ann@mail.example.com",
        generation: int = 0,
    ) -> Results:
        item = evolve(delivery(*(recipients or (BOB,)), sender=sender), generation=generation)
        return self.result(self.provider.deliver(Attempt(item, MemoryBody(body))))

    def result(self, coroutine: Any) -> Any:
        return self.joined.result(coroutine, 31)
