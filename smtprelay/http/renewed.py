"""
Credentials that expire: renewed before that, while mail goes on with the ones before.

To obtain them may take long: a metadata service that does not answer, a token service far away. So it happens
on a thread of its own, once for all who wait, and not for each mail.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from smtprelay.http.client import NoAnswerError, NotSent
from smtprelay.http.credentials import CredentialSource, NoCredentialsError
from smtprelay.interfaces import DeferToThread, Events

T = TypeVar("T")

#: The share of its life after which a credential is renewed.
_SHARE: Final = 2 / 3
#: Seconds before a renewal that failed is tried again: doubled each time, and varied at random.
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
#: One that was obtained less than so many seconds ago is not obtained anew because it is refused.
_RECENT: Final = 10.0
#: So many seconds may pass before one that replaces another, or was just made, is known everywhere.
YOUNG: Final = 60.0
_STOPPING: Final = "no credentials, and the relay stops"
#: Seconds that a stop waits until credentials are revoked.
_REVOKE_BOUND: Final = 1.0


@frozen
class Credential(Generic[T]):
    """
    A credential.

    :ivar expires: seconds since the epoch; ``None``: never.
    :ivar source: where it is from, for people.
    :ivar renew: when it is obtained again, seconds since the epoch. Default: after two thirds of its life.
    :ivar is_new: it was made for us just now, so it may not be known everywhere.
    :ivar login_expires: when the login that it is obtained with ends, if nothing renews that.
    """

    value: T = field(repr=False)
    expires: float | None = None
    source: str = ""
    renew: float | None = field(default=None, kw_only=True)
    is_new: bool = field(default=False, kw_only=True)
    login_expires: float | None = field(default=None, kw_only=True)


class CredentialService(Protocol[T]):
    """
    What gives a provider its credentials. It is called in threads, for that may take long.

    :ivar required_at_start: the relay must not start without them.
    """

    required_at_start: bool

    def obtain(self, *, refused: bool) -> Credential[T]:
        """
        Return the credentials; it is never called twice at once.

        :param refused: the last ones were refused, so others are wanted.
        :raises NoAnswerError: it is not known whether there are any.
        :raises ValueError: there are none, or they are refused; the text is a sentence for people. The same
            for ``OSError``. Any other error is taken for it.
        """

    def revoke(self) -> None:
        """Make those that were obtained useless, as far as that is possible; it raises as ``obtain`` does."""


class Renewed(CredentialSource[T]):
    """
    A :class:`CredentialSource` that keeps what it obtained, and renews it after two thirds of its life.

    If that fails it is tried again, and the one before is used until it expires.

    :param clock: its seconds are those since the epoch.
    :param patience: seconds that a request waits for it.
    """

    def __init__(
        self,
        provider: str,
        service: CredentialService[T],
        *,
        clock: IReactorTime,
        events: Events,
        defer_to_thread: DeferToThread,
        patience: float = 30.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._service = service
        self._clock = clock
        self._events = events
        self._defer_to_thread = defer_to_thread
        self._patience = patience
        self._chance = chance
        self._obtained: Credential[T] | None = None
        self._obtained_at = self._changed_at = float("-inf")
        self._waiting: list[Deferred[T]] = []
        self._is_obtaining = self._is_closed = self._is_stopping = False
        self._failures = 0
        self._users = 1
        self._timer: IDelayedCall | None = None

    @property
    def known(self) -> T | None:
        """The one that was obtained last; it may have expired."""
        return self._obtained.value if self._obtained else None

    @property
    def is_young(self) -> bool:
        """Whether it was made, or has replaced another one, so recently that not all may know it."""
        return self._clock.seconds() < self._changed_at + YOUNG

    @property
    def login_expires(self) -> float | None:
        """That of the credential, if it is known."""
        return self._obtained.login_expires if self._obtained else None

    async def missing(self) -> str:
        """Return why the relay must not start: there is none, and it is required; else ``""``."""
        if self._service.required_at_start:
            try:
                await self.current()
            except NoAnswerError as error:
                return str(error)
        return ""

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
        if self._clock.seconds() < self._obtained_at + (YOUNG if usable.is_new else _RECENT):
            return usable.value
        try:
            return await self._renewal(refused=True)
        except NoAnswerError:
            return usable.value

    def share(self) -> Self:
        """Return itself to one more user, who closes it, too."""
        self._users += 1
        return self

    def doubt(self) -> None:
        """Do nothing: a lost answer says nothing of a credential."""

    def close(self) -> None:
        """Renew it no more on our own account, when all its users have closed it."""
        self._users -= 1
        if self._users <= 0:
            self._is_closed = True
            self._stop_timer()

    def stop_waiting(self) -> None:
        """The relay stops: all who wait for a credential get none, now and from now on."""
        self._is_stopping = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(NotSent(_STOPPING))

    async def revoke(self) -> None:
        """Have it revoked, after :meth:`close`; a service that does not answer is not waited for."""
        if self._obtained is not None:
            revoking = self._defer_to_thread(self._service.revoke)
            revoking.addTimeout(_REVOKE_BOUND, self._clock)
            await revoking.addErrback(self._not_revoked)

    def _not_revoked(self, failure: Failure) -> None:
        why = "no answer" if failure.check(TookTooLong) else failure.getErrorMessage()
        text = f"{self._provider}: its credentials are not revoked, they end by themselves: {why}"
        self._events("relay.warning", text=text)

    def _usable(self) -> Credential[T] | None:
        found = self._obtained
        expired = found is not None and found.expires is not None and found.expires <= self._clock.seconds()
        return None if expired else found

    def _renewal(self, *, refused: bool = False) -> "Deferred[T]":
        """Fires with the next credential; each who waits has one of his own, which he may cancel."""
        if self._is_stopping:
            return fail(NotSent(_STOPPING))
        waiter: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        self._begin(refused=refused)
        return waiter.addTimeout(self._patience, self._clock, self._too_late) if not waiter.called else waiter

    def _too_late(self, _failure: object, seconds: float) -> Any:
        raise NotSent(f"no credentials within {seconds:g} s")

    def _begin(self, *, refused: bool = False) -> None:
        self._stop_timer()
        if not self._is_obtaining:
            self._is_obtaining = True
            obtaining = self._defer_to_thread(partial(self._service.obtain, refused=refused))
            obtaining.addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, obtained: Credential[T]) -> None:
        now, before = self._clock.seconds(), self.known
        if obtained.is_new or (before is not None and before != obtained.value):
            self._changed_at = now
        self._obtained, self._obtained_at, self._failures = obtained, now, 0
        life = None if obtained.expires is None else obtained.expires - now
        self._events("credential.renewed", provider=self._provider, source=obtained.source, seconds=life)
        pause = None if life is None else life * _SHARE
        if obtained.renew is not None:
            pause = obtained.renew - now
        self._end(obtained.value, None if pause is None else max(_FIRST_RETRY, pause))

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, NoAnswerError | ValueError | OSError):
            # A mistake of ours, or of a library: it must be seen where.
            text = f"{self._provider}: unexpected error: {failure.getErrorMessage()}"
            self._events("relay.warning", text=text, exc=failure.getTraceback())
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
