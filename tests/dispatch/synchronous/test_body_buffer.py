"""The body of a message that is never spooled: in memory, or in a file without a name."""

import errno
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.synchronous.body_buffer import CHUNK, MOST_IN_MEMORY, BodyBuffer
from smtprelay.interfaces import Body

HEAD = b"Subject: Scan\r\nX-Env: test\r\n"
FIELDS = ["Scan", "test"]


def found(buffer: BodyBuffer) -> list[str]:
    return [buffer.head.first(name) for name in ("Subject", "X-Env")]


class Threads:
    """Runs what is deferred to a thread when it is told to; at once unless it is held."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[Callable[[], object]] = []
        self.runs = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.runs += 1
        if not self.held:
            return execute(function, *arguments)
        result: Deferred[Any] = Deferred()
        self.waiting.append(lambda: execute(function, *arguments).chainDeferred(result))
        return result

    def turn(self) -> None:
        self.waiting.pop(0)()


async def gathered(body: Body) -> list[bytes]:
    return [chunk async for chunk in body.chunks()]


class HoldingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.buffer = BodyBuffer(self.threads)
        self.addCleanup(self.buffer.close)

    def fill(self, *chunks: bytes) -> None:
        for chunk in chunks:
            waiting = self.buffer.write(chunk)
            if waiting is not None:
                self.successResultOf(waiting)
        self.successResultOf(self.buffer.complete())

    def test_small(self) -> None:
        """Up to a megabyte no thread is asked; it can be read again and again."""
        text = HEAD + b"\r\n" + b"a" * (MOST_IN_MEMORY - len(HEAD) - 2)
        self.fill(text[:100], text[100:])
        self.assertEqual(self.successResultOf(self.buffer.whole()), text)
        chunks = self.successResultOf(gathered(self.buffer))
        self.assertEqual((b"".join(chunks), max(map(len, chunks))), (text, CHUNK))
        self.assertEqual(self.successResultOf(self.buffer.whole()), text)
        self.assertEqual((found(self.buffer), self.buffer.size, self.threads.runs), (FIELDS, len(text), 0))

    def test_content(self) -> None:
        """Of a large mail that is one text it is known how large it becomes in JSON at most, if wanted."""
        self.fill(b"Subject: a\r\n\r\n", *[b"a" * 200_000] * 18)
        self.assertEqual((self.buffer.shape.in_json or 0) // 100_000, 66)
        self.buffer = BodyBuffer(self.threads, counts_content=False)
        self.addCleanup(self.buffer.close)
        self.fill(b"Subject: a\r\n\r\n", *[b"a" * 200_000] * 18)
        self.assertIsNone(self.buffer.shape.in_json)

    def test_large(self) -> None:
        """What is larger goes through the file and comes back whole, in pieces of the right size."""
        text = HEAD + b"\r\n" + bytes(range(256)) * 10_000
        self.fill(*(text[start : start + 65_000] for start in range(0, len(text), 65_000)))
        self.assertGreater(self.threads.runs, 1)
        chunks = self.successResultOf(gathered(self.buffer))
        self.assertEqual((b"".join(chunks) == text, max(map(len, chunks))), (True, CHUNK))
        self.assertTrue(self.successResultOf(self.buffer.whole()) == text)
        self.assertEqual((found(self.buffer), self.buffer.size), (FIELDS, len(text)))

    def test_back_pressure(self) -> None:
        """The caller is asked to wait for the disk; one that cannot wait loses nothing."""
        self.threads.held = True
        first, second = b"a" * (MOST_IN_MEMORY + 1), b"b" * (CHUNK + 1)
        waiting = self.buffer.write(first)
        impatient = self.buffer.write(second)
        assert waiting is not None
        assert impatient is not None
        self.assertNoResult(waiting)
        self.assertEqual(len(self.threads.waiting), 1)
        self.threads.turn()
        self.successResultOf(waiting)
        self.assertNoResult(impatient)
        self.threads.held = False
        self.threads.turn()
        self.successResultOf(impatient)
        self.fill(b"c")
        self.assertTrue(self.successResultOf(self.buffer.whole()) == first + second + b"c")

    def test_full_disk(self) -> None:
        """It is told when nothing more comes, and not before; what follows takes no memory."""

        def full(*_: object) -> Deferred[None]:
            return execute(self._no_space)

        buffer = BodyBuffer(full)
        waiting = buffer.write(b"a" * (MOST_IN_MEMORY + 1))
        assert waiting is not None
        self.successResultOf(waiting)
        self.assertIsNone(buffer.write(b"a" * (MOST_IN_MEMORY + 1)))
        failure = self.failureResultOf(Deferred.fromCoroutine(buffer.complete()), OSError)
        self.assertEqual(failure.value.errno, errno.ENOSPC)

    def test_closed(self) -> None:
        """The file is let go of when the message is forgotten in the middle."""
        self.buffer.write(b"a" * (MOST_IN_MEMORY + 1))
        file = self.buffer._file
        assert file is not None
        self.buffer.close()
        self.assertTrue(file.closed)

    def _no_space(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")
