"""The relay's threads."""

import threading
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from smtprelay.service.threads import Threads


class ThreadsTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.threads = Threads(reactor)
        self.threads.start()

    async def test_own_thread(self) -> None:
        """What a function on a thread of its own returns or raises comes to the reactor."""
        self.assertIsNot(await self.threads.own(threading.current_thread), threading.current_thread())
        self.assertEqual(await self.threads.own(int, "7"), 7)
        await self.assertFailure(self.threads.own(int, "x"), ValueError)
        self.threads.stop()

    async def test_a_stop_does_not_wait_for_it(self) -> None:
        """A function that hangs delays neither a stop nor the end of the process."""
        ended: Deferred[Any] = Deferred()
        hang = threading.Event()
        found: list[bool] = []

        def hanging() -> None:
            found.append(threading.current_thread().daemon)
            reactor.callFromThread(ended.callback, None)
            hang.wait(20)

        done = self.threads.own(hanging)
        await ended
        self.threads.stop()
        self.assertFalse(done.called)
        self.assertEqual(found, [True])
        hang.set()
        await done
