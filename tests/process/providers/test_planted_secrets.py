"""Secrets of a relay before each of its providers, unique each, are found in nothing that it shows."""

import base64
import json
import tarfile
from collections.abc import Sequence

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.policy.password_hash import hash_password
from smtprelay.testing.acs import Answers, FakeAcs
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.mailgun import FakeMailgun
from smtprelay.testing.resend import FakeResend
from smtprelay.testing.ses import FakeSes, SesRefuses
from smtprelay.testing.smtp import SmtpSink
from smtprelay.testing.vault import FakeVault, VaultRefuses
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage
from tests.providers.vault_wiring import Users, served

HEAD = """\
hostname: relay.test
listeners:
  - name: lan
    endpoint: "tcp:0:interface=127.0.0.1"
    auth: {{checkers: [users], allow_plaintext: true}}
users: [{{name: printer, password_hash: "{hash}"}}]
logging: {{level: debug}}
http:
  - {{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics, api, dashboard],
     tokens: [{{name: ops, hash: "{hash_of_token}", role: operator}}]}}
spool: {{path: spool}}
bounces: {{from: MAILER-DAEMON@relay.test, via: [local]}}
webhook: {{url: {{file: hook}}, secret: {{file: hook_secret}}}}
"""
VAULT = """\
providers:
  out: {{{ses}, vault: {{{vault}, approle: {{role_id: mail, secret_id: {{file: secret_id}}}}}}}}
  jwt: {{{ses}, vault: {{{vault}, jwt: {{role: mail, token: {{file: jwt}}}}}}}}
  token: {{{ses}, vault: {{{vault}, token: {token}}}}}
  host: {{type: smarthost, host: 127.0.0.1, port: 1, tls: none, username: u, password: {{file: password}}}}
  local: {{type: capture, path: captured}}
routes:
  - {{match: {{recipient: ["*@jwt.example"]}}, via: [jwt], on_failed: webhook}}
  - {{match: {{recipient: ["*@token.example"]}}, via: [token]}}
  - {{match: {{recipient: ["*@host.example"]}}, via: [host]}}
  - {{name: all, via: [out], retry: {{first: 200ms, jitter: 0}}}}
"""
KEYS = """\
providers:
  acs: {{type: acs, connection_string: {{file: acs}}, sender: d@example.org}}
  keys: {{type: acs, endpoint: "{acs}", access_keys: [{{file: key}}], sender: d@example.org}}
  gun: {{type: mailgun, domain: mg.example.com, endpoint: "{gun}", api_key: {{file: gun}}}}
  re: {{type: resend, endpoint: "{re}", api_key: {{file: re}}}}
  plain: {{type: smarthost, host: 127.0.0.1, port: {plain}, tls: none, mechanism: plain,
          username: plain, password: {{file: plain}}}}
  login: {{type: smarthost, host: 127.0.0.1, port: {login}, tls: none, mechanism: login,
          username: login, password: {{file: login}}}}
  oauth: {{type: smarthost, host: 127.0.0.1, port: {login}, tls: none, username: u, oauth: {{client_id: app,
          token_endpoint: "http://127.0.0.1:1/t", client_secret: {{file: client_secret}},
          refresh_token: {{file: refresh_token}}}}}}
  proxied: {{type: resend, api_key: {{file: re}}, proxy: "http://user:{proxy}@127.0.0.1:1"}}
  local: {{type: capture, path: captured}}
routes:
  - {{match: {{recipient: ["*@acs.example"]}}, via: [acs]}}
  - {{match: {{recipient: ["*@keys.example"]}}, via: [keys]}}
  - {{match: {{recipient: ["*@gun.example"]}}, via: [gun]}}
  - {{match: {{recipient: ["*@re.example"]}}, via: [re]}}
  - {{match: {{recipient: ["*@plain.example"]}}, via: [plain]}}
  - {{match: {{recipient: ["*@login.example"]}}, via: [login]}}
  - {{match: {{recipient: ["*@oauth.example"]}}, via: [oauth]}}
  - {{match: {{recipient: ["*@proxied.example"]}}, via: [proxied]}}
"""
ENTRA = """\
providers:
  acs: {{{acs}, client_secret: {{file: entra}}}}
  acs2: {{{acs}, client_secret: {{file: entra_wrong}}}}
  graph: {{{graph}, client_secret: {{file: entra}}, mailbox: app@example.org, upload_sessions: true}}
  local: {{type: capture, path: captured}}
routes:
  - {{match: {{recipient: ["*@acs.example"]}}, via: [acs]}}
  - {{match: {{recipient: ["*@acs2.example"]}}, via: [acs2]}}
  - {{match: {{recipient: ["*@graph.example"]}}, via: [graph]}}
"""
#: A mail of one file, which Graph gives a URL for.
LARGE = (
    b"From: app@example.org\r\nSubject: x\r\nContent-Type: application/pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"x" * 3_100_000).replace(b"\n", b"\r\n")
)
#: Secrets that each of them has; "wrong" is a password that a client tries.
COMMON = ("hook_secret", "user", "api", "wrong")


