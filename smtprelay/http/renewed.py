"""
Credentials that expire: renewed before that, while mail goes on with the ones before.

To obtain them may take long: a metadata service that does not answer, a token service far away. So it happens
on a thread of its own, once for all who wait, and not for each mail.
"""

import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from smtprelay.http.client import NoAnswerError, NotSent
from smtprelay.http.credentials import CredentialSource, NoCredentialsError
from smtprelay.interfaces import Events

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
#: Seconds that a stop waits until credentials are revoked, also those that are just being obtained.
_REVOKE_BOUND: Final = 1.0
#: Seconds after which obtaining one is taken to hang, so that it is tried again.
_HANGS: Final = 120.0
#: So many may hang: each has a thread.
_MOST_HANGING: Final = 3


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
        Return the credentials.

        It is called again while a call before hangs: what that brings after all is only used if no later one
        has brought anything.

        :param refused: the last ones were refused, so others are wanted.
        :raises NoAnswerError: it is not known whether there are any.
        :raises ValueError: there are none, or they are refused; the text is a sentence for people. The same
            for ``OSError``. Any other error is taken for it.
        """

    def revoke(self) -> None:
        """
        Make those that were obtained useless, as far as that is possible, also those that are being obtained.

        Nothing is obtained any more. It raises as ``obtain`` does.
        """


class TokenService(Protocol[T]):
    """A :class:`CredentialService` of coroutines, which needs no thread: :func:`at_once` calls it."""

    @property
    def required_at_start(self) -> bool:
        """Whether the relay must not start without them."""

    async def obtain(self, *, refused: bool) -> Credential[T]:
        """Return the credentials."""

    async def revoke(self) -> None:
        """Make those that were obtained useless."""


def at_once(method: Callable[[], Coroutine[Any, Any, Any]]) -> "Deferred[Any]":
    """Call a method of a :class:`TokenService`."""
    return Deferred.fromCoroutine(method())


class Renewed(CredentialSource[T]):
    """
    A :class:`CredentialSource` that keeps what it obtained, and renews it after two thirds of its life.

    If that fails it is tried again, and the one before is used until it expires.

    :param clock: its seconds are those since the epoch.
    :param defer: calls a method of ``service``, on a thread or :func:`at_once`.
    :param patience: seconds that a request waits for it.
    """

    def __init__(
        self,
        provider: str,
        service: CredentialService[T] | TokenService[T],
        *,
        clock: IReactorTime,
        events: Events,
        defer: Callable[[Callable[[], Any]], "Deferred[Any]"],
        patience: float = 30.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._provider = provider
        self._service = service
        self._clock = clock
        self._events = events
        self._defer = defer
        self._patience = patience
        self._chance = chance
        self._obtained: Credential[T] | None = None
        self._obtained_at = self._changed_at = float("-inf")
        self._waiting: list[Deferred[T]] = []
        self._is_obtaining = self._is_closed = self._is_stopping = self._is_ahead = False
        self._failures = 0
        self._timer: IDelayedCall | None = None
        #: The calls of ``obtain`` that have not ended, by number: they hang, but perhaps the last.
        self._calls: dict[int, Deferred[Any]] = {}
        self._last = self._used = 0
        self._deadline: IDelayedCall | None = None

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

    def read_ahead(self) -> None:
        """Obtain it if there is none yet, and try again until there is; nobody waits for it."""
        self._is_ahead = True
        if self._obtained is None and not self._is_stopping:
            self._begin()

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

    def doubt(self) -> None:
        """Do nothing: a lost answer says nothing of a credential."""

    def clock_stepped(self, seconds: float) -> None:
        """Obtain it anew: the system clock was set forward by so many seconds, or back."""
        self._obtained_at += seconds
        self._changed_at += seconds
        if self._timer is not None and self._timer.active():
            self._begin()

    def stop_waiting(self) -> None:
        """The relay stops: all who wait for a credential get none, now and from now on."""
        self._is_stopping = True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(NotSent(_STOPPING))

    async def close(self) -> None:
        """
        Renew it no more on our own account, and have it revoked.

        A service that does not answer is not waited for. What is just being obtained is revoked with it.
        """
        was_closed, self._is_closed, self._obtained = self._is_closed, True, None
        self._stop_timer()
        self._stop_deadline()
        if self._last and not was_closed:
            revoking = self._defer(self._service.revoke)
            parts = [revoking, *map(_end_of, self._calls.values())]
            ending: Deferred[Any] = DeferredList(parts, consumeErrors=True)
            ending.addCallback(lambda results: results[0][1])
            await ending.addTimeout(_REVOKE_BOUND, self._clock).addErrback(self._not_revoked)

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
        hanging = len(self._calls) - self._is_obtaining
        if hanging:  # it is not only slow: an operator must see to it
            raise NoCredentialsError(f"no credentials: to obtain them hangs ({hanging + 1} times)")
        raise NotSent(f"no credentials within {seconds:g} s")

    def _begin(self, *, refused: bool = False) -> None:
        self._stop_timer()
        if self._is_obtaining:
            return
        if len(self._calls) >= _MOST_HANGING:
            self._failed(Failure(NoCredentialsError(f"to obtain them hangs ({_MOST_HANGING} times)")))
            return
        self._is_obtaining = True
        self._last = number = self._last + 1
        self._deadline = None if self._is_closed else self._clock.callLater(_HANGS, self._hangs)
        obtaining = self._calls[number] = self._defer(partial(self._service.obtain, refused=refused))
        obtaining.addBoth(self._ended, number)

    def _hangs(self) -> None:
        self._is_obtaining = False
        self._failed(Failure(NoCredentialsError(f"no answer within {_HANGS:g} s; it is tried again")))

    def _ended(self, result: Any, number: int) -> None:
        """Use what a call has brought; one that was taken to hang may still bring something."""
        del self._calls[number]
        in_time = self._is_obtaining and number == self._last
        if in_time:
            self._is_obtaining = False
            self._stop_deadline()
        if not isinstance(result, Failure):
            if number > self._used:
                self._used = number
                self._succeeded(result)
        elif in_time:
            self._failed(result)

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
        self._end(Failure(error), delay if self._is_ahead or self._obtained is not None else None)

    def _end(self, result: Any, pause: float | None) -> None:
        self._stop_timer()
        if pause is not None and not self._is_closed:
            self._timer = self._clock.callLater(pause, self._begin)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _stop_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


def _end_of(call: Deferred[Any]) -> Deferred[None]:
    """Return what fires when ``call`` has ended."""
    end: Deferred[None] = Deferred()

    def ended(result: Any) -> Any:
        if not end.called:
            end.callback(None)
        return result

    call.addBoth(ended)
    return end
