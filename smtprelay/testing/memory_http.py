"""
What the test of a provider with an HTTP API needs: requests that treq's testing agent takes to a fake.
"""

from collections.abc import Coroutine, Sequence
from typing import Any

from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from twisted.web.resource import IResource
from zope.interface import implementer

from smtprelay.http.client import Http
from smtprelay.providers.context import ProviderContext
from smtprelay.testing.mime import InlineMimeWorker


@implementer(IAgent)
class MemoryHttp:
    """
    An HTTP client in memory, and its clock.

    :ivar http: the client; ``closed``: a provider has closed it.
    :ivar refuse: what connecting fails with, if it does.
    :ivar flush: carries what the service has written since.
    """

    refuse: Exception | None = None

    def __init__(self, resource: IResource, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._agent = RequestTraversalAgent(resource)
        self.flush = self._agent.flush
        self.closed = False
        self.http = Http(HTTPClient(self), self.clock, close=self._close)

    def request(self, *request: Any) -> "Deferred[Any]":
        """Send a request, as an agent does."""
        return self._agent.request(*request) if self.refuse is None else fail(self.refuse)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> "Deferred[Any]":
        """Begin, and carry what was written."""
        deferred = Deferred.fromCoroutine(coroutine)
        self.flush()
        return deferred

    def advance(self, *seconds: float) -> None:
        """Let time pass in steps, and carry what was written after each."""
        for step in seconds:
            self.clock.advance(step)
            self.flush()

    def result(self, coroutine: Coroutine[Any, Any, Any], *seconds: float) -> Any:
        """Return what ``coroutine`` returns, or raise what it raises; time passes while it waits."""
        done = self.run(coroutine)
        for step in seconds:
            if not done.called:
                self.advance(step)
        found: list[Any] = []
        done.addBoth(found.append)
        if not found:
            raise AssertionError(f"still waiting after {sum(seconds):g} s")
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def context(self, **more: Any) -> ProviderContext:
        """Return what a provider is built with, whose requests go to the service; ``more`` replaces parts."""
        given = {
            "reactor": self.clock,
            "events": lambda _event, /, **_fields: None,
            "defer_to_thread": execute,
            "defer_to_own_thread": execute,
            "mime": InlineMimeWorker(),
            "hostname": "relay.example.com",
            "open_http": lambda *_, **__: self.http,
        }
        return ProviderContext(**{**given, **more})

    def leftovers(self) -> Sequence[object]:
        """Return the delayed calls, and the client unless it was closed."""
        return [*self.clock.getDelayedCalls(), *([] if self.closed else [self.http])]

    def _close(self) -> "Deferred[None]":
        self.closed = True
        return succeed(None)
