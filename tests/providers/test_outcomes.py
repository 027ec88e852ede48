from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.outcomes import sender_lane
from smtprelay.testing.provider_contract import delivery


class SenderLaneTests(SynchronousTestCase):
    def test_domains(self) -> None:
        """It is the domain that From names, in ASCII; what no command could name has a lane of its own."""
        item = delivery("bob@example.net", sender="ann@envelope.example")
        for author, sends_as, expected in (
            ("", "", "envelope.example"),
            ("Ann@Bücher.example", "", "xn--bcher-kva.example"),
            ("ann@bad.example", "app@good.example", "good.example"),
            ("ann@two words.example", "", "unknown"),
            ("ann@" + "x" * 300, "", "unknown"),
            ("nobody", "", "nobody"),
        ):
            lane = sender_lane(evolve(item, author=author, sends_as=sends_as))
            self.assertEqual(lane, f"setup:{expected}")
