import base64
import json

from azure.communication.email import EmailClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from smtprelay.http.client import NoAnswerError, Response
from smtprelay.model.route import Window
from smtprelay.providers.acs.api import SEND, operation_url
from smtprelay.providers.acs.signature import content_hash, signed_headers
from smtprelay.testing.acs import (
    MAX_SIZE,
    Answers,
    EndedOperation,
    FakeAcs,
    GarbledAnswer,
    LostConnection,
    NoAnswer,
)
from smtprelay.testing.acs_schema import SchemaError, check_send
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.azure.peers import EntraServer, served_by_tls
from tests.providers.http_wiring import Server, WiredHttp

KEY = base64.b64encode(b"k" * 32).decode()
HOST = "127.0.0.1:8443"
DATE = "Fri, 20 Nov 2026 09:30:00 GMT"
NOW = 1795167000.0
ID = "0a0b0c0d-0000-4000-8000-000000000001"
MAIL = {
    "senderAddress": "a@x.org",
    "content": {"subject": "S", "plainText": "t"},
    "recipients": {"to": [{"address": "b@x.org"}]},
}


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.use(FakeAcs(self.clock, [KEY]))

    def use(self, fake: FakeAcs) -> None:
        self.fake = fake
        self.joined = WiredHttp.to(fake, self.clock)

    def start(
        self, method: str, target: str, body: bytes = b"", *, key: str = KEY, date: str = DATE, **extra: str
    ) -> "Deferred[Response]":
        headers = signed_headers(key, method, target, host=HOST, date=date, digest=content_hash(body))
        headers |= {name.replace("_", "-"): value for name, value in extra.items()}
        return self.joined.run(self.joined.http.request(method, f"http://{HOST}{target}", headers, body))

    def send(self, request: object = MAIL, **extra: str) -> Response:
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return self.successResultOf(self.start("POST", SEND, body, **{"Operation_Id": ID, **extra}))

    def poll(self, operation_id: str = ID) -> Response:
        return self.successResultOf(self.start("GET", operation_url(operation_id)))


class OperationTests(Case):
    def test_send(self):
        """A good request is accepted, and told where to ask for it: with the double slash."""
        answer = self.send()
        self.assertEqual((answer.status, answer.header("retry-after")), (202, "1"))
        self.assertEqual(json.loads(answer.body), {"id": ID, "status": "Running"})
        self.assertEqual(
            answer.header("Operation-Location"),
            f"http://{HOST}//emails/operations/{ID}?api-version=2025-09-01",
        )
        [mail] = self.fake.mails
        self.assertEqual((mail.request, mail.time, mail.posts, mail.delivered), (MAIL, NOW, 1, 1))

    def test_polls(self):
        """Polls see NotStarted, Running, Succeeded; the last says no wait."""
        self.send()
        polls = [self.poll() for _ in range(4)]
        self.assertEqual(
            [(json.loads(poll.body)["status"], poll.header("retry-after")) for poll in polls],
            [("NotStarted", "1"), ("Running", "1"), ("Succeeded", ""), ("Succeeded", "")],
        )

    def test_unknown(self):
        """An operation that does not exist is 404."""
        answer = self.poll()
        self.assertEqual((answer.status, answer.header("x-ms-error-code")), (404, "OperationNotFound"))

    def test_same_operation(self):
        """The same request again is the same operation; another one under its id is refused."""
        self.assertEqual([self.send().status, self.send().status], [202, 202])
        self.assertEqual(self.send({**MAIL, "senderAddress": "c@x.org"}).status, 400)
        [mail] = self.fake.mails
        self.assertEqual((mail.posts, mail.request["senderAddress"]), (2, "a@x.org"))

    def test_operation_id(self):
        """Without an id the service makes one; one that is no UUID is refused."""
        answer = self.successResultOf(self.start("POST", SEND, json.dumps(MAIL).encode()))
        self.assertEqual(list(self.fake.operations), [json.loads(answer.body)["id"]])
        self.assertEqual(self.send(Operation_Id="x").status, 400)


