"""
Refused mail of many clients, at a relay that runs: its ledger is bounded, and outlives it.
"""

import json
from collections import Counter

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

CLIENTS = 300


class RefusedMailTests(Stage, TestCase):
    async def relay(self) -> RelayProcess:
        relay = RelayProcess.of(
            self.folder,
            "out: {type: capture, path: out}",
            listener=', allow_recipients: ["*@good.test"], allow_from: [127.0.0.0/24, 127.0.1.0/24]',
        )
        return await self.ending(relay).start()

    async def client(self, relay: RelayProcess, number: int, *lines: str) -> None:
        """Say ``lines`` from an address of its own."""
        source = f"127.0.{number // 250}.{number % 250 + 2}"
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", relay.smtp, bindAddress=(source, 0))
        talk = await endpoint.connect(Factory.forProtocol(Conversation))
        await talk.reply()
        for line in lines:
            await talk.say(line)
        await talk.close()

    async def rows(self, relay: RelayProcess, *argv: str) -> list[dict]:
        return (await relay.cli("refused", *argv))["refused"]

    async def test_a_thousand_refusals(self) -> None:
        """Of 300 clients and 1,200 kinds a thousand rows stay, each with what to do; over a restart, too."""
        relay = await self.relay()
        for number in range(CLIENTS):
            await self.client(
                relay,
                number,
                "XYZZY",
                "EHLO c",
                f"MAIL FROM:<a@s{number}.test>",
                "RCPT TO:<b@bad.test>",
                "RCPT TO:<b@bad.test>",
                "RCPT TO:<b@good.test> FOO=1",
                "STARTTLS",
            )
        rows = await self.rows(relay)
        self.assertEqual(len(rows), 1000)
        rules = Counter(row["rule"] for row in rows)
        self.assertEqual(set(rules), {"command", "recipient", "parameter", "not-offered"})
        for row in rows:
            self.assertTrue(row["setting"] or row["advice"], row)
        newest = [row for row in rows if row["client"] == "127.0.1.51"]
        self.assertEqual(len(newest), 4)
        [refused] = [row for row in newest if row["rule"] == "recipient"]
        self.assertEqual((refused["count"], refused["domain"]), (2, "s299.test"))
        self.assertEqual(refused["setting"], "listeners[lan].allow_recipients: add b@bad.test")
        self.assertNotIn("127.0.0.2", {row["client"] for row in rows})
        [only] = await self.rows(relay, "--client", "127.0.1.51", "--rule", "recipient")
        self.assertEqual(only, refused)
        self.assertEqual(await relay.stop(), 0)
        # The relay does not run: its spool is asked.
        self.assertEqual(len(await self.rows(relay)), 1000)
        await relay.start()
        self.assertEqual(len(await self.rows(relay)), 1000)
        cleared = await relay.cli("refused", "--clear", "--rule", "command")
        self.assertEqual(cleared["count"], rules["command"])
        self.assertEqual(len(await self.rows(relay)), 1000 - rules["command"])

    async def test_a_flood(self) -> None:
        """One client makes fifty thousand errors: few lines in the log, all counted, and mail goes on."""
        relay = await self.relay()
        sessions, errors = 25, 2000

        async def flood() -> None:
            talk = await relay.greet()
            await talk.say("MAIL FROM:<a@x.test>")
            talk.write(b"RCPT TO:<b@bad.test>\r\n" * errors)
            for _ in range(errors):
                await talk.reply()
            await talk.close()

        await DeferredList([Deferred.fromCoroutine(flood()) for _ in range(sessions)], fireOnOneErrback=True)
        reply = await relay.send(message("through"), "anna@good.test")
        self.assertIn("250 2.0.0", reply)
        [row] = await eventually(lambda: self.whole(relay, sessions * errors), "all of them counted")
        self.assertEqual(row["count"], sessions * errors)
        lines = [line for line in relay.life.out.splitlines() if b"smtp.refused" in line]
        self.assertLess(len(lines), 200)
        told = sum(json.loads(line)["count"] for line in lines)
        self.assertEqual(told, sessions * errors)
        metric = 'smtprelay_smtp_rejections_total{listener="lan",rule="recipient",stage="rcpt"}'
        self.assertEqual(await relay.metric(metric), sessions * errors)

    async def whole(self, relay: RelayProcess, count: int) -> list[dict]:
        """Return the rows if they say ``count`` times."""
        rows = await self.rows(relay)
        return rows if sum(row["count"] for row in rows) == count else []
