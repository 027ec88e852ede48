"""Sizes are measured when they matter, each once."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import MailTooCostly, MimeWorkerTimeout, MimeWorkerUnavailable, Unmeasured
from smtprelay.interfaces.fit import ENDLESS, DeadlinePlanner, largest, planned, takes, with_sizes
from smtprelay.mime.head import Head
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Envelope, Planned, Refused
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape

ENVELOPE = Envelope(sender="a@x.org")
BODY = MemoryBody(b"hello\r\n")
BOUND = st.none() | st.integers(0, 10**8)
LIMITS = st.builds(Limits, size=BOUND, request=BOUND)


@frozen
class Api:
    """Makes 0.4 to 2.25 octets of each, and a few beside them."""

    limits: Limits
    least: float = 0.4

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        return int(self.least * shape.size), int(2.25 * shape.size + 0.75 * shape.eight_bit) + 65536


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


class DeadlinePlannerTests(SynchronousTestCase):
    """A client does not wait for ever, whatever holds up those who measure."""

    def planned(self, *measures: Any) -> tuple[Clock, Deferred[Any]]:
        """Begin to plan a mail whose size for each of several providers has to be measured."""

        def plan(_head: object, _shape: object, sizes: Mapping[str, int]) -> list[Planned]:
            for number, measure in enumerate(measures):
                if str(number) not in sizes:
                    raise Unmeasured(str(number), measure)
            return []

        clock = Clock()
        work = planned(DeadlinePlanner(plan, clock), Head(b""), Shape(size=7), ENVELOPE, BODY)
        return clock, Deferred.fromCoroutine(work)

    def test_measured_in_time(self) -> None:
        """What comes in time is used, and leaves no timer."""
        size: Deferred[int] = Deferred()

        async def measure(*_: object) -> int:
            return await size

        clock, planning = self.planned(Scale("acs").measure, measure)
        clock.advance(29)
        self.assertNoResult(planning)
        size.callback(7)
        self.assertEqual(self.successResultOf(planning), [])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """All providers together have the time of one: then the client tries again, and none is measured."""
        given_up: list[object] = []
        sizes: list[Deferred[int]] = [Deferred(given_up.append) for _ in range(2)]
        waiting = iter(sizes)

        async def measure(*_: object) -> int:
            return await next(waiting)

        clock, planning = self.planned(measure, measure)
        clock.advance(20)
        sizes[0].callback(7)
        clock.advance(9)
        self.assertNoResult(planning)
        clock.advance(1)
        self.assertEqual(self.failureResultOf(planning, Refused).value.reply.code, 452)
        self.assertEqual(given_up, sizes[1:])


class SizeTests(SynchronousTestCase):
    def test_the_mail_of_the_case(self) -> None:
        """8.7 MB of 8-bit octets and 10.1 MB of base64 are measured; neither is refused for its own size."""
        acs = Api(Limits(request=10_000_000))
        for shape in (Shape(size=8_700_000, eight_bit=8_700_000), Shape(size=10_100_000)):
            self.assertIsNone(takes(acs, shape))
            self.assertIs(takes(acs, shape, 11_700_000), False)
            self.assertIs(takes(acs, shape, 10_000_000), True)
        self.assertIs(takes(acs, Shape(size=1_000_000, eight_bit=1_000_000)), True)
        self.assertIs(takes(acs, Shape(size=25_100_000)), False)

    @given(LIMITS, st.sampled_from([0.4, 1.0, 3.0]))
    def test_the_largest_may_fit_and_no_larger_one(self, limits: Limits, least: float) -> None:
        """Whatever is limited."""
        api = Api(limits, least)
        most = largest(api)
        self.assertEqual(most is None, limits == Limits())
        if most is not None:
            self.assertIsNot(takes(api, Shape(size=most)), False)
            self.assertIs(takes(api, Shape(size=most + 1)), False)

    @given(LIMITS, st.integers(0, 10**8), st.integers(0, 2 * 10**8))
    def test_measured_always_tells(self, limits: Limits, octets: int, measured: int) -> None:
        """With the size of the request there is nothing left to ask."""
        fits = limits.size is None or octets <= limits.size
        fits = fits and (limits.request is None or measured <= limits.request)
        self.assertIs(takes(Api(limits), Shape(size=octets), measured), fits)
