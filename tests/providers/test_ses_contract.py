from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.provider_contract import (
    CredentialsContract,
    DeferredContract,
    DeliveryContract,
    FailedContract,
    FakedProvider,
    LostAnswerContract,
    RetryAfterContract,
    ThrottledContract,
)
from smtprelay.testing.ses import SesLostConnection, SesRefuses
from tests.providers.ses_wiring import JoinedSes


class FakedSesProvider(FakedProvider):
    words = "the content is not taken"

    def __init__(self, api: str) -> None:
        self.ses = JoinedSes(api=api)
        self.provider = self.ses.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.ses.result(coroutine)

    def play(self, scene: str) -> None:
        fake = self.ses.fake
        if scene == "transient":
            fake.script(SesRefuses(500, "InternalFailure", "later"))
        elif scene in {"throttled", "retry-after"}:
            headers = {"Retry-After": "7"} if scene == "retry-after" else {}
            fake.script(
                SesRefuses(429, "TooManyRequestsException", "Maximum sending rate exceeded.", headers)
            )
        elif scene == "permanent":
            fake.script(SesRefuses(400, "MessageRejected", self.words))
        elif scene == "credentials":
            fake.keys = {"AKIDANOTHER": "x"}
        else:
            fake.script(SesLostConnection())

    def recipients(self) -> Sequence[str]:
        return [address for mail in self.ses.fake.mails for address in mail.recipients]

    def leftovers(self) -> Sequence[object]:
        return self.ses.joined.leftovers()


class SesContractTests(
    DeliveryContract,
    DeferredContract,
    FailedContract,
    CredentialsContract,
    LostAnswerContract,
    ThrottledContract,
    RetryAfterContract,
    SynchronousTestCase,
):
    def faked(self) -> FakedProvider:
        return FakedSesProvider("v2")


class SesV1ContractTests(SesContractTests):
    def faked(self) -> FakedProvider:
        return FakedSesProvider("v1")
