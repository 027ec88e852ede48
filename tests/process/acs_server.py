"""
The fake of Azure Communication Services, listening in the test's own process: it outlives each relay.
"""

import base64
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.web.server import NOT_DONE_YET, Request, Site

from smtprelay.testing.acs import (
    Act,
    Answers,
    EndedOperation,
    FakeAcs,
    GarbledAnswer,
    LostConnection,
    NoAnswer,
)

KEY: Final = base64.b64encode(b"the key that works").decode()

_ACTS: Final[dict[str, type[Act]]] = {
    "answers": Answers,
    "drops": LostConnection,
    "ends": EndedOperation,
    "hangs": NoAnswer,
    "babbles": GarbledAnswer,
}


class WatchedAcs(FakeAcs):
    """The fake, slower if wanted, with a memory for times and a dislike for some mail."""

    def __init__(self) -> None:
        super().__init__(reactor, [KEY], steps=())
        self.seconds = 0.0
        self.held: list[Callable[[], object]] | None = None
        self.refused: list[tuple[bytes, Answers]] = []
        self.times: list[float] = []
        self.mad: tuple[Act, float, str] | None = None
        self.madness: Counter[str] = Counter()
        self.waiting: list[IDelayedCall] = []

    def render(self, request: Request) -> bytes | int:
        self.times.append(time.time())
        content = request.content.read()
        request.content.seek(0)
        for text, answer in self.refused:
            if text in content:
                self.script(answer)
        if self.mad and request.method == b"POST":
            act, share, name = self.mad
            if random.random() < share:
                self.madness[name] += 1
                self.script(act)
        answer = super().render(request)
        if answer is NOT_DONE_YET or (self.held is None and not self.seconds):
            return answer
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def late() -> None:
            if not gone:
                request.write(answer)
                request.finish()

        if self.held is not None:
            self.held.append(late)
        else:
            self.waiting = [each for each in self.waiting if each.active()]
            self.waiting.append(reactor.callLater(self.seconds, late))
        return NOT_DONE_YET


class AcsServer:
    """The fake on a port of its own, and what a test orders and asks."""

    def __init__(self) -> None:
        self._fake = WatchedAcs()
        self._factory = WrappingFactory(Site(self._fake))
        self._port = reactor.listenTCP(0, self._factory, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Listen no more, and end each connection."""
        await self._port.stopListening()
        for each in self._fake.waiting:
            if each.active():
                each.cancel()
        while self._factory.protocols:
            for each in list(self._factory.protocols):
                each.transport.abortConnection()
            await deferLater(reactor, 0)

    def connection_string(self, key: str = KEY) -> str:
        """Return what the relay's provider is configured with."""
        return f"endpoint={self.url}/;accesskey={key}"

    async def mails(self) -> list[dict[str, Any]]:
        """Return each operation that was taken: ``id``, ``request``, ``posts``."""
        taken = self._fake.operations.values()
        return [{"id": each.id, "request": each.request, "posts": each.posts} for each in taken]

    async def arrivals(self) -> list[dict[str, Any]]:
        """Return each request that came: ``time`` (as of the clock), ``method``, ``target``, ``status``."""
        return [
            {"time": when, "method": each.method, "target": each.target, "status": each.status}
            for when, each in zip(self._fake.times, self._fake.exchanges, strict=True)
        ]

    async def deliveries(self) -> Counter[tuple[str, str, str]]:
        """Return how often each (Message-ID, recipient, digest of the text) was delivered."""
        return Counter(
            (mail.request.get("headers", {}).get("Message-ID", ""), who["address"], digest(text))
            for mail in self._fake.mails
            if (text := mail.request["content"].get("plainText", "")) is not None
            for kind in ("to", "cc", "bcc")
            for who in mail.request["recipients"].get(kind, ())
        )

    async def script(self, act: str, *, times: int = 1, **values: Any) -> None:
        """Say what happens to the next sends: a word for one of the fake's classes, and its ``values``."""
        self._fake.script(*[_ACTS[act](**values)] * times)

    async def refuse(self, text: str, **values: Any) -> None:
        """Answer each send that has ``text`` in it so, see :class:`smtprelay.testing.acs.Answers`."""
        self._fake.refused.append((text.encode(), Answers(**values)))

    async def go_mad(self, act: str, share: float = 1.0, **values: Any) -> None:
        """Have so large a share of all sends end in ``act`` until it comes to its senses."""
        self._fake.mad = (_ACTS[act](**values), share, f"{act} {values.get('status', '')}".strip())

    async def come_to_its_senses(self) -> Counter[str]:
        """Work as usual again; return how often each act of madness has happened so far."""
        self._fake.mad = None
        return self._fake.madness.copy()

    async def delay(self, seconds: float) -> None:
        """Answer everything so much later."""
        self._fake.seconds = seconds

    async def hold(self) -> None:
        """Answer nothing before :meth:`let_go`."""
        self._fake.held = []

    async def let_go(self) -> None:
        """Answer all that waits, and again at once."""
        held, self._fake.held = self._fake.held, None
        for answer in held or ():
            answer()


def digest(text: str) -> str:
    """Return a short name for ``text``, whatever its line ends."""
    return hashlib.sha256("\n".join(text.splitlines()).encode()).hexdigest()[:16]
