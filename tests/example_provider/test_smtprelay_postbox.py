"""The provider of Postbox keeps the contract of all providers."""

import json
from collections.abc import Coroutine, Sequence
from typing import Any

from smtprelay_postbox import POSTBOX, PostboxSettings
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.settings.secret import fixed
from smtprelay.testing.memory_http import MemoryHttp
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

STATUSES = {"transient": 500, "permanent": 422, "throttled": 429, "retry-after": 429}


class FakePostbox(Resource):
    """The API; ``scene`` is what happens to the next mail."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.key = "secret"
        self.scene = ""
        self.mails: dict[str, dict[str, Any]] = {}

    def render(self, request: Request) -> bytes | int:
        if request.getHeader("Authorization") != f"Bearer {self.key}":
            request.setResponseCode(401)
            return b"wrong key"
        if request.path == b"/account":
            return b"{}"
        scene, self.scene = self.scene, ""
        if scene == "retry-after":
            request.setHeader("Retry-After", "7")
        if scene in STATUSES:
            request.setResponseCode(STATUSES[scene])
            return b"Postbox does not take this"
        self.mails[request.getHeader("Idempotency-Key")] = json.load(request.content)
        if scene == "lost":
            request.transport.loseConnection()
            return NOT_DONE_YET
        request.setHeader("X-Postbox-Id", "p1")
        return b""


class FakedPostbox(FakedProvider):
    words = "Postbox does not take this"

    def __init__(self) -> None:
        self.fake = FakePostbox()
        self.http = MemoryHttp(self.fake)
        settings = PostboxSettings(
            type="postbox", endpoint="http://127.0.0.1", api_key=fixed("secret", "inline")
        )
        self.provider = POSTBOX.build("p", settings, self.http.context())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.http.result(coroutine)

    def play(self, scene: str) -> None:
        if scene == "credentials":
            self.fake.key = "another"
        self.fake.scene = scene

    def recipients(self) -> Sequence[str]:
        return [address for mail in self.fake.mails.values() for address in mail["to"]]

    def leftovers(self) -> Sequence[object]:
        return self.http.leftovers()


class PostboxTests(
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
        return FakedPostbox()
