from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.acs import Answers, Drops
from tests.behaviours.provider import (
    CredentialsContract,
    DeliveryContract,
    LostAnswerContract,
    PermanentContract,
    RepeatContract,
    Stage,
    TransientContract,
)
from tests.providers.acs_wiring import joined_acs


class AcsStage(Stage):
    words = "the sender is not known"

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.joined = joined_acs()
        self.provider = self.joined.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        deferred = self.joined.joined.run(coroutine)
        for _ in range(10):
            if not deferred.called:
                self.joined.joined.advance(5)
        return self.test.successResultOf(deferred)

    def play(self, scene: str) -> None:
        fake = self.joined.fake
        if scene == "transient":
            fake.script(Answers(503, "ServiceUnavailable", "later"))
        elif scene == "permanent":
            fake.script(Answers(400, "BadRequest", self.words))
        elif scene == "credentials":
            fake.keys = ["bm90aGluZyBvZiBvdXJz"]
        else:
            fake.script(Drops(accepting=True))

    def recipients(self) -> Sequence[str]:
        return [
            entry["address"]
            for mail in self.joined.fake.mails
            for kind in ("to", "cc", "bcc")
            for entry in mail.request["recipients"].get(kind, ())
        ]

    def leftovers(self) -> Sequence[object]:
        clients = [pump.client for pump in self.joined.joined.wire.pumps if not pump.clientIO.disconnecting]
        return [*self.joined.clock.getDelayedCalls(), *clients]


class AcsContractTests(
    DeliveryContract,
    RepeatContract,
    TransientContract,
    PermanentContract,
    CredentialsContract,
    LostAnswerContract,
    SynchronousTestCase,
):
    def stage(self) -> Stage:
        return AcsStage(self)
