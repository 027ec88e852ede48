"""
``smtprelay drain``: a relay that is taken out of service, and back.
"""

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage

IDLE = {"sessions": 0, "attempts": 0, "shared": False}


class DrainTests(Stage, TestCase):
    async def ready(self, relay: RelayProcess) -> tuple[int, str]:
        answer = await treq.get(f"{relay.http}/readyz", persistent=False, reactor=reactor)
        return answer.code, await answer.text()

    async def test_there_and_back(self) -> None:
        """Who is there or comes hears 421, a message in progress is kept and waits; after --undo it goes."""
        relay = await self.ending(
            RelayProcess.of(self.folder, "out: {type: capture, path: captured}")
        ).start()
        idle, busy = await relay.greet(), await relay.greet()
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await busy.say(command)
        self.assertEqual((await relay.cli("drain"))["draining"], True)
        self.assertTrue((await idle.reply()).startswith("421 4.3.2"))
        with self.assertRaisesRegex(AssertionError, "421 4.3.2"):
            await Conversation.open(relay.smtp)
        busy.write(b"Subject: kept\r\n\r\nhello\r\n.\r\n")
        self.assertIn("250 2.0.0 Ok: queued as", await busy.reply())
        self.assertEqual(await relay.cli("drain", "--wait"), {"draining": True, "waiting": 1, **IDLE})
        code, why = await self.ready(relay)
        self.assertEqual((code, why.partition(":")[0]), (503, "[-]draining is on"))
        self.assertEqual(await relay.metric("smtprelay_draining"), 1)
        [line] = await relay.queued()
        self.assertEqual((line["state"], line["attempts"]), ("queued", 0))
        self.assertEqual((await relay.cli("drain", "--undo"))["draining"], False)
        await eventually(lambda: list(self.folder.glob("captured/new/*")), "the mail")
        self.assertEqual(await self.ready(relay), (200, "ok\n"))
        self.assertEqual(await relay.metric("smtprelay_draining"), 0)
        self.assertIn("250 2.0.0", await relay.send(message("again"), "user@example.com"))
        self.assertEqual(await relay.stop(), 0)

    async def test_wait(self) -> None:
        """``--wait`` returns when the provider has answered, not before; with a timeout, then, with 75."""
        acs = await self.fake_acs()
        await acs.hold()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs, more=", timeout: 10m"))
        relay.config.write_text(f"{relay.config.read_text()}logging: {{levels: {{smtprelay.http: debug}}}}\n")
        await relay.start()
        await relay.send(message("on its way"), "user@example.com")
        await eventually(acs.arrivals, "the request")
        with self.assertRaisesRegex(
            AssertionError, "exit status 75: smtprelay: after .* 1 attempt under way"
        ):
            await relay.cli("drain", "--wait", "--timeout", "0")
        waiting = Deferred.fromCoroutine(relay.cli("drain", "--wait"))
        await relay.life.says("GET /api/v1/drain 200")
        self.assertFalse(waiting.called)
        await acs.let_go()
        self.assertEqual(await waiting, {"draining": True, "waiting": 0, **IDLE})
        [line] = (await relay.cli("queue", "list", "--state", "delivered"))["deliveries"]
        self.assertEqual(line["attempts"], 1)
