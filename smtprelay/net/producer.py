"""A producer that waits while its consumer takes no more."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class PausingProducer:
    """A base class: a subclass awaits :meth:`writable` before or after each write."""

    _room: Deferred[None] | None = None

    async def writable(self) -> None:
        """Wait until there is room for the next write, or the producer is stopped."""
        if self._room is not None:
            await self._room

    def pauseProducing(self) -> None:
        """Write no more for now."""
        self._room = self._room or Deferred()

    def resumeProducing(self) -> None:
        """Write again."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """Let the subclass find out that the connection is gone."""
        self.resumeProducing()
