from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.failover import Failover, NextProvider, fits, too_large
from smtprelay.interfaces import Unmeasured
from smtprelay.model.route import Limits
from smtprelay.model.shape import Shape
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import make_delivery


def next_provider(delivery, via, providers, stopped, measured=None):
    return Failover(delivery, via, providers).next_provider(stopped, measured)


def never(_provider: str, _lane: str) -> bool:
    return False


class Api(ScriptedProvider):
    """Makes two to four octets of each."""

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        return 2 * shape.size, 4 * shape.size


class NextPlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.providers = {
            "one": ScriptedProvider("one"),
            "two": ScriptedProvider("two", lane=lambda envelope, *_: envelope.sender),
            "small": ScriptedProvider("small", limits=Limits(size=10)),
            "single": ScriptedProvider("single", limits=Limits(recipients=1)),
        }

    def test_it_is_the_next_in_the_order_of_the_route(self) -> None:
        """The lane belongs to the provider that is next."""
        place = next_provider(make_delivery(), ("one", "two"), self.providers, never)
        self.assertEqual(place, NextProvider(provider="two", lane="scan@example.com"))

    def test_after_the_last_comes_the_first_again(self) -> None:
        """It is told that the round begins anew."""
        place = next_provider(make_delivery(provider="two"), ("one", "two"), self.providers, never)
        self.assertEqual(place, NextProvider(provider="one", lane="", wraps=True))

    def test_there_is_nowhere_else_with_one_provider(self) -> None:
        """A provider is no alternative to itself."""
        self.assertIsNone(next_provider(make_delivery(), ("one",), self.providers, never))

    def test_a_provider_whose_limits_are_too_small_is_passed_over(self) -> None:
        """Mail only goes to a provider that can take it: by size, by number of recipients."""
        delivery = make_delivery("a@x.org", "b@x.org")
        place = next_provider(delivery, ("one", "small", "single", "two"), self.providers, never)
        assert place is not None
        self.assertEqual(place.provider, "two")

    def test_the_size_of_the_request_counts(self) -> None:
        """What is too large at least is passed over, what fits at most is taken; else it must be measured."""
        self.providers["api"] = Api("api", limits=Limits(request=400))
        via = ("one", "api", "two")
        for size, expected in ((100, "api"), (201, "two")):
            delivery = make_delivery(size=size, shape=Shape(size=size))
            for sizes in ({}, None):
                place = next_provider(delivery, via, self.providers, never, sizes)
                self.assertEqual(place and place.provider, expected)
        delivery = make_delivery(size=150, shape=Shape(size=150))
        unknown = self.assertRaises(Unmeasured, next_provider, delivery, via, self.providers, never, {})
        self.assertEqual(unknown.provider, "api")
        for measured, expected in ((400, "api"), (401, "two")):
            place = next_provider(delivery, via, self.providers, never, {"api": measured})
            self.assertEqual(place and place.provider, expected)

    def test_where_nothing_can_be_measured_it_must_fit(self) -> None:
        """A mail without a shape is of the worst one; where the lane is stopped nothing is measured."""
        self.providers["api"] = Api("api", limits=Limits(request=400))
        delivery = make_delivery(size=150)
        self.assertIsNone(next_provider(delivery, ("one", "api"), self.providers, never))
        self.assertRaises(Unmeasured, next_provider, delivery, ("one", "api"), self.providers, never, {})
        self.assertIsNone(next_provider(delivery, ("one", "api"), self.providers, lambda *_: True, {}))
        self.assertEqual(
            [fits(delivery, self.providers["api"], size) for size in (None, 400, 401)], [None, True, False]
        )

    def test_what_cannot_fit_is_not_sent(self) -> None:
        """It fails as too large, with the limit; what may fit is the provider's to say."""
        small, api = ScriptedProvider("s", limits=Limits(size=10)), Api("api", limits=Limits(request=400))
        for provider, size, words in (
            (small, 11, "11 bytes, s takes 10 bytes"),
            (api, 201, "requests of 400"),
        ):
            refusal = too_large(make_delivery(size=size), provider)
            assert refusal is not None
            self.assertEqual(refusal.code, "5.3.4")
            self.assertIn(words, refusal.why)
        self.assertIsNone(too_large(make_delivery(size=150), api))
        self.assertIsNone(too_large(make_delivery(size=10), small))

    def test_a_stopped_lane_is_passed_over(self) -> None:
        """It is asked for the lane that the mail would have there."""
        asked = []

        def stopped(provider: str, lane: str) -> bool:
            asked.append((provider, lane))
            return True

        self.assertIsNone(next_provider(make_delivery(), ("one", "two"), self.providers, stopped))
        self.assertEqual(asked, [("two", "scan@example.com")])

    def test_a_provider_that_is_not_configured_any_more_is_passed_over(self) -> None:
        """Neither coming from it nor going to it is an error."""
        place = next_provider(make_delivery(provider="gone"), ("gone", "lost", "one"), self.providers, never)
        self.assertEqual(place, NextProvider(provider="one", lane=""))

    def test_a_provider_outside_of_the_route_goes_to_its_beginning(self) -> None:
        """So it is after the route's via was changed."""
        place = next_provider(make_delivery(provider="old"), ("one", "two"), self.providers, never)
        self.assertEqual(place, NextProvider(provider="one", lane=""))
