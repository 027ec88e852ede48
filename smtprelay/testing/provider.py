"""
A provider that does what it is told: for tests of everything that stands before a provider.

It is a whole :class:`smtprelay.interfaces.Provider`, so that an embedder can try his routes with it too.
"""

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred

from smtprelay.interfaces import Attempt
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.outcome import Delivered, Outcome, Results
from smtprelay.model.route import Limits
from smtprelay.providers.defaults import ProviderDefaults

#: One answer: for all recipients, for each, an exception to raise, or any of these later.
ScriptedAnswer = Outcome | Results | Exception | Deferred["Outcome | Results"]


class ScriptedProvider(ProviderDefaults):
    """
    Answers from a script.

    :ivar answers: what the next calls of ``deliver`` answer; when it is empty, ``Delivered``.
    :ivar resolutions: so for ``resolve``; when it is empty, ``None``.
    :ivar verdicts: so for ``probe``; when it is empty, ``None``.
    :ivar calls: what was asked, in order: ``("deliver", id)``, ``("resolve", id)``, ``("probe", lane)``.
    :ivar sent: (delivery, body) of each ``deliver``.
    :ivar takes: call ``release_slot`` in each ``deliver``, as a provider does that is polled for its result.
    """

    def __init__(
        self,
        name: str = "scripted",
        answers: Iterable[ScriptedAnswer] = (),
        *,
        idempotent: bool = False,
        limits: Limits | None = None,
        lane: Callable[[Envelope, str, str], str] = lambda *_: "",
        takes: bool = False,
    ) -> None:
        self.name = name
        self.idempotent = idempotent
        self.limits = limits or Limits()
        self.takes = takes
        self.answers = deque(answers)
        self.resolutions: deque[ScriptedAnswer | None] = deque()
        self.verdicts: deque[Outcome | Exception | Deferred[Outcome | None] | None] = deque()
        self.calls: list[tuple[str, str]] = []
        self.sent: list[tuple[Delivery, bytes]] = []
        self.closed = False
        self._lane = lane

    def lane(self, envelope: Envelope, author: str, login: str) -> str:
        """Return the key of the lane that a mail goes in; ``""`` is the provider's own."""
        return self._lane(envelope, author, login)

    async def deliver(self, attempt: Attempt) -> Results:
        """Give the next of ``answers``."""
        delivery = attempt.delivery
        self.calls.append(("deliver", delivery.id))
        self.sent.append((delivery, await attempt.body.whole()))
        if self.takes:
            attempt.release_slot()
        return await _results(delivery, self.answers.popleft() if self.answers else Delivered("scripted"))

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Give the next of ``resolutions``."""
        self.calls.append(("resolve", delivery.id))
        answer = self.resolutions.popleft() if self.resolutions else None
        return None if answer is None else await _results(delivery, answer)

    async def probe(self, lane: str) -> Outcome | None:
        """Give the next of ``verdicts``."""
        self.calls.append(("probe", lane))
        verdict = self.verdicts.popleft() if self.verdicts else None
        if isinstance(verdict, Exception):
            raise verdict
        return await verdict if isinstance(verdict, Deferred) else verdict

    async def close(self) -> None:
        """Close connections. No delivery is under way any more."""
        self.closed = True


async def _results(delivery: Delivery, answer: ScriptedAnswer) -> Results:
    given = await answer if isinstance(answer, Deferred) else answer
    if isinstance(given, Exception):
        raise given
    if isinstance(given, Outcome):
        return dict.fromkeys(delivery.envelope.addresses, given)
    return given
