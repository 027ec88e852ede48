"""
Refused mail of many clients, at a relay that runs: its list is bounded, and outlives it.
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

CLIENTS = 200

#: What each client says, after a hello; the rules by which it is refused are below.
SAID = (
    "XYZZY",
    "EHLO c",
    "STARTTLS",
    "AUTH PLAIN AHUAcA==",
    "MAIL FROM:<a@s.test> SIZE=99999999",
    "MAIL FROM:<a@bad.example>",
    "MAIL FROM:<a@s{number}.test>",
    "RCPT TO:<b@bad.test>",
    "RCPT TO:<b@bad.test>",
    "RCPT TO:<b@good.test> FOO=1",
)
RULES = {
    "command": "",
    "parameter": "",
    "not-offered": "listeners[lan].tls.mode: set starttls; listeners[lan].tls.certificate: set PEM_FILE",
    "auth-not-offered": "users: add {name: NAME, password_hash: the output of `smtprelay hash-password`};"
    " listeners[lan].auth.allow_plaintext: set true",
    "size": "listeners[lan].limits.size: set 99999999B",
    "sender": "listeners[lan].allow_senders: add a@bad.example",
    "recipient": "listeners[lan].allow_recipients: add b@bad.test",
}


class RefusedMailTests(Stage, TestCase):
    async def relay(self) -> RelayProcess:
        relay = RelayProcess.of(
            self.folder,
            "out: {type: capture, path: out}",
            listener=', allow_senders: ["*@*.test", "*@example.org"], allow_recipients: ["*@good.test"],'
            " allow_from: [127.0.0.0/24, 127.0.1.0/24]",
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
        """Of 200 clients and 1,400 kinds a thousand rows stay, each with its setting; over a restart, too."""
        relay = await self.relay()
        for number in range(CLIENTS):
            await self.client(relay, number, *(line.format(number=number) for line in SAID))
        rows = await self.rows(relay)
        self.assertEqual(len(rows), 1000)
        rules = Counter(row["rule"] for row in rows)
        self.assertEqual(rules.keys(), RULES.keys())
        for row in rows:
            self.assertEqual(row["setting"], RULES[row["rule"]], row)
            self.assertTrue(row["setting"] or row["advice"], row)
        newest = [row for row in rows if row["client"] == "127.0.0.201"]
        self.assertEqual(len(newest), len(RULES))
        [refused] = [row for row in newest if row["rule"] == "recipient"]
        self.assertEqual((refused["count"], refused["domain"]), (2, "s199.test"))
        self.assertNotIn("127.0.0.2", {row["client"] for row in rows})
        [only] = await self.rows(relay, "--client", "127.0.0.201", "--rule", "recipient")
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
        await eventually(lambda: sum(self.told(relay)) == sessions * errors, "all of them in the log")
        self.assertLess(len(self.told(relay)), 200)
        metric = 'smtprelay_smtp_rejections_total{listener="lan",rule="recipient",stage="rcpt"}'
        self.assertEqual(await relay.metric(metric), sessions * errors)

    def told(self, relay: RelayProcess) -> list[int]:
        """Return how many refusals each line of the log tells of."""
        lines = [
            line for line in relay.life.out.splitlines() if b"smtp.refused" in line and line.endswith(b"}")
        ]
        return [json.loads(line)["count"] for line in lines]

    async def whole(self, relay: RelayProcess, count: int) -> list[dict]:
        """Return the rows if they say ``count`` times."""
        rows = (await relay.ask("refused"))["refused"]
        return rows if sum(row["count"] for row in rows) == count else []
