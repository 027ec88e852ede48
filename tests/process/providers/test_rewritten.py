"""A rule that is corrected while mail waits, in a relay that runs: by ``smtprelay reload``."""

from twisted.trial.unittest import TestCase

from tests.process.program import eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

WRONG, RIGHT = (f"{{old@x.example: {name}@x.example}}" for name in ("wrong", "right"))
MAIL = b"From: noreply@mail.test\r\nTo: old@x.example\r\nSubject: %b\r\n\r\nhello\r\n"


class CorrectedRuleTests(Stage, TestCase):
    async def test_corrected(self) -> None:
        """
        What waits goes out by the new rule. Whose answer was lost is asked for first: what the service has
        is not sent again, what it has not goes by the new rule. Each mail goes once.
        """
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs))
        text = relay.config.read_text().replace("first: 200ms", "first: 1h")
        relay.config.write_text(text.replace("via: [out],", f"via: [out], rewrite: {{recipients: {WRONG}}},"))
        await relay.start()
        for subject, act, values in (
            (b"waits", "answers", {"status": 500}),
            (b"taken", "drops", {"accepting": True}),
            (b"lost", "drops", {"accepting": False}),
        ):
            await acs.script(act, **values)
            await relay.send(MAIL % subject, "old@x.example", sender="noreply@mail.test")

            async def is_deferred(count: int = len(await relay.queued())) -> bool:
                return [each["state"] for each in await relay.queued()] == ["deferred"] * count

            await eventually(is_deferred, "a deferral")
        relay.config.write_text(relay.config.read_text().replace(WRONG, RIGHT))
        await relay.cli("reload")
        await relay.cli("queue", "retry", "--all")
        await relay.life.says("message.delivered(?s:.*)message.delivered(?s:.*)message.delivered")
        sent = {
            mail["request"]["content"]["subject"]: [
                each["address"] for each in mail["request"]["recipients"]["to"]
            ]
            for mail in await acs.mails()
        }
        expected = {"waits": "right", "taken": "wrong", "lost": "right"}
        self.assertEqual(sent, {subject: [f"{name}@x.example"] for subject, name in expected.items()})
        self.assertEqual(len(await acs.mails()), 3)
        # Two for what waits and two for what was lost: what was taken is only asked for.
        methods = [each["method"] for each in await acs.arrivals()]
        self.assertEqual(methods.count("POST"), 5)
        history = await relay.cli("history")
        named = {who["address"] for each in history["deliveries"] for who in each["recipients"]}
        self.assertEqual(named, {"old@x.example"})
