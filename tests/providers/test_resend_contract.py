from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.provider_contract import (
    CredentialsContract,
    DeferredContract,
    DeliveryContract,
    FailedContract,
    FakedProvider,
    IdempotentContract,
    LostAnswerContract,
    RetryAfterContract,
    ThrottledContract,
)
from smtprelay.testing.resend import ResendLostConnection, ResendRefuses
from tests.providers.resend_wiring import JoinedResend


class FakedResendProvider(FakedProvider):
    words = "the content is not taken"

    def __init__(self) -> None:
        self.resend = JoinedResend()
        self.provider = self.resend.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.resend.result(coroutine)

    def play(self, scene: str) -> None:
        fake = self.resend.fake
        if scene == "transient":
            fake.script(ResendRefuses(500, "application_error", "later"))
        elif scene in {"throttled", "retry-after"}:
            headers = {"Retry-After": "7"} if scene == "retry-after" else {}
            fake.script(ResendRefuses(429, "rate_limit_exceeded", "slow down", headers))
        elif scene == "permanent":
            fake.script(ResendRefuses(422, "validation_error", self.words))
        elif scene == "credentials":
            fake.keys = {"re_another"}
        else:
            fake.script(ResendLostConnection())

    def recipients(self) -> Sequence[str]:
        return [address for mail in self.resend.fake.mails for address in mail.recipients]

    def leftovers(self) -> Sequence[object]:
        return self.resend.joined.leftovers()


class ResendContractTests(
    DeliveryContract,
    IdempotentContract,
    DeferredContract,
    FailedContract,
    CredentialsContract,
    LostAnswerContract,
    ThrottledContract,
    RetryAfterContract,
    SynchronousTestCase,
):
    def faked(self) -> FakedProvider:
        return FakedResendProvider()
