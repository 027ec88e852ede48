"""What one lane of a provider may do beside the others: its share, its rates, and its end."""

from collections.abc import Collection

from smtprelay.interfaces.spool import Spool
from smtprelay.model.attempt import Block, Busy, Claim, Permit, Settlement
from smtprelay.model.outcome import Blocked
from smtprelay.model.queue import ASKED_TO_WAIT, SUSPENDED, Edit, Selection
from smtprelay.model.queue_admin import Prepared
from smtprelay.model.rate_limit import Load
from smtprelay.model.route import RateLimit, Window
from tests.behaviours.spool_stories import SpoolStories, done

_DAY = 86400.0


class LaneLimitContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    async def send_to(self, spool: Spool, count: int, *lanes: str) -> None:
        for number in range(count):
            for place, lane in enumerate(lanes):
                await self.send(spool, number=1 + number * len(lanes) + place, provider="other", lane=lane)

    def keys(self, claims: Collection[Claim]) -> list[str]:
        return [claim.delivery.lane for claim in claims]

    # --- one lane delays no other

    def test_a_slow_lane_leaves_slots_to_the_others(self):
        """However many of its mails hang, what comes in for another lane goes at once."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 30, "slow")
            hanging = [*(await spool.claim()).claims, *(await spool.claim()).claims]
            self.assertEqual({"slow"}, set(self.keys(hanging)))
            self.assertEqual(8, len(hanging))
            for number in range(100, 120):
                await self.send(spool, number=number, provider="other", lane="fast")
                (claim,) = (await spool.claim()).claims
                self.assertEqual("fast", claim.delivery.lane)
                await spool.settle(claim, done(claim))

        return self.play(story, {"other": RateLimit(concurrency=10)})

    def test_three_lanes_of_which_one_is_slow(self):
        """Two lanes whose mail ends at once are emptied in turn while the mail of the third one hangs."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 20, "slow", "one", "two")
            went: list[str] = []
            while len(went) < 40:
                self.clock.advance(1)
                claims = (await spool.claim(limit=5)).claims
                ended = [claim for claim in claims if claim.delivery.lane != "slow"]
                self.assertTrue(ended)
                for claim in ended:
                    await spool.settle(claim, done(claim))
                went += self.keys(ended)
                self.assertLessEqual(abs(went.count("one") - went.count("two")), 2)

        return self.play(story, {"other": RateLimit(concurrency=6)})

    def test_what_waits_for_its_share_is_told(self):
        """A lane beyond its share waits for an attempt to end; nobody asks again and again meanwhile."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 10, "box")
            work = await spool.claim()
            self.assertEqual((4, True, None), (len(work.claims), work.waiting, work.due))
            await spool.settle(work.claims[0], done(work.claims[0]))
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, {"other": RateLimit(concurrency=5)})

    def test_a_blocked_lane_delays_no_other(self):
        """Mail of thirty blocked lanes is due first; a claim of one takes from the lane that is open."""

        async def story(spool: Spool) -> None:
            boxes = [f"box{number}" for number in range(30)]
            await self.send_to(spool, 1, *boxes, "open")
            for box in boxes:
                await spool.block(Block(provider="other", lane=box, until=9e9, reason="gone"))
            self.assertEqual(["open"], self.keys((await spool.claim(limit=1)).claims))

        return self.play(story)

    def test_all_blocked_lanes_are_told_of(self):
        """Of many in which mail is due each is named once; again after a failed probe, and for new mail."""

        async def story(spool: Spool) -> None:
            boxes = [f"box{number}" for number in range(50)]
            await self.send_to(spool, 1, *boxes)
            for box in boxes:
                await spool.block(Block(provider="other", lane=box, until=9e9, reason="gone"))
            told = [lane for _ in range(6) for _, lane in (await spool.claim()).stopped]
            self.assertEqual(sorted(boxes), sorted(told))
            await spool.block(Block(provider="other", lane="box7", until=9e9, reason="gone"))
            await self.send(spool, number=100, provider="other", lane="box8")
            self.assertEqual({("other", "box7"), ("other", "box8")}, set((await spool.claim()).stopped))

        return self.play(story)

    def test_what_becomes_due_in_a_blocked_lane_is_told(self):
        """Mail that was deferred may go elsewhere when its time comes."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            (claim,) = (await spool.claim()).claims
            await spool.block(Block(provider="other", lane="box", until=9e9, reason="gone"))
            due = self.clock.seconds() + 30
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=due))
            self.assertEqual([], list((await spool.claim()).stopped))
            self.clock.advance(30)
            self.assertEqual([("other", "box")], list((await spool.claim()).stopped))

        return self.play(story)

    def test_when_a_provider_opens_blocked_lanes_are_told_of_again(self):
        """Their mail may take that one now; not that of a lane whose provider only asked to wait."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 1, "one", "two")
            await spool.block(Block(provider="main", until=9e9, reason="401"))
            await spool.block(Block(provider="other", lane="one", until=9e9, reason="gone"))
            paused = f"{ASKED_TO_WAIT}: 503"
            await spool.block(Block(provider="other", lane="two", until=9e9, reason=paused))
            told = [list((await spool.claim()).stopped) for _ in range(2)]
            self.assertEqual([[("other", "one")], []], told)
            await spool.block(Block(provider="main"))
            self.assertEqual([("other", "one")], list((await spool.claim()).stopped))

        return self.play(story)

    def test_when_a_suspension_ends_or_a_lane_opens_they_are_told_of_again(self):
        """Whatever opens at another provider may be where their mail can go."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="one")
            hour = Block(provider="main", until=SUSPENDED, reason="x", operator=True, duration=3600.0)
            await spool.admin.block(hour)
            await spool.block(Block(provider="main", lane="box", until=9e9, reason="gone"))
            await spool.block(Block(provider="other", lane="one", until=9e9, reason="gone"))
            told = [list((await spool.claim()).stopped) for _ in range(2)]
            self.assertEqual([[("other", "one")], []], told)
            self.clock.advance(3600)
            await self.send(spool, number=2)
            told = [list((await spool.claim()).stopped) for _ in range(2)]
            self.assertEqual([[("other", "one")], []], told)
            await spool.block(Block(provider="main", lane="box"))
            self.assertEqual([("other", "one")], list((await spool.claim()).stopped))

        return self.play(story)

    # --- rates

    def test_the_rates_of_a_lane_and_of_its_provider_both_hold(self):
        """Two a minute for each mailbox, five for all together."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 6, "one", "two", "three")
            went: list[tuple[float, str]] = []
            while len(went) < 18:
                work = await spool.claim()
                for claim in work.claims:
                    went.append((self.clock.seconds(), claim.delivery.lane))
                    await spool.settle(claim, done(claim))
                assert work.claims or work.due is not None
                if not work.claims:
                    self.clock.advance(max(0.01, work.due - self.clock.seconds()))
            for start, _ in went:
                within = [lane for at, lane in went if start <= at < start + 60]
                self.assertLessEqual(len(within), 5)
                self.assertLessEqual(max(map(within.count, within)), 2)
            self.assertLess(went[-1][0] - went[0][0], 60 * 4)

        lanes = (Window(count=2, seconds=60.0),)
        return self.play(
            story, {"other": RateLimit(windows=(Window(count=5, seconds=60.0),), lane_windows=lanes)}
        )

    def test_a_lane_that_waits_for_its_rate_leaves_the_others_alone(self):
        """The time at which it goes on is told; mail in another lane goes now."""

        async def story(spool: Spool) -> None:
            await self.send_to(spool, 2, "one")
            await self.send_to(spool, 2, "two")
            (claim,) = (await spool.claim()).claims
            self.assertEqual("one", claim.delivery.lane)
            await self.send(spool, number=100, provider="other", lane="two")
            work = await spool.claim()
            self.assertEqual(["two"], self.keys(work.claims))
            assert work.due is not None
            self.assertTrue(60 <= work.due - self.clock.seconds() <= 63)

        return self.play(story, {"other": RateLimit(lane_windows=(Window(count=1, seconds=60.0),))})

    def test_a_rate_may_count_recipients(self):
        """A mail counts as many as it has; the next one waits until it fits, and is not overtaken."""

        async def story(spool: Spool) -> None:
            await self.send(spool, *(f"a{number}@example.com" for number in range(7)), number=1)
            await self.send(spool, *(f"b{number}@example.com" for number in range(5)), number=2)
            await self.send(spool, "c@example.com", number=3)
            work = await spool.claim()
            self.assertEqual([7], [len(claim.delivery.envelope.recipients) for claim in work.claims])
            assert work.due is not None
            self.assertTrue(60 <= work.due - self.clock.seconds() <= 63)
            self.assertEqual([], list((await spool.claim()).claims))
            self.clock.advance(work.due - self.clock.seconds())
            claims = (await spool.claim()).claims
            self.assertEqual([5, 1], [len(claim.delivery.envelope.recipients) for claim in claims])

        return self.play(story, self.counting("recipients", 10))

    def test_a_rate_may_count_bytes(self):
        """A mail that is larger than all that the rate allows goes alone, and then nothing for long."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, body=b"A: 1\r\n\r\n" + b"x" * 3000)
            await self.send(spool, number=2)
            work = await spool.claim()
            self.assertEqual(1, len(work.claims))
            assert work.due is not None
            self.assertTrue(170 <= work.due - self.clock.seconds() <= 190)

        return self.play(story, self.counting("bytes", 1000))

    def test_a_permit_counts_what_it_is_for(self):
        """What a synchronous delivery counts is counted for the queue, too."""

        async def story(spool: Spool) -> None:
            self.assertIsInstance(await spool.permits.acquire("one", "main", "", Load(recipients=8)), Permit)
            self.assertIsInstance(await spool.permits.acquire("two", "main", "", Load(recipients=3)), Busy)
            await self.send(spool, "a@example.com", "b@example.com", "c@example.com")
            self.assertEqual([], list((await spool.claim()).claims))

        return self.play(story, self.counting("recipients", 10))

    def counting(self, unit: str, count: int) -> dict[str, RateLimit]:
        return {"main": RateLimit(windows=(Window(count=count, seconds=60.0, unit=unit),))}

    def test_a_rate_that_changes_while_it_runs(self):
        """What went at the old rate counts at the new one, a higher and a lower one."""

        async def story(spool: Spool) -> None:
            for number in range(1, 21):
                await self.send(spool, number=number)

            async def claimed() -> int:
                claims = (await spool.claim()).claims
                for claim in claims:
                    await spool.settle(claim, done(claim))
                return len(claims)

            self.assertEqual(2, await claimed())
            await spool.change_rate("main", (Window(count=5, seconds=60.0),))
            self.assertEqual(3, await claimed())
            await spool.change_rate("main", (Window(count=1, seconds=60.0),))
            self.assertEqual(0, await claimed())
            self.clock.advance(63)
            self.assertEqual(0, await claimed())
            self.clock.advance(300)
            self.assertEqual(1, await claimed())

        return self.play(story, {"main": RateLimit(windows=(Window(count=2, seconds=60.0),))})

    def test_a_rate_that_rises_lets_go_what_waited_for_it(self):
        """A mail that had no room in the old rate does not wait until it would have had some."""

        async def story(spool: Spool) -> None:
            for number in (1, 2):
                addresses = [f"a{each}@example.com" for each in range(4)]
                await self.send(spool, *addresses, number=number)
            self.assertEqual(1, len((await spool.claim()).claims))
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.change_rate("main", (Window(count=9, seconds=60.0, unit="recipients"),))
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story, self.counting("recipients", 5))

    def test_other_providers_while_it_runs(self):
        """One that is new is asked, one that is gone is not, and one that may do more at once does."""

        async def story(spool: Spool) -> None:
            for number, provider in enumerate(("gone", "main", "main", "new", "gone"), start=1):
                await self.send(spool, number=number, provider=provider)

            async def asked() -> list[str]:
                return sorted(claim.delivery.provider for claim in (await spool.claim()).claims)

            self.assertEqual(["gone", "main"], await asked())
            await spool.reconfigure({"main": RateLimit(concurrency=2), "new": RateLimit()})
            self.assertEqual(["main", "new"], await asked())
            await spool.reconfigure({"gone": RateLimit()})
            self.assertEqual(["gone"], await asked())

        return self.play(story, {"main": RateLimit(concurrency=1), "gone": RateLimit(concurrency=1)})

    def test_nothing_waits_for_mail_that_has_left(self):
        """When what had no room in the rate is held, deleted, rerouted or moved, the rest goes at once."""

        async def prepare(*_: object) -> Prepared:
            return Prepared()

        async def left(spool: Spool, action: str, chosen: Selection) -> None:
            if action == "move":
                await spool.archive.export(chosen, moving=True)
                return
            to = "other" if action == "reroute" else ""
            await spool.admin.edit(chosen, Edit(action=action, who="ops", provider=to), "", prepare)

        async def story(spool: Spool) -> None:
            for start, action in enumerate(("hold", "delete", "reroute", "move")):
                numbers = [3 * start + each for each in (1, 2, 3)]
                for number, count in zip(numbers, (7, 5, 1), strict=True):
                    await self.send(spool, *(f"a{each}@example.com" for each in range(count)), number=number)
                (first,) = (await spool.claim()).claims
                await spool.settle(first, done(first))
                self.assertIsInstance(await spool.permits.acquire(action, "main", ""), Busy)
                await left(spool, action, Selection(ids=(self.draft(number=numbers[1]).id,)))
                claims = [each for each in (await spool.claim()).claims if each.delivery.provider == "main"]
                self.assertEqual(
                    [self.draft(number=numbers[2]).id], [each.delivery.message for each in claims]
                )
                await spool.settle(claims[0], done(claims[0]))
                self.clock.advance(100)

        return self.play(story, {**self.counting("recipients", 10), "other": RateLimit()})

    # --- expiry

    def test_a_blocked_mailbox_does_not_stop_the_clock(self):
        """Mail grows old while its lane within a provider is blocked, but not while the provider is."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            await spool.block(Block(provider="other", lane="box", until=9e9, reason="no such mailbox"))
            self.clock.advance(1000)
            await spool.block(Block(provider="other", until=9e9, reason="the secret has expired"))
            self.clock.advance(500)
            await spool.block(Block(provider="other"))
            await spool.block(Block(provider="other", lane="box"))
            self.clock.advance(7)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(1007.0, claim.age)

        return self.play(story)

    # --- lanes that are not needed any more

    def test_empty_lanes_are_swept(self):
        """A lane goes some days after its mail, and after the history of that; one with either stays."""

        async def story(spool: Spool) -> None:
            for number, lane in enumerate(("gone", "kept", "waits"), start=1):
                await self.send(spool, number=number, provider="other", lane=lane)
            claims = {claim.delivery.lane: claim for claim in (await spool.claim()).claims}
            await spool.settle(claims["gone"], done(claims["gone"]))
            self.clock.advance(10)
            await spool.settle(claims["kept"], done(claims["kept"]))
            due = self.clock.seconds() + 9 * _DAY
            await spool.settle(claims["waits"], Settlement(state="deferred", outcomes={}, due=due))

            async def left(before: float) -> set[str]:
                while await spool.maintenance.sweep(before):
                    pass
                return {each.lane for each in await spool.admin.lanes("other")}

            begin = self.clock.seconds()
            self.assertEqual({"", "gone", "kept", "waits"}, await left(begin - 5))
            self.clock.advance(3 * _DAY)
            self.assertEqual({"", "kept", "waits"}, await left(begin - 5))
            self.assertEqual({"", "waits"}, await left(begin + 5))
            self.assertEqual([], list((await spool.maintenance.check()).findings))
            await self.send(spool, number=9, provider="other", lane="gone")
            self.assertEqual(["gone"], self.keys((await spool.claim()).claims))

        return self.play(story)

    def test_a_blocked_lane_without_mail_is_swept(self):
        """Nobody probes a mailbox for ever that nobody writes to; a suspension stays."""

        async def story(spool: Spool) -> None:
            await self.send(spool, provider="other", lane="box")
            (claim,) = (await spool.claim()).claims
            block = Block(provider="other", lane="box", until=self.clock.seconds() + 60, reason="gone")
            outcomes = {"anna@example.com": Blocked("gone")}
            await spool.settle(
                claim,
                Settlement(
                    state="failed", outcomes=outcomes, closed=dict.fromkeys(outcomes, "failed"), block=block
                ),
            )
            self.clock.advance(3 * _DAY)
            self.assertEqual([("other", "box")], list((await spool.claim()).probes))
            while await spool.maintenance.sweep(self.clock.seconds()):
                pass
            self.assertEqual([], list((await spool.claim()).probes))
            self.assertEqual([], (await spool.admin.search(Selection(states=("failed",)))).deliveries)

        return self.play(story)

    def test_many_lanes_are_summed_up(self):
        """The state of the spool names a provider with all that waits in it, and few of its blocked lanes."""

        async def story(spool: Spool) -> None:
            boxes = [f"box{number}" for number in range(30)]
            await self.send_to(spool, 1, *boxes)
            for box in boxes[:25]:
                await spool.block(Block(provider="other", lane=box, until=9e9, reason="gone"))
            stats = await spool.admin.stats()
            (own,) = [each for each in stats.lanes if each.lane == ""]
            self.assertEqual((30, 31, 25), (own.waiting, own.lanes, own.blocked))
            self.assertEqual(20, len(stats.lanes) - 1)
            self.assertEqual(31, len(await spool.admin.lanes()))

        return self.play(story)
