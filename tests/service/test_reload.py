"""A relay over real sockets goes on with another configuration."""

import gc
import socket
import ssl
from collections.abc import Callable

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.service import reload
from smtprelay.service.build.running import RunningConfig, build
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import Pause
from smtprelay.web.context import Reloaded, ReloadFailed
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.recording import Recording
from tests.service.relay_case import RelayCase

OTHER_PROVIDER = (("{{one:", "{{two:"), ("{one}", "{two}"), ("via: [one]", "via: [two]"))

MAIL = b"From: app@example.org\r\nSubject: test\r\n\r\nHello\r\n"


class LoggedTests(SynchronousTestCase):
    def test_what_waits_for_a_restart(self) -> None:
        """The log does not say that nothing has changed where something waits for a restart."""

        class Target:
            async def use(self, _config: object) -> Reloaded:
                return Reloaded([], ["spool.lease"])

        class Threads:
            async def work(self, read: Callable[[], object]) -> object:
                return read()

        events = Recording()
        reloading = reload.FileReloading(lambda: None, Threads(), events, Clock())
        reloading.target = Target()
        self.successResultOf(Deferred.fromCoroutine(reloading.reload("me")))
        [told] = events.of("config.reloaded")
        self.assertEqual(told["changes"], "spool.lease: changes when the relay is restarted")


