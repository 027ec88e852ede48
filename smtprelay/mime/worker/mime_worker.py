"""
Work on the content of mail: small mail at once, in this process, the rest in a worker process, in order.

A thread would stall the reactor while Python works on 10 MB without releasing its lock, and could not be
ended.
"""

import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock

from smtprelay.interfaces import (
    Body,
    Events,
    MailTooCostly,
    MimeTask,
    MimeTaskError,
    MimeWorkerTimeout,
    MimeWorkerUnavailable,
)
from smtprelay.mime.parse import TooComplexError
from smtprelay.mime.worker.inline_budget import SMALL_TEXT, InlineBudget, is_small
from smtprelay.mime.worker.process import MimeProcess, TaskFailedError
from smtprelay.mime.worker.task import PREFIXES, check_place, failure, name_of

#: Seconds after which a process that has nothing to do is ended.
IDLE: Final = 300.0

#: Seconds until a failed start is tried again.
_START_AGAIN: Final = 5.0

#: Seconds for which work goes on that nobody waits for any more. To start another process takes a moment,
#: too, and who is next may have no more time than that.
_UNWANTED: Final = 10.0

#: Seconds to wait for the end of a killed process.
_DYING: Final = 2.0

_MIB: Final = 1 << 20
_NO_MEMORY: Final = "builtins:MemoryError"


@frozen(kw_only=True)
class Bounds:
    """
    What work on a mail may cost: a constant, and some for each MiB of the mail.

    An honest mail takes a tenth of it on a slow machine.

    :ivar cpu: seconds of the processor.
    :ivar wall: seconds on the clock, from when its turn comes: several times as many, for a busy machine.
    :ivar memory: octets.
    """

    cpu: tuple[float, float] = (5.0, 0.5)
    wall: tuple[float, float] = (60.0, 5.0)
    memory: tuple[int, int] = (256 * _MIB, 16 * _MIB)

    def seconds(self, size: int) -> float:
        """Return ``cpu`` for a mail of ``size`` octets."""
        return self.cpu[0] + self.cpu[1] * size / _MIB

    def deadline(self, size: int) -> float:
        """Return ``wall`` for a mail of ``size`` octets."""
        return self.wall[0] + self.wall[1] * size / _MIB

    def octets(self, size: int) -> int:
        """Return ``memory`` for a mail of ``size`` octets."""
        return self.memory[0] + self.memory[1] * size // _MIB