class RefusalTests(Case):
    def test_signatures(self):
        """A wrong key, a wrong clock, another content or another target are refused, and nothing is taken."""
        wrong = base64.b64encode(b"wrong").decode()
        answers = [
            self.send(key=wrong),
            self.send(date="Fri, 20 Nov 2026 09:46:00 GMT"),
            self.send(date="tomorrow"),
            self.send(x_ms_content_sha256="AAAA"),
            self.send(Host="other.example.com"),
            self.send(Authorization="Bearer x"),
        ]
        self.assertEqual([answer.status for answer in answers], [401] * 6)
        self.assertEqual(answers[0].header("x-ms-error-code"), "Denied")
        self.assertEqual(json.loads(answers[0].body)["error"]["code"], "Denied")
        self.assertEqual(self.fake.operations, {})

    def test_skew(self):
        """A quarter of an hour is tolerated."""
        self.assertEqual(self.send(date="Fri, 20 Nov 2026 09:44:59 GMT").status, 202)

    def test_signature_covers_the_slashes(self):
        """A target with one slash, signed as if it had two, is refused."""
        two = "/" + operation_url(ID)
        headers = signed_headers(KEY, "GET", two, host=HOST, date=DATE, digest=content_hash(b""))
        request = self.joined.http.request("GET", f"http://{HOST}{operation_url(ID)}", headers)
        self.assertEqual(self.successResultOf(self.joined.run(request)).status, 401)
        self.assertEqual(self.successResultOf(self.start("GET", two)).status, 404)

    def test_paths(self):
        """Unknown versions and paths are refused."""
        for method, target, status in (
            ("POST", "/emails:send?api-version=2021-10-01-preview", 400),
            ("POST", "/emails:send", 400),
            ("GET", "/emails/operations?api-version=2025-09-01", 400),
            ("GET", SEND, 404),
            ("PUT", operation_url(ID), 404),
        ):
            with self.subTest(method + target):
                self.assertEqual(self.successResultOf(self.start(method, target)).status, status)

    def test_size(self):
        """More than 10 MB is 413."""
        self.assertEqual(self.send(b" " * (MAX_SIZE + 1)).status, 413)

    def test_bad_json(self):
        """What is no JSON object is 400."""
        for body in (b"x", b"[]", b"\xff", b"[" * 100_000):
            with self.subTest(body[:9]):
                self.assertEqual(self.send(body).status, 400)

    def test_quota(self):
        """Each kind of request has its tokens, which come back evenly."""
        windows = [Window(count=2, seconds=60.0), Window(count=100, seconds=3600.0)]
        quotas = {"send": windows, "poll": [Window(count=1, seconds=10.0)]}
        self.use(FakeAcs(self.clock, [KEY], quotas=quotas))
        answers = [self.send() for _ in range(3)]
        self.assertEqual([answer.status for answer in answers], [202, 202, 429])
        self.assertEqual(answers[2].header("Retry-After"), "30")
        self.assertEqual([self.poll().status, self.poll().status], [200, 429])
        self.clock.advance(30)
        self.assertEqual([self.send().status, self.send().status], [202, 429])


class ScriptTests(Case):
    def test_order(self):
        """Acts are used up in order; ``None`` is the usual."""
        self.fake.script(None, Answers(503, "Busy", headers={"Retry-After": "9"}), Answers(200, body=b"?"))
        answers = [self.send() for _ in range(4)]
        self.assertEqual([answer.status for answer in answers], [202, 503, 200, 202])
        self.assertEqual((answers[1].header("Retry-After"), answers[2].body), ("9", b"?"))

    def test_polls(self):
        """Polls have a script of their own."""
        self.send()
        self.fake.script(Answers(500), on="poll")
        self.assertEqual([self.send().status, self.poll().status, self.poll().status], [202, 500, 200])

    def test_silence(self):
        """Without an answer the mail is taken only if so scripted."""
        for act, taken in ((LostConnection(), 0), (LostConnection(accepting=True), 1), (GarbledAnswer(), 0)):
            with self.subTest(act):
                self.use(FakeAcs(self.clock, [KEY]))
                self.fake.script(act)
                self.failureResultOf(self.start("POST", SEND, json.dumps(MAIL).encode()), NoAnswerError)
                self.assertEqual((len(self.fake.mails), self.fake.exchanges[0].status), (taken, 0))

    def test_hang(self):
        """A hanging request gets no answer until the client gives up."""
        self.fake.script(NoAnswer(accepting=True))
        request = self.start("POST", SEND, json.dumps(MAIL).encode())
        self.assertNoResult(request)
        self.assertEqual(len(self.fake.mails), 1)
        self.joined.advance(30)
        self.failureResultOf(request, NoAnswerError)

    def test_failed_operation(self):
        """An operation may end badly; its mail does not go out."""
        self.fake.script(EndedOperation("Failed", "EmailDropped", "Dropped.", steps=()))
        self.send()
        self.assertEqual(
            json.loads(self.poll().body),
            {"id": ID, "status": "Failed", "error": {"code": "EmailDropped", "message": "Dropped."}},
        )
        self.assertEqual((self.fake.mails, len(self.fake.operations)), ([], 1))


