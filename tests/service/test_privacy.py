"""Nothing of a mail's addresses and subject is found outside of it, where the configuration says so."""

import io
import json
from collections.abc import AsyncIterator

import treq
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, globalLogPublisher
from twisted.trial.unittest import TestCase

from smtprelay.cli.in_process import InProcess
from smtprelay.cli.options import CliSettings
from smtprelay.model.queue import Selection
from smtprelay.spool.location import SqliteLocation
from smtprelay.telemetry.log import Levels, Log, make_observer
from tests.process.program import eventually
from tests.service.relay_case import CONFIG, RelayCase

#: Each of them is planted in a mail, and must not be found; not even the local parts.
PLANTED = ("planted", "geheim")
SENDER = "planted.sender@x.example"
MAIL = (
    b"From: planted.author@x.example\r\nTo: planted.header@x.example\r\n"
    b"Message-ID: <planted.id@x.example>\r\n"
    b"Subject: geheim\r\n\r\nHello\r\n"
)
PRIVATE = CONFIG.replace("retry: {{", "on_failed: bounce, retry: {{") + (
    'http: [{{endpoint: "tcp:{new}:interface=127.0.0.1", serve: [metrics, health, api]}}]\n'
    "logging: {{level: debug}}\n"
    "bounces: {{delay_notice: 1s}}\n"
)


class PrivacyTests(RelayCase, TestCase):
    async def begin_private(self, privacy: str) -> None:
        """Begin a relay with ``privacy``, and a log at the level debug."""
        self.stream = io.BytesIO()
        writer = make_observer(self.stream, "json", Levels("debug"))
        self.more = [Log(Levels("debug"), writer)]
        globalLogPublisher.addObserver(writer)
        self.addCleanup(globalLogPublisher.removeObserver, writer)
        self.text = f"{PRIVATE}privacy: {{{{{privacy}}}}}\n"
        await self.begin()

    async def traffic(self) -> None:
        """Have mail delivered, deferred, bounced and refused, each with words of the provider about it."""
        talk = await self.talk()
        await talk.mail(MAIL, "planted.one@x.example", sender=SENDER)
        await self.arrived(0, 1)
        self.sinks[0].script("RCPT", "550 5.1.1 <planted.two@x.example> is nobody")
        await talk.mail(MAIL, "planted.two@x.example", sender=SENDER)
        await self.arrived(0, 2)  # the bounce
        self.sinks[0].always("RCPT", "451 4.2.1 planted.three@x.example: later")
        await talk.mail(MAIL, "planted.three@x.example", sender=SENDER)
        await eventually(lambda: self.events.of("message.deferred"), "a deferral")
        await eventually(lambda: self.events.of("dsn.queued"), "a delay notice", patience=20.0)
        await talk.say("RCPT TO:<planted.four@x.example>")
        await talk.say(f"MAIL FROM:<{SENDER}>")
        await talk.say("RCPT TO:<planted.five..@x.example>")
        await talk.close()
        await eventually(lambda: self.events.of("smtp.refused"), "a refusal", patience=20.0)
        Logger().error("Twisted says planted.six@x.example")

    async def told(self) -> AsyncIterator[tuple[str, str]]:
        """Give each thing that the relay tells, with its place."""
        yield "log", self.stream.getvalue().decode()
        yield "events", json.dumps(self.events.heard, default=str)
        queue = json.loads(await self.ask("GET", "/api/v1/queue?state=any"))
        ids = [each["id"] for each in queue["deliveries"]]
        self.assertGreaterEqual(len(ids), 3)
        for path in (
            "/metrics",
            *("/api/v1/queue", "/api/v1/queue?state=any", "/api/v1/status", "/api/v1/refused"),
            *("/api/v1/providers", "/api/v1/hold-rules", f"/api/v1/queue?sender={SENDER}"),
            *(f"/api/v1/queue/{each.partition('.')[0]}" for each in ids),
        ):
            yield path, await self.ask("GET", path)

    async def ask(self, method: str, path: str, body: object = None) -> str:
        """Return an answer of the API."""
        answer = await treq.request(
            method,
            f"http://127.0.0.1:{self.ports['new']}{path}",
            headers={"X-Smtprelay-CSRF": "1"},
            json=body,
            persistent=False,
        )
        text: str = await answer.text()
        self.assertEqual(answer.code, 200, text)
        return text

    async def test_nothing_is_told(self) -> None:
        """Neither log nor API nor metrics have a planted word; exports only what another relay needs."""
        for addresses in ("domain", "hash"):
            await self.begin_private(f"subjects: false, addresses: {addresses}")
            await self.traffic()
            async for where, text in self.told():
                for word in PLANTED:
                    self.assertNotIn(word, text, where)
            wanted = {"filters": {"states": ["delivered", "failed", "deferred"]}}
            exported = json.loads(await self.ask("POST", "/api/v1/archive/export", wanted))
            self.assertGreaterEqual(len(exported["messages"]), 3)
            for each in exported["messages"]:
                message = each["message"]
                text = json.dumps(message)
                self.assertNotIn("geheim", text)
                if message["finished"] is None:
                    for name in ("sender", "author", "parameters"):
                        del message[name]
                    for delivery in message["deliveries"]:
                        for recipient in delivery["recipients"]:
                            del recipient["address"]
                self.assertNotIn("planted", json.dumps(message))
            await self.relay.stopService()
            # The command line, while no relay runs.
            found = await deferToThread(self.offline)
            self.assertIn("deliveries", found)
            for word in PLANTED:
                self.assertNotIn(word, found)
            self.assertIn(b"planted.author", self.sinks[0].messages[0].body)
            self.assertEqual(self.sinks[0].messages[0].recipients, ("planted.one@x.example",))

    def offline(self) -> str:
        """Return what the commands show without a relay."""
        settings = CliSettings(config=str(self.folder / "relay.yaml"))
        client = InProcess(SqliteLocation(self.folder / "spool"), settings)
        try:
            status, answer = client.request("GET", "/api/v1/queue?state=any")
            self.assertEqual(status, 200)
            return answer.decode()
        finally:
            client.close()

    async def test_switched_on(self) -> None:
        """From a reload on the same holds, also for what was stored before."""
        await self.begin_private("addresses: full")
        await (await self.talk()).mail(MAIL, "planted.one@x.example", sender=SENDER)
        await self.arrived(0, 1)
        self.assertIn("geheim", await self.ask("GET", "/api/v1/queue?state=any"))
        self.assertIn(b"planted", self.stream.getvalue())
        await self.reload(("addresses: full", "subjects: false, addresses: domain"))
        self.stream.seek(0)
        self.stream.truncate()
        self.events.heard.clear()
        await (await self.talk()).mail(MAIL, "planted.two@x.example", sender=SENDER)
        await self.arrived(0, 2)
        await eventually(lambda: self.events.of("message.delivered"), "a delivery")
        for text in (
            await self.ask("GET", "/api/v1/queue?state=any"),
            self.stream.getvalue().decode(),
            json.dumps(self.events.heard, default=str),
        ):
            for word in PLANTED:
                self.assertNotIn(word, text)
        self.assertIn("*@x.example", self.stream.getvalue().decode())
        assert self.relay.spool is not None
        stored = await self.relay.spool.admin.search(Selection(states=("delivered",)), "")
        self.assertEqual({each.subject for each in stored.deliveries}, {"geheim", ""})