class ReloadTests(RelayCase, TestCase):
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

    async def test_what_is_under_way_to_a_provider_that_is_gone(self) -> None:
        """When it is deferred there it goes to the one that its route has now, at once."""
        await self.begin()
        self.sinks[0].script("MAIL", Pause(1.5))
        self.sinks[0].always("RCPT", "451 4.3.0 later")
        await (await self.talk()).mail(MAIL, "a@example.com")
        await eventually(lambda: any(line.startswith("MAIL") for line in self.sinks[0].lines), "MAIL")
        await self.reload(*OTHER_PROVIDER)
        self.assertEqual(self.events.of("message.deferred"), [])
        # Those that nobody told of are searched for every half minute.
        await eventually(lambda: self.sinks[1].messages, "the mail", patience=10.0)

    async def test_a_lane_that_was_blocked(self) -> None:
        """A correction lets its mail go at once."""
        await self.begin()
        self.sinks[0].always("MAIL", "530 5.7.0 Authentication required")
        await (await self.talk()).mail(MAIL, "a@example.com")
        await eventually(lambda: self.events.of("lane.blocked"), "a blocked lane")
        self.sinks[0].always("MAIL", "250 2.1.0 ok")
        await self.reload(("tls: none", "tls: none, helo: corrected.test"))
        await self.arrived(0, 1)

    async def test_files_are_read_on_a_thread(self) -> None:
        """What follows from the new configuration, with its certificates, is not built by the reactor."""
        await self.begin()
        threads = []

        def noted(*arguments: object) -> RunningConfig:
            threads.append(isInIOThread())
            return build(*arguments)

        self.patch(reload, "build", noted)
        await self.reload(*OTHER_PROVIDER)
        self.assertEqual(threads, [False])

    async def test_listeners(self) -> None:
        """One that is new accepts mail; one that is gone does not, its sessions end behind a message."""
        await self.begin()
        talk = await self.talk()
        await talk.say("MAIL FROM:<a@example.com>")
        await talk.say("RCPT TO:<b@example.com>")
        await talk.say("DATA")
        await self.reload(("name: lan", "name: wan"), ("{lan}", "{new}"))
        self.assertEqual(list(self.relay.addresses), ["wan", "control"])
        await self.assertFailure(Deferred.fromCoroutine(Conversation.open(self.ports["lan"])), Refused)
        talk.write(MAIL + b".\r\n")
        self.assertEqual([(await talk.reply())[:3], (await talk.reply())[:3]], ["250", "421"])
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

    async def test_its_own_port(self) -> None:
        """Another spelling of an endpoint that is open: it is told that this is the relay itself."""
        await self.begin()
        other = Deferred.fromCoroutine(self.reload(("{lan}:", "{lan}:backlog=9:")))
        failure = await self.assertFailure(other, ReloadFailed)
        told = "this relay itself listens on that port: the endpoint changes when the relay is restarted"
        self.assertEqual(str(failure), f"127.0.0.1:{self.ports['lan']}: {told}")

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

    async def test_a_reload_that_the_stop_overtakes(self) -> None:
        """It is undone, and says that the relay stops; nothing stays open."""
        relay = await self.begin()
        more = ', {{name: new, endpoint: "tcp:{new}:interface=127.0.0.1"}}'
        self.write(('127.0.0.1"}}', f'127.0.0.1"}}}}{more}'))
        reloading = Deferred.fromCoroutine(relay.reload(self.load()))
        stopped = relay.stopService()
        failure = await self.assertFailure(reloading, ReloadFailed)
        self.assertEqual((str(failure), failure.later), ("the relay is not ready, or stops: try again", True))
        await stopped
        await self.assertFailure(Deferred.fromCoroutine(Conversation.open(self.ports["new"])), Refused)

    async def test_several_at_once(self) -> None:
        """They are done one after the other; the last one is in force."""
        await self.begin()
        done = [
            Deferred.fromCoroutine(self.reload(("via: [one]", f"via: [one], expire: {hours}h")))
            for hours in range(1, 6)
        ]
        told = [each.changes[0]["text"] for each in await gatherResults(done)]
        self.assertEqual([text.partition(" → ")[2] for text in told], ["1h", "2h", "3h", "4h", "5h"])
        self.assertEqual(self.relay.config.routes[0].expire, 5 * 3600.0)

    async def test_the_order_of_routes(self) -> None:
        """The first that matches counts, so another order is another way."""
        await self.begin()
        both = "{{one: {{type: smarthost, host: 127.0.0.1, port: {one}, tls: none}}, two: {{type: smarthost,"
        one = (
            "{{one: {{type: smarthost, host: 127.0.0.1, port: {one},",
            f"{both} host: 127.0.0.1, port: {{two}},",
        )
        there = "{{name: all, via: [one], retry: {{first: 100ms, jitter: 0}}}}"
        other = "{{name: other, via: [two]}}"
        await self.reload(one, (f"[{there}]", f"[{there}, {other}]"))
        done = await self.reload(one, (f"[{there}]", f"[{other}, {there}]"))
        self.assertEqual([each["text"] for each in done.changes], ["routes: all, other → other, all"])
        await (await self.talk()).mail(MAIL, "a@example.com")
        await self.arrived(1, 1)

    async def test_another_name(self) -> None:
        """A session of a listener that is renamed takes the routes of the new name."""
        await self.begin()
        talk = await self.talk()
        route = ("via: [one]", "via: [one], match: {{listener: [wan]}}")
        await self.reload(("name: lan", "name: wan"), route)
        self.assertEqual((await talk.mail(MAIL, "a@example.com"))[:3], "250")
        await self.arrived(0, 1)

    async def test_swapped_endpoints(self) -> None:
        """Two listeners that change places keep their ports and sessions, which obey the rules of now."""
        await self.begin()
        both = (
            'listeners: [{{name: lan, endpoint: "tcp:%s:interface=127.0.0.1"}}, {{name: strict,'
            ' endpoint: "tcp:%s:interface=127.0.0.1", allow_recipients: ["*@one.test"]}}]'
        )
        listeners = 'listeners: [{{name: lan, endpoint: "tcp:{lan}:interface=127.0.0.1"}}]'
        await self.reload((listeners, both % ("{lan}", "{new}")))
        talks = await self.talk(), await self.talk("new")
        await self.reload((listeners, both % ("{new}", "{lan}")))
        self.assertEqual([(await talk.mail(MAIL, "a@example.com"))[:3] for talk in talks], ["550", "250"])

    async def test_tls_from_the_first_octet(self) -> None:
        """Who comes then has to begin it; a session that is there goes on without."""
        await self.begin()
        talk = await self.talk()
        made = make_certificate(self.folder / "tls")
        tls = f", tls: {{{{mode: implicit, certificate: {made.certificate}, key: {made.key}}}}}"
        await self.reload(('127.0.0.1"}}', f'127.0.0.1"{tls}}}}}'))
        self.assertEqual((await talk.mail(MAIL, "a@example.com"))[:3], "250")
        trusted = ssl.create_default_context(cafile=str(made.ca))

        def greeting() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", self.ports["lan"]), 10) as plain,
                trusted.wrap_socket(plain, server_hostname="localhost") as encrypted,
            ):
                return encrypted.recv(1000)

        self.assertTrue((await deferToThread(greeting)).startswith(b"220 "))
        await self.reload()
        self.assertEqual((await (await self.talk()).mail(MAIL, "a@example.com"))[:3], "250")

    async def test_sites(self) -> None:
        """They come and go, also at ports that the system chooses, and take the tokens of now."""
        await self.begin()
        site = 'http: [{{endpoint: "tcp:0:interface=127.0.0.1", serve: [health]}}%s]\nspool:'
        two = site % ', {{endpoint: "tcp:0:interface=127.0.0.1", serve: [metrics]}}'
        await self.reload(("spool:", two))
        ports = [self.relay.addresses[name].port for name in ("http1", "http2")]
        for port, path in zip(ports, ("livez", "metrics"), strict=True):
            self.assertEqual(await self.status_of(port, path), 200)
        await self.reload(("spool:", site % ""))
        self.assertEqual(await self.status_of(ports[0], "livez"), 200)
        await self.assertFailure(Deferred.fromCoroutine(self.status_of(ports[1], "metrics")), Refused)

    async def status_of(self, port: int, path: str) -> int:
        answer = await treq.get(f"http://127.0.0.1:{port}/{path}", persistent=False, reactor=reactor)
        await answer.content()
        return answer.code

    async def test_a_provider_that_is_gone(self) -> None:
        """Its mail waits, and can be seen; it goes on when the provider is there again."""
        relay = await self.begin()
        self.sinks[0].always("MAIL", "451 4.3.0 later")
        await (await self.talk()).mail(MAIL, "a@example.com")
        await eventually(lambda: self.events.of("message.deferred"), "a deferral")
        capture = ("type: smarthost, host: 127.0.0.1, port: {one}, tls: none", "type: capture, path: mail")
        route = ("name: all", "name: later, match: {{recipient: ['*@other.test']}}")
        await self.reload(OTHER_PROVIDER[0], OTHER_PROVIDER[2], capture, route)

        async def seen() -> bool:
            lanes = (await relay.spool.admin.stats()).lanes
            return [(each.state, each.waiting) for each in lanes if each.provider == "one"] == [
                ("removed", 1)
            ]

        await eventually(seen, "the mail")
        self.sinks[0].always("MAIL", None)
        await self.reload()
        await self.arrived(0, 1)

    async def test_a_synchronous_listener(self) -> None:
        """One may come to a relay with a spool; its client waits for the provider."""
        await self.begin()
        more = ', {{name: new, endpoint: "tcp:{new}:interface=127.0.0.1", delivery: synchronous}}'
        await self.reload(('127.0.0.1"}}', f'127.0.0.1"}}}}{more}'))
        self.assertIn("delivered as", await (await self.talk("new")).mail(MAIL, "a@example.com"))
        await self.arrived(0, 1)

    async def test_while_it_is_drained(self) -> None:
        """A listener that comes then turns clients away, too; the reload does not end the drain."""
        relay = await self.begin()
        drain = relay.sources().operations.draining
        await drain.switch(True, "test")
        await self.reload(("name: lan", "name: wan"), ("{lan}", "{new}"))
        failure = await self.assertFailure(Deferred.fromCoroutine(self.talk("new")), AssertionError)
        self.assertIn("421 4.3.2", str(failure))
        await drain.switch(False, "test")
        await (await self.talk("new")).mail(MAIL, "a@example.com")
        await self.arrived(0, 1)
