"""
A configuration that changes while the relay runs: by SIGHUP and by ``smtprelay reload``.
"""

import os
import signal
import smtplib
import ssl
from base64 import b64encode
from collections import Counter
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.policy.password_hash import hash_password
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SmtpSink
from tests.postgres import Server, new_spool_url
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess, message, on_postgres
from tests.process.service.changing_relay import CHOICES, ChangingStage
from tests.process.service.supervised import CAPTURE, SupervisedRelay
from tests.process.service.test_hangup import LOGGING, HangupCase
from tests.process.service.test_synchronous_workers import CONFIG as SYNCHRONOUS
from tests.process.service.test_workers import POSTGRES

LISTENER = 'endpoint: "tcp:0:interface=127.0.0.1"'
ONLY_ONE = (LISTENER, f'{LISTENER}, allow_recipients: ["*@one.test"]')
SYNCHRONOUS_ONE = (
    "    delivery: synchronous",
    '    delivery: synchronous\n    allow_recipients: ["*@one.test"]',
)
SMARTHOST = (
    "out: {{type: smarthost, host: 127.0.0.1, port: {port}, tls: none, username: u, password: {password}}}"
)


class ReloadCase(HangupCase):
    def edit(self, relay: RelayProcess, old: str, new: str) -> None:
        text = relay.config.read_text()
        self.assertIn(old, text)
        relay.config.write_text(text.replace(old, new, 1))

    async def command(self, relay: RelayProcess) -> Program:
        """Run ``smtprelay reload``; return it when it has ended."""
        arguments = ["-m", "smtprelay", "-c", str(relay.config), "reload"]
        program = self.ending_program(Program.forked(arguments, self.folder, **relay.environ))
        await program.ends()
        return program

    async def reloads(self, relay: RelayProcess, old: str, new: str) -> str:
        """Change the file and put it into force; return what the command says."""
        self.edit(relay, old, new)
        program = await self.command(relay)
        self.assertEqual((program.status, program.err), (0, b""))
        return program.out.decode()

    async def code(self, relay: RelayProcess, recipient: str) -> str:
        return (await relay.send(message("test"), recipient))[:3]


