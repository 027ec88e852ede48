from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.failover import Place, next_place
from smtprelay.message import Limits
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import make_delivery


def never(_provider: str, _lane: str) -> bool:
    return False


class NextPlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.providers = {
            "one": ScriptedProvider("one"),
            "two": ScriptedProvider("two", lane=lambda envelope: envelope.sender),
            "small": ScriptedProvider("small", limits=Limits(size=10)),
            "single": ScriptedProvider("single", limits=Limits(recipients=1)),
        }

    def test_it_is_the_next_in_the_order_of_the_route(self) -> None:
        """The lane belongs to the provider that is next."""
        place = next_place(make_delivery(), ("one", "two"), self.providers, never)
        self.assertEqual(place, Place(provider="two", lane="scan@example.com"))

    def test_after_the_last_comes_the_first_again(self) -> None:
        """It is told that the round begins anew."""
        place = next_place(make_delivery(provider="two"), ("one", "two"), self.providers, never)
        self.assertEqual(place, Place(provider="one", lane="", wraps=True))

    def test_there_is_nowhere_else_with_one_provider(self) -> None:
        """A provider is no alternative to itself."""
        self.assertIsNone(next_place(make_delivery(), ("one",), self.providers, never))

    def test_a_provider_whose_limits_are_too_small_is_passed_over(self) -> None:
        """Mail only goes to a provider that can take it: by size, by number of recipients."""
        delivery = make_delivery("a@x.org", "b@x.org")
        place = next_place(delivery, ("one", "small", "single", "two"), self.providers, never)
        assert place is not None
        self.assertEqual(place.provider, "two")

    def test_a_stopped_lane_is_passed_over(self) -> None:
        """It is asked for the lane that the mail would have there."""
        asked = []

        def stopped(provider: str, lane: str) -> bool:
            asked.append((provider, lane))
            return True

        self.assertIsNone(next_place(make_delivery(), ("one", "two"), self.providers, stopped))
        self.assertEqual(asked, [("two", "scan@example.com")])

    def test_a_provider_that_is_not_configured_any_more_is_passed_over(self) -> None:
        """Neither coming from it nor going to it is an error."""
        place = next_place(make_delivery(provider="gone"), ("gone", "lost", "one"), self.providers, never)
        self.assertEqual(place, Place(provider="one", lane=""))

    def test_a_provider_outside_of_the_route_goes_to_its_beginning(self) -> None:
        """So it is after the route's via was changed."""
        place = next_place(make_delivery(provider="old"), ("one", "two"), self.providers, never)
        self.assertEqual(place, Place(provider="one", lane=""))
