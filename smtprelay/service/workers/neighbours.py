"""
What a worker knows of the other workers, in the words of those who ask.
"""

import secrets
import struct
from collections.abc import Callable, Iterator
from typing import Final

from attrs import field, frozen

from smtprelay.policy.login_throttle import Failures, OwnFailures
from smtprelay.service.workers.shared import KEY, Shared
from smtprelay.smtp.connections_elsewhere import Nowhere, OtherProcesses

_FAILURE: Final = struct.Struct("=8s8sd")


@frozen(kw_only=True)
class Neighbours:
    """
    All processes of a relay, seen by one of them.

    :ivar workers: how many share its limits.
    :ivar key: makes the digests of guesses that all of them know.
    :ivar elsewhere: gives the connections that others have at a listener.
    :ivar failures: of logins, of all.
    """

    workers: int = 1
    key: bytes = field(factory=lambda: secrets.token_bytes(KEY), repr=False)
    elsewhere: Callable[[str], OtherProcesses] = lambda _listener: Nowhere()
    failures: Failures = field(factory=OwnFailures)

    @classmethod
    def of(cls, shared: Shared) -> "Neighbours":
        """Return those who share this memory."""
        return cls(
            workers=shared.workers,
            key=shared.key,
            elsewhere=lambda listener: _Elsewhere(shared, listener),
            failures=_SharedFailures(shared),
        )


@frozen
class _Elsewhere(OtherProcesses):
    """The counters of one listener: one for each client, and one for all."""

    _shared: Shared
    _listener: str

    def count(self, address: str) -> int:
        """Return how many connections others have from ``address``; ``""``: from everywhere."""
        return self._shared.others(self._key(address))

    def note(self, address: str, change: int) -> None:
        """Tell them of one more connection from ``address``, 1, or of one less, -1."""
        for each in ("", address):
            self._shared.add(self._key(each), change)

    def _key(self, address: str) -> bytes:
        return f"{self._listener}\0{address}".encode()


@frozen
class _SharedFailures(Failures):
    """Each failure is a notice."""

    _shared: Shared

    def tell(self, key: bytes, guess: bytes, when: float) -> None:
        """Tell them of one under ``key``; ``when``: seconds, :data:`TAKEN_BACK` or :data:`PASSED`."""
        self._shared.tell(_FAILURE.pack(key, guess, when))

    def heard(self) -> Iterator[tuple[bytes, bytes, float]]:
        """Return those that they told since the last time: key, guess and when."""
        for notice in self._shared.heard():
            key, guess, when = _FAILURE.unpack(notice)
            yield key, guess, when