class PlantedSecretsCase(Stage):
    """
    A relay with secrets, and all that can be seen of it.

    :cvar names: of the secrets, each of which is in a file of that name.
    """

    names: Sequence[str] = ()

    def setUp(self) -> None:
        super().setUp()
        self.secrets = {name: f"{name}_planted-5fA1x9Zq" for name in (*COMMON, *self.names)}
        self.shown: list[str] = []

    def relay(self, config: str, **places: str) -> RelayProcess:
        """Return a relay with this configuration behind :data:`HEAD`."""
        for name, text in self.secrets.items():
            (self.folder / name).write_text(text)
        (self.folder / "hook").write_text("http://127.0.0.1:1/planted-hook-5fA1x9Zq")
        text = (HEAD + config).format(
            hash=hash_password(self.secrets["user"].encode(), b"0123456789abcdef"),
            hash_of_token=hash_password(self.secrets["api"].encode(), b"0123456789abcdef"),
            **places,
        )
        return self.ending(RelayProcess(self.folder, text))

    async def assert_hidden(self, relay: RelayProcess, *planted: str) -> None:
        """Stop the relay, and see that none of its secrets, nor of ``planted``, was shown."""
        await self.look(relay)
        await relay.stop()
        self.shown += [relay.life.out.decode(), relay.life.err.decode()]
        self.assertIn('"level":"debug"', self.shown[-2].replace(" ", ""))
        logins = [login(self.secrets[name]) for name in ("user", "wrong")]
        for secret in (*self.secrets.values(), *logins, "planted-hook-5fA1x9Zq", *planted):
            found = [
                text[max(0, at - 200) : at + 50] for text in self.shown if (at := text.find(secret)) >= 0
            ]
            self.assertEqual(found, [], secret)

    async def log_in(self, relay: RelayProcess) -> None:
        talk = await relay.greet()
        for password, status in (("wrong", "535"), ("user", "235")):
            reply = await talk.say(f"AUTH PLAIN {login(self.secrets[password])}")
            self.assertEqual(reply[:3], status)
        await talk.close()

    async def look(self, relay: RelayProcess) -> None:
        """Keep what can be looked at."""
        queued = await relay.queued()
        self.assertGreater(len(queued), 1)
        for path in ("status", "providers", "refused", "queue", *(f"queue/{each['id']}" for each in queued)):
            self.shown.append(json.dumps(await relay.ask(path)))
        for path, headers in (
            ("/metrics", {}),
            ("/", {}),
            ("/api/v1/status", {"Authorization": f"Bearer {self.secrets['api']}"}),
            ("/api/v1/status", {"Authorization": f"Bearer {self.secrets['wrong']}"}),
        ):
            answer = await treq.get(f"{relay.http}{path}", headers=headers, persistent=False)
            self.shown.append(await answer.text())
        archive = self.folder / "export.tar"
        for command in (
            ("config", "show"),
            ("config", "check"),
            ("status",),
            ("providers", "list"),
            ("queue", "export", str(archive)),
        ):
            program = Program.forked(["-m", "smtprelay", "-c", str(relay.config), *command], self.folder)
            await program.ends()
            self.shown += [program.out.decode(), program.err.decode()]
        with tarfile.open(archive) as held:
            self.shown += [held.extractfile(each).read().decode("latin-1") for each in held if each.isfile()]
        for path in (self.folder / "captured").rglob("*"):
            self.shown += [path.read_bytes().decode("latin-1")] if path.is_file() else []


