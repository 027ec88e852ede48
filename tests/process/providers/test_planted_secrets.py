"""Secrets of a relay before Amazon SES, Vault and Entra, unique each, are found in nothing that it shows."""

import base64
import json
import tarfile
from collections.abc import Iterator

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.policy.password_hash import hash_password
from smtprelay.testing.acs import Answers, FakeAcs
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.ses import FakeSes, SesRefuses
from smtprelay.testing.vault import FakeVault, VaultRefuses
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage
from tests.providers.vault_wiring import Users, served

CONFIG = """\
hostname: relay.test
listeners:
  - name: lan
    endpoint: "tcp:0:interface=127.0.0.1"
    auth: {{checkers: [users], allow_plaintext: true}}
users: [{{name: printer, password_hash: "{hash}"}}]
logging: {{level: debug}}
providers:
  out: {{{ses}, vault: {{{vault}, approle: {{role_id: mail, secret_id: {{file: secret_id}}}}}}}}
  jwt: {{{ses}, vault: {{{vault}, jwt: {{role: mail, token: {{file: jwt}}}}}}}}
  token: {{{ses}, vault: {{{vault}, token: {token}}}}}
  host: {{type: smarthost, host: 127.0.0.1, port: 1, tls: none, username: u, password: {{file: password}}}}
  acs: {{{acs}, client_secret: {{file: entra}}}}
  acs2: {{{acs}, client_secret: {{file: entra_wrong}}}}
  local: {{type: capture, path: captured}}
http:
  - {{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics, api, dashboard],
     tokens: [{{name: ops, hash: "{hash_of_token}", role: operator}}]}}
spool: {{path: spool}}
bounces: {{from: MAILER-DAEMON@relay.test, via: [local]}}
routes:
  - {{match: {{recipient: ["*@jwt.example"]}}, via: [jwt], on_failed: webhook}}
  - {{match: {{recipient: ["*@token.example"]}}, via: [token]}}
  - {{match: {{recipient: ["*@host.example"]}}, via: [host]}}
  - {{match: {{recipient: ["*@acs.example"]}}, via: [acs]}}
  - {{match: {{recipient: ["*@acs2.example"]}}, via: [acs2]}}
  - {{name: all, via: [out], retry: {{first: 200ms, jitter: 0}}}}
webhook: {{url: {{file: hook}}, secret: {{file: hook_secret}}}}
"""
SECRETS = (
    *("secret_id", "jwt", "token", "password", "hook_secret", "user", "api", "wrong", "session"),
    *("entra", "entra_wrong"),
)


class PlantedSecretsTests(Stage, TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.secrets = {name: f"planted-{name.replace('_', '-')}-5fA1x9Zq" for name in SECRETS}
        self.users = Users(self.secrets["session"])
        self.fake = FakeSes(reactor, {})
        self.fake.keys = self.users.now
        self.vault = FakeVault(reactor, self.users.engine(session=True))
        self.vault.approles["mail"] = self.secrets["secret_id"]
        self.vault.give_token(self.secrets["token"])
        self.entra = FakeEntra(reactor)
        self.entra.application("contoso.com", "app").secrets[self.secrets["entra"]] = float("inf")
        self.acs = FakeAcs(reactor, [], retry_after=0)
        self.acs.takes = lambda token: self.entra.knows(token, "https://communication.azure.com")
        self.shown: list[str] = []

    def configured(self) -> RelayProcess:
        """Return a relay whose secrets are in files, one in the configuration itself."""
        for name, text in self.secrets.items():
            (self.folder / name).write_text(text)
        (self.folder / "hook").write_text("http://127.0.0.1:1/planted-hook-5fA1x9Zq")
        ses = f'type: ses, region: eu-west-1, endpoint: "{served(self, self.fake)}"'
        config = CONFIG.format(
            ses=ses,
            vault=f'path: aws/creds/mail, address: "{served(self, self.vault)}"',
            acs=f'type: acs, endpoint: "{served(self, self.acs)}", sender: relay@relay.test,'
            f' tenant: contoso.com, client_id: app, authority: "{served(self, self.entra)}"',
            token=self.secrets["token"],
            hash=hash_password(self.secrets["user"].encode(), b"0123456789abcdef"),
            hash_of_token=hash_password(self.secrets["api"].encode(), b"0123456789abcdef"),
        )
        return self.ending(RelayProcess(self.folder, config))

    def planted(self) -> Iterator[str]:
        """Give each secret, also those that Vault made, and as they are written on the wire."""
        yield "planted-hook-5fA1x9Zq"
        yield from self.secrets.values()
        yield from self.made
        for password in (self.secrets["user"], self.secrets["wrong"]):
            yield login(password)

    async def test_shown_nowhere(self) -> None:
        """Neither in the log at its debug level nor in errors, metrics, pages, answers, bounces, exports."""
        # Their fake has no session tokens of its own: those of all keys are the same.
        self.fake.tokens = Tokens(self.secrets["session"])
        self.made: set[str] = set()
        relay = await self.configured().start()
        await self.use(relay)
        await self.look(relay)
        await relay.stop()
        self.shown += [relay.life.out.decode(), relay.life.err.decode()]
        self.assertIn("credential.renewed", self.shown[-2])
        self.assertIn('"level":"debug"', self.shown[-2].replace(" ", ""))
        self.assertGreater(len(self.made), 1)
        for secret in self.planted():
            found = [
                text[max(0, at - 200) : at + 50] for text in self.shown if (at := text.find(secret)) >= 0
            ]
            self.assertEqual(found, [], secret)

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
        await relay.send(message("x"), "b@acs.example")
        await eventually(lambda: self.acs.mails, "the mail with a token of Entra")
        denied = Answers(401, "Denied", "The token is refused.")
        self.acs.script(denied, denied)
        for domain in ("jwt.example", "token.example", "host.example", "acs.example", "acs2.example"):
            self.vault.script(VaultRefuses(403, "permission denied")) if domain == "token.example" else None
            await relay.send(message("x"), f"b@{domain}")
        await eventually(lambda: b'"lane.blocked"' in relay.life.out, "a blocked lane")
        await eventually(lambda: b'"message.bounced"' in relay.life.out, "the bounce")
        await eventually(lambda: list((self.folder / "captured" / "new").glob("*")), "its delivery")
        await eventually(lambda: b"AADSTS7000215" in relay.life.out, "a wrong secret of Entra")
        self.made |= {*self.vault.tokens, *self.users.now.values(), *self.entra.issued}

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


class Tokens(dict[str, str]):
    """The same session token for every key."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def get(self, _key: str, _default: object = None) -> str:  # type: ignore[override]
        return self._token


def login(password: str) -> str:
    """Return what AUTH PLAIN sends."""
    return base64.b64encode(f"\0printer\0{password}".encode()).decode()
