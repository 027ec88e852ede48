"""Amazon's own software: its SDK against our fake, and moto, with its checks, against our provider."""

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from smtprelay.http.client import NotSent
from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Delivered, Outcome
from smtprelay.model.route import Window
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.registry import BUILT_IN
from smtprelay.providers.ses.credentials import AwsSource, access_of
from smtprelay.providers.ses.credentials import _loader as botocore_loader
from smtprelay.providers.ses.kind import RoleSettings
from smtprelay.testing.memory_http import MemoryHttp
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from smtprelay.testing.ses import FakeSes, SesRefuses
from tests.ports import free_port
from tests.providers.aws_peers import REGION, environment, moto
from tests.providers.http_wiring import Server
from tests.providers.ses_wiring import BOB, CY, KEY, MAIL, SECRET
from tests.recording import Recording


def served(test: TestCase, resource: Resource) -> int:
    """Serve ``resource`` until the test ends; return its port."""
    server = Server(Site(resource))
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    test.addCleanup(server.close)
    test.addCleanup(port.stopListening)
    return port.getHost().port


class SdkTests(TestCase):
    """boto3 sends through our fake as through Amazon's."""

    timeout = 60

    def setUp(self) -> None:
        self.fake = FakeSes(reactor, {KEY: SECRET})
        self.port = served(self, self.fake)

    def call(self, service: str, function: Callable[[Any], Any], secret: str = SECRET) -> "Deferred[Any]":
        def run() -> Any:
            client = boto3.client(
                service,
                endpoint_url=f"http://127.0.0.1:{self.port}",
                region_name=REGION,
                aws_access_key_id=KEY,
                aws_secret_access_key=secret,
            )
            try:
                return function(client)
            finally:
                client.close()

        return deferToThread(run)

    async def test_v2(self) -> None:
        """The API v2: a mail, the account, and a refusal that is the exception it should be."""
        request = {"Destination": {"BccAddresses": [BOB]}, "Content": {"Raw": {"Data": MAIL}}}
        sent = await self.call(
            "sesv2", lambda client: client.send_email(FromEmailAddress="a@b.example", **request)
        )
        self.assertEqual(sent["MessageId"], self.fake.mails[0].id)
        self.assertEqual((self.fake.mails[0].raw, list(self.fake.mails[0].recipients)), (MAIL, [BOB]))
        account = await self.call("sesv2", lambda client: client.get_account())
        self.assertEqual(account["SendQuota"]["MaxSendRate"], 14.0)
        self.fake.script(SesRefuses(400, "MessageRejected", "virus"))
        error = await self.assertFailure(
            self.call("sesv2", lambda client: client.send_email(**request)), ClientError
        )
        self.assertEqual(error.response["Error"], {"Code": "MessageRejected", "Message": "virus"})

    async def test_v1(self) -> None:
        """The same with the API v1."""
        request = {"Source": "a@b.example", "Destinations": [BOB, CY], "RawMessage": {"Data": MAIL}}
        sent = await self.call("ses", lambda client: client.send_raw_email(**request))
        self.assertEqual(sent["MessageId"], self.fake.mails[0].id)
        self.assertEqual((self.fake.mails[0].raw, list(self.fake.mails[0].recipients)), (MAIL, [BOB, CY]))
        quota = await self.call("ses", lambda client: client.get_send_quota())
        self.assertEqual((quota["Max24HourSend"], quota["SentLast24Hours"]), (50_000.0, 2.0))

    async def test_wrong_secret(self) -> None:
        """A signature with another secret is refused."""
        error = await self.assertFailure(
            self.call("sesv2", lambda client: client.get_account(), "wrong"), ClientError
        )
        self.assertEqual(error.response["Error"]["Code"], "InvalidSignatureException")