class VaultSecretsTests(PlantedSecretsCase, TestCase):
    """Amazon SES with keys of Vault."""

    names = ("secret_id", "jwt", "token", "password", "session")

    async def test_shown_nowhere(self) -> None:
        """Neither in the log at its debug level nor in errors, metrics, pages, answers, bounces, exports."""
        users = Users(self.secrets["session"])
        self.fake = FakeSes(reactor, {})
        self.fake.keys = users.now
        # Their fake has no session tokens of its own: those of all keys are the same.
        self.fake.tokens = Tokens(self.secrets["session"])
        self.vault = FakeVault(reactor, users.engine(session=True))
        self.vault.approles["mail"] = self.secrets["secret_id"]
        self.vault.give_token(self.secrets["token"])
        ses = f'type: ses, region: eu-west-1, endpoint: "{served(self, self.fake)}"'
        vault = f'path: aws/creds/mail, address: "{served(self, self.vault)}"'
        relay = await self.relay(VAULT, ses=ses, vault=vault, token=self.secrets["token"]).start()
        await self.use(relay)
        made = {*self.vault.tokens, *users.now.values()}
        self.assertGreater(len(made), 1)
        await self.assert_hidden(relay, *made)
        self.assertIn("credential.renewed", self.shown[-2])

    async def use(self, relay: RelayProcess) -> None:
        """Have mail that is delivered, that fails, and that finds wrong secrets of each kind."""
        await self.log_in(relay)
        said = f"The Canonical String for this request should have been '{self.secrets['session']}'"
        wrong = f"The request signature we calculated does not match. {said}"
        self.fake.script(
            SesRefuses(400, "MessageRejected", "virus"), None, SesRefuses(403, "SignatureDoesNotMatch", wrong)
        )
        for _ in range(3):
            self.assertEqual((await relay.send(message("x"), "b@example.net"))[:3], "250")
        await eventually(lambda: self.fake.mails, "a mail")
        for domain in ("jwt.example", "token.example", "host.example"):
            self.vault.script(VaultRefuses(403, "permission denied")) if domain == "token.example" else None
            await relay.send(message("x"), f"b@{domain}")
        await eventually(lambda: b'"lane.blocked"' in relay.life.out, "a blocked lane")
        await eventually(lambda: b'"message.bounced"' in relay.life.out, "the bounce")
        await eventually(lambda: list((self.folder / "captured" / "new").glob("*")), "its delivery")


