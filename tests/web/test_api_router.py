"""What every answer has in common."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import SpoolUnavailable
from smtprelay.model.queue_admin import Found
from smtprelay.web.messages import MAX_BODY
from tests.web.asking import SUMMARY, Fixture, parse


class RouterTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_unknown_paths_are_404(self):
        """In JSON, with a sentence; a path that only begins like ours is unknown."""
        for path in (
            "/nothing",
            "/api/v1/queue/a/b",
            "/livezz",
            "/api/v1/queue/%2e%2e%2fx",
            "/page.css/../../router.py",
        ):
            response = self.fixture.get(path)
            self.assertEqual((response.status, list(response.json)), (404, ["error"]), path)

    def test_a_wrong_method_is_405(self):
        """Allow names what is allowed."""
        response = self.fixture.ask("DELETE", "/api/v1/queue")
        self.assertEqual((response.status, response.headers["allow"]), (405, "GET"))
        self.assertEqual(list(self.fixture.get("/api/v1/queue/retry").json), ["deliveries"])

    def test_head_is_get_without_the_body(self):
        """With the same length."""
        body = self.fixture.get("/livez").body
        response = self.fixture.ask("HEAD", "/livez")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.headers["content-length"], str(len(body)))

    def test_security_headers_are_everywhere(self):
        """On good answers and on errors."""
        for path in ("/", "/api/v1/status", "/metrics", "/nothing", "/api/v1/captured/op-1/html"):
            headers = self.fixture.get(path).headers
            self.assertIn("default-src 'none'", headers["content-security-policy"], path)
            self.assertIn("frame-ancestors", headers["content-security-policy"], path)
            self.assertEqual(headers["x-content-type-options"], "nosniff", path)
            self.assertEqual(headers["referrer-policy"], "no-referrer", path)
        self.assertEqual(self.fixture.get("/api/v1/status").headers["cache-control"], "no-store")

    def test_a_spool_that_does_not_answer_is_503(self):
        """As when the relay stops: the client may try again, and nothing unexpected has happened."""
        self.fixture.spool.error = SpoolUnavailable("the spool is closed")
        response = self.fixture.get("/api/v1/queue")
        self.assertEqual(response.status, 503)
        self.assertIn("the spool is closed", response.json["error"])
        self.assertEqual(self.fixture.events.of("relay.warning"), [])

    def test_an_unexpected_error_is_a_500_with_a_number(self):
        """The log has the traceback under that number, the client has not."""
        self.fixture.spool.error = RuntimeError("secret detail")
        response = self.fixture.get("/api/v1/queue")
        self.assertEqual(response.status, 500)
        self.assertNotIn(b"secret detail", response.body)
        (told,) = self.fixture.events.of("relay.warning")
        self.assertIn("RuntimeError: secret detail", told["exc"])
        number = told["text"].split()[2]
        self.assertIn(number, response.json["error"])

    def test_a_client_that_left_gets_no_answer(self):
        """Nothing is written to it, and nothing breaks, when the answer comes."""
        answer: Deferred[Found] = Deferred()

        async def slow(_selection: object, _mark: str) -> Found:
            return await answer

        self.fixture.spool.admin.search = slow
        transport = self.fixture.send("GET", "/api/v1/queue")
        self.assertEqual(transport.value(), b"")
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        answer.callback(Found(deliveries=[]))
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.fixture.events.of("relay.warning"), [])

    def test_requests_are_told_without_their_query(self):
        """A token in the query must not reach the log."""
        self.fixture.get("/livez?token=sentinel")
        (told,) = self.fixture.events.of("http.request")
        self.assertEqual(
            told, {"client": "127.0.0.1", "method": "GET", "path": "/livez", "code": 200, "route": "/livez"}
        )

    def test_no_version_is_told_to_anybody(self):
        """Whatever is answered, the header ``Server`` does not say which Twisted this is."""
        for method, path in (("GET", "/livez"), ("HEAD", "/livez"), ("GET", "/nowhere"), ("BREW", "/coffee")):
            response = self.fixture.ask(method, path)
            self.assertEqual(response.headers["server"], "smtprelay", path)
        self.assertNotIn(b"Twisted", self.fixture.send("GET", "/").value())

    def test_labels_of_unknown_requests_are_bounded(self):
        """Paths and methods that we do not know count as ``other``."""
        self.fixture.ask("BREW", "/coffee")
        (told,) = self.fixture.events.of("http.request")
        self.assertEqual((told["method"], told["route"]), ("other", "other"))

    def test_an_endless_body_is_cut_off(self):
        """More than the limit is not collected: the connection ends."""
        transport = self.fixture.send("POST", "/api/v1/queue/hold", body=b"x" * (MAX_BODY + 1))
        self.assertEqual((transport.disconnecting, transport.value()), (True, b""))
        transport.protocol.connectionLost(Failure(ConnectionDone()))
        allowed = self.fixture.send("POST", "/api/v1/queue/hold", body=b"x" * MAX_BODY)
        self.assertEqual(parse(allowed.value()).status, 403)

    def test_long_lists_let_the_reactor_turn(self):
        """A slice at a time; the answer is whole."""
        self.fixture.spool.lines = [SUMMARY] * 450
        transport = self.fixture.send("GET", "/api/v1/queue")
        self.assertEqual(transport.value(), b"")
        self.fixture.clock.advance(0)
        self.assertEqual(len(parse(transport.value()).json["deliveries"]), 450)
