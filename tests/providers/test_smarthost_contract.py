from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import (
    CredentialsContract,
    DeferredContract,
    DeliveryContract,
    FailedContract,
    FakedProvider,
    LostAnswerContract,
    ThrottledContract,
)
from smtprelay.testing.smtp import CUT, SmtpSink
from tests.providers.smarthost_wiring import Joined


class FakedSmarthost(FakedProvider):
    words = "554 5.7.1 we do not like this"

    def __init__(self, test: SynchronousTestCase, *, pipelining: bool, finishing: bool = False) -> None:
        self.test = test
        keywords = ("PIPELINING", "SMTPUTF8") if pipelining else ()
        sink = SmtpSink(users={"u": "p"}, required=True, keywords=keywords)
        self.joined = Joined(sink, username="u", password=lambda: "p")
        self.provider = self.joined.provider
        if finishing:
            self.provider = OutgoingProvider(
                self.provider,
                InlineMimeWorker(),
                hostname="relay.example.com",
                bounces_from="MAILER-DAEMON@relay.example.com",
            )

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        deferred = Deferred.fromCoroutine(coroutine)
        self.joined.wire.settle()
        return self.test.successResultOf(deferred)

    def play(self, scene: str) -> None:
        sink = self.joined.sink
        if scene == "transient":
            sink.script("END", "451 4.3.0 later")
        elif scene == "throttled":
            sink.script("END", "450 4.7.1 Error: too much mail from 192.0.2.1")
        elif scene == "permanent":
            sink.script("END", self.words)
        elif scene == "credentials":
            sink.users = {"u": "another"}
        else:
            sink.script("END", CUT)

    def recipients(self) -> Sequence[str]:
        return [address for message in self.joined.sink.messages for address in message.recipients]

    def leftovers(self) -> Sequence[object]:
        return [*self.joined.clock.getDelayedCalls(), *self.joined.sink.talks]


class PipeliningTests(
    DeliveryContract,
    DeferredContract,
    FailedContract,
    CredentialsContract,
    LostAnswerContract,
    ThrottledContract,
    SynchronousTestCase,
):
    """A server that offers much."""

    def faked(self) -> FakedProvider:
        return FakedSmarthost(self, pipelining=True)


class PlainTests(PipeliningTests):
    """A server that offers nothing."""

    def faked(self) -> FakedProvider:
        return FakedSmarthost(self, pipelining=False)


class FinishingTests(PipeliningTests):
    """As it is built by the relay: mail is finished first."""

    def faked(self) -> FakedProvider:
        return FakedSmarthost(self, pipelining=True, finishing=True)


class PlainFinishingTests(PipeliningTests):
    """So, for a server that offers nothing."""

    def faked(self) -> FakedProvider:
        return FakedSmarthost(self, pipelining=False, finishing=True)