class MotoTests(TestCase):
    """A server that is not ours checks our signatures and the policy."""

    timeout = 120

    def setUp(self) -> None:
        self.moto = moto()

    def run_with(self, variables: dict[str, str], *recipients: str, **settings: Any) -> Any:
        """Deliver with these variables; return the outcome for the first recipient."""
        here = environment(variables)
        here.__enter__()
        self.addCleanup(here.__exit__, None, None, None)
        kind = BUILT_IN["ses"]
        context = ProviderContext(
            reactor=reactor,
            events=Recording(),
            defer_to_thread=deferToThread,
            defer_to_own_thread=deferToThread,
            mime=InlineMimeWorker(),
            hostname="relay.example.com",
        )
        made = kind.settings(**{"type": "ses", "limits": kind.limits, "region": REGION, **settings})
        ses = self.ses = kind.build("ses", made.completed("relay.example.com", os.environ), context)
        self.addCleanup(lambda: Deferred.fromCoroutine(ses.close()))
        self.addCleanup(lambda: Deferred.fromCoroutine(context.renewed["ses"].close()))
        return self.deliver(*recipients or (BOB,))

    async def deliver(self, *recipients: str) -> Outcome:
        results = await self.ses.deliver(Attempt(delivery(*recipients), MemoryBody(MAIL)))
        return results[recipients[0]]

    def variables(self, secret: str = "", **more: str) -> dict[str, str]:
        key, good = self.moto.keys
        return {
            "AWS_ENDPOINT_URL": self.moto.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret or good,
            **more,
        }

    async def test_v2(self) -> None:
        """A raw mail by v2, with a real signature; the rate is that of v1, which moto has alone."""
        self.assertIsInstance(await self.run_with(self.variables()), Delivered)
        self.assertEqual(await self.ses.rate(), [Window(count=1, seconds=1.0, unit="recipients")])

    async def test_v1(self) -> None:
        """A raw mail by v1."""
        self.assertIsInstance(await self.run_with(self.variables(), BOB, CY, api="v1"), Delivered)

    async def test_wrong_secret(self) -> None:
        """A wrong secret is blocked by both versions, and says why."""
        for api in ("v2", "v1"):
            outcome = await self.run_with(self.variables("wrong"), api=api)
            self.assertIsInstance(outcome, Blocked)
            self.assertIn("SignatureDoesNotMatch", outcome.why)

    async def test_role(self) -> None:
        """Mail is sent as a role of which STS gives credentials, which expire."""
        self.assertIsInstance(
            await self.run_with(
                self.variables(), assume_role=RoleSettings(arn=self.moto.role, external_id="x1")
            ),
            Delivered,
        )
        [renewed] = self.ses._events.of("credential.renewed")
        self.assertEqual(renewed["source"], self.moto.role)
        self.assertGreater(renewed["seconds"], 600)


