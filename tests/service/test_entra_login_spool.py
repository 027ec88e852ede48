"""Mail that is sent with the logins of its clients, by a relay that stops and comes again."""

import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.model.attempt import Block
from smtprelay.model.queue import SUSPENDED, Edit, Selection
from smtprelay.policy.checkers.entra_name import application_names
from smtprelay.service import Relay
from smtprelay.testing.entra import FakeEntra
from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.graph_mail import GraphRefuses
from tests.listed import listed
from tests.ports import free_port
from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.providers.http_wiring import served
from tests.recording import Recording
from tests.service.test_entra_login import plain

TENANT, CLIENT = "99999999-8888-7777-6666-555555555555", "11111111-2222-3333-4444-555555555555"
SECRET, RENEWED = "s3cr3t~value", "an0ther~value"
LONG = application_names(TENANT, CLIENT, "@")[0]
KEYS = {name: f"{name}:{letter * 43}=\n" for name, letter in (("k1", "A"), ("k2", "B"))}
MAIL = b"From: Ann <ann@example.com>\r\nTo: b@example.net\r\nSubject: x\r\n\r\nx\r\n"
ALL = Selection(everything=True)
AUTH = "{checkers: [m], allow_plaintext: true}"

CONFIG = """\
hostname: relay.test
control_socket: {folder}/c.sock
listeners: [{{name: lan, endpoint: "tcp:{smtp}:interface=127.0.0.1", auth: {auth}}}]
checkers: {{m: {{type: entra, authority: "http://127.0.0.1:{entra}"}}}}
providers:
  graph:
    {{lane: {{concurrency: 10, rate: [10000/s]}},
    type: graph, credential: login, authority: "http://127.0.0.1:{entra}", endpoint: "http://127.0.0.1:{graph}"}}
  local: {{type: capture, path: {folder}/captured}}
routes: [{{via: [graph], retry: {{first: 100ms, jitter: 0}}}}]
bounces: {{via: [local]}}
spool: {{path: {folder}/spool, seal_key: {{file: {folder}/seal}}}}
"""


class LoginSpoolTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        self.entra = FakeEntra(reactor)
        self.secrets = self.entra.application(TENANT, CLIENT).secrets
        self.secrets[SECRET] = float("inf")
        knows = self.entra.knows
        self.graph = FakeGraph(
            reactor, lambda token: knows(token, "https://graph.microsoft.com"), ["ann@example.com"]
        )
        self.ports = {"entra": served(self, self.entra), "graph": served(self, self.graph)}
        self.seal("k1")

    def seal(self, *names: str) -> None:
        """Have these keys."""
        file = self.folder / "seal"
        file.write_text("".join(KEYS[name] for name in names))
        file.chmod(0o600)

    def write(self) -> Path:
        """Write the configuration."""
        self.events, self.smtp = Recording(), free_port()
        file = self.folder / "relay.yaml"
        file.write_text(CONFIG.format(folder=self.folder, smtp=self.smtp, auth=AUTH, **self.ports))
        return file

    async def start(self) -> Relay:
        relay = Relay(load(str(self.write()), {}).config, reactor, events=[self.events])
        relay.startService()
        self.addCleanup(lambda: relay.stopService() if relay.running else None)
        await relay.started
        return relay

    async def send(self, count: int = 1, secret: str = SECRET) -> None:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        self.assertEqual((await talk.say(plain(LONG, secret)))[:3], "235")
        for _ in range(count):
            reply = await talk.mail(MAIL, "b@example.net", sender="ann@example.com")
            self.assertEqual(reply[:3], "250")

    async def keep(self, count: int) -> None:
        """Have mail in a spool whose relay does not run; it waits until :meth:`go`."""
        relay = await self.start()
        assert relay.spool is not None
        suspended = Block(provider="graph", until=SUSPENDED, reason="later", operator=True)
        await relay.spool.block(suspended)
        await self.send(count)
        self.assertEqual(self.found(SECRET), [])
        self.assertEqual(self.stored(), count)
        await relay.stopService()
        self.assertEqual((self.found(SECRET), self.graph.mails), ([], []))

    async def go(self) -> Relay:
        """Start a relay that sends what waits."""
        relay = await self.start()
        assert relay.spool is not None
        await relay.spool.block(Block(provider="graph", operator=True))
        relay.spool.wake()
        return relay

    def stored(self) -> int:
        """Return the number of logins in the spool."""
        with closing(sqlite3.connect(self.folder / "spool" / "spool.db")) as database:
            (count,) = database.execute("SELECT count(*) FROM credential").fetchone()
        return int(count)

    def found(self, *words: str) -> list[str]:
        """Return which of ``words`` are in the files of the spool."""
        files = [path.read_bytes() for path in (self.folder / "spool").rglob("*") if path.is_file()]
        return [word for word in words if any(word.encode() in content for content in files)]

    async def delivered(self, count: int) -> None:
        await eventually(lambda: len(self.graph.mails) >= count, f"{count} mails")

    async def test_at_once(self) -> None:
        """What is sent at once is sent with the token of the login, and leaves no secret behind."""
        relay = await self.start()
        await self.send(3)
        await self.delivered(3)
        await relay.stopService()
        self.assertEqual((len(self.entra.asked), self.found(SECRET)), (1, []))
        self.assertNotIn(SECRET, repr(self.events.heard))

    async def test_kept(self) -> None:
        """What has waited while its relay was away is sent with its login, once, and no login is left."""
        await self.keep(20)
        await self.go()
        await self.delivered(20)
        await eventually(lambda: not self.stored(), "the logins to be erased")
        self.assertEqual((len(self.graph.mails), len(self.entra.asked)), (20, 2))

    async def test_killed(self) -> None:
        """Mails that wait when their relay is killed are all sent by the next one, once each."""
        mailbox = self.graph.mailboxes["ann@example.com"]
        mailbox.refusal = GraphRefuses(500)
        program = Program.python(["-m", "smtprelay", "run", "-c", str(self.write())], self.folder)
        await program.says("relay.ready|ready: ")
        await self.send(50)
        await program.insist(signal.SIGKILL)
        self.assertEqual((self.stored(), self.found(SECRET), self.graph.mails), (50, [], []))
        mailbox.refusal = None
        await self.start()
        await self.delivered(50)
        await eventually(lambda: not self.stored(), "the logins to be erased")
        self.assertEqual((len(self.graph.mails), self.found(SECRET)), (50, []))

    async def test_key_missing(self) -> None:
        """Without the key mail is held, and says why; with it, and a new one before it, it is sent."""
        await self.keep(3)
        self.seal("k2")
        relay = await self.go()
        await eventually(lambda: len(self.events.of("message.held")) == 3, "the mail to be held")
        self.assertIn(
            "the key k1, which spool.seal_key does not have", str(self.events.of("message.held")[0])
        )
        await relay.stopService()
        self.seal("k2", "k1")
        relay = await self.go()
        assert relay.spool is not None
        await relay.spool.admin.edit(ALL, Edit(action="release", who="ops"))
        await self.send()
        await self.delivered(4)
        self.assertEqual(len(self.graph.mails), 4)

    async def test_revoked(self) -> None:
        """Mail with a secret that was revoked waits alone; that with the new secret is sent."""
        await self.keep(2)
        del self.secrets[SECRET]
        self.secrets[RENEWED] = float("inf")
        await self.go()
        await eventually(lambda: self.events.of("lane.blocked"), "the lane to be stopped")
        self.assertIn("client_secret is wrong", str(self.events.of("lane.blocked")[0]["reason"]))
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        self.assertEqual((await talk.say(plain(LONG)))[:3], "535")
        await self.send(secret=RENEWED)
        await self.delivered(1)
        self.assertEqual(self.stored(), 2)

    async def test_no_login(self) -> None:
        """Mail without such a login is refused."""
        await self.start()
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO scanner")
        reply = await talk.mail(MAIL, "b@example.net", sender="ann@example.com")
        self.assertIn("550 5.7.1 Route route1 sends with the login of the client", reply)
        self.assertEqual(self.graph.mails, [])

    async def test_too_late(self) -> None:
        """An operator who retries what has failed is told that its login is gone."""
        relay = await self.start()
        assert relay.spool is not None
        self.graph.script(GraphRefuses(400, "ErrorInvalidRecipients"))
        await self.send()
        await eventually(lambda: self.events.of("message.failed"), "the failure")
        [failed] = await listed(relay.spool, Selection(states=("failed",)))
        await relay.spool.admin.edit(Selection(ids=(failed.id,)), Edit(action="retry", who="ops"))
        await eventually(lambda: self.events.of("message.held"), "the answer")
        self.assertIn("have the client send the mail again", str(self.events.of("message.held")[0]))
        reports = list((self.folder / "captured").rglob("*"))
        self.assertTrue(any(path.is_file() for path in reports))
