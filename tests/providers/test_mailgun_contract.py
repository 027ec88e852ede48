from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.mailgun import MailgunLostConnection, MailgunRefuses
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
from tests.providers.mailgun_wiring import JoinedMailgun


class FakedMailgunProvider(FakedProvider):
    words = "the content is not taken"

    def __init__(self) -> None:
        self.mailgun = JoinedMailgun()
        self.provider = self.mailgun.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.mailgun.result(coroutine)

    def play(self, scene: str) -> None:
        fake = self.mailgun.fake
        if scene == "transient":
            fake.script(MailgunRefuses(500, "later"))
        elif scene in {"throttled", "retry-after"}:
            fake.script(MailgunRefuses(429, "slow down", {"Retry-After": "7"} if scene[0] == "r" else {}))
        elif scene == "permanent":
            fake.script(MailgunRefuses(400, self.words))
        elif scene == "credentials":
            fake.key = "another"
        else:
            fake.script(MailgunLostConnection())

    def recipients(self) -> Sequence[str]:
        return [address for mail in self.mailgun.fake.mails for address in mail.recipients]

    def leftovers(self) -> Sequence[object]:
        return self.mailgun.joined.leftovers()


class MailgunContractTests(
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
        return FakedMailgunProvider()