class ChainTests(TestCase):
    """botocore's chains of credentials and of configuration."""

    timeout = 60

    def access(self, variables: dict[str, str], **source: str) -> "Deferred[Any]":
        def run() -> Any:
            with environment(variables):
                return access_of(AwsSource(**source))

        return deferToThread(run)

    def file(self, text: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(text)
        return str(path)

    async def test_environment(self) -> None:
        """Keys, region and endpoint of the environment; what the configuration says goes first."""
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T"}
        found = await self.access({**keys, "AWS_DEFAULT_REGION": "us-east-1"})
        self.assertEqual(found.value.keys[:3], ("A", "S", "T"))
        self.assertEqual((found.source, found.expires), ("env", None))
        for variables, source, region, endpoint in (
            ({"AWS_DEFAULT_REGION": "us-east-1"}, {}, "us-east-1", "https://email.us-east-1.amazonaws.com"),
            ({"AWS_REGION": "x-1"}, {"region": REGION}, REGION, f"https://email.{REGION}.amazonaws.com"),
            (
                {"AWS_USE_FIPS_ENDPOINT": "true"},
                {"region": "us-east-1"},
                "us-east-1",
                "https://email-fips.us-east-1.amazonaws.com",
            ),
            (
                {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
                {"region": REGION},
                REGION,
                f"https://email.{REGION}.api.aws",
            ),
            ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {"region": REGION}, REGION, "http://127.0.0.1:1"),
            (
                {"AWS_ENDPOINT_URL_SESV2": "http://127.0.0.1:2"},
                {"region": REGION},
                REGION,
                "http://127.0.0.1:2",
            ),
            (
                {"AWS_ENDPOINT_URL_SES": "http://127.0.0.1:3"},
                {"region": REGION, "service": "ses"},
                REGION,
                "http://127.0.0.1:3",
            ),
            (
                {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
                {"region": REGION, "endpoint": "https://x.example/"},
                REGION,
                "https://x.example",
            ),
        ):
            found = await self.access({**keys, **variables}, **source)
            self.assertEqual((found.value.region, found.value.endpoint), (region, endpoint))

    async def test_profile(self) -> None:
        """A profile has keys, a region and endpoints; one that is not there is an error for people."""
        config = self.file(
            "[profile mail]\nregion = eu-north-1\naws_access_key_id = P\naws_secret_access_key = Q\n"
        )
        found = await self.access({"AWS_CONFIG_FILE": config, "AWS_PROFILE": "mail"})
        self.assertEqual((found.value.keys.access_key, found.value.region), ("P", "eu-north-1"))
        error = await self.assertFailure(self.access({"AWS_PROFILE": "nobody"}), ValueError)
        self.assertEqual(str(error), "no AWS credentials: The config profile (nobody) could not be found")

    async def test_process(self) -> None:
        """What a program says that gives no credentials is told, without secrets and control characters."""
        said = (
            "\x1b[31mfailed\x1b[0m\x1b]0;title\x07 for mail: secret=hunter2 'password': 'hunter3'"
            " --token hunter4hunter4hunter4 AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
        )
        script = self.file(f'echo "{said}" >&2; exit 1')
        config = self.file(f"[profile mail]\nregion = {REGION}\ncredential_process = sh {script}\n")
        error = await self.assertFailure(
            self.access({"AWS_CONFIG_FILE": config, "AWS_PROFILE": "mail"}), ValueError
        )
        text = str(error)
        self.assertTrue(text.isprintable(), text)
        self.assertIn("failed for mail: secret=… 'password': … --token … … …", text)

    async def test_line_ends(self) -> None:
        """A secret that was stored with its line end makes no request, and is told for what it is."""
        keys = {"AWS_ACCESS_KEY_ID": "AKID\n", "AWS_SECRET_ACCESS_KEY": "Q"}
        error = await self.assertFailure(self.access(keys, region=REGION), ValueError)
        self.assertIn("such as a line end", str(error))

    def test_authorities(self) -> None:
        """``AWS_CA_BUNDLE`` names authorities to trust, unless the configuration does."""
        kind, given = BUILT_IN["ses"], []
        context = MemoryHttp(Resource()).context(
            open_http=lambda *_, outbound, **__: given.append(outbound.ca)
        )
        for variables, settings in (
            ({}, {}),
            ({"AWS_CA_BUNDLE": "/bundle.pem"}, {}),
            ({"AWS_CA_BUNDLE": "/bundle.pem"}, {"ca": "/ours.pem"}),
        ):
            made = kind.settings(type="ses", **settings).completed("relay.example.com", variables)
            kind.build("ses", made, context)
        self.assertEqual(given, ["", "/bundle.pem", "/ours.pem"])

    async def test_models_are_read_once(self) -> None:
        """What botocore reads of its own large files is kept: a renewal parses none, on whatever thread."""
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}
        loaders = []
        for _ in range(2):
            await self.access(keys, region=REGION)
            loaders.append(botocore_loader())
        self.assertIs(*loaders)
        self.assertTrue([name for name in loaders[0]._cache if "sesv2" in str(name)])

    async def test_missing(self) -> None:
        """Without a region, or without credentials, it says what to do."""
        error = await self.assertFailure(self.access({}), ValueError)
        self.assertEqual(str(error), "no AWS region: set region, or AWS_REGION")
        error = await self.assertFailure(self.access({}, region=REGION), ValueError)
        self.assertIn("botocore finds none", str(error))

    async def test_container(self) -> None:
        """Credentials of a container, or of a pod identity, by its token; they expire."""
        service = ContainerService()
        port = served(self, service)
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{port}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": self.file("pod-token"),
        }
        found = await self.access(variables, region=REGION)
        self.assertEqual((found.value.keys[:3], found.source), (("C", "D", "E"), "container-role"))
        self.assertEqual(found.expires, 4070908800.0)
        self.assertEqual(set(service.tokens), {"pod-token"})

    async def test_container_that_is_broken(self) -> None:
        """What is no object of texts, or a time that is none, is not of AWS: it is asked again later."""
        keys = '"AccessKeyId": "C", "SecretAccessKey": "D", "Token": "E"'
        for answer in (
            "[1]",
            "null",
            "[" * 100_000,
            f'{{{keys}, "Expiration": null}}',
            f'{{{keys}, "Expiration": "0001-01-01T00:00:00Z"}}',
            f'{{{keys}, "Expiration": "{"9" * 100}"}}',
            f'{{{keys.replace(chr(34) + "C" + chr(34), "5")}, "Expiration": "2099-01-01T00:00:00Z"}}',
            f'{{{keys.replace(chr(34) + "E" + chr(34), "true")}, "Expiration": "2099-01-01T00:00:00Z"}}',
        ):
            port = served(self, ContainerService(answer))
            variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{port}/v1/credentials"}
            await self.assertFailure(self.access(variables, region=REGION), NotSent)

    async def test_log(self) -> None:
        """What botocore logs at its debug level, which is all it signs, reaches no program that embeds us."""
        keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "planted-token"}
        port = served(self, BrokenService())
        keys |= {"AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}", "AWS_MAX_ATTEMPTS": "1"}
        root, written = logging.getLogger(), io.StringIO()
        handler = logging.StreamHandler(written)
        self.addCleanup(root.setLevel, root.level)
        self.addCleanup(root.removeHandler, handler)
        root.setLevel(logging.DEBUG)
        root.addHandler(handler)
        role = {"role": "arn:aws:iam::123456789012:role/mail", "session_name": "relay"}
        await self.assertFailure(self.access(keys, region=REGION, **role), NotSent)
        self.assertNotIn("planted-token", written.getvalue())
        self.assertIn("Found credentials in environment", written.getvalue())

    async def test_service_that_is_broken(self) -> None:
        """An STS, or a proxy before it, that answers no XML is tried again later."""
        port = served(self, BrokenService())
        variables = {
            "AWS_ACCESS_KEY_ID": "A",
            "AWS_SECRET_ACCESS_KEY": "S",
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}",
            "AWS_MAX_ATTEMPTS": "1",
        }
        role = {"role": "arn:aws:iam::123456789012:role/mail", "session_name": "relay"}
        await self.assertFailure(self.access(variables, region=REGION, **role), NotSent)

    async def test_service_that_is_away(self) -> None:
        """An STS that cannot be reached says nothing of the credentials."""
        variables = {
            "AWS_ACCESS_KEY_ID": "A",
            "AWS_SECRET_ACCESS_KEY": "S",
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{free_port()}",
            "AWS_MAX_ATTEMPTS": "1",
        }
        role = {"role": "arn:aws:iam::123456789012:role/mail", "session_name": "relay"}
        await self.assertFailure(self.access(variables, region=REGION, **role), NotSent)


