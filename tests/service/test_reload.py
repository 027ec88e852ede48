"""A relay over real sockets goes on with another configuration."""

import gc
import socket
import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.trial.unittest import TestCase

from smtprelay.config import load
from smtprelay.service import Relay
from smtprelay.service.build.running import RunningConfig
from smtprelay.testing.smtp import Pause, SmtpSink
from smtprelay.web.context import Reloaded, ReloadFailed
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.recording import Recording

CONFIG = """\
hostname: relay.test
control_socket: control.sock
listeners: [{{name: lan, endpoint: "tcp:{lan}:interface=127.0.0.1"}}]
providers: {{one: {{type: smarthost, host: 127.0.0.1, port: {one}, tls: none}}}}
routes: [{{name: all, via: [one], retry: {{first: 100ms, jitter: 0}}}}]
spool: {{path: spool}}
"""

OTHER_PROVIDER = (("{{one:", "{{two:"), ("{one}", "{two}"), ("via: [one]", "via: [two]"))

MAIL = b"From: app@example.org\r\nSubject: test\r\n\r\nHello\r\n"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class ReloadTests(TestCase):
    timeout = 60

    async def begin(self) -> Relay:
        """Return a relay that is ready, in a folder of its own, before two sinks."""
        # Not trial's own: the path of a UNIX socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)
        self.events = Recording()
        self.sinks = [SmtpSink(clock=reactor), SmtpSink(clock=reactor)]
        self.ports = {"lan": free_port(), "new": free_port()}
        for name, sink in zip(("one", "two"), self.sinks, strict=True):
            port = await sink.listen(reactor)
            self.addCleanup(port.stopListening)
            self.ports[name] = port.getHost().port
        self.write()
        self.relay = Relay(self.load(), reactor, events=[self.events])
        self.relay.startService()
        self.addCleanup(lambda: self.relay.stopService() if self.relay.running else None)
        await self.relay.started
        return self.relay

    def write(self, *edits: tuple[str, str]) -> None:
        text = CONFIG
        for old, new in edits:
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.folder / "relay.yaml").write_text(text.format(**self.ports))

    def load(self):
        return load(str(self.folder / "relay.yaml"), {}).config

    async def reload(self, *edits: tuple[str, str]) -> Reloaded:
        self.write(*edits)
        return await self.relay.reload(self.load())

    async def talk(self, port: str = "lan") -> Conversation:
        talk = await Conversation.open(self.ports[port])
        await talk.say("EHLO client.test")
        self.addCleanup(talk.close)
        return talk

    async def arrived(self, sink: int, count: int) -> None:
        await eventually(lambda: len(self.sinks[sink].messages) == count, f"{count} mails at {sink}")

    async def test_a_session_goes_on(self) -> None:
        """It ends its transaction by the old rules, and begins the next one by the new ones."""
        await self.begin()
        talk = await self.talk()
        await talk.say("MAIL FROM:<a@example.com>")
        rules = ('127.0.0.1"}}', '127.0.0.1", allow_recipients: ["*@new.test"]}}')
        done = await self.reload(rules)
        self.assertEqual([each["key"] for each in done.changes], ["listeners.lan.allow_recipients"])
        self.assertEqual((await talk.say("RCPT TO:<b@old.test>"))[:3], "250")
        self.assertEqual((await talk.say("RSET"))[:3], "250")
        await talk.say("MAIL FROM:<a@example.com>")
        self.assertEqual((await talk.say("RCPT TO:<b@old.test>"))[:3], "550")
        self.assertEqual((await talk.say("RCPT TO:<b@new.test>"))[:3], "250")

    async def test_another_way(self) -> None:
        """What is under way ends at the provider where it began; what comes then goes the new way."""
        await self.begin()
        talk = await self.talk()
        self.sinks[0].script("END", Pause(0.3))
        await talk.mail(MAIL, "a@example.com")
        await eventually(lambda: any(line.startswith("DATA") for line in self.sinks[0].lines), "DATA")
        await self.reload(*OTHER_PROVIDER)
        await talk.mail(MAIL, "b@example.com")
        await self.arrived(0, 1)
        await self.arrived(1, 1)
        self.assertEqual(self.sinks[1].messages[0].recipients, ("b@example.com",))
        await eventually(lambda: not self.sinks[0].talks, "that nothing is connected to the old one")

    async def test_what_waits_for_a_provider_that_is_gone(self) -> None:
        """It goes to the one that its route has now."""
        await self.begin()
        self.sinks[0].always("MAIL", "451 4.3.0 later")
        await (await self.talk()).mail(MAIL, "a@example.com")
        await eventually(lambda: self.events.of("message.deferred"), "a deferral")
        await self.reload(*OTHER_PROVIDER)
        await self.arrived(1, 1)

    async def test_a_lane_that_was_blocked(self) -> None:
        """A correction lets its mail go at once."""
        await self.begin()
        self.sinks[0].always("MAIL", "530 5.7.0 Authentication required")
        await (await self.talk()).mail(MAIL, "a@example.com")
        await eventually(lambda: self.events.of("lane.blocked"), "a blocked lane")
        self.sinks[0].always("MAIL", "250 2.1.0 ok")
        await self.reload(("tls: none", "tls: none, helo: corrected.test"))
        await self.arrived(0, 1)

    async def test_listeners(self) -> None:
        """One that is new accepts mail; one that is gone does not, but its sessions go on."""
        await self.begin()
        talk = await self.talk()
        await self.reload(("name: lan", "name: wan"), ("{lan}", "{new}"))
        self.assertEqual(list(self.relay.addresses), ["wan", "control"])
        await self.assertFailure(Deferred.fromCoroutine(Conversation.open(self.ports["lan"])), Refused)
        await talk.mail(MAIL, "a@example.com")
        await (await self.talk("new")).mail(MAIL, "b@example.com")
        await self.arrived(0, 2)
        self.assertEqual([len(self.relay.listeners()), self.relay.listeners()[0]["name"]], [1, "wan"])

    async def test_what_cannot_be_used(self) -> None:
        """A port that is taken, and a certificate that is none: all is as before, and the reason is told."""
        await self.begin()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", self.ports["new"]))
            taken.listen()
            more = ', {{name: new, endpoint: "tcp:{new}:interface=127.0.0.1"}}'
            site = 'http: [{{endpoint: "tcp:{new}:interface=127.0.0.1", serve: [health]}}]\nspool:'
            for edit in (('127.0.0.1"}}', f'127.0.0.1"}}}}{more}'), ("spool:", site)):
                away = ("via: [one]", "via: [one], expire: 1d")
                failure = await self.assertFailure(
                    Deferred.fromCoroutine(self.reload(edit, away)), ReloadFailed
                )
                self.assertIn(f"{self.ports['new']} is in use", str(failure))
                self.assertEqual(self.relay.config.routes[0].expire, 2 * 86400.0)
                self.assertEqual(list(self.relay.addresses), ["lan", "control"])
        await (await self.talk()).mail(MAIL, "a@example.com")
        await self.arrived(0, 1)

    async def test_the_log(self) -> None:
        """It is written by the levels of now."""
        await self.begin()
        done = await self.reload(("spool:", "logging: {{level: debug, format: text}}\nspool:"))
        self.assertEqual([each["key"] for each in done.changes], ["logging.level"])
        self.assertEqual(done.restart, ["logging.format"])

    async def test_nothing_of_the_old_one_stays(self) -> None:
        """However often it is reloaded, what follows from one configuration is in memory."""
        await self.begin()
        talk = await self.talk()
        for number in range(20):
            await self.reload(("via: [one]", f"via: [one], expire: {number + 1}h"))
            await talk.mail(MAIL, "a@example.com")
        await self.arrived(0, 20)

        def left() -> int:
            gc.collect()
            socket = self.relay.config.control_socket
            found = (each for each in gc.get_objects() if isinstance(each, RunningConfig))
            return sum(each.config.control_socket == socket for each in found)

        await eventually(lambda: left() == 1, "that one is left")

    async def test_a_relay_that_stops(self) -> None:
        """It reloads nothing more."""
        relay = await self.begin()
        await relay.stopService()
        await self.assertFailure(Deferred.fromCoroutine(self.reload()), ReloadFailed)
