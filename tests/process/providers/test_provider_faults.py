"""
What the provider does to a relay that runs, and what must not become of its mail then.
"""

from twisted.trial.unittest import TestCase

from tests.process.acs_server import KEY
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.stage import Stage


class ProviderFaultTests(Stage, TestCase):
    async def test_retry_after_is_obeyed(self) -> None:
        """After a 429 with Retry-After nothing at all is asked before that time; then all mail goes."""
        acs = await self.fake_acs()
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await acs.script("answers", status=429, code="TooManyRequests", headers={"Retry-After": "2"})
        await relay.send(message("first"), "a@example.com")
        await eventually(acs.arrivals, "the first request")
        for name in ("b", "c", "d"):
            self.assertIn("250 2.0.0", await relay.send(message(name), f"{name}@example.com"))
        await eventually(lambda: has(acs, 4), "all mail at the provider")
        refused, *others = await acs.arrivals()
        self.assertEqual([refused["status"]], [429])
        self.assertEqual([other["status"] for other in others], [202] * 4)
        waited = min(other["time"] for other in others) - refused["time"]
        self.assertGreaterEqual(waited, 1.99)
        self.assertLess(waited, 6.0)

    async def test_a_provider_that_is_asked_too_much(self) -> None:
        """A bare 429 slows the lane down, visibly: not all that waits is tried, and all of it arrives."""
        acs = await self.fake_acs()
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await acs.script("answers", times=4, status=429, code="TooManyRequests", message="slow down")
        for number in range(30):
            await relay.send(message("many", number=str(number)), f"user{number}@example.com")
        await relay.life.says(r'"lane\.throttled"')
        await eventually(lambda: has(acs, 30), "all mail at the provider")
        arrivals = await acs.arrivals()
        self.assertLess(len([each for each in arrivals if each["status"] == 429]), 5)
        [lane] = (await relay.status())["stats"]["lanes"]
        self.assertLess(lane["ceiling"], 10)
        self.assertEqual(await relay.metric('smtprelay_provider_throttled_lanes{provider="out"}'), 1)
        throttled = 'smtprelay_delivery_attempts_total{provider="out",result="throttled"}'
        self.assertEqual(await relay.metric(throttled), 4)

    async def test_a_wrong_key_bounces_nothing(self) -> None:
        """A 401 stops the lane, says so everywhere, and all mail goes when the key file is right again."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs))
        key = self.folder / "acs.key"
        key.write_text(acs.connection_string("d3Jvbmc="))
        await relay.start("--probe-after", "2")
        for name in ("a", "b", "c"):
            self.assertIn("250 2.0.0", await relay.send(message(name), f"{name}@example.com"))
        waiting = await eventually(lambda: blocked(relay, 3), "three that wait for the lane")
        for line in waiting:
            self.assertIn("401", line["waiting_for"])
            self.assertIn("check the access key", line["waiting_for"])
        self.assertEqual(await relay.metric('smtprelay_provider_up{provider="out"}'), 0)
        self.assertEqual(await acs.mails(), [])
        key.write_text(acs.connection_string(KEY))
        await eventually(lambda: has(acs, 3), "all mail at the provider")
        self.assertEqual(sorted(recipient for _, recipient, _ in await acs.deliveries()), three_users())
        await eventually(lambda: empty(relay), "an empty queue")
        self.assertEqual(await relay.metric('smtprelay_provider_up{provider="out"}'), 1)

    async def test_a_corrected_configuration(self) -> None:
        """A lane that a wrong key had stopped is tried at the next start, not when its time has come."""
        acs = await self.fake_acs()
        relay = self.ending(RelayProcess.to_acs(self.folder, acs))
        key = self.folder / "acs.key"
        key.write_text(acs.connection_string("d3Jvbmc="))
        await relay.start()
        await relay.send(message("a"), "a@example.com")
        await eventually(lambda: blocked(relay, 1), "one that waits for the lane")
        await relay.stop()
        key.write_text(acs.connection_string(KEY))
        await relay.start()
        await eventually(lambda: has(acs, 1), "the mail at the provider", patience=10.0)
        await eventually(lambda: empty(relay), "an empty queue")
        self.assertEqual((await relay.status())["attention"], [])

    async def test_one_bad_mail(self) -> None:
        """A 400 for one mail: its sender reads the provider's words, the others are delivered."""
        acs = await self.fake_acs()
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await acs.refuse("of the bad mail", status=400, code="BadThing", message="We will never take this.")
        for name in ("a", "bad", "b", "c"):
            content = message(name, text=f"text of the {name} mail")
            reply = await relay.send(content, f"{name}@example.com", sender="writer@example.org")
            self.assertIn("250 2.0.0", reply)
        await eventually(lambda: has(acs, 4), "three mails and a bounce")
        to = {who: mail for mail in await acs.mails() for who in recipients(mail)}
        self.assertEqual(sorted(to), [*three_users(), "writer@example.org"])
        bounce = to["writer@example.org"]["request"]
        self.assertIn("We will never take this.", bounce["content"]["plainText"])
        self.assertIn("bad@example.com", bounce["content"]["plainText"])
        [failed] = (await relay.ask("queue?state=failed"))["deliveries"]
        self.assertIn("400 BadThing: We will never take this.", failed["reason"])

    async def test_a_lost_answer(self) -> None:
        """The connection is cut when the provider has the mail: it is asked, and delivers once."""
        acs = await self.fake_acs()
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await acs.script("drops", accepting=True)
        await relay.send(message("once"), "user@example.com")
        await eventually(lambda: has(acs, 1), "the mail at the provider")
        await relay.life.says(r'"message\.uncertain"')
        await eventually(lambda: empty(relay), "an empty queue")
        [mail] = await acs.mails()
        self.assertEqual(mail["posts"], 1)
        self.assertEqual([each["method"] for each in await acs.arrivals()], ["POST", "GET"])

    async def test_a_cut_before_the_mail_was_taken(self) -> None:
        """The connection is cut and the provider has nothing: it is asked, then gets the same operation."""
        acs = await self.fake_acs()
        relay = await self.ending(RelayProcess.to_acs(self.folder, acs)).start()
        await acs.script("drops", accepting=False)
        await relay.send(message("once"), "user@example.com")
        await eventually(lambda: has(acs, 1), "the mail at the provider")
        await eventually(lambda: empty(relay), "an empty queue")
        first, *asked, second = await acs.arrivals()
        self.assertEqual([first["method"], second["method"]], ["POST", "POST"])
        self.assertEqual({(each["method"], each["status"]) for each in asked}, {("GET", 404)})
        self.assertEqual([mail["posts"] for mail in await acs.mails()], [1])


async def has(acs, count: int) -> bool:
    """Say whether the fake has taken ``count`` mails."""
    return len(await acs.mails()) == count


async def empty(relay: RelayProcess) -> bool:
    """Say whether nothing waits in the relay."""
    return not await relay.queued()


async def blocked(relay: RelayProcess, count: int) -> list[dict[str, str]]:
    """Return the queue if it has ``count`` lines that all say why nothing happens."""
    waiting = [line for line in await relay.queued() if line["waiting_for"]]
    return waiting if len(waiting) == count else []


def recipients(mail) -> list[str]:
    """Return who gets ``mail``."""
    lists = mail["request"]["recipients"]
    return [who["address"] for kind in ("to", "cc", "bcc") for who in lists.get(kind, ())]


def three_users() -> list[str]:
    return [f"{name}@example.com" for name in "abc"]
