"""
Providers that cannot be reached, in each way that there is: a relay tells them within half a minute.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SILENCE, SmtpSink
from tests.process.acs_server import KEY
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

#: What an operator has to wait at most, seconds; the mail is there before.
PROMISED = 30.0

HOST = "{{type: smarthost, host: {host}, port: {port}, tls: {tls}{more}}}"

CONFIG = """\
hostname: relay.test
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1"}}]
providers:
{providers}
http: [{{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}}]
spool: {{path: spool}}
routes:
{routes}
"""


class UnreachableTests(Stage, TestCase):
    async def at(self, factory: Factory) -> int:
        """Return the port where ``factory`` listens."""
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def filtered(self) -> int:
        """Return a port where packets are dropped: its queue is full, and nobody accepts."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            self.addCleanup(waiting.close)
            waiting.connect_ex(("127.0.0.1", port))
        return port

    def closed(self) -> int:
        """Return a port where nobody listens."""
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return one.getsockname()[1]

    def relay(self, providers: dict[str, str]) -> RelayProcess:
        """Return a relay where mail to ``x@NAME.test`` goes to the provider of that name."""
        config = CONFIG.format(
            providers="".join(f"  {name}: {text}\n" for name, text in providers.items()),
            routes="".join(
                f"  - {{match: {{recipient: ['*@{name}.test']}}, via: [{name}], retry: {{first: 5m}}}}\n"
                for name in providers
            ),
        )
        return self.ending(RelayProcess(self.folder, config))

    async def attention(self, relay: RelayProcess) -> dict[str, dict[str, Any]]:
        return {line["about"]: line for line in (await relay.status())["attention"]}

    async def test_a_corrected_host(self) -> None:
        """Mail to a wrong host goes at the next start with the right one, not when its retry is due."""
        await self.correct(told=True)

    async def test_a_host_that_is_corrected_at_once(self) -> None:
        """So it does where the relay was killed before it had told of the wrong host."""
        await self.correct(told=False)

    async def correct(self, *, told: bool) -> None:
        wrong, right = (
            HOST.format(host="127.0.0.1", port=port, tls="none", more="")
            for port in (self.closed(), await self.at(SmtpSink()))
        )
        relay = await self.relay({"out": wrong}).start()
        await relay.send(message("lost", to="x@out.test"), "x@out.test")

        async def alarm() -> bool:
            return bool(await self.attention(relay))

        async def deferred() -> bool:
            return [each["state"] for each in await relay.queued()] == ["deferred"]

        if told:
            await eventually(alarm, "the alarm", patience=PROMISED)
            await relay.stop()
        else:
            await eventually(deferred, "a failed attempt")
            await relay.kill()
        relay.config.write_text(relay.config.read_text().replace(wrong, right))
        await relay.start()

        async def delivered() -> bool:
            return not await relay.queued() and not await alarm()

        await eventually(delivered, "an empty queue and no alarm", patience=10.0)

    async def test_suspended(self) -> None:
        """A suspended provider is no alarm that it cannot be reached; when it is resumed its mail goes."""
        sink = SmtpSink()
        dead = self.closed()
        relay = await self.relay(
            {"out": HOST.format(host="127.0.0.1", port=dead, tls="none", more="")}
        ).start()
        await relay.send(message("lost", to="x@out.test"), "x@out.test")

        async def kinds(*wanted: str) -> bool:
            return [line["kind"] for line in (await relay.status())["attention"]] == [*wanted]

        await eventually(lambda: kinds("unreachable"), "the alarm", patience=PROMISED)
        await relay.cli("providers", "suspend", "out")
        await eventually(lambda: kinds("suspended"), "the end of the alarm")
        mended = reactor.listenTCP(dead, sink, interface="127.0.0.1")
        self.addCleanup(mended.stopListening)
        self.assertEqual(sink.connections, 0)
        await relay.cli("providers", "resume", "out")
        await relay.cli("queue", "retry", "--all")
        await eventually(kinds, "no alarm")
        self.assertGreater(sink.connections, 0)

    async def test_in_every_way(self) -> None:
        """Host, stage, error and since when are in ``status``, one warning in the log; mended, all end."""
        certificate = make_certificate(self.folder)
        auth = SmtpSink(users={"u": "p"})
        auth.always("AUTH", SILENCE)
        silent = await self.at(Factory.forProtocol(Protocol))
        untrusted = await SmtpSink(certificate=certificate, implicit=True).listen(reactor)
        self.addCleanup(untrusted.stopListening)
        plain = await self.at(SmtpSink())
        dead = self.closed()
        acs = "{{type: acs, connection_string: '{}', sender: a@b.test}}"
        login = ", username: u, password: p"
        targets = {
            "refused": (HOST.format(host="127.0.0.1", port=dead, tls="none", more=""), "connect"),
            "unknown": (HOST.format(host="no.such.name.invalid", port=25, tls="none", more=""), "resolve"),
            "filtered": (HOST.format(host="127.0.0.1", port=self.filtered(), tls="none", more=""), "connect"),
            "handshake": (HOST.format(host="127.0.0.1", port=silent, tls="implicit", more=""), "TLS"),
            "greeting": (HOST.format(host="127.0.0.1", port=silent, tls="none", more=""), "greeting"),
            "login": (
                HOST.format(host="127.0.0.1", port=await self.at(auth), tls="none", more=login),
                "AUTH",
            ),
            "plain": (HOST.format(host="127.0.0.1", port=plain, tls="implicit", more=""), "TLS"),
            "certificate": (
                HOST.format(host="127.0.0.1", port=untrusted.getHost().port, tls="implicit", more=""),
                "TLS",
            ),
            "http": (acs.format(f"endpoint=http://127.0.0.1:{dead}/;accesskey={KEY}"), "connect"),
            "silent": (acs.format(f"endpoint=http://127.0.0.1:{silent}/;accesskey={KEY}"), "request"),
        }
        relay = await self.relay({name: text for name, (text, _) in targets.items()}).start()
        begun = reactor.seconds()
        for name in targets:
            await relay.send(message("lost", to=f"x@{name}.test"), f"x@{name}.test")

        async def all_told() -> dict[str, dict[str, Any]]:
            found = await self.attention(relay)
            return found if found.keys() == targets.keys() else {}

        found = await eventually(all_told, "an attention line for each", patience=PROMISED)
        for name, (_, stage) in targets.items():
            line = found[name]
            self.assertIn("no.such" if name == "unknown" else "127.0.0.1:", line["text"], name)
            self.assertIn(stage, line["text"] + line.get("stage", ""), name)
            self.assertLessEqual(abs(line["since"] - begun), PROMISED, name)
            up = await relay.metric(f'smtprelay_provider_up{{provider="{name}"}}')
            self.assertEqual(up, 0, name)
        # Those that are as loud as a wrong key for they are that: the lane is blocked.
        blocked = {name for name, line in found.items() if line["kind"] == "blocked"}
        self.assertEqual(blocked, {"plain", "certificate"})
        failing = await relay.metric('smtprelay_provider_failing{provider="login"}')
        self.assertEqual(failing, 1)
        lost = 'smtprelay_provider_requests_total{code="no answer",operation="connect",provider="refused"}'
        self.assertGreaterEqual(await relay.metric(lost), 1)
        # Mended, all three end; nothing was told twice.
        auth.always("AUTH", None)
        mended = reactor.listenTCP(dead, SmtpSink(), interface="127.0.0.1")
        self.addCleanup(mended.stopListening)
        await relay.life.says(r'"provider\.recovered".*"refused"|"refused".*"provider\.recovered"')
        await relay.life.says(r'"provider\.recovered".*"login"|"login".*"provider\.recovered"')
        left = await self.attention(relay)
        self.assertNotIn("refused", left)
        self.assertNotIn("login", left)
        for name in ("refused", "login"):
            self.assertEqual(await relay.metric(f'smtprelay_provider_up{{provider="{name}"}}'), 1)
        told = [line for line in relay.life.out.decode().splitlines() if '"provider.failing"' in line]
        self.assertEqual(len(told), len(targets) - len(blocked))
        self.assertTrue(all('"level":"warn' in line.replace(" ", "") for line in told), told[0])
