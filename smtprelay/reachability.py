"""
Whether the providers can be reached: what their connections tell, and the rule that makes it an alarm.

A provider's code begins a :class:`Contact` with each request, says how far it has come, and ends it: the
provider has answered, whatever it said, or it could not be reached. Who looks now and then, as
:mod:`smtprelay.dispatch.reach` does, also sees what hangs. Pure.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from smtprelay.model.unreachable import Unreachable

#: How it is said that nothing comes at a stage; else that there is no answer to it.
_SILENCES: Final = {
    "connect": "no connection to {}",
    "TLS": "no TLS handshake with {}",
    "greeting": "no greeting from {}",
    "message": "no answer to the message from {}",
    "request": "no answer to the request from {}",
}

#: Nothing but failures for so long, in seconds, and at least two of them: the provider cannot be reached.
SILENT: Final = 15.0

#: So long a request that nobody answers may wait, seconds, if no other one is answered either.
PATIENT: Final = 20.0

#: After so many seconds a request that waits counts as a second failure, beside one that has failed.
_SLOW: Final = 5.0


#: What Twisted's errors of a connection mean, by the names of their classes.
_ENDS: Final = {
    "ConnectionDone": "the other side closed the connection",
    "ConnectionLost": "the connection broke off",
    "ConnectionAborted": "the connection was broken off here",
    "ConnectionRefusedError": "connection refused: nothing listens there",
    "NoRouteError": "no route to it",
    "TCPTimedOutError": "no answer",
}


def connection_end(error: BaseException | None) -> str:
    """Say in words why a connection ended, or did not come about."""
    return _ENDS.get(type(error).__name__) or str(error)


def silence(stage: str, host: str) -> str:
    """Say that nothing comes from ``host``; ``stage`` may be a verb of SMTP."""
    return _SILENCES.get(stage, f"no answer to {stage} of {{}}").format(host)


class Contact:
    """One request on its way to a provider, until the provider answers."""

    __slots__ = ("_reach", "begun", "host", "since", "stage")

    def __init__(self, reach: "Reach", host: str, stage: str, now: float) -> None:
        self._reach = reach
        self.host = host
        self.stage = stage
        self.begun = self.since = now

    def at(self, stage: str) -> None:
        """It has come to ``stage``, or goes on there."""
        self.stage, self.since = stage, self._reach.seconds()

    def answered(self) -> None:
        """The provider has answered."""
        self._reach.end(self)
        self._reach.answer()

    def failed(self, reason: str, stage: str = "") -> None:
        """The provider could not be reached, for a ``reason`` in one line that names stage and host."""
        self.stage = stage or self.stage
        if self._reach.end(self):
            self._reach.fail(self, reason)

    def dropped(self) -> None:
        """It was given up, which says nothing of the provider; nothing happens if it has ended already."""
        self._reach.end(self)


class Reach:
    """
    How one provider can be reached.

    :param seconds: gives the time, since the epoch.
    :ivar failures: how many requests in a row did not reach it.
    :ivar failed: when the last of them ended.
    """

    def __init__(self, provider: str, seconds: Callable[[], float]) -> None:
        self.provider = provider
        self.seconds = seconds
        self.failures = 0
        self.failed = 0.0
        self._since = 0.0
        self._reason = ("", "", "")
        self._trouble: Unreachable | None = None
        self._answered = float("-inf")
        self._waiting: dict[Contact, None] = {}

    @property
    def waits(self) -> bool:
        """Whether a request is under way that the provider has not answered."""
        return bool(self._waiting)

    def begin(self, host: str, stage: str) -> Contact:
        """Begin a request to ``host``, which is at ``stage``."""
        contact = Contact(self, host, stage, self.seconds())
        self._waiting[contact] = None
        return contact

    def end(self, contact: Contact) -> bool:
        """Forget a request; ``False``: it was forgotten already."""
        return self._waiting.pop(contact, contact) is None

    def answer(self) -> None:
        """The provider can be reached."""
        self.failures = 0
        self._trouble = None
        self._answered = self.seconds()

    def fail(self, contact: Contact, reason: str) -> None:
        """A request came to nothing. One that took long to do so needs no second."""
        now = self.seconds()
        if not self.failures:
            self._since = contact.begun
        self.failures += 2 if now - contact.begun >= SILENT else 1
        self.failed = now
        self._reason = (contact.host, contact.stage, reason)

    def unproven(self) -> None:
        """Nobody can say whether the last failure was one of the mail's moment: it stands for several."""
        self.failures += 1

    def trouble(self) -> Unreachable | None:
        """Return what is to be told of a provider that cannot be reached; it lasts until it answers."""
        now = self.seconds()
        hangs = self._hanging()
        waited = now - hangs.since if hangs is not None else 0.0
        failures = self.failures + (1 if self.failures and waited >= _SLOW else 0)
        if self.failures and (self._trouble is not None or (failures > 1 and now - self._since >= SILENT)):
            self._trouble = self._told(self._since, *self._reason)
        elif hangs is not None and waited >= PATIENT:
            why = f"{silence(hangs.stage, hangs.host)} for {waited:.0f} s"
            self._trouble = self._told(hangs.begun, hangs.host, hangs.stage, why)
        return self._trouble

    def _told(self, since: float, host: str, stage: str, reason: str) -> Unreachable:
        if self._trouble is not None:
            since = min(since, self._trouble.since)
        return Unreachable(provider=self.provider, since=since, host=host, stage=stage, reason=reason)

    def _hanging(self) -> Contact | None:
        """Return the request that waits longest at its stage, of those there since the last answer."""
        later = (each for each in self._waiting if each.since > self._answered)
        return min(later, key=lambda each: each.since, default=None)


class SharedReach(Protocol):
    """What the nodes of a spool know together of providers that cannot be reached."""

    async def note(self, trouble: Unreachable) -> bool:
        """Write down that this node cannot reach a provider; tell whether it is the first."""

    async def forget(self, provider: str) -> bool:
        """Write down that this node reaches a provider again; tell whether it was the last that did not."""


class Reachability:
    """The :class:`Reach` of every provider of a process, by name."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._reaches: dict[str, Reach] = {}

    def of(self, provider: str) -> Reach:
        """Return that of ``provider``."""
        return self._reaches.setdefault(provider, Reach(provider, self._seconds))

    def __iter__(self) -> Iterator[Reach]:
        """Give all."""
        return iter(list(self._reaches.values()))
