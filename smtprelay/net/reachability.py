"""
Whether a provider can be reached, and since when not. Pure.

A provider's code begins a :class:`Contact` with each request and ends it: the provider has answered, whatever
the answer, or it could not be reached. The rule: nothing is answered for :data:`PATIENCE` seconds after a
request has failed or come to a halt.
"""

from collections.abc import Callable
from typing import Final

from attrs import evolve

from smtprelay.model.queue import Unreachable

#: Seconds.
PATIENCE: Final = 20.0

#: The text for a stage at which nothing comes; of others it is that there is no answer.
_SILENCES: Final = {
    "connect": "no connection to {}",
    "TLS": "no TLS handshake with {}",
    "greeting": "no greeting from {}",
    "message": "no answer to the message from {}",
    "request": "no answer to the request from {}",
}


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
    """
    One request on its way to a provider, until the provider answers.

    :ivar stage: how far it has come, and ``since`` when.
    """

    __slots__ = ("_reachability", "host", "since", "stage")

    def __init__(self, reachability: "Reachability", host: str, stage: str) -> None:
        self._reachability = reachability
        self.host = host
        self.stage = stage
        self.since = reachability.seconds()

    def at(self, stage: str) -> None:
        """It has come to ``stage``, or continues there."""
        self.stage, self.since = stage, self._reachability.seconds()

    def answered(self) -> None:
        """The provider has answered."""
        self._reachability.waiting.pop(self, None)
        self._reachability.answered()

    def failed(self, reason: str) -> None:
        """The provider could not be reached, for a ``reason`` in one line that names stage and host."""
        if self._reachability.waiting.pop(self, self) is None:
            self._reachability.failed(self, reason)

    def dropped(self) -> None:
        """The request was given up, which says nothing of the provider; no effect if it has ended already."""
        self._reachability.waiting.pop(self, None)


class Reachability:
    """
    How one provider can be reached.

    :param seconds: gives the time, since the epoch.
    :ivar waiting: the requests that the provider has not answered.
    :ivar failure: the last request that did not reach it, since the first of them; ``None`` when it answers.
    :ivar has_answered: whether the provider has answered since the start, or since all was forgotten.
    """

    def __init__(self, provider: str, seconds: Callable[[], float]) -> None:
        self.seconds = seconds
        self.waiting: dict[Contact, None] = {}
        self.failure: Unreachable | None = None
        self.has_answered = False
        self._provider = provider
        #: What waits since before says nothing of what comes later.
        self._answered = float("-inf")

    def begin(self, host: str, stage: str) -> Contact:
        """Begin a request to ``host``, which is at ``stage``."""
        contact = Contact(self, host, stage)
        self.waiting[contact] = None
        return contact

    def answered(self) -> None:
        """The provider can be reached."""
        self.failure = None
        self.has_answered = True
        self._answered = self.seconds()

    def forget(self) -> None:
        """Nothing is known of the provider, and all counts anew."""
        self.failure = None
        self.has_answered = False
        self._answered = self.seconds()

    def failed(self, contact: Contact, reason: str) -> None:
        """A request came to nothing."""
        since = max(contact.since, self._answered) if self.failure is None else self.failure.since
        self.failure = Unreachable(self._provider, since, contact.host, contact.stage, reason)

    def clock_stepped(self, seconds: float) -> None:
        """Move all times by ``seconds``: the system clock was changed."""
        self._answered += seconds
        for contact in self.waiting:
            contact.since += seconds
        if self.failure is not None:
            self.failure = evolve(self.failure, since=self.failure.since + seconds)

    def trouble(self) -> Unreachable | None:
        """Return the alarm of a provider that cannot be reached; it lasts until the provider answers."""
        late = self.seconds() - PATIENCE
        if self.failure is None:
            halted = (each for each in self.waiting if self._answered < each.since <= late)
            first = min(halted, key=lambda each: each.since, default=None)
            if first is not None:
                self.failed(first, f"{silence(first.stage, first.host)} for {PATIENCE:g} s")
        return self.failure if self.failure is not None and self.failure.since <= late else None
