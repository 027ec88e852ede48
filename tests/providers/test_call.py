"""One request of a provider: its event, its credentials, and what it means that there is no answer."""

from typing import Any

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from smtprelay.http.client import AnswerLost, NotSent, Response
from smtprelay.http.credentials import NoCredentialsError
from smtprelay.http.outcomes import HTTP, ErrorTable
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Uncertain
from smtprelay.settings.provider import RemoteProviderSettings
from tests.providers.http_wiring import WiredHttp
from tests.recording import Recording


class Api(Resource):
    """Takes one key, and remembers which it was asked with; ``None`` cuts every connection."""

    isLeaf = True
    key: str | None = "good"

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def render(self, request: Request) -> bytes | int:
        self.keys.append(request.getHeader("X-Key"))
        if self.key is None:
            request.transport.abortConnection()
            return NOT_DONE_YET
        request.setResponseCode(200 if self.keys[-1] == self.key else 401)
        return b""


class CallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.api = Api()
        self.joined = WiredHttp.to(self.api)
        self.events = Recording()
        self.secret: str | Exception = "good"
        context = self.joined.context(events=self.events)
        self.caller = context.caller("p", RemoteProviderSettings(type="x"), self.read)

    def read(self) -> str:
        if isinstance(self.secret, Exception):
            raise self.secret
        return self.secret

    async def send(self, key: str) -> Response:
        return await self.caller.request("send", "POST", "http://127.0.0.1/", {"X-Key": key}, b"mail")

    def call(self) -> Any:
        return self.joined.result(self.caller.call(self.send))

    def test_refused_credentials_are_read_again(self) -> None:
        """After a 401 the request is repeated once with what was read anew; not if that is the same."""
        self.call()
        self.api.key = self.secret = "new"
        self.assertEqual(self.call().status, 200)
        self.api.key = "newest"
        self.assertEqual(self.call().status, 401)
        self.assertEqual(self.api.keys, ["good", "good", "new", "new"])

    def test_after_no_answer_they_are_read_again(self) -> None:
        """The address may be among them: the next request has the new ones."""
        self.joined.wire.refuse = Refused()
        error = self.assertRaises(NotSent, self.call)
        self.assertIsInstance(error.outcome, Deferred)
        self.joined.wire.refuse, self.secret = None, "other"
        self.call()
        self.assertEqual(self.api.keys, ["other"])

    def test_no_credentials(self) -> None:
        """What cannot be read blocks the provider, in the words of who read it; nothing is sent."""
        for reason in (ValueError("no key"), PermissionError("no key")):
            self.secret = reason
            error = self.assertRaises(NoCredentialsError, self.call)
            self.assertEqual(error.outcome, Blocked("no key"))
        self.assertEqual(self.api.keys, [])

    def test_credentials_that_expire_otherwise(self) -> None:
        """Not every API says 401 to what has expired."""
        self.call()
        self.api.key, self.secret = "another", "new"
        answer = self.joined.result(self.caller.call(self.send, lambda answer: answer.status == 200))
        self.assertEqual((answer.status, self.api.keys), (401, ["good", "good"]))
        answer = self.joined.result(self.caller.call(self.send, lambda answer: answer.status >= 400))
        self.assertEqual(self.api.keys, ["good", "good", "good", "new"])

    def test_outcome(self) -> None:
        """A success is what the provider says that it is; all else is in its table, or how far it came."""
        errors = ErrorTable(meanings=HTTP)

        def outcome() -> Any:
            return self.joined.result(self.caller.outcome(self.send, succeeded, errors))

        def succeeded(answer: Response) -> Delivered | None:
            return Delivered("1") if answer.status == 200 else None

        self.assertEqual(outcome(), Delivered("1"))
        self.api.key = "another"
        self.assertIsInstance(outcome(), Blocked)
        self.api.key = None
        self.assertIsInstance(outcome(), Uncertain)
        self.secret = ValueError("no key")
        self.assertEqual(outcome(), Blocked("no key"))

    def test_lost_answer(self) -> None:
        """The mail may have been taken."""
        self.api.key = None
        self.assertIsInstance(self.assertRaises(AnswerLost, self.call).outcome, Uncertain)

    def test_event(self) -> None:
        """Each request is told with its answer and duration, also one without an answer."""
        self.call()
        self.api.key = None
        self.assertRaises(AnswerLost, self.call)
        common = {"provider": "p", "operation": "send", "seconds": 0.0}
        expected = [{**common, "code": code} for code in (200, "no answer")]
        self.assertEqual(self.events.of("provider.request"), expected)

    def test_refused(self) -> None:
        """What an answer means is in a table; the reason is its own words, in one line and not too long."""
        answer = Response(413, body=b"too\r\nlarge " + b"x" * 1000)
        outcome = self.caller.refused(answer, ErrorTable(meanings=HTTP))
        assert isinstance(outcome, Failed)
        self.assertEqual(outcome.why[:13], "413 too large")
        self.assertLess(len(outcome.why), 210)