class KeySecretsTests(PlantedSecretsCase, TestCase):
    """Azure Communication Services, Mailgun, Resend and mail servers."""

    names = ("gun", "re", "plain", "login", "client_secret", "refresh_token", "proxy")

    async def test_shown_nowhere(self) -> None:
        """The same, while keys are right, while they are refused, and by servers that repeat them."""
        key = base64.b64encode(b"planted-acs-5fA1x9Zq-0123456789ab").decode()
        other = base64.b64encode(b"planted-key-5fA1x9Zq-0123456789ab").decode()
        acs = FakeAcs(reactor, [key, other], steps=())
        gun = FakeMailgun(reactor, self.secrets["gun"], ["mg.example.com"])
        resend = FakeResend(reactor, [self.secrets["re"]], ["example.org"])
        sinks = {
            name: SmtpSink(users={name: self.secrets[name]}, required=True) for name in ("plain", "login")
        }
        ports = {name: await self.listening(sink) for name, sink in sinks.items()}
        urls = {name: served(self, fake) for name, fake in (("acs", acs), ("gun", gun), ("re", resend))}
        (self.folder / "acs").write_text(f"endpoint={urls['acs']};accesskey={key}")
        (self.folder / "key").write_text(other)
        relay = await self.relay(KEYS, proxy=self.secrets["proxy"], **urls, **ports).start()
        await self.log_in(relay)
        good = ("acs", "keys", "gun", "re", "plain", "login")
        await self.send(relay, *good)
        await eventually(lambda: relay.life.out.count(b'"message.delivered"') >= len(good), "the mail")
        sinks["plain"].script("RCPT", "550 5.1.1 nobody")
        await self.send(relay, "plain")
        await eventually(lambda: list((self.folder / "captured" / "new").glob("*")), "a bounce")
        acs.keys.clear()
        gun.key = "another"
        resend.keys.clear()
        wire = {
            "plain": login(self.secrets["plain"], "plain"),
            "login": base64.b64encode(self.secrets["login"].encode()).decode(),
        }
        for name, sink in sinks.items():
            sink.hang_up()
            sink.users = {name: "another"}
            sink.always("AUTH", f"535 5.7.8 what is {wire[name]}, {self.secrets[name]}?")
        await self.send(relay, *good, "oauth", "proxied")
        await eventually(lambda: relay.life.out.count(b'"lane.blocked"') >= len(good), "blocked lanes")
        await self.assert_hidden(relay, *wire.values(), key, other)

    async def listening(self, sink: SmtpSink) -> str:
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        return str(port.getHost().port)

    async def send(self, relay: RelayProcess, *domains: str) -> None:
        for domain in domains:
            reply = await relay.send(message("x"), f"b@{domain}.example")
            self.assertEqual(reply[:3], "250")


class EntraSecretsTests(PlantedSecretsCase, TestCase):
    """Azure Communication Services and Graph with tokens of Microsoft Entra."""

    names = ("entra", "entra_wrong")

    async def test_shown_nowhere(self) -> None:
        """The same for the application's secret, for a wrong one, and for tokens, also refused ones."""
        entra = FakeEntra(reactor)
        entra.application("contoso.com", "app").secrets[self.secrets["entra"]] = float("inf")
        fake = FakeAcs(reactor, [], retry_after=0)
        fake.takes = lambda token: entra.knows(token, "https://communication.azure.com")
        graph = FakeGraph(
            reactor, lambda token: entra.knows(token, "https://graph.microsoft.com"), ["app@example.org"]
        )
        application = f'tenant: contoso.com, client_id: app, authority: "{served(self, entra)}"'
        acs = f'type: acs, endpoint: "{served(self, fake)}", sender: relay@relay.test, {application}'
        place = f'type: graph, endpoint: "{served(self, graph)}", {application}'
        relay = await self.relay(ENTRA, acs=acs, graph=place).start()
        await self.log_in(relay)
        await relay.send(message("x"), "b@acs.example")
        await eventually(lambda: fake.mails, "the mail with a token of Entra")
        await relay.send(message("x"), "b@graph.example")
        await relay.send(LARGE, "b@graph.example")
        await eventually(lambda: len(graph.mails) == 2, "the mails through Graph")
        graph.knows = lambda _: False
        denied = Answers(401, "Denied", "The token is refused.")
        fake.script(denied, denied)
        for domain in ("acs.example", "acs2.example", "graph.example"):
            await relay.send(message("x"), f"b@{domain}")
        await eventually(lambda: b'"lane.blocked"' in relay.life.out, "a blocked lane")
        await eventually(lambda: b"AADSTS7000215" in relay.life.out, "a wrong secret of Entra")
        await self.assert_hidden(relay, *entra.issued, "authtoken=")


class Tokens(dict[str, str]):
    """The same session token for every key."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def get(self, _key: str, _default: object = None) -> str:  # type: ignore[override]
        return self._token


def login(password: str, user: str = "printer") -> str:
    """Return what AUTH PLAIN sends."""
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()
