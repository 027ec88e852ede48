"""How botocore asks for credentials: through the proxy, with our authorities; metadata directly."""

import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

from botocore.exceptions import CredentialRetrievalError
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from smtprelay.http.client import NotSent, ProxyLoginFailed
from smtprelay.http.renewed import Credential
from smtprelay.interfaces import Attempt
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Blocked, Delivered
from smtprelay.model.outcome import Deferred as Postponed
from smtprelay.net.outbound import HttpProxy, Outbound
from smtprelay.providers.context import ProviderContext
from smtprelay.providers.registry import BUILT_IN
from smtprelay.providers.ses.credentials import AwsAccess, AwsSource, access_of
from smtprelay.providers.ses.outbound import BoundedProcess
from smtprelay.providers.ses.vault import Vault
from smtprelay.providers.ses.vault_settings import VaultSettings, vault_source
from smtprelay.settings.secret import fixed
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider_contract import delivery
from smtprelay.testing.ses import FakeSes
from tests.ports import free_port
from tests.providers.aws_peers import REGION, environment
from tests.providers.http_wiring import Server
from tests.providers.ses_wiring import BOB, MAIL
from tests.proxy import ConnectProxy
from tests.recording import Recording

HOST = "sts.example.com"
KEYS = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S", "AWS_ENDPOINT_URL_STS": f"https://{HOST}"}
ROLE = {"region": REGION, "role": "arn:aws:iam::123456789012:role/mail", "session_name": "relay"}
ANSWER = b"""\
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>C</AccessKeyId><SecretAccessKey>D</SecretAccessKey><SessionToken>E</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class Sts(Resource):
    """Gives the keys of a role; keeps the headers of each request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.answer = ANSWER

    def render(self, request: Request) -> bytes:
        self.seen.append(request.requestHeaders)
        return self.answer


