"""Whether a mail is within a provider's limits, and how large one may be at all."""

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.message import Limits
from smtprelay.model.shape import Shape
from smtprelay.model.size import largest, takes

BOUND = st.none() | st.integers(0, 10**8)
LIMITS = st.builds(Limits, size=BOUND, request=BOUND)


@frozen
class Api:
    """Makes 0.4 to 2.25 octets of each, and a few beside them."""

    limits: Limits
    least: float = 0.4

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        return int(self.least * shape.size), int(2.25 * shape.size + 0.75 * shape.eight_bit) + 65536


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
