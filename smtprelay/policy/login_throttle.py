"""
Throttles wrong logins by client and user name.

Each wrong login of a client, or under a user name, doubles the time until the next one of the same client or
name is verified: disconnecting early gains nothing, and a waiting guess costs no CPU. A guess counts from its
beginning, and is taken back unless it was wrong; parallel connections get no more tries than one, nor do
connections to several processes of a relay. A client is its address, or its network where that is one
customer's (:func:`smtprelay.model.network.counted_as`).

Repeating one wrong password counts once, so a device with an old password does not delay its neighbours. A
login that succeeded recently from the same client, with the same password, does not wait.
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from math import inf
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from smtprelay.model.message import Refused, Reply
from smtprelay.model.network import counted_as
from smtprelay.net.worker_memory import WorkerMemory

#: The first failures cost nothing: people mistype.
FREE: Final = 2
#: Seconds between two guesses; below the 60 s after which impatient devices hang up.
LONGEST: Final = 15.0
#: Seconds that a login waits for others before it is refused temporarily.
PATIENCE: Final = 30.0
#: Maximum number of logins of one client, or under one name, that wait for their turn.
WAITING: Final = 50
#: Seconds without a failure after which it is forgotten.
MEMORY: Final = 900.0
#: Seconds for which a login that succeeded need not wait.
LATELY: Final = 86_400.0
#: Maximum number of clients and names that are remembered, the newest failures; also of successful logins.
REMEMBERED: Final = 10_000
#: Bytes that distinguish keys and guesses.
DIGEST: Final = 8
#: Maximum number of guesses of a client, or under a name, that are distinguished from new ones.
GUESSES: Final = 8
#: Instead of the time of a guess: it was none after all; and it was right.
TAKEN_BACK: Final = -inf
PASSED: Final = inf

_BUSY: Final = Reply(
    code=454, enhanced="4.7.0", text="Too many attempts to log in, try again later", rule="login-throttle"
)


@define(eq=False)
class _Known:
    last: float
    count: int = 0
    guesses: dict[bytes, float] = field(factory=dict)
    in_flight: int = 0


@frozen(eq=False)
class LoginAttempt:
    """
    A login that is being verified.

    :ivar keys: of its client and its name.
    :ivar in_flight: what is known of those, while it is counted there.
    :ivar counted: the keys under which it is a new guess.
    """

    keys: Sequence[bytes]
    guess: bytes
    in_flight: Sequence[_Known] = ()
    counted: Sequence[bytes] = ()


class LoginThrottle:
    """
    Lets logins wait for one another.

    :param memory: what all workers of a relay know; ``None``: there is one process.
    :ivar key: a secret of all workers.
    """

    def __init__(self, clock: IReactorTime, memory: WorkerMemory | None = None) -> None:
        self._clock = clock
        self.key = secrets.token_bytes(32) if memory is None else memory.key
        self._memory = memory
        self._failures: OrderedDict[bytes, _Known] = OrderedDict()
        self._passed: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, list[Deferred[None]]] = {}
        self._stopped = False

    async def begin(
        self, client: str, username: bytes, password: bytes, *, lost: Deferred[None] | None = None
    ) -> LoginAttempt:
        """
        Return when a login of ``client`` may be verified.

        Exactly one of :meth:`passed`, :meth:`failed` and :meth:`undecided` is called with it then.

        :param lost: fires when the client is gone: its login does not wait any longer.
        :raises Refused: with a 454, if it waits too long.
        """
        # The length keeps ("ab", "c") apart from ("a", "bc").
        guess = hmac.digest(self.key, b"%d:%b%b" % (len(username), username, password), "sha256")[:DIGEST]
        keys = (_digest(b"client", counted_as(client).encode()), _digest(b"user", username))
        self._receive()
        if self._clock.seconds() < self._passed.get(keys[0] + guess, -inf):
            return LoginAttempt(keys, guess)
        await self._wait_for_others(keys, lost or Deferred())
        return self._started(keys, guess)

    def stop(self) -> None:
        """Refuse logins that wait, now and from now on."""
        self._stopped = True
        self._wake_all(tuple(self._waiting))

    def passed(self, attempt: LoginAttempt) -> None:
        """Record that the password was right: for some time the client need not wait with this login."""
        login = attempt.keys[0] + attempt.guess
        if login not in self._passed:
            self._tell(attempt.keys[0], attempt.guess, PASSED)
        self._remember(login)
        self.undecided(attempt)

    def failed(self, attempt: LoginAttempt) -> None:
        """Record that the password was wrong; one that was right before counts as a guess from now on."""
        if self._passed.pop(attempt.keys[0] + attempt.guess, None) is not None:
            self._count_all(attempt.keys, attempt.guess)
        self._end(attempt)

    def undecided(self, attempt: LoginAttempt) -> None:
        """Could not be verified; does not count."""
        for key in attempt.counted:
            self._uncount(key, attempt.guess)
            self._tell(key, attempt.guess, TAKEN_BACK)
        self._end(attempt)

    def _end(self, attempt: LoginAttempt) -> None:
        for known in attempt.in_flight:
            known.in_flight -= 1
        self._wake_all(attempt.keys)

    def _wake_all(self, keys: Sequence[bytes]) -> None:
        """Let those who wait under ``keys`` see whether they may begin."""
        for key in keys:
            for waiting in tuple(self._waiting.get(key, ())):
                _wake(waiting)

    async def _wait_for_others(self, keys: Sequence[bytes], lost: Deferred[None]) -> None:
        until = self._clock.seconds() + PATIENCE
        while seconds := self._wait(keys):
            left = until - self._clock.seconds()
            if self._stopped or lost.called or left <= 0 or left < seconds < inf:
                raise Refused(_BUSY)
            await self._pause(keys, min(seconds, left), lost)

    async def _pause(self, keys: Sequence[bytes], seconds: float, lost: Deferred[None]) -> None:
        """Wait so long, or until it may be its turn, or until the client is gone."""
        if any(len(self._waiting.get(key, ())) >= WAITING for key in keys):
            raise Refused(_BUSY)
        queues = [self._waiting.setdefault(key, []) for key in keys]
        woken: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, woken.callback, None)
        lost.addCallback(lambda _: _wake(woken))
        for queue in queues:
            queue.append(woken)
        await woken
        if timer.active():
            timer.cancel()
        for key, queue in zip(keys, queues, strict=True):
            queue.remove(woken)
            if not queue:
                self._waiting.pop(key, None)

    def _wait(self, keys: Sequence[bytes]) -> float:
        """Return the seconds until a guess under all ``keys`` may begin; infinite: when another one ends."""
        self._receive()
        return max(map(self._wait_under, keys))

    def _receive(self) -> None:
        """Take note of what happened at other processes."""
        for key, guess, when in () if self._memory is None else self._memory.received():
            if when == PASSED:
                self._remember(key + guess)
            elif when == TAKEN_BACK:
                self._uncount(key, guess)
            else:
                self._count(key, guess, when)

    def _tell(self, key: bytes, guess: bytes, when: float) -> None:
        """Tell other workers of a guess; ``when``: seconds, :data:`TAKEN_BACK` or :data:`PASSED`."""
        if self._memory is not None:
            self._memory.tell(key, guess, when)

    def _remember(self, login: bytes) -> None:
        self._passed[login] = self._clock.seconds() + LATELY
        self._passed.move_to_end(login)
        if len(self._passed) > REMEMBERED:
            self._passed.popitem(last=False)

    def _wait_under(self, key: bytes) -> float:
        known = self._recent(key)
        if known is None or known.count <= FREE:
            return 0.0
        if known.in_flight:
            return inf
        # The exponent is bounded because a float is not.
        pause = min(LONGEST, 2.0 ** min(known.count - FREE - 1, 10))
        return max(0.0, known.last + pause - self._clock.seconds())

    def _started(self, keys: Sequence[bytes], guess: bytes) -> LoginAttempt:
        counted = self._count_all(keys, guess)
        in_flight = [self._failures[key] for key in keys]
        for known in in_flight:
            known.in_flight += 1
        return LoginAttempt(keys, guess, in_flight, counted)

    def _count_all(self, keys: Sequence[bytes], guess: bytes) -> Sequence[bytes]:
        now = self._clock.seconds()
        counted = [key for key in keys if self._count(key, guess, now)]
        for key in counted:
            self._tell(key, guess, now)
        return counted

    def _count(self, key: bytes, guess: bytes, when: float) -> bool:
        """Count a guess, unless it is one that was made lately; return whether it was counted."""
        known = self._recent(key) or _Known(when)
        new = guess not in known.guesses
        if new:
            known.guesses[guess] = when
            if len(known.guesses) > GUESSES:
                del known.guesses[next(iter(known.guesses))]
            known.count += 1
            known.last = max(known.last, when)
        self._failures[key] = known
        self._failures.move_to_end(key)
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return new

    def _uncount(self, key: bytes, guess: bytes) -> None:
        known = self._failures.get(key)
        if known is not None and guess in known.guesses:
            del known.guesses[guess]
            known.count -= 1
            known.last = max(known.guesses.values(), default=known.last)

    def _recent(self, key: bytes) -> _Known | None:
        known = self._failures.get(key)
        if known is not None and not known.in_flight and self._clock.seconds() - known.last > MEMORY:
            del self._failures[key]
            return None
        return known


def _wake(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)


def _digest(kind: bytes, name: bytes) -> bytes:
    return blake2b(kind + b"\0" + name, digest_size=DIGEST).digest()