class ReloadTests(ReloadCase, TestCase):
    async def begin(self, provider: str = CAPTURE, *, listener: str = "", more: str = "") -> RelayProcess:
        relay = self.ending(RelayProcess.of(self.folder, provider, listener=listener))
        relay.config.write_text(relay.config.read_text() + more)
        relay.environ = {"FIRST": "wrong", "SECOND": "second"}
        if more == LOGGING:
            relay.launch()
            return await self.ready(relay)
        return await relay.start()

    async def sink(self) -> tuple[SmtpSink, int]:
        sink = SmtpSink(clock=reactor, users={"u": "second"}, required=True)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        return sink, port.getHost().port

    async def test_sighup(self) -> None:
        """It opens the log again, and applies what has changed: the next transaction goes by it."""
        relay = await self.begin(more=LOGGING)
        talk = await relay.greet()
        self.edit(relay, *ONLY_ONE)
        self.rotate()
        relay.life.signal(signal.SIGHUP)
        [done] = await eventually(lambda: self.told("config.reloaded"), "the reload")
        self.assertEqual((done["who"], done["level"]), ("SIGHUP", "info"))
        self.assertEqual(done["changes"], "listeners.lan.allow_recipients: none → *@one.test")
        self.assertEqual(len(self.told("log.reopened")), 1)
        self.assertEqual((await talk.mail(message("test"), "a@two.test"))[:3], "550")
        await talk.say("RSET")
        self.assertEqual((await talk.mail(message("test"), "a@one.test"))[:3], "250")
        self.assertEqual(await relay.stop(), 0)

    async def test_a_broken_file(self) -> None:
        """The relay goes on as it was; the command and the log say where the mistake is."""
        relay = await self.begin()
        self.edit(relay, "via: [out]", "via: [none]")
        program = await self.command(relay)
        self.assertEqual((program.status, program.out), (os.EX_CONFIG, b""))
        self.assertRegex(program.err.decode(), r"^smtprelay: \S*/relay\.yaml:\d+:\d+: error: .*none")
        await relay.life.says(r'"event":"config\.rejected".*relay\.yaml:\d+:\d+')
        relay.life.signal(signal.SIGHUP)
        await relay.life.says(r'"event":"config\.rejected".*SIGHUP')
        self.assertEqual(await self.code(relay, "a@example.com"), "250")
        relay.config.write_bytes(b"\xff\x00{[")
        self.assertEqual((await self.command(relay)).status, os.EX_CONFIG)
        self.assertEqual(await self.code(relay, "a@example.com"), "250")
        relay.config.unlink()
        relay.life.signal(signal.SIGHUP)
        await relay.life.says(r'"event":"config\.rejected".*no such file')
        self.assertEqual(await self.code(relay, "a@example.com"), "250")
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_nothing_new(self) -> None:
        """That is said, and what a restart would change."""
        relay = await self.begin()
        self.assertEqual((await self.command(relay)).out, b"nothing has changed\n")
        text = await self.reloads(relay, "spool: {path: spool", "spool: {lease: 30s, path: spool")
        self.assertEqual(text, "spool.lease: changes when the relay is restarted\n")
        warning = await relay.life.says(r'"event":"relay\.warning".*a restart is needed for (.*?)"')
        self.assertIn("spool.lease", warning[1])

    async def test_users_and_certificates(self) -> None:
        """A session that begins then gets the new certificate, and logs in with the new password."""
        certificates = [make_certificate(self.folder / name) for name in ("old", "new")]
        tls = "tls: {{certificate: {0.certificate}, key: {0.key}}}"
        users = 'users: [{{name: ann, password_hash: "{}"}}]\n'
        hashes = [hash_password(word, b"salt" * 4, ln=10) for word in (b"first", b"second")]
        relay = await self.begin(listener=f", {tls.format(certificates[0])}", more=users.format(hashes[0]))
        self.assertEqual(await self.login(relay, certificates[0].ca, "first"), 235)
        self.edit(relay, tls.format(certificates[0]), tls.format(certificates[1]))
        text = await self.reloads(relay, hashes[0], hashes[1])
        self.assertIn("users.ann.password_hash: changed\n", text)
        self.assertNotIn("$", text)
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.login(relay, certificates[0].ca, "second")
        self.assertEqual(await self.login(relay, certificates[1].ca, "second"), 235)
        self.assertEqual(await self.login(relay, certificates[1].ca, "first"), 535)
        mixed = f"certificate: {certificates[1].certificate}, key: {certificates[0].key}"
        self.edit(relay, f"certificate: {certificates[1].certificate}, key: {certificates[1].key}", mixed)
        program = await self.command(relay)
        self.assertEqual((program.status, program.out), (os.EX_CONFIG, b""))
        self.assertIn(b"the key does not belong to the certificate", program.err)
        self.assertEqual(await self.login(relay, certificates[1].ca, "second"), 235)

    async def login(self, relay: RelayProcess, authority: Path, password: str) -> int:
        """Log in over STARTTLS; return the code of the reply."""
        plain = b64encode(f"\0ann\0{password}".encode()).decode()

        def talk() -> int:
            with smtplib.SMTP("127.0.0.1", relay.smtp, timeout=30) as client:
                client._host = "localhost"
                client.starttls(context=ssl.create_default_context(cafile=str(authority)))
                client.ehlo()
                return client.docmd("AUTH PLAIN", plain)[0]

        return await deferToThread(talk)

    async def test_a_secret_of_a_provider(self) -> None:
        """Another variable, or the text itself, counts at once; a file is read again without a reload."""
        sink, port = await self.sink()
        relay = await self.begin(SMARTHOST.format(port=port, password="{env: FIRST}"))
        await relay.send(message("blocked"), "a@example.com")
        await relay.life.says('"event":"lane.blocked"')
        text = await self.reloads(relay, "{env: FIRST}", "{env: SECOND}")
        self.assertEqual(text, "providers.out.password: ‹env FIRST› → ‹env SECOND›\n")
        await self.arrived(sink, 1)
        sink.users["u"] = "third"
        await self.reloads(relay, "{env: SECOND}", "third")
        await relay.send(message("inline"), "a@example.com")
        await self.arrived(sink, 2)
        (self.folder / "secret").write_text("third")
        await self.reloads(relay, "password: third", "password: {file: secret}")
        await relay.send(message("file"), "a@example.com")
        await self.arrived(sink, 3)
        sink.users["u"] = "fourth"
        sink.hang_up()
        (self.folder / "secret").write_text("fourth")
        await relay.send(message("renewed"), "a@example.com")
        await self.arrived(sink, 4)

    async def arrived(self, sink: SmtpSink, count: int) -> None:
        await eventually(lambda: len(sink.messages) == count, f"{count} mails")

    async def test_routes_and_rates(self) -> None:
        """What waits for its rate goes when that is raised; new mail takes the new route."""
        relay = await self.begin(
            "out: {type: capture, path: out, rate: [1/h]}, new: {type: capture, path: new}"
        )
        for _ in range(2):
            await relay.send(message("test"), "a@example.com")
        await eventually(lambda: self.captured("out") == 1, "the first")
        text = await self.reloads(relay, ", rate: [1/h]", ", rate: [60/min]")
        self.assertEqual(text, "providers.out.rate: 1/h → 60/min\n")
        await eventually(lambda: self.captured("out") == 2, "the second")
        await self.reloads(relay, "via: [out]", "via: [new]")
        await relay.send(message("test"), "a@example.com")
        await eventually(lambda: self.captured("new") == 1, "the third")

    def captured(self, name: str) -> int:
        return len(list(self.folder.glob(f"{name}/new/*")))


