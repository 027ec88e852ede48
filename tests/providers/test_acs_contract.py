from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.acs import Answers, LostConnection
from smtprelay.testing.provider_contract import (
    CredentialsContract,
    DeferredContract,
    DeliveryContract,
    FailedContract,
    FakedProvider,
    IdempotentContract,
    LostAnswerContract,
    ResolveContract,
    RetryAfterContract,
    ThrottledContract,
)
from tests.providers.acs_entra_wiring import EntraAcs, entra_leftovers
from tests.providers.acs_wiring import joined_acs


class FakedAcsProvider(FakedProvider):
    words = "the sender is not known"

    def __init__(self) -> None:
        self.joined = joined_acs()
        self.provider = self.joined.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.joined.joined.result(coroutine, *[5.0] * 10)

    def play(self, scene: str) -> None:
        fake = self.joined.fake
        if scene == "transient":
            fake.script(Answers(500, "InternalServerError", "later"))
        elif scene in {"throttled", "retry-after"}:
            headers = {"Retry-After": "7"} if scene == "retry-after" else {}
            fake.script(Answers(429, "TooManyRequests", "slow down", headers))
        elif scene == "permanent":
            fake.script(Answers(400, "BadRequest", self.words))
        elif scene == "credentials":
            fake.keys = ["bm90aGluZyBvZiBvdXJz"]
        else:
            fake.script(LostConnection(accepting=True))

    def recipients(self) -> Sequence[str]:
        return [
            entry["address"]
            for mail in self.joined.fake.mails
            for kind in ("to", "cc", "bcc")
            for entry in mail.request["recipients"].get(kind, ())
        ]

    def leftovers(self) -> Sequence[object]:
        return self.joined.joined.leftovers()


class FakedEntraAcs(FakedAcsProvider):
    def __init__(self) -> None:
        self.joined = EntraAcs()
        self.provider = self.joined.provider

    def play(self, scene: str) -> None:
        if scene == "credentials":
            self.joined.fake.takes = lambda _: False
        else:
            super().play(scene)

    def leftovers(self) -> Sequence[object]:
        return entra_leftovers(self.joined)


class AcsContractTests(
    DeliveryContract,
    IdempotentContract,
    ResolveContract,
    DeferredContract,
    FailedContract,
    CredentialsContract,
    LostAnswerContract,
    ThrottledContract,
    RetryAfterContract,
    SynchronousTestCase,
):
    def faked(self) -> FakedProvider:
        return FakedAcsProvider()


class AcsWithEntraContractTests(AcsContractTests):
    def faked(self) -> FakedProvider:
        return FakedEntraAcs()
