"""Answers that no API gives: from a broken service, a wrong one, or a proxy between."""

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from tests.providers import acs_wiring
from tests.providers.acs_wiring import JoinedAcs
from tests.providers.graph_wiring import JoinedGraph
from tests.providers.mailgun_wiring import JoinedMailgun
from tests.providers.resend_wiring import JoinedResend
from tests.providers.ses_wiring import JoinedSes

#: As many lists as a JSON reader takes, and more than Python spells.
DEEP = b"[" * 1000 + b"]" * 1000
BOB = "bob@example.net"


class OneAnswer(Protocol):
    """Answers each request alike."""

    def dataReceived(self, data: bytes) -> None:
        assert self.factory is not None
        self.transport.write(self.factory.answer)


def answering(status: int, body: bytes, headers: bytes = b"") -> Factory:
    factory: Any = Factory.forProtocol(OneAnswer)
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), headers)
    factory.answer = head + body
    return factory


def _acs_result(joined: JoinedAcs, coroutine: Any) -> Any:
    return joined.joined.result(coroutine, *[31] * 40)


class StrangeAnswerTests(SynchronousTestCase):
    def outcomes(self, status: int, body: bytes, headers: bytes = b"") -> Iterator[tuple[str, object]]:
        """Give what each provider makes of an answer to a mail, and to its probe."""
        made: dict[str, Callable[[], Any]] = {
            "ses v2": JoinedSes,
            "ses v1": lambda: JoinedSes(api="v1"),
            "resend": JoinedResend,
            "mailgun": JoinedMailgun,
            "graph": JoinedGraph,
        }
        for name, make in made.items():
            joined = make()
            joined.joined.wire.server = answering(status, body, headers)
            yield name, joined.deliver()[BOB]
            joined.result(joined.provider.probe(""))
        acs = JoinedAcs()
        acs.joined.wire.server = answering(status, body, headers)
        attempt = Attempt(acs_wiring.delivery(), MemoryBody(acs_wiring.MAIL))
        yield "acs", _acs_result(acs, acs.provider.deliver(attempt))[BOB]
        _acs_result(acs, acs.provider.resolve(acs_wiring.delivery()))
        _acs_result(acs, acs.provider.probe(""))

    def test_lists_in_lists(self) -> None:
        """Where a text is expected there may be anything, as deep as JSON can be."""
        names = (b"id", b"MessageId", b"status", b"message", b"name", b"code", b"__type")
        deep = b",".join(b'"%b":%b' % (name, DEEP[1:-1]) for name in names)
        body = b'{%b,"error":{%b}}' % (deep, deep)
        for status in (200, 202, 400, 500):
            for name, outcome in self.outcomes(status, body):
                taken = Delivered if (name, status) == ("graph", 202) else ()  # it has no body
                self.assertIsInstance(outcome, (Deferred, Uncertain, taken), f"{name} {status}")

    def test_not_the_api(self) -> None:
        """A refusal without the API's words is of something else, so it bounces nothing."""
        for status in (400, 422):
            for name, outcome in self.outcomes(status, b"<html><h1>Bad Request</h1></html>"):
                self.assertIsInstance(outcome, Deferred | Blocked, f"{name} {status}")

    def test_long_words(self) -> None:
        """Of what is long, or cannot be seen, little is kept."""
        long = b'"\\u0000\\u001b[31m' + b"x" * 200_000 + b'"'
        for status, body in (
            (200, b'{"id":%b,"MessageId":%b,"status":%b}' % (long, long, long)),
            (400, b'{"message":%b,"name":%b,"error":{"code":%b,"message":%b}}' % (long, long, long, long)),
        ):
            for name, outcome in self.outcomes(status, body):
                assert isinstance(outcome, Delivered | Deferred | Failed | Uncertain)
                text = outcome.why + getattr(outcome, "id", "")
                self.assertTrue(len(text) < 5000 and text.isprintable(), f"{name} {status}")

    def test_location(self) -> None:
        """A URL that is none, of the operation of an accepted mail, does no harm."""
        for location in (b"http://[::1/x", b"http://127.0.0.1:99999999/x", b"https://\xff/x"):
            for _ in self.outcomes(202, b"{}", b"Operation-Location: %b\r\n" % location):
                pass