class Metadata(Resource):
    """The metadata of an instance; keeps the path of each request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[bytes] = []

    def render(self, request: Request) -> bytes:
        self.paths.append(request.path)
        if request.path.endswith(b"/security-credentials/"):
            return b"mail"
        keys = b'"AccessKeyId": "C", "SecretAccessKey": "D", "Token": "E", "Code": "Success"'
        return b'{%b, "Expiration": "2099-01-01T00:00:00Z"}' % keys

    def render_PUT(self, request: Request) -> bytes:
        return b"token"


class OutboundTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.sts = Sts()
        self.made = make_certificate(self.mktemp(), HOST)
        self.ca = str(self.made.ca)

    def serve(self, resource: Resource, *, tls: bool = True, clients: str = "") -> int:
        """Serve until the test ends, maybe only ``clients`` of an authority; return the port."""
        server = Server(Site(resource, timeout=None))
        if tls:
            context = DefaultOpenSSLContextFactory(str(self.made.key), str(self.made.certificate))
            if clients:
                context.getContext().load_verify_locations(clients)
                context.getContext().set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT)
            port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(server.close)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def begin(self, *answer: bytes) -> ConnectProxy:
        proxy = ConnectProxy(self, *answer)
        proxy.tunnels[443] = self.serve(self.sts)
        return proxy

    def access(
        self, outbound: Outbound, variables: dict[str, str] = KEYS, source: dict[str, str] = ROLE
    ) -> "Deferred[Credential[AwsAccess]]":
        def run() -> Credential[AwsAccess]:
            with environment(variables):
                return access_of(AwsSource(**source, outbound=outbound))

        return deferToThread(run)

    async def test_sts(self) -> None:
        """STS is asked through the proxy, with its login, by TLS to the authority of ``ca``."""
        proxy = self.begin()
        outbound = Outbound(proxy=proxy.proxy(user="relay", password="hünter2"), ca=self.ca)
        found = await self.access(outbound)
        self.assertEqual(found.value.keys[:3], ("C", "D", "E"))
        [asked] = proxy.asked
        self.assertTrue(asked.startswith(b"CONNECT sts.example.com:443 HTTP/1."), asked)
        self.assertIn(b"Proxy-Authorization: Basic " + b64encode("relay:hünter2".encode()), asked)
        [headers] = self.sts.seen
        self.assertFalse(headers.hasHeader("Proxy-Authorization"))

    async def test_chain(self) -> None:
        """So is one that botocore's own chain of credentials asks."""
        proxy, config = self.begin(), Path(self.mktemp()).absolute()
        config.write_text(
            "[profile keys]\naws_access_key_id = A\naws_secret_access_key = S\n"
            f"[profile mail]\nrole_arn = {ROLE['role']}\nsource_profile = keys\nregion = {REGION}\n"
        )
        variables = {"AWS_ENDPOINT_URL_STS": f"https://{HOST}", "AWS_PROFILE": "mail"}
        variables["AWS_CONFIG_FILE"] = str(config)
        found = await self.access(Outbound(proxy=proxy.proxy(), ca=self.ca), variables, {})
        self.assertEqual((found.value.keys[:3], found.source), (("C", "D", "E"), "assume-role"))
        self.assertEqual(len(proxy.asked), 1)

    async def test_mail(self) -> None:
        """A provider sends its mail through the same proxy, as a role; its settings say all that."""
        self.made = make_certificate(self.mktemp(), "email.example.com")
        fake = FakeSes(reactor, {"A": "S"})
        proxy = self.begin()
        proxy.tunnels[8443] = self.serve(fake)
        kind, events = BUILT_IN["ses"], Recording()
        settings = kind.settings(
            type="ses",
            region=REGION,
            limits=kind.limits,
            endpoint="https://email.example.com:8443",
            proxy=proxy.proxy(user="relay", password="hunter2").url,
            ca=str(self.made.ca),
        )
        context = ProviderContext(
            reactor=reactor,
            events=events,
            defer_to_thread=deferToThread,
            defer_to_own_thread=deferToThread,
            mime=InlineMimeWorker(),
            hostname="relay.example.com",
        )
        with environment({"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S"}):
            ses = kind.build("ses", settings, context)
            results = await ses.deliver(Attempt(delivery(BOB), MemoryBody(MAIL)))
        self.addCleanup(lambda: Deferred.fromCoroutine(ses.close()))
        self.addCleanup(lambda: Deferred.fromCoroutine(context.renewed["ses"].close()))
        self.assertIsInstance(results[BOB], Delivered)
        [asked] = proxy.asked
        self.assertIn(b"CONNECT email.example.com:8443 ", asked)
        self.assertEqual([mail.raw for mail in fake.mails], [MAIL])
        self.assertNotIn("hunter2", repr(events.__dict__))

    async def test_client_certificate(self) -> None:
        """A service that asks for a certificate gets ours."""
        proxy = self.begin()
        proxy.tunnels[443] = self.serve(self.sts, clients=self.ca)
        shown = (str(self.made.certificate), str(self.made.key))
        await self.access(Outbound(proxy=proxy.proxy(), ca=self.ca, client_certificate=shown))
        self.assertEqual(len(self.sts.seen), 1)

    async def test_without_the_authority(self) -> None:
        """A certificate that nobody vouches for is refused, through a proxy, too."""
        proxy = self.begin()
        variables = {**KEYS, "AWS_MAX_ATTEMPTS": "1"}
        error = await self.assertFailure(self.access(Outbound(proxy=proxy.proxy()), variables), NotSent)
        self.assertIn("certificate verify failed", str(error))
        self.assertIn("name the authority of its certificate in ca)", str(error))
        self.assertEqual(self.sts.seen, [])

    async def test_no_proxy(self) -> None:
        """Neither what is excepted nor what the environment says goes through a proxy."""
        proxy = self.begin()
        self.made = make_certificate(self.mktemp(), "localhost")
        url = f"https://localhost:{self.serve(self.sts)}"
        variables = {**KEYS, "AWS_ENDPOINT_URL_STS": url, "HTTPS_PROXY": proxy.proxy().url}
        for outbound in (
            Outbound(ca=str(self.made.ca)),
            Outbound(ca=str(self.made.ca), proxy=proxy.proxy(), no_proxy=("*",)),
        ):
            await self.access(outbound, variables)
        self.assertEqual((len(self.sts.seen), proxy.asked), (2, []))

    async def test_refusals(self) -> None:
        """A proxy that wants another login blocks, another refusal defers; the text has no password."""
        for answer, kind, why in (
            (b"HTTP/1.1 407 No\r\n\r\n", ProxyLoginFailed, "wants a login, or another one (407)"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", NotSent, "Tunnel connection failed: 403 Forbidden"),
        ):
            proxy = self.begin(answer)
            outbound = Outbound(proxy=proxy.proxy(user="relay", password="hunter2"), ca=self.ca)
            error = await self.assertFailure(self.access(outbound), kind)
            self.assertIn(f"the proxy 127.0.0.1:{proxy.port}", str(error))
            self.assertIn(why, str(error))
            self.assertNotIn("hunter2", str(error))
            expected = Blocked if kind is ProxyLoginFailed else Postponed
            self.assertEqual(error.outcome, expected(str(error)))
            self.assertEqual(len(proxy.asked), 1)

    async def test_vault(self) -> None:
        """Vault is asked through the proxy; one that wants another login blocks, and is named."""
        proxy = self.begin(b"HTTP/1.1 407 No\r\n\r\n")
        settings = BUILT_IN["ses"].settings(
            type="ses", proxy=proxy.proxy(user="relay", password="hunter2").url
        )
        vault = VaultSettings(
            path="aws/creds/mail", address="https://ops:hunter3@vault.example.com", token=fixed("t", "inline")
        )
        vault_of = Vault(vault_source(vault, settings.outbound, settings.timeout), reactor.seconds)
        error = await self.assertFailure(
            deferToThread(lambda: vault_of.obtain(refused=False)), ProxyLoginFailed
        )
        where = f"the proxy 127.0.0.1:{proxy.port}"
        self.assertEqual(str(error), f"Vault: {where} wants a login, or another one (407)")
        self.assertEqual(error.outcome, Blocked(str(error)))
        proxy = self.begin(b"HTTP/1.1 403 No\r\n\r\n")
        settings = BUILT_IN["ses"].settings(
            type="ses", proxy=proxy.proxy(user="relay", password="hunter2").url
        )
        vault_of = Vault(vault_source(vault, settings.outbound, settings.timeout), reactor.seconds)
        error = await self.assertFailure(deferToThread(lambda: vault_of.obtain(refused=False)), NotSent)
        self.assertIn(
            f"Vault at https://vault.example.com through the proxy 127.0.0.1:{proxy.port} does", str(error)
        )
        self.assertNotIn("hunter", str(error))

    async def test_authority_of_vault(self) -> None:
        """Of a certificate that nobody vouches for it says which setting would let it in."""
        address = f"https://127.0.0.1:{self.serve(self.sts)}"
        vault = VaultSettings(path="aws/creds/mail", address=address, token=fixed("t", "inline"))
        source = vault_source(vault, Outbound(), 30.0)
        vault_of = Vault(source, reactor.seconds)
        obtaining = deferToThread(lambda: vault_of.obtain(refused=False))
        error = await self.assertFailure(obtaining, NotSent)
        self.assertIn(f"Vault at {address} does not answer: ", str(error))
        self.assertIn("name the authority of its certificate in vault.ca)", str(error))

    def test_process_without_end(self) -> None:
        """A program that does not end is ended; its command, which may have a secret, is not repeated."""
        command = ["sh", "-c", "exec sleep 60 # planted"]
        process = BoundedProcess(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        error = self.assertRaises(CredentialRetrievalError, process.communicate, None, 0.01)
        self.assertIn("it has not ended within 60 s", str(error))
        self.assertNotIn("planted", str(error))
        self.assertEqual(process.returncode, -9)

    async def test_flood(self) -> None:
        """An answer without an end is not read to its end."""
        proxy = self.begin()
        self.sts.answer = b"x" * 1_000_000
        error = await self.assertFailure(
            self.access(Outbound(proxy=proxy.proxy(), ca=self.ca), {**KEYS, "AWS_MAX_ATTEMPTS": "1"}), NotSent
        )
        self.assertIn("the answer is larger than any with credentials", str(error))

    async def test_nonsense(self) -> None:
        """An answer of something else, or without keys, says nothing of us."""
        proxy = self.begin()
        for self.sts.answer in (b"hello", ANSWER.replace(b"Credentials>", b"Other>"), b"<a>" * 50_000):
            variables = {**KEYS, "AWS_MAX_ATTEMPTS": "1"}
            error = await self.assertFailure(
                self.access(Outbound(proxy=proxy.proxy(), ca=self.ca), variables), NotSent
            )
            self.assertIn("no AWS credentials: ", str(error))

    async def test_away(self) -> None:
        """A proxy that cannot be reached is named."""
        proxy = HttpProxy(host="127.0.0.1", port=free_port(), user="u", password="hunter2")
        outbound = Outbound(proxy=proxy)
        error = await self.assertFailure(self.access(outbound), NotSent)
        self.assertIn(f"no connection through the proxy {outbound.proxy}: ", str(error))
        self.assertNotIn("hunter2", str(error))

    async def test_metadata(self) -> None:
        """The metadata of the instance is asked directly, whatever proxies there are."""
        proxy, metadata = self.begin(), Metadata()
        url = proxy.proxy().url
        variables = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{self.serve(metadata, tls=False)}",
            "AWS_EC2_METADATA_DISABLED": "false",
            **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), url),
        }
        found = await self.access(Outbound(proxy=proxy.proxy()), variables, {"region": REGION})
        self.assertEqual((found.value.keys[:3], found.source), (("C", "D", "E"), "iam-role"))
        self.assertTrue(metadata.paths)
        self.assertEqual(proxy.asked, [])
