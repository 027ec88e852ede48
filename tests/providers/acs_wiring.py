"""
An :class:`Acs` joined in memory with the fake service.

:func:`joined_acs` is the factory for whoever runs a contract suite over providers.
"""

import base64
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.providers.acs.api import AcsApi
from smtprelay.providers.acs.provider import Acs, AcsOptions
from smtprelay.providers.acs.signature import Credentials
from smtprelay.settings.provider import RemoteProviderSettings
from smtprelay.testing.acs import FakeAcs
from smtprelay.testing.mime import InlineMimeWorker
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording

NOW = 1_800_000_000.0
ENDPOINT = "http://127.0.0.1:8443"
KEYS = tuple(base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
MAIL = b"From: Ann <ann@mail.example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hi\r\n\r\nhello\r\n"
BOB = "bob@example.net"
BLIND = b"From: ann@mail.example.com\r\nTo: list@example.org\r\nSubject: Hi\r\n\r\nhello\r\n"


def delivery(*recipients: str, sender: str = "ann@mail.example.com", generation: int = 0) -> Delivery:
    """Make a delivery for ``recipients``; for bob@example.net if there are none."""
    addresses = recipients or ("bob@example.net",)
    return Delivery(
        message="m1",
        n=1,
        generation=generation,
        route="default",
        provider="acs",
        lane="",
        envelope=Envelope(sender=sender, recipients=tuple(Recipient(address=one) for one in addresses)),
        size=len(MAIL),
        received=NOW,
    )


class JoinedAcs:
    """
    A provider, the service it speaks to, and the clock of both.

    :ivar secrets: what the provider reads when it reads its credentials; an exception is raised.
    :ivar threads: how often work was given to a thread.
    :ivar released: how often the provider said that the service has the mail.
    """

    def __init__(
        self, fake: Callable[[Clock], Any] | None = None, clock: Clock | None = None, **options: Any
    ) -> None:
        self.clock = clock or Clock()
        if clock is None:
            self.clock.advance(NOW)
        self.fake = fake(self.clock) if fake else FakeAcs(self.clock, KEYS[:2])
        self.joined = WiredHttp.to(self.fake, self.clock)
        self.events = Recording()
        self.secrets: Credentials | Exception = Credentials(ENDPOINT, KEYS[:2])
        self.worker = InlineMimeWorker()
        self.threads = 0
        self.released = 0
        given = {"sender": "DoNotReply@mail.example.com", "sender_domains": ["Mail.Example.com"], **options}
        context = self.joined.context(events=self.events, defer_to_thread=self._aside)
        caller = context.caller("acs", RemoteProviderSettings(type="acs"), self._read)
        self.provider = Acs(
            AcsApi(caller), AcsOptions(**given), worker=self.worker, clock=self.clock, events=self.events
        )

    def start(self, item: Delivery | None = None, body: bytes = MAIL) -> "Deferred[Any]":
        """Begin to deliver, and carry what was written."""
        return self.joined.run(
            self.provider.deliver(Attempt(item or delivery(), MemoryBody(body), self._took))
        )

    def sent(self) -> list[dict[str, Any]]:
        """Return the requests that the service accepted."""
        return [operation.request for operation in self.fake.operations.values()]

    def _took(self) -> None:
        self.released += 1

    def _read(self) -> Credentials:
        if isinstance(self.secrets, Exception):
            raise self.secrets
        return self.secrets

    def _aside(self, work: Callable[[], Any]) -> "Deferred[Any]":
        self.threads += 1
        return maybeDeferred(work)


def joined_acs(**options: Any) -> JoinedAcs:
    """Return a provider with its fake service; advance ``.joined`` by 1, 2, 4 s for a verdict."""
    return JoinedAcs(**options)


class Case(SynchronousTestCase):
    """What the tests of the provider share."""

    def outcome_of(self, joined: JoinedAcs, *seconds: float, body: bytes = MAIL) -> object:
        """Deliver to one recipient and return the outcome after ``seconds``."""
        result = joined.start(body=body)
        joined.joined.advance(*seconds)
        return self.successResultOf(result)[BOB]