class SchemaTests(SynchronousTestCase):
    def test_mistakes(self):
        """Each mistake is told by the place where it is."""
        part = {"name": "a", "contentType": "text/plain", "contentInBase64": "AAAA", "contentId": "1"}
        mailbox = {"address": "b@x.org"}
        cases = [
            ({"senderAddress": "x"}, "senderAddress"),
            ({"senderAddress": "Ann <a@x.org>"}, "senderAddress"),
            ({"senderAddress": None}, "senderAddress"),
            ({"content": {"subject": "", "html": "x"}}, "'content.subject'"),
            ({"content": {"subject": "x\r\nBcc: y", "html": "x"}}, "'content.subject'"),
            ({"content": {"subject": "x" * 999, "html": "x"}}, "'content.subject'"),
            ({"content": {"html": "x"}}, "'content.subject'"),
            ({"content": {"subject": "x"}}, "'content'"),
            ({"content": {"subject": "x", "html": "a\0b"}}, "'content.html'"),
            ({"content": {"subject": "x", "text": "x"}}, "'content.text'"),
            ({"recipients": {"to": []}}, "'recipients.to'"),
            ({"recipients": {"bcc": [mailbox]}}, "'recipients.to'"),
            ({"recipients": {"to": [mailbox] * 51}}, "at most 50"),
            ({"recipients": {"to": [{"address": "A <a@x.org>"}]}}, "Invalid format for email address"),
            ({"recipients": {"to": ["a@x.org"]}}, "'recipients.to[0]'"),
            ({"recipients": {"to": [{**mailbox, "displayName": "x\0"}]}}, "'recipients.to[0].displayName'"),
            (
                {"recipients": {"to": [{**mailbox, "displayName": "x" * 257}]}},
                "'recipients.to[0].displayName'",
            ),
            ({"recipients": {"to": mailbox}}, "'recipients.to'"),
            ({"replyTo": "a@x.org"}, "'replyTo'"),
            ({"replyTo": [mailbox] * 11}, "'replyTo'"),
            ({"headers": {"X A": "1"}}, "'headers'"),
            ({"headers": {"X-A": "1\r\nBcc: x"}}, "'headers'"),
            ({"headers": {"X-A": "ä"}}, "'headers'"),
            ({"headers": {"X-A": " "}}, "'headers'"),
            ({"headers": {"X-A": 1}}, "'headers'"),
            ({"headers": {"X-A": "1", "x-a": "1"}}, "'headers'"),
            ({"headers": {"X-A": "1" * 2001}}, "'headers'"),
            ({"headers": {f"X-{n}": "1" for n in range(51)}}, "'headers'"),
            ({"headers": []}, "'headers'"),
            *(
                ({"headers": {name: "x@y.org"}}, "'headers'")
                for name in ("Bcc", "x-bcc", "X-Rcpt-To", "Original-Recipient", "Resent-Bcc", "To")
            ),
            *(({"headers": {name: "x@y.org"}}, "'headers'") for name in ("Envelope-To", "Apparently-To")),
            ({"attachments": [{**part, "contentInBase64": "AAA"}]}, "Should be base64"),
            ({"attachments": [{**part, "contentInBase64": "A\nAAA"}]}, "Should be base64"),
            ({"attachments": [{**part, "contentInBase64": ""}]}, "'attachments[0].contentInBase64'"),
            ({"attachments": [{**part, "contentInBase64": 1}]}, "'attachments[0].contentInBase64'"),
            ({"attachments": [{**part, "contentType": "pdf"}]}, "'attachments[0].contentType'"),
            ({"attachments": [{**part, "contentType": "*/*"}]}, "'attachments[0].contentType'"),
            ({"attachments": [{**part, "contentType": "image/jpg"}]}, "'attachments[0].contentType'"),
            ({"attachments": [{**part, "name": "a.pdf"}]}, "'attachments[0].contentType'"),
            ({"attachments": [{**part, "name": "a/b"}]}, "'attachments[0].name'"),
            ({"attachments": [{**part, "name": ""}]}, "'attachments[0].name'"),
            ({"attachments": [{**part, "contentId": "a b"}]}, "'attachments[0].contentId'"),
            ({"attachments": [{"name": "a"}]}, "'attachments[0].contentType'"),
            ({"attachments": [part, part]}, "duplicate contentId"),
            ({"userEngagementTrackingDisabled": "yes"}, "'userEngagementTrackingDisabled'"),
            ({"bcc": []}, "'bcc'"),
        ]
        check_send(MAIL)
        for change, words in cases:
            with self.subTest(words):
                self.assertIn(words, str(self.assertRaises(SchemaError, check_send, {**MAIL, **change})))

    def test_addresses(self):
        """An address is dot-atoms and a domain with a dot; what is none is told with its place."""
        for bad in (
            "a..b@x.org",
            ".a@x.org",
            "a@x",
            "a@[127.0.0.1]",
            "a@-x.org",
            "ü@x.org",
            "a@ü.org",
            "a@1.2",
        ):
            request = {**MAIL, "recipients": {"to": [{"address": "b@x.org"}], "bcc": [{"address": bad}]}}
            refused = self.assertRaises(SchemaError, check_send, request)
            self.assertEqual(
                (refused.code, refused.addresses), ("InvalidEmailAddress", {"recipients.bcc[0].address": bad})
            )