class ProcessMimeWorker:
    """
    The :class:`smtprelay.interfaces.MimeWorker` of a relay.

    Its process is started when it is first needed, and ended when it has had nothing to do for a while.

    :ivar prefixes: where tasks may be defined, beside ``smtprelay``; it may change.
    :param seconds: a clock that tells how long work in this process takes.
    """

    def __init__(
        self,
        reactor: Any,
        events: Events,
        *,
        bounds: Bounds | None = None,
        idle: float = IDLE,
        prefixes: Sequence[str] = (),
        executable: str = sys.executable,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reactor = reactor
        self._events = events
        self._bounds = bounds or Bounds()
        self._idle = idle
        self.prefixes = prefixes
        self._executable = executable
        self._seconds = seconds
        self._budget = InlineBudget(reactor)
        self._lock = DeferredLock()
        self._process: MimeProcess | None = None
        self._living: set[MimeProcess] = set()
        self._idling: Any = None
        #: Ends the turn of the mail that is being worked on.
        self._turn_ends: Any = None
        self._no_start_before: float | None = None
        self._stopped = False

    async def run(
        self, task: MimeTask, body: Body, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        """Do the work here if the mail is small, else in the process, when its turn comes."""
        if body.size > SMALL_TEXT:
            return await self._queued(task, body.chunks(), body.size, parameters)
        octets = await body.whole()
        if not is_small(octets):
            return await self._queued(task, _one(octets), len(octets), parameters)
        room = self._budget.room()
        if room is not None:
            await room
        began = self._seconds()
        try:
            check_place(task.__module__, (*PREFIXES, *self.prefixes))
            return task(octets, parameters)
        except Exception as error:  # noqa: BLE001 -- as from the process
            self._raise(failure(error))
        finally:
            self._budget.spend(self._seconds() - began)

    def start(self) -> None:
        """Start the process now, as its work is about to come."""
        if self._process is None and not self._stopped:
            try:
                self._started()
            except MimeWorkerUnavailable:
                return
            self._begin_idling()

    def stop(self) -> Deferred[None]:
        """End the process at once; fires when it has, or after a moment. No work is done any more."""
        self._stopped = True
        self._end_idling()
        self._drop()
        ending = [process.ended for process in self._living]
        gone: Deferred[Any] = DeferredList(ending, consumeErrors=True)
        gone.addTimeout(_DYING, self._reactor)
        return gone.addBoth(lambda _: None)

    async def _queued(
        self, task: MimeTask, chunks: AsyncIterator[bytes], size: int, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        await self._lock.acquire()
        done: Deferred[tuple[Mapping[str, Any], bytes]] = Deferred()
        Deferred.fromCoroutine(self._turn(task, chunks, size, parameters)).chainDeferred(done)
        try:
            return await done
        except CancelledError:
            self._cut_turn()
            raise

    async def _turn(
        self, task: MimeTask, chunks: AsyncIterator[bytes], size: int, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        """Use the process, whether or not somebody still waits for that."""
        try:
            return await self._in_process(task, chunks, size, parameters)
        finally:
            self._lock.release()

    async def _in_process(
        self, task: MimeTask, chunks: AsyncIterator[bytes], size: int, parameters: Mapping[str, object]
    ) -> tuple[Mapping[str, Any], bytes]:
        self._end_idling()
        process = self._process
        if process is not None and process.prefixes != tuple(self.prefixes):
            self._drop()
            process = None
        if process is None or process.over:
            process = self._started()
        request = {
            "task": name_of(task),
            "parameters": parameters,
            "cpu": self._bounds.seconds(size),
            "memory": self._bounds.octets(size),
        }
        deadline = self._bounds.deadline(size)
        working = Deferred.fromCoroutine(process.work(request, chunks))
        began = self._reactor.seconds()
        self._turn_ends = self._reactor.callLater(deadline, working.cancel)
        answered = False
        try:
            done = await working
            answered = True
        except CancelledError:
            reason = f"no answer of the MIME worker within {self._reactor.seconds() - began:.0f} s"
            self._events("mime.ended", pid=process.pid, reason=reason)
            raise MimeWorkerTimeout(reason) from None
        except TaskFailedError as error:
            answered = error.failure["type"] != _NO_MEMORY
            self._raise(error.failure)
        finally:
            if self._turn_ends.active():
                self._turn_ends.cancel()
            # Without an answer half of a mail may be in the pipe, or the result may not be needed any more.
            if answered:
                self._begin_idling()
            else:
                self._drop()
        return done

    def _cut_turn(self) -> None:
        """Let the turn of a mail that nobody waits for end soon."""
        if self._turn_ends.getTime() - self._reactor.seconds() > _UNWANTED:
            self._turn_ends.reset(_UNWANTED)

    def _raise(self, failed: Mapping[str, str]) -> NoReturn:
        """Raise what a task raised, or what stands for it, without the traceback of how it came here."""
        if failed["type"] == name_of(TooComplexError):
            raise TooComplexError(failed["text"]) from None
        if failed["type"] == _NO_MEMORY:
            raise MailTooCostly(
                "work on the mail needs more memory than a mail of its size may use"
            ) from None
        raise MimeTaskError(failed["line"]) from _Traceback(failed["traceback"])

    # --- the process

    def _started(self) -> MimeProcess:
        if self._stopped:
            raise MimeWorkerUnavailable("the MIME worker: the relay is stopping")
        if self._no_start_before is not None and self._reactor.seconds() < self._no_start_before:
            raise MimeWorkerUnavailable("the MIME worker would not start a moment ago")
        process = MimeProcess(self._reactor, tuple(self.prefixes))
        try:
            process.start(self._executable)
        except (OSError, ValueError) as error:
            self._cannot_start()
            raise MimeWorkerUnavailable(f"the MIME worker cannot be started: {error}") from error
        self._living.add(process)
        process.ended.addCallback(self._has_ended, process)
        self._process = process
        self._events("mime.started", pid=process.pid)
        return process

    def _cannot_start(self) -> None:
        self._no_start_before = self._reactor.seconds() + _START_AGAIN

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def _has_ended(self, _: None, process: MimeProcess) -> None:
        self._living.discard(process)
        if process is not self._process:
            return
        self._process = None
        self._end_idling()
        if not process.ready:
            self._cannot_start()
        self._events("mime.ended", pid=process.pid, reason=process.reason)

    def _begin_idling(self) -> None:
        if self._process is not None:
            self._idling = self._reactor.callLater(self._idle, self._drop)

    def _end_idling(self) -> None:
        if self._idling is not None and self._idling.active():
            self._idling.cancel()
        self._idling = None


class _Traceback(Exception):  # noqa: N818 -- shown as the cause of another exception
    """Where in a task something went wrong."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


async def _one(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
