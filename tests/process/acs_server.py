"""
The fake of Azure Communication Services in a process of its own, so that it outlives the relay.

As a script it listens, says where, and takes orders under ``/control``; :class:`AcsProcess` starts
it and gives the orders. What it did is told in plain JSON.
"""

import base64
import hashlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smtprelay.testing.acs import Act, Answers, Babbles, Drops, Ends, FakeAcs, Hangs
from tests.process.program import Program

KEY = base64.b64encode(b"the key that works").decode()

_ACTS: Mapping[str, type[Act]] = {
    "answers": Answers,
    "drops": Drops,
    "ends": Ends,
    "hangs": Hangs,
    "babbles": Babbles,
}


class AcsProcess:
    """The running fake, as a test sees it."""

    def __init__(self, program: Program, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.stop = program.stop

    @classmethod
    async def start(cls, folder: Path) -> "AcsProcess":
        """Start it."""
        program = Program.python(["-m", "tests.process.acs_process"], folder)
        return cls(program, int((await program.says(r"^listens on (\d+)\n"))[1]))

    def connection_string(self, key: str = KEY) -> str:
        """Return what the relay's provider is configured with."""
        return f"endpoint={self.url}/;accesskey={key}"

    async def mails(self) -> list[dict[str, Any]]:
        """Return each operation that was taken: ``id``, ``request``, ``posts``."""
        return await self._ask("GET", "mails")

    async def arrivals(self) -> list[dict[str, Any]]:
        """Return each request that came: ``time`` (as of the clock), ``method``, ``status``."""
        return await self._ask("GET", "arrivals")

    async def deliveries(self) -> "Counter[tuple[str, str, str]]":
        """Return how often each (Message-ID, recipient, digest of the text) was delivered."""
        return Counter(tuple(each) for each in await self._ask("GET", "deliveries"))

    async def script(self, act: str, *, times: int = 1, **values: Any) -> None:
        """Say what happens to the next sends: a word for one of the fake's classes, and its ``values``."""
        await self._ask("POST", "script", {"act": act, "times": times, "values": values})

    async def refuse(self, text: str, **values: Any) -> None:
        """Answer each send that has ``text`` in it so, see :class:`smtprelay.testing.acs.Answers`."""
        await self._ask("POST", "refuse", {"text": text, "values": values})

    async def go_mad(self, act: str, share: float = 1.0, **values: Any) -> None:
        """Have so large a share of all sends end in ``act`` until it comes to its senses."""
        await self._ask("POST", "go_mad", {"act": act, "share": share, "values": values})

    async def come_to_its_senses(self) -> "Counter[str]":
        """Work as usual again; return how often each act of madness has happened so far."""
        await self._ask("POST", "calm", {})
        return Counter(await self._ask("GET", "madness"))

    async def delay(self, seconds: float) -> None:
        """Answer everything so much later."""
        await self._ask("POST", "delay", {"seconds": seconds})

    async def hold(self) -> None:
        """Answer nothing before :meth:`let_go`."""
        await self._ask("POST", "hold", {})

    async def let_go(self) -> None:
        """Answer all that waits, and again at once."""
        await self._ask("POST", "let_go", {})

    async def _ask(self, method: str, path: str, order: object = None) -> Any:
        answer = await treq.request(
            method, f"{self.url}/control/{path}", json=order, persistent=False, reactor=reactor
        )
        content = await answer.content()
        if answer.code != 200:
            raise AssertionError(f"{method} {path}: {answer.code} {content!r}")
        return json.loads(content)


def digest(text: str) -> str:
    """Return a short name for ``text``, whatever its line ends."""
    return hashlib.sha256("\n".join(text.splitlines()).encode()).hexdigest()[:16]


# --- the process -----------------------------------------------------------------------------


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
            reactor.callLater(self.seconds, late)
        return NOT_DONE_YET


class Control(Resource):
    """Takes orders and answers questions."""

    isLeaf = True

    def __init__(self, fake: WatchedAcs) -> None:
        super().__init__()
        self._fake = fake

    def render_GET(self, request: Request) -> bytes:
        return json.dumps(getattr(self, f"tell_{request.postpath[0].decode()}")()).encode()

    def render_POST(self, request: Request) -> bytes:
        getattr(self, f"do_{request.postpath[0].decode()}")(**json.loads(request.content.read()))
        return b"null"

    def tell_mails(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"id": each.id, "request": each.request, "posts": each.posts}
            for each in self._fake.operations.values()
        ]

    def tell_arrivals(self) -> Sequence[Mapping[str, Any]]:
        return [
            {"time": when, "method": each.method, "target": each.target, "status": each.status}
            for when, each in zip(self._fake.times, self._fake.exchanges, strict=True)
        ]

    def tell_deliveries(self) -> Sequence[tuple[str, str, str]]:
        return [
            (mail.request.get("headers", {}).get("Message-ID", ""), who["address"], digest(text))
            for mail in self._fake.mails
            if (text := mail.request["content"].get("plainText", "")) is not None
            for kind in ("to", "cc", "bcc")
            for who in mail.request["recipients"].get(kind, ())
        ]

    def do_script(self, act: str, times: int, values: Mapping[str, Any]) -> None:
        self._fake.script(*[_ACTS[act](**values)] * times)

    def do_refuse(self, text: str, values: Mapping[str, Any]) -> None:
        self._fake.refused.append((text.encode(), Answers(**values)))

    def tell_madness(self) -> Mapping[str, int]:
        return self._fake.madness

    def do_go_mad(self, act: str, share: float, values: Mapping[str, Any]) -> None:
        self._fake.mad = (_ACTS[act](**values), share, f"{act} {values.get('status', '')}".strip())

    def do_calm(self) -> None:
        self._fake.mad = None

    def do_delay(self, seconds: float) -> None:
        self._fake.seconds = seconds

    def do_hold(self) -> None:
        self._fake.held = []

    def do_let_go(self) -> None:
        held, self._fake.held = self._fake.held, None
        for answer in held or ():
            answer()


class Root(Resource):
    """The control, and the service everywhere else."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = WatchedAcs()
        self.putChild(b"control", Control(self._fake))

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self._fake


def serve() -> None:
    """Listen until a signal comes."""
    port = reactor.listenTCP(0, Site(Root()), interface="127.0.0.1")
    reactor.callWhenRunning(lambda: os.write(1, f"listens on {port.getHost().port}\n".encode()))
    reactor.run()


if __name__ == "__main__":
    sys.exit(serve())