class BrokenService(Resource):
    """Answers no XML."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"<html>oops"


class ContainerService(Resource):
    """What gives a container its credentials."""

    isLeaf = True

    def __init__(self, answer: str = "") -> None:
        super().__init__()
        self.tokens: list[str] = []
        self._answer = answer.encode()

    def render_GET(self, request: Request) -> bytes:
        self.tokens.append(request.getHeader("Authorization"))
        if self._answer:
            return self._answer
        keys = b'"AccessKeyId": "C", "SecretAccessKey": "D", "Token": "E"'
        return b'{%b, "Expiration": "2099-01-01T00:00:00Z"}' % keys


class MotoChainTests(SynchronousTestCase):
    """Those that moto gives: web identity and instance metadata."""

    def setUp(self) -> None:
        self.moto = moto(checks=False)

    def test_web_identity(self) -> None:
        """The token in a file is exchanged for credentials."""
        token = Path(self.mktemp()).absolute()
        token.write_text("a.web.token")
        variables = {
            "AWS_ROLE_ARN": self.moto.role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ENDPOINT_URL_STS": self.moto.url,
        }
        with environment(variables):
            found = access_of(AwsSource(region=REGION))
        self.assertEqual(found.source, "assume-role-with-web-identity")
        self.assertTrue(found.value.keys.token)
        self.assertIsNotNone(found.expires)

    def test_instance(self) -> None:
        """Those of an instance's role, by IMDSv2."""
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.moto.url,
            "AWS_EC2_METADATA_DISABLED": "false",
        }
        with environment(variables):
            found = access_of(AwsSource(region=REGION))
        self.assertEqual((found.value.keys.access_key, found.source), ("test-key", "iam-role"))
        self.assertIsNotNone(found.expires)