class SdkTests(TestCase):
    """Microsoft's own client, which knows the service better than we do."""

    def setUp(self) -> None:
        self.fake = FakeAcs(reactor, [KEY], retry_after=0)
        server = Server(Site(self.fake))
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(server.close)
        self.endpoint = f"http://127.0.0.1:{port.getHost().port}"

    def send(self, message: dict[str, object], key: str = KEY) -> "Deferred[dict[str, object]]":
        def work() -> dict[str, object]:
            with EmailClient(self.endpoint, AzureKeyCredential(key), polling_interval=0) as client:
                return client.begin_send(message).result()

        return deferToThread(work)

    async def test_send(self):
        """A mail with everything is sent, and polled to its end."""
        message = {
            **MAIL,
            "content": {"subject": "Grüße", "plainText": "t", "html": '<img src="cid:i">'},
            "recipients": {
                kind: [{"address": f"{kind}@x.org", "displayName": "N"}] for kind in ("to", "cc", "bcc")
            },
            "replyTo": [{"address": "r@x.org"}],
            "headers": {"X-Foo": "1"},
            "attachments": [
                {"name": "i.png", "contentType": "image/png", "contentInBase64": "AAAA", "contentId": "i"}
            ],
            "userEngagementTrackingDisabled": True,
        }
        result = await self.send(message)
        self.assertEqual(result["status"], "Succeeded")
        [mail] = self.fake.mails
        self.assertEqual((mail.request, mail.id), (message, result["id"]))
        self.assertEqual([one.status for one in self.fake.exchanges], [202, 200, 200, 200])
        self.assertTrue(self.fake.exchanges[1].target.startswith("//emails/operations/"))

    async def test_quota(self):
        """After a 429 the client waits as it is told, and succeeds."""
        self.fake.script(Answers(429, "TooManyRequests", headers={"Retry-After": "0"}))
        self.assertEqual((await self.send(MAIL))["status"], "Succeeded")
        self.assertEqual([one.status for one in self.fake.exchanges[:2]], [429, 202])

    async def test_failed_operation(self):
        """A failed operation is an error with the code and the words of the service."""
        self.fake.script(EndedOperation("Failed", "EmailDroppedAllRecipientsSuppressed", "All suppressed."))
        with self.assertRaises(HttpResponseError) as caught:
            await self.send(MAIL)
        self.assertIn("EmailDroppedAllRecipientsSuppressed", str(caught.exception))

    async def test_wrong_key(self):
        """A wrong key is 401 with the service's code."""
        with self.assertRaises(HttpResponseError) as caught:
            await self.send(MAIL, base64.b64encode(b"wrong").decode())
        self.assertEqual((caught.exception.status_code, caught.exception.error.code), (401, "Denied"))

    async def test_bad_request(self):
        """A request that the schema does not take is 400, with the place."""
        with self.assertRaises(HttpResponseError) as caught:
            await self.send({**MAIL, "senderAddress": "nobody"})
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("senderAddress", str(caught.exception))


class SdkWithEntraTests(TestCase):
    """The same with the token of a credential of azure-identity."""

    timeout = 60

    async def test_credentials(self):
        """A token of the application is taken; one for another service is not."""
        entra = EntraServer(self)
        fake = FakeAcs(reactor, [], retry_after=0)
        fake.takes = lambda token: entra.fake.knows(token, "https://communication.azure.com")
        endpoint = served_by_tls(self, fake, entra.certificate)
        asked = {
            "authority": entra.url,
            "connection_verify": entra.ca,
            "disable_instance_discovery": True,
        }

        def work() -> str:
            credential = ClientSecretCredential(TENANT, CLIENT, SECRET, **asked)
            with EmailClient(endpoint, credential, polling_interval=0, connection_verify=entra.ca) as client:
                return client.begin_send(MAIL).result()["status"]

        self.assertEqual(await deferToThread(work), "Succeeded")
        self.assertEqual(len(fake.mails), 1)
        fake.takes = lambda token: entra.fake.knows(token, "https://vault.azure.net")
        with self.assertRaises(HttpResponseError) as caught:
            await deferToThread(work)
        self.assertEqual(caught.exception.status_code, 401)
