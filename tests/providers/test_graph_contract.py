from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.graph import GraphLost
from smtprelay.testing.graph_mail import GraphRefuses
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
from tests.providers.graph_wiring import ANN, JoinedGraph


class FakedGraphProvider(FakedProvider):
    words = "The MIME content is not taken"

    def __init__(self) -> None:
        self.graph = JoinedGraph(sender=ANN)
        self.provider = self.graph.provider

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.graph.result(coroutine)

    def play(self, scene: str) -> None:
        fake = self.graph.fake
        if scene == "transient":
            fake.script(GraphRefuses(500))
        elif scene in {"throttled", "retry-after"}:
            headers = {"Retry-After": "7"} if scene == "retry-after" else {}
            text = "Application is over its MailboxConcurrency limit."
            fake.script(GraphRefuses(429, "ApplicationThrottled", text, headers))
        elif scene == "permanent":
            fake.script(GraphRefuses(400, "ErrorInvalidRequest", self.words))
        elif scene == "credentials":
            fake.knows = lambda _: False
        else:
            fake.script(GraphLost())

    def recipients(self) -> Sequence[str]:
        return [address for mail in self.graph.fake.mails for address in mail.recipients]

    def leftovers(self) -> Sequence[object]:
        return self.graph.leftovers()


class GraphContractTests(
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
        return FakedGraphProvider()
