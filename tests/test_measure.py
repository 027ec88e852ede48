"""Sizes are measured when they matter, each once."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.held_body import HeldBody
from smtprelay.interfaces import MailTooCostly, MimeWorkerTimeout, MimeWorkerUnavailable, Unmeasured
from smtprelay.measure import ENDLESS, planned, with_sizes
from smtprelay.message import Envelope, Planned, Refused
from smtprelay.mime.head import Head
from smtprelay.model.shape import Shape

ENVELOPE = Envelope(sender="a@x.org")
BODY = HeldBody(b"hello\r\n")


class Scale:
    """Asks for the sizes of ``names``, then answers with them; ``fault`` is what measuring raises."""

    def __init__(self, *names: str, fault: Exception | None = None) -> None:
        self.names = names
        self.fault = fault
        self.seen: list[Any] = []

    async def measure(self, envelope: Envelope, body: Any) -> int:
        self.seen.append((envelope, body))
        if self.fault is not None:
            raise self.fault
        return 100 * len(self.seen)

    def ask(self, sizes: Mapping[str, int]) -> dict[str, int]:
        for name in self.names:
            if name not in sizes:
                raise Unmeasured(name, self.measure)
        return dict(sizes)


class AskedTests(SynchronousTestCase):
    def result(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_what_is_known_is_not_measured(self) -> None:
        """Nothing is measured for a question that has its answer."""
        scale = Scale()
        self.assertEqual(self.result(with_sizes(scale.ask, ENVELOPE, BODY)), {})
        self.assertEqual(scale.seen, [])

    def test_each_size_is_measured_once(self) -> None:
        """With the envelope and the body, and all of them are told."""
        scale = Scale("acs", "ses")
        self.assertEqual(self.result(with_sizes(scale.ask, ENVELOPE, BODY)), {"acs": 100, "ses": 200})
        self.assertEqual(scale.seen, [(ENVELOPE, BODY)] * 2)

    def test_what_cannot_be_measured_fits_nowhere(self) -> None:
        """Where an answer is needed, such a request is larger than any limit."""
        for fault in (MailTooCostly(), MimeWorkerTimeout(), MimeWorkerUnavailable()):
            scale = Scale("acs", fault=fault)
            self.assertEqual(self.result(with_sizes(scale.ask, ENVELOPE, BODY)), {"acs": ENDLESS})

    def test_an_unexpected_error_is_let_through(self) -> None:
        """It is a bug, and told as one."""
        work = with_sizes(Scale("acs", fault=KeyError("bug")).ask, ENVELOPE, BODY)
        self.failureResultOf(Deferred.fromCoroutine(work), KeyError)


class PlannedTests(SynchronousTestCase):
    def refusal(self, fault: Exception) -> tuple[int, str]:
        scale = Scale("acs", fault=fault)

        def plan(_headers: object, _shape: object, sizes: Mapping[str, int]) -> list[Planned]:
            scale.ask(sizes)
            return []

        work = planned(plan, Head(b""), Shape(size=7), ENVELOPE, BODY)
        refused = self.failureResultOf(Deferred.fromCoroutine(work), Refused).value
        return refused.reply.code, refused.reply.enhanced

    def test_nobody_can_measure_now(self) -> None:
        """The client tries again."""
        for fault in (MimeWorkerUnavailable(), MimeWorkerTimeout()):
            self.assertEqual(self.refusal(fault), (452, "4.3.0"))

    def test_nobody_ever_will(self) -> None:
        """The mail is at fault, and is refused for good."""
        self.assertEqual(self.refusal(MailTooCostly()), (554, "5.6.0"))
