"""
Credentials that expire: renewed before that, while mail goes on with the ones before.

To obtain them may take long: a metadata service that does not answer, a token service far away. So it happens
on a thread of its own, once for all who wait, and not for each mail.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from smtprelay.interfaces import DeferToThread, Events
from smtprelay.providers.credentials import CredentialSource, NoCredentialsError
from smtprelay.providers.http.client import NoAnswerError, NotSent

T = TypeVar("T")

#: The share of its life after which a credential is renewed.
_SHARE: Final = 2 / 3
#: Seconds before a renewal that failed is tried again: doubled each time, and varied at random.
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
#: One that was obtained less than so many seconds ago is not obtained anew because it is refused.
_RECENT: Final = 10.0
#: So many seconds may pass before one that replaces another is known everywhere.
_YOUNG: Final = 60.0


@frozen
class Credential(Generic[T]):
    """
    A credential.

    :ivar expires: seconds since the epoch; ``None``: never.
    :ivar source: where it is from, for people.
    """

    value: T
    expires: float | None = None
    source: str = ""


class Renewed(CredentialSource[T]):
    """
    A :class:`CredentialSource` that keeps what it obtained, and renews it after two thirds of its life.

    If that fails it is tried again, and the one before is used until it expires.

    :param obtain: called in a thread, one call at a time. It raises ``ValueError`` or ``OSError``, with a
        sentence for people, if there is none or it is refused, and :class:`NoAnswerError` if that is not
        known. Any other error is taken for the first.
    :param clock: its seconds are those since the epoch.
    :param patience: seconds that a request waits for it.
    """

    def __init__(
        self,
        provider: str,
        obtain: Callable[[], Credential[T]],
        *,
        clock: IReactorTime,
        events: Events,
        defer_to_thread: DeferToThread,
        patience: float = 30.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._obtain = obtain
        self._clock = clock
        self._events = events
        self._defer_to_thread = defer_to_thread
        self._patience = patience
        self._chance = chance
        self._obtained: Credential[T] | None = None
        self._obtained_at = self._changed_at = float("-inf")
        self._waiting: list[Deferred[T]] = []
        self._is_obtaining = self._is_closed = False
        self._failures = 0
        self._timer: IDelayedCall | None = None

    @property
    def known(self) -> T | None:
        """The one that was obtained last; it may have expired."""
        return self._obtained.value if self._obtained else None

    @property
    def is_young(self) -> bool:
        """Whether it has replaced another one so recently that it may not be known everywhere."""
        return self._clock.seconds() < self._changed_at + _YOUNG

    async def current(self) -> T:
        """
        Return the credential.

        :raises NoCredentialsError: there is none. Also another :class:`NoAnswerError`.
        """
        usable = self._usable()
        return await self._renewal() if usable is None else usable.value

    async def again(self) -> T:
        """Return a new one; the one before if there is none, or if it is itself quite new."""
        usable = self._usable()
        if usable is None:
            return await self._renewal()
        if self._clock.seconds() < self._obtained_at + _RECENT:
            return usable.value
        try:
            return await self._renewal()
        except NoAnswerError:
            return usable.value

    def doubt(self) -> None:
        """Do nothing: a lost answer says nothing of a credential."""

    def close(self) -> None:
        """Renew it no more on our own account."""
        self._is_closed = True
        self._stop_timer()

    def _usable(self) -> Credential[T] | None:
        found = self._obtained
        expired = found is not None and found.expires is not None and found.expires <= self._clock.seconds()
        return None if expired else found

    def _renewal(self) -> "Deferred[T]":
        """Fires with the next credential; each who waits has one of his own, which he may cancel."""
        waiter: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self._begin()
        return waiter.addTimeout(self._patience, self._clock, self._too_late) if not waiter.called else waiter

    def _too_late(self, _failure: object, seconds: float) -> Any:
        raise NotSent(f"no credentials within {seconds:g} s")

    def _begin(self) -> None:
        self._stop_timer()
        if not self._is_obtaining:
            self._is_obtaining = True
            self._defer_to_thread(self._obtain).addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, obtained: Credential[T]) -> None:
        now, before = self._clock.seconds(), self.known
        if before is not None and before != obtained.value:
            self._changed_at = now
        self._obtained, self._obtained_at, self._failures = obtained, now, 0
        life = None if obtained.expires is None else obtained.expires - now
        self._events("credential.renewed", provider=self._provider, source=obtained.source, seconds=life)
        self._end(obtained.value, None if life is None else max(_FIRST_RETRY, life * _SHARE))

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, NoAnswerError):
            error = NoCredentialsError(str(error) or type(error).__name__)
        self._events("credential.failed", provider=self._provider, reason=str(error))
        delay = min(_LAST_RETRY, _FIRST_RETRY * 2.0**self._failures) * (1 + self._chance()) / 2
        self._failures = min(self._failures + 1, 10)
        # Without one, mail and probes ask for it.
        self._end(Failure(error), None if self._obtained is None else delay)

    def _end(self, result: Any, pause: float | None) -> None:
        self._is_obtaining = False
        if pause is not None and not self._is_closed:
            self._timer = self._clock.callLater(pause, self._begin)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