class LoadTests(ChangingStage, TestCase):
    async def test_under_load(self) -> None:
        """No session is dropped, no mail is lost or sent twice, and every reply follows from some rules."""
        changing = await self.changing(seed=1)
        sending = changing.send(10)
        for what in CHOICES:
            await deferLater(reactor, 0.3)
            await changing.change(what)
        changing.over = True
        await sending
        self.assert_kept(await changing.count())
        self.assertEqual(await changing.relay.stop(), 0)


class WorkersTests(ReloadCase, TestCase):
    async def both(self, relay: SupervisedRelay) -> SupervisedRelay:
        await relay.start()
        await eventually(lambda: self.ready_workers(relay) == 2, "both workers")
        return relay

    def ready_workers(self, relay: SupervisedRelay) -> int:
        return relay.life.out.count(b'"event":"worker.ready"')

    async def codes(self, relay: SupervisedRelay, recipient: str) -> Counter[str]:
        """Return the replies to some clients, of whom each worker gets some."""
        return Counter([await self.code(relay, recipient) for _ in range(10)])

    async def check(self, relay: SupervisedRelay, old: str, new: str) -> None:
        """See a change in all workers, also in those that are restarted; a broken file in none of them."""
        await self.both(relay)
        text = await self.reloads(relay, old, new)
        self.assertEqual(text, "listeners.lan.allow_recipients: none → *@one.test\n")
        self.assertEqual(relay.life.out.count(b'"event":"config.reloaded"'), 3)
        self.assertEqual(await self.codes(relay, "a@two.test"), {"550": 10})
        self.assertEqual(await self.codes(relay, "a@one.test"), {"250": 10})
        await relay.end_worker(1)
        await eventually(lambda: self.ready_workers(relay) == 3, "the restart")
        self.assertEqual(await self.codes(relay, "a@two.test"), {"550": 10})
        good = relay.config.read_text()
        self.edit(relay, "via: [out]", "via: [none]")
        self.assertEqual((await self.command(relay)).status, os.EX_CONFIG)
        await relay.end_worker(2)
        await eventually(lambda: self.ready_workers(relay) == 4, "the restart")
        self.assertEqual(await self.codes(relay, "a@one.test"), {"250": 10})
        self.assertEqual(await self.codes(relay, "a@two.test"), {"550": 10})
        relay.config.write_text(good)

    async def test_without_a_spool(self) -> None:
        """Workers without a spool all put a change into force; a listener needs a restart."""
        relay = self.ending(SupervisedRelay(self.folder, SYNCHRONOUS))
        await self.check(relay, *SYNCHRONOUS_ONE)
        listener = '  - {name: new, endpoint: "tcp:0:interface=127.0.0.1", delivery: synchronous}\nproviders:'
        self.edit(relay, "providers:", listener)
        program = await self.command(relay)
        self.assertEqual((program.status, program.out), (os.EX_CONFIG, b""))
        self.assertEqual(
            program.err, b"smtprelay: listeners: where workers listen can only be changed by a restart\n"
        )
        await relay.life.says(r'"event":"config\.rejected".*can only be changed by a restart')
        self.assertEqual(await self.codes(relay, "a@one.test"), {"250": 10})
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_with_a_spool(self) -> None:
        """Those that share PostgreSQL do, too."""
        (self.folder / "url").write_text(new_spool_url())
        relay = self.ending(SupervisedRelay.with_workers(self.folder, CAPTURE, more=POSTGRES))
        await self.check(relay, *ONLY_ONE)
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)


class DatabaseTests(ReloadCase, TestCase):
    async def test_a_database_that_is_away(self) -> None:
        """Nothing changes, and the command says to try again; then it is applied."""
        server = await deferToThread(Server.new, self.folder / "database")
        self.addCleanup(deferToThread, server.kill)
        relay = self.ending(RelayProcess.of(self.folder, CAPTURE, spool=on_postgres(self.folder, server.url)))
        await relay.start()
        await deferToThread(server.kill)
        self.edit(relay, CAPTURE, "new: {type: capture, path: new}")
        self.edit(relay, "via: [out]", "via: [new]")
        program = await self.command(relay)
        self.assertEqual((program.status, program.out), (os.EX_TEMPFAIL, b""))
        self.assertIn(b"the spool cannot be used", program.err)
        await deferToThread(server.start)
        await eventually(lambda: self.is_accepted(relay), "the database")
        await eventually(lambda: len(list(self.folder.glob("captured/new/*"))) == 1, "the mail")
        program = await self.command(relay)
        self.assertEqual(
            program.out,
            b"providers.out: removed\nproviders.new: added\nroutes.all.via: out \xe2\x86\x92 new\n",
        )
        self.assertEqual(await self.code(relay, "a@example.com"), "250")
        await eventually(lambda: len(list(self.folder.glob("new/new/*"))) == 1, "the mail")
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def is_accepted(self, relay: RelayProcess) -> bool:
        return await self.code(relay, "a@example.com") == "250"
