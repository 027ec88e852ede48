"""An event on its way: what is sent, how it is signed, and what each answer means."""

import base64
import hmac
from hashlib import sha256
from typing import Any

from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled
from smtprelay.net.http_proxy import ProxyLoginError
from smtprelay.providers.webhook import Webhook, checked, key_of
from smtprelay.settings.provider import RemoteProviderSettings
from smtprelay.testing.memory_http import MemoryHttp
from tests.dispatch.stage import MORNING, make_delivery

EVENT = b'{"type": "delivery.ended"}'


class Receiver(Resource):
    """Keeps what is posted, and answers as it is told."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 204
        self.headers: dict[str, str] = {}
        self.body = b""
        self.posts: list[tuple[bytes, dict[str, str], bytes]] = []

    def render_POST(self, request: Request) -> bytes:
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.posts.append((request.uri, headers, request.content.read()))
        request.setResponseCode(self.status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return self.body


class WebhookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.receiver = Receiver()
        clock = Clock()
        clock.advance(MORNING)
        self.joined = MemoryHttp(self.receiver, clock)
        self.url, self.secret = "http://127.0.0.1/hook?token=x", ""
        settings = RemoteProviderSettings(type="webhook")
        hook = self.joined.context().caller(
            "webhook", settings, lambda: (checked(self.url), key_of(self.secret))
        )
        self.webhook = Webhook({"printers": hook}, clock)

    def deliver(self, lane: str = "printers") -> Outcome:
        delivery: Any = make_delivery(lane, provider="webhook", lane=lane)
        self.delivery = delivery
        results = self.successResultOf(
            self.joined.run(self.webhook.deliver(Attempt(delivery, MemoryBody(EVENT))))  # type: ignore[arg-type]
        )
        self.assertEqual(list(results), [lane])
        outcome: Outcome = results[lane]
        return outcome

    def test_what_is_sent(self) -> None:
        """The event as it is, with the id of the operation and the time; without a secret no signature."""
        self.assertEqual(self.deliver(), Delivered(why="204"))
        [(uri, headers, body)] = self.receiver.posts
        self.assertEqual((uri, body), (b"/hook?token=x", EVENT))
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["webhook-id"], self.delivery.operation_id)
        self.assertEqual(headers["webhook-timestamp"], str(int(MORNING)))
        self.assertNotIn("webhook-signature", headers)

    def test_the_signature(self) -> None:
        """HMAC-SHA256 over id, time and event, by both spellings of the secret."""
        for secret, key in (
            ("plain words", b"plain words"),
            ("whsec_" + base64.b64encode(b"\x00key").decode(), b"\x00key"),
        ):
            self.secret = secret
            self.deliver()
            _, headers, body = self.receiver.posts[-1]
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            digest = base64.b64encode(hmac.digest(key, signed, sha256)).decode()
            self.assertEqual(headers["webhook-signature"], f"v1,{digest}")

    def test_answers(self) -> None:
        """What its owner must mend blocks the webhook; what it will never take fails; the rest goes again."""
        for status, expected in {
            200: Delivered,
            202: Delivered,
            302: Blocked,
            400: Failed,
            401: Blocked,
            404: Blocked,
            410: Blocked,
            422: Failed,
            429: Throttled,
            500: Deferred,
            502: Deferred,
            503: Throttled,
            504: Deferred,
        }.items():
            self.receiver.status = status
            outcome = self.deliver()
            self.assertIsInstance(outcome, expected, status)
            if isinstance(outcome, Blocked):
                self.assertEqual(outcome.lane, "printers")

    def test_no_redirect_is_followed(self) -> None:
        """An event goes where the configuration says and nowhere else."""
        self.receiver.status = 307
        self.receiver.headers = {"Location": "http://127.0.0.1/elsewhere"}
        self.deliver()
        self.assertEqual(len(self.receiver.posts), 1)

    def test_retry_after(self) -> None:
        """It is passed on, and slows the lane down."""
        self.receiver.status, self.receiver.headers = 429, {"Retry-After": "7"}
        self.receiver.body = b"slow\r\ndown"
        self.assertEqual(self.deliver(), Throttled("429 slow down", 7.0, "printers"))

    def test_nobody_there(self) -> None:
        """It is tried again."""
        self.joined.refuse = Refused()
        self.assertIsInstance(self.deliver(), Deferred)

    def test_login_of_the_proxy(self) -> None:
        """A proxy that wants another login blocks the webhook, as its owner's other mistakes do."""
        self.joined.refuse = ProxyLoginError("the proxy p:1 refuses our login (407)")
        self.assertEqual(self.deliver(), Blocked("the proxy p:1 refuses our login (407)", "printers"))

    def test_a_webhook_that_is_gone(self) -> None:
        """Its events wait for the operator."""
        self.assertEqual(
            self.deliver("gone"), Blocked("the configuration has no such webhook any more", "gone")
        )

    def test_bad_urls(self) -> None:
        """They block the webhook, and are not repeated: they may be secrets."""
        for url in (
            "http://example.org/SECRET",
            "ftp://x/SECRET",
            "SECRET",
            "https://u:SECRET@x/",
            "http://[SECRET",
        ):
            self.url = url
            outcome = self.deliver()
            assert isinstance(outcome, Blocked)
            self.assertNotIn("SECRET", outcome.why)
        self.assertEqual(self.receiver.posts, [])

    def test_usable_urls(self) -> None:
        """Anywhere by https, here by http, too; a host alone gets its slash."""
        for url, sent in (
            ("https://example.org", "https://example.org/"),
            ("http://localhost:8080/x\n", "http://localhost:8080/x"),
            ("http://[::1]/x?y", "http://[::1]/x?y"),
        ):
            self.assertEqual(checked(url), sent)

    def test_a_secret_that_is_none(self) -> None:
        """A secret that cannot be what it says is told without being repeated."""
        error = self.assertRaises(ValueError, key_of, "whsec_***SECRET")
        self.assertNotIn("SECRET", str(error))

    def test_a_lane_for_each(self) -> None:
        """The lane is the webhook's name, and a probe needs an event."""
        delivery = make_delivery("printers")
        self.assertEqual(self.webhook.lane(delivery.envelope, "", ""), "printers")
        self.assertIsNone(self.successResultOf(self.joined.run(self.webhook.probe("printers"))))
        self.assertIsNone(self.successResultOf(self.joined.run(self.webhook.resolve(delivery))))
        self.successResultOf(self.joined.run(self.webhook.close()))
