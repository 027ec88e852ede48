"""
What every engine of the spool must do, whatever it keeps its rows in.

A test tells a story with an open spool and a clock of its own; each engine's test
case says how one is opened.
"""

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet import defer
from twisted.internet.task import Clock

from smtprelay.interfaces import Spool, Work
from smtprelay.message import (
    Blocked,
    Claim,
    Client,
    Deferred,
    Delivered,
    Draft,
    Envelope,
    Failed,
    Pace,
    Planned,
    Recipient,
    Refused,
    Reply,
    Window,
)
from smtprelay.queue import Block, Edit, NewMessage, Selection, Settlement
from smtprelay.spool.identity import new_id

BODY = b"Subject: Scan\r\nMessage-ID: <1@printer>\r\n\r\nhello\r\n"
PACES = {"main": Pace(concurrency=2), "other": Pace(concurrency=5, per_lane=1)}


class SpoolStories:
    """What a story about a spool needs: somewhere to play, and mail to send."""

    clock: Clock

    def play(
        self, story: Callable[[Spool], Awaitable[None]], paces: dict[str, Pace] = PACES
    ) -> "defer.Deferred[None] | None":
        """Open a spool with ``paces``, tell it ``story``, close it."""
        raise AssertionError("each engine says how a spool is opened")

    def draft(self, *recipients: str, sender: str = "scan@example.com", number: int = 1) -> Draft:
        """Return a draft whose id is made of ``number``."""
        return Draft(
            id=new_id(1000.0 + number, lambda _bits: number),
            envelope=Envelope(
                sender=sender, recipients=tuple(Recipient(address=each) for each in recipients)
            ),
            client=Client(address="192.0.2.1", listener="lan"),
            received=self.clock.seconds(),
        )

    async def send(
        self,
        spool: Spool,
        *recipients: str,
        number: int = 1,
        provider: str = "main",
        lane: str = "",
        body: bytes = BODY,
    ) -> Reply:
        """Send one message on one route."""
        recipients = recipients or ("anna@example.com",)
        draft = self.draft(*recipients, number=number)
        planned = Planned(route="r", provider=provider, lane=lane, recipients=draft.envelope.recipients)
        incoming = spool.incoming(draft, lambda _headers, _size: [planned])
        for start in range(0, len(body), 100_000):
            waiting = incoming.write(body[start : start + 100_000])
            if waiting is not None:
                await waiting
        return await incoming.finish()


class SpoolContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    # --- accept ---

    def test_a_reply_names_the_message(self):
        """The 250 reply carries the id under which the message is in the queue."""

        async def story(spool: Spool) -> None:
            reply = await self.send(spool)
            (line,) = await spool.list(Selection())
            self.assertEqual((250, f"Ok: queued as {line.message}"), (reply.code, reply.text))
            self.assertEqual(("queued", "Scan", len(BODY)), (line.state, line.subject, line.size))

        return self.play(story)

    def test_a_listener_gets_the_claim_at_once(self):
        """With a free slot the message is claimed in the transaction that accepts it, body in hand."""

        async def story(spool: Spool) -> None:
            claims: list[Claim] = []
            spool.listen(claims.extend)
            await self.send(spool)
            (claim,) = claims
            self.assertEqual((1, BODY, False), (claim.attempt, claim.body, claim.uncertain))
            self.assertEqual(("anna@example.com",), claim.delivery.envelope.addresses)
            (detail,) = await spool.show(claim.delivery.message)
            self.assertEqual([("main", None)], [(each.provider, each.ended) for each in detail.history])

        return self.play(story)

    def test_without_a_slot_it_waits(self):
        """What finds no free slot is queued, and its listener is told that something waits."""

        async def story(spool: Spool) -> None:
            told: list[Sequence[Claim]] = []
            spool.listen(told.append)
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            self.assertEqual([1, 1, 0], [len(claims) for claims in told])
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.settle(told[0][0], done(told[0][0]))
            (claim,) = (await spool.claim()).claims
            self.assertEqual(self.draft(number=3).id, claim.delivery.message)

        return self.play(story)

    def test_a_newcomer_does_not_overtake(self):
        """While others of its lane are due, a message queues behind them though a slot is free."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            told: list[Sequence[Claim]] = []
            spool.listen(told.append)
            await self.send(spool, number=2)
            self.assertEqual([()], [tuple(claims) for claims in told])
            work = await spool.claim()
            self.assertEqual(
                [self.draft(number=1).id, self.draft(number=2).id],
                [claim.delivery.message for claim in work.claims],
            )

        return self.play(story)

    def test_a_refused_plan_stores_nothing(self):
        """When policy refuses at the end of the data, its reply is given and nothing stays."""

        async def story(spool: Spool) -> None:
            reply = Reply(code=552, enhanced="5.3.4", text="too large")

            def plan(_headers: object, _size: int) -> Sequence[Planned]:
                raise Refused(reply)

            incoming = spool.incoming(self.draft("a@example.com"), plan)
            incoming.write(BODY)
            self.assertEqual(reply, await incoming.finish())
            self.assertEqual([], list(await spool.list(Selection())))

        return self.play(story)

    def test_a_large_body_comes_back_byte_for_byte(self):
        """A body of many chunks, of any length, is stored and streamed without change."""
        body = BODY + bytes(range(256)) * 4000 + b"end"

        async def story(spool: Spool) -> None:
            claims: list[Claim] = []
            spool.listen(claims.extend)
            await self.send(spool, body=body)
            (claim,) = claims
            self.assertIsNone(claim.body)
            stored = spool.body(claim.delivery)
            chunks = [chunk async for chunk in stored.chunks()]
            self.assertEqual(body, b"".join(chunks))
            self.assertLessEqual(max(map(len, chunks)), 256 * 1024)
            self.assertEqual(len(body), stored.size)

        return self.play(story)

    def test_an_aborted_message_leaves_nothing(self):
        """A client that goes away in the middle leaves neither message nor body."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@example.com")
            incoming = spool.incoming(draft, lambda _headers, _size: [])
            waiting = incoming.write(b"x" * 600_000)
            if waiting is not None:
                await waiting
            incoming.abort()
            self.assertEqual([], list(await spool.list(Selection())))
            with self.assertRaises(LookupError):
                await spool.show(draft.id)

        return self.play(story)

    def test_several_deliveries_of_one_message(self):
        """Each planned delivery is claimed, settled and listed by itself, under one message id."""

        async def story(spool: Spool) -> None:
            draft = self.draft("a@example.com", "b@example.com")
            first, second = draft.envelope.recipients
            planned = [
                Planned(route="r", provider="main", lane="", recipients=(first,)),
                Planned(route="s", provider="other", lane="box", recipients=(second,)),
            ]
            await spool.accept(draft, BODY, planned)
            work = await spool.claim()
            self.assertEqual(
                {
                    (f"{draft.id}.1", "a@example.com", "main", ""),
                    (f"{draft.id}.2", "b@example.com", "other", "box"),
                },
                {
                    (each.id, *each.envelope.addresses, each.provider, each.lane)
                    for each in (claim.delivery for claim in work.claims)
                },
            )
            await spool.settle(work.claims[0], done(work.claims[0]))
            self.assertEqual(BODY, await spool.body(work.claims[1].delivery).whole())

        return self.play(story)

    # --- claim ---

    def test_lanes_take_turns(self):
        """A lane with many mails does not keep a lane with one waiting."""

        async def story(spool: Spool) -> None:
            for number in range(1, 6):
                await self.send(spool, number=number, provider="other", lane="busy")
            await self.send(spool, number=9, provider="other", lane="quiet")
            work = await spool.claim()
            self.assertEqual({"busy", "quiet"}, {claim.delivery.lane for claim in work.claims})
            self.assertEqual(2, len(work.claims))

        return self.play(story)

    def test_the_pace_is_never_exceeded(self):
        """In no interval as long as the window do more messages go than it allows."""

        async def story(spool: Spool) -> None:
            for number in range(1, 31):
                await self.send(spool, number=number)
            went: list[float] = []
            while len(went) < 30:
                work = await spool.claim()
                for claim in work.claims:
                    went.append(self.clock.seconds())
                    await spool.settle(claim, done(claim))
                if not work.claims:
                    assert work.due is not None
                    self.clock.advance(max(0.001, work.due - self.clock.seconds()))
            busiest = max(sum(1 for other in went if start <= other < start + 60) for start in went)
            self.assertEqual(5, busiest)
            self.assertLess(went[-1] - went[0], 60 * 6 * 1.06)

        return self.play(story, {"main": Pace(concurrency=50, windows=(Window(count=5, seconds=60),))})

    def test_a_deferred_delivery_waits_for_its_time(self):
        """After a deferral it is claimed when it is due and not before, with the tries counted."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            due = self.clock.seconds() + 30
            outcome = Deferred("busy")
            await spool.settle(
                claim,
                Settlement(
                    state="deferred", outcomes={"anna@example.com": outcome}, due=due, tries=1, reason="busy"
                ),
            )
            work = await spool.claim()
            self.assertEqual(([], due), (list(work.claims), work.due))
            (line,) = await spool.list(Selection())
            self.assertEqual(("deferred", "busy", due), (line.state, line.reason, line.due))
            self.clock.advance(30)
            (again,) = (await spool.claim()).claims
            self.assertEqual((2, 1, 30.0), (again.attempt, again.tries, again.age))
            self.assertEqual(claim.delivery.operation_id, again.delivery.operation_id)

        return self.play(story)

    def test_more_than_the_limit_is_due_again_at_once(self):
        """A claim that stopped at its limit says that there is more to claim now."""

        async def story(spool: Spool) -> None:
            for number in range(1, 4):
                await self.send(spool, number=number)
            work = await spool.claim(limit=1)
            self.assertEqual((1, self.clock.seconds()), (len(work.claims), work.due))

        return self.play(story)

    def test_a_taken_claim_frees_its_slot(self):
        """When the provider has the body, others may go though the outcome is still to come."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            first, _ = (await spool.claim()).claims
            await spool.taken(first)
            await spool.taken(first)
            (third,) = (await spool.claim()).claims
            self.assertEqual(self.draft(number=3).id, third.delivery.message)
            self.assertTrue(await spool.settle(first, done(first)))
            self.assertEqual([], list((await spool.claim()).claims))

        return self.play(story)

    # --- settle ---

    def test_a_delivered_message_is_gone_from_the_queue(self):
        """It stays in the history with the provider's id; its body is dropped at once."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            self.assertTrue(await spool.settle(claim, done(claim)))
            self.assertEqual([], list(await spool.list(Selection())))
            (detail,) = await spool.show(claim.delivery.message)
            (recipient,) = detail.summary.recipients
            self.assertEqual(("delivered", "op-1"), (recipient.state, recipient.provider_id))
            self.assertEqual(["delivered"], [each.outcome for each in detail.history])
            with self.assertRaises(LookupError):
                await spool.body(claim.delivery).whole()

        return self.play(story)

    def test_an_outcome_counts_once(self):
        """The same claim settled twice, or a claim of an earlier attempt, changes nothing."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            later = Settlement(state="deferred", outcomes={}, due=self.clock.seconds())
            self.assertTrue(await spool.settle(claim, later))
            self.assertFalse(await spool.settle(claim, done(claim)))
            (again,) = (await spool.claim()).claims
            self.assertFalse(await spool.settle(claim, done(claim)))
            self.assertTrue(await spool.settle(again, done(again)))
            stock = await spool.stock()
            self.assertEqual({"queued": 0, "active": 0, "deferred": 0, "held": 0}, dict(stock.states))

        return self.play(story)

    def test_recipients_settle_one_by_one(self):
        """Only the recipients that are still open are in the next attempt."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com", "c@example.com")
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim,
                Settlement(
                    state="deferred",
                    outcomes={
                        "a@example.com": Delivered("op-1"),
                        "b@example.com": Failed("no such mailbox", "5.1.1"),
                        "c@example.com": Deferred("full"),
                    },
                    closed={"a@example.com": "delivered", "b@example.com": "failed"},
                    due=self.clock.seconds(),
                ),
            )
            (again,) = (await spool.claim()).claims
            self.assertEqual(("c@example.com",), again.delivery.envelope.addresses)
            (line,) = await spool.list(Selection())
            self.assertEqual(
                [("delivered", ""), ("failed", "no such mailbox"), ("open", "full")],
                [(each.state, each.reason) for each in line.recipients],
            )
            (detail,) = await spool.show(line.message)
            self.assertEqual("delivered+failed+deferred", detail.history[0].outcome)

        return self.play(story)

    def test_a_bounce_is_accepted_with_the_settlement(self):
        """The notice and the failure it reports are in one transaction."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            notice = self.draft("scan@example.com", sender="", number=7)
            planned = Planned(route="r", provider="main", lane="", recipients=notice.envelope.recipients)
            await spool.settle(
                claim,
                Settlement(
                    state="failed",
                    outcomes={"anna@example.com": Failed("no", "5.1.1")},
                    closed={"anna@example.com": "failed"},
                    bounce=NewMessage(draft=notice, body=b"Subject: Sorry\r\n\r\n", planned=[planned]),
                ),
            )
            (bounce,) = (await spool.claim()).claims
            self.assertEqual(
                ("", ("scan@example.com",)),
                (bounce.delivery.envelope.sender, bounce.delivery.envelope.addresses),
            )

        return self.play(story)

    def test_failover_goes_on_in_the_other_lane(self):
        """A settlement that names another provider moves the delivery there, due at once."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim, Settlement(state="queued", outcomes={}, provider="other", lane="box", reason="blocked")
            )
            (again,) = (await spool.claim()).claims
            self.assertEqual(("other", "box"), (again.delivery.provider, again.delivery.lane))

        return self.play(story)

    # --- blocked lanes ---

    def test_a_blocked_lane_waits_and_is_probed(self):
        """Nothing of a blocked lane is claimed; when its time comes it is offered for a probe."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            (claim, _) = (await spool.claim()).claims
            until = self.clock.seconds() + 60
            block = Block(provider="main", until=until, reason="401 the secret has expired")
            await spool.settle(
                claim,
                Settlement(state="queued", outcomes={"anna@example.com": Blocked("401")}, block=block),
            )
            work = await spool.claim()
            self.assertEqual(([], [], until), (list(work.claims), list(work.probes), work.due))
            lines = await spool.list(Selection(states=("queued",)))
            self.assertEqual(["401 the secret has expired"], [line.waiting_for for line in lines])
            self.clock.advance(60)
            self.assertEqual([("main", "")], list((await spool.claim()).probes))
            await spool.block(Block(provider="main"))
            self.assertEqual(1, len((await spool.claim()).claims))

        return self.play(story)

    def test_blocked_time_does_not_age_a_message(self):
        """The age that expiry is judged by leaves out the time its lane was blocked."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            self.clock.advance(10)
            await spool.block(Block(provider="main", until=self.clock.seconds() + 50, reason="host unknown"))
            self.clock.advance(86400)
            await spool.block(Block(provider="main"))
            self.clock.advance(5)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(15.0, claim.age)

        return self.play(story)

    def test_blocked_time_is_kept_over_a_failover(self):
        """What a delivery waited in a blocked lane does not age it in the next one either."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.block(Block(provider="other", until=9e9, reason="down"))
            await spool.block(Block(provider="main", until=9e9, reason="down"))
            self.clock.advance(1000)
            await spool.block(Block(provider="other"))
            await spool.settle(claim, Settlement(state="queued", outcomes={}, provider="other"))
            self.clock.advance(7)
            (again,) = (await spool.claim()).claims
            self.assertEqual(7.0, again.age)

        return self.play(story)

    def test_a_blocked_key_leaves_the_others_alone(self):
        """Blocking one mailbox of a provider stops that lane and no other."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1, provider="other", lane="bad")
            await self.send(spool, number=2, provider="other", lane="good")
            await spool.block(Block(provider="other", lane="bad", until=9e9, reason="no such mailbox"))
            work = await spool.claim()
            self.assertEqual(["good"], [claim.delivery.lane for claim in work.claims])

        return self.play(story)

    def test_on_trial_one_goes_alone(self):
        """A lane opened on trial lets one delivery through; its success opens it for all."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            await spool.block(Block(provider="main", trial=True))
            (claim,) = (await spool.claim()).claims
            self.assertEqual([], list((await spool.claim()).claims))
            await spool.settle(claim, done(claim))
            self.assertEqual(2, len((await spool.claim()).claims))

        return self.play(story)

    # --- recovery ---

    def test_recovery_returns_what_was_in_flight_as_uncertain(self):
        """What was claimed comes back, due at once and uncertain; what was waiting is untouched."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            before = (await spool.claim()).claims
            self.assertEqual(2, await spool.recover())
            self.assertEqual(0, await spool.recover())
            work = await spool.claim()
            self.assertEqual([2, 2], [claim.attempt for claim in work.claims])
            self.assertEqual([True, True], [claim.uncertain for claim in work.claims])
            self.assertFalse(await spool.settle(before[0], done(before[0])))
            (detail,) = await spool.show(before[0].delivery.message)
            self.assertEqual("uncertain", detail.history[0].outcome)

        return self.play(story)

    # --- an operator ---

    def test_a_retry_after_failure_is_a_new_generation(self):
        """The provider sees a new operation, and only the recipients that failed get it."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "a@example.com", "b@example.com")
            (claim,) = (await spool.claim()).claims
            await spool.settle(
                claim,
                Settlement(
                    state="failed",
                    outcomes={"a@example.com": Delivered("x"), "b@example.com": Failed("no")},
                    closed={"a@example.com": "delivered", "b@example.com": "failed"},
                ),
            )
            edited = await spool.edit(Selection(ids=(claim.delivery.id,)), Edit(action="retry", who="ops"))
            self.assertEqual([claim.delivery.id], list(edited))
            (again,) = (await spool.claim()).claims
            self.assertEqual(("b@example.com",), again.delivery.envelope.addresses)
            self.assertNotEqual(claim.delivery.operation_id, again.delivery.operation_id)
            self.assertEqual(BODY, await spool.body(again.delivery).whole())

        return self.play(story)

    def test_a_retry_before_its_time(self):
        """A deferred delivery that an operator retries is due now, as the same operation."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            await spool.settle(claim, Settlement(state="deferred", outcomes={}, due=9e9))
            await spool.edit(Selection(everything=True), Edit(action="retry", who="ops"))
            (again,) = (await spool.claim()).claims
            self.assertEqual(claim.delivery.operation_id, again.delivery.operation_id)

        return self.play(story)

    def test_hold_release_and_delete(self):
        """Held mail is not claimed until released; deleted mail ends failed, with who and why."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            chosen = Selection(ids=(self.draft().id[:12],))
            self.assertEqual(1, len(await spool.edit(chosen, Edit(action="hold", who="ops"))))
            self.assertEqual([], list((await spool.claim()).claims))
            self.assertEqual(1, (await spool.stock()).states["held"])
            self.assertEqual(1, len(await spool.edit(chosen, Edit(action="release", who="ops"))))
            self.assertEqual(1, len(await spool.edit(chosen, Edit(action="delete", who="ops", why="spam"))))
            self.assertEqual([], list(await spool.edit(chosen, Edit(action="delete", who="ops"))))
            (detail,) = await spool.show(self.draft().id)
            self.assertEqual(
                [("hold", "by ops"), ("release", "by ops"), ("delete", "by ops: spam")],
                [(each.outcome, each.reason) for each in detail.history],
            )
            self.assertEqual("failed", detail.summary.state)

        return self.play(story)

    def test_an_edit_leaves_attempts_alone(self):
        """A delivery under way is neither held nor deleted from under its attempt."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            (claim,) = (await spool.claim()).claims
            self.assertEqual(
                [], list(await spool.edit(Selection(everything=True), Edit(action="delete", who="o")))
            )
            self.assertTrue(await spool.settle(claim, done(claim)))

        return self.play(story)

    def test_an_edit_wants_to_know_what(self):
        """Without a filter nothing is edited by mistake; an unknown action or id is named."""

        async def story(spool: Spool) -> None:
            await self.send(spool)
            for selection, action, error in (
                (Selection(), "delete", ValueError),
                (Selection(everything=True), "explode", ValueError),
                (Selection(ids=("ZZZZ",)), "delete", LookupError),
                (Selection(ids=("",)), "delete", LookupError),
            ):
                with self.assertRaises(error):
                    await spool.edit(selection, Edit(action=action, who="ops"))
            self.assertEqual(1, len(await spool.list(Selection())))

        return self.play(story)

    def test_an_ambiguous_id_names_two(self):
        """The beginning of several ids is refused with examples."""

        async def story(spool: Spool) -> None:
            await self.send(spool, number=1)
            await self.send(spool, number=2)
            with self.assertRaises(LookupError) as caught:
                await spool.show(self.draft(number=1).id[:4])
            self.assertIn(self.draft(number=1).id, str(caught.exception))

        return self.play(story)

    def test_filters(self):
        """Sender, recipient, provider and state narrow the list; ``*`` and case do not matter."""

        async def story(spool: Spool) -> None:
            await self.send(spool, "Anna@Example.com", number=1)
            await self.send(spool, "bob@example.net", number=2, provider="other")
            for selection, expected in (
                (Selection(recipient="*@example.com"), 1),
                (Selection(recipient="bob_example.net"), 0),
                (Selection(sender="SCAN@*"), 2),
                (Selection(provider="other"), 1),
                (Selection(states=("held",)), 0),
                (Selection(limit=1), 1),
            ):
                self.assertEqual(expected, len(await spool.list(selection)), selection)

        return self.play(story)

    def test_a_sweep_forgets_what_ended_long_ago(self):
        """Finished messages older than the bound go, a few at a time; what is alive stays."""

        async def story(spool: Spool) -> None:
            for number in (1, 2, 3):
                await self.send(spool, number=number)
            for claim in (await spool.claim()).claims:
                await spool.settle(claim, done(claim))
            self.clock.advance(100)
            now = self.clock.seconds()
            self.assertEqual(0, await spool.sweep(before=now - 200))
            self.assertEqual([1, 1, 0], [await spool.sweep(before=now, limit=1) for _ in range(3)])
            self.assertEqual(1, len(await spool.list(Selection())))

        return self.play(story)

    def test_the_stock_is_counted(self):
        """The counts by state and lane, and the oldest message, are those of what is there."""

        async def story(spool: Spool) -> None:
            received = self.clock.seconds()
            for number in (1, 2, 3):
                await self.send(spool, number=number)
                self.clock.advance(1)
            work: Work = await spool.claim()
            await spool.settle(work.claims[0], Settlement(state="deferred", outcomes={}, due=9e9))
            stock = await spool.stock()
            self.assertEqual({"queued": 1, "active": 1, "deferred": 1, "held": 0}, dict(stock.states))
            self.assertEqual(received, stock.oldest)
            (lane,) = [each for each in stock.lanes if each.provider == "main"]
            self.assertEqual((2, 1), (lane.waiting, lane.active))

        return self.play(story)


def done(claim: Claim) -> Settlement:
    """Return the settlement of an attempt that delivered to everybody."""
    addresses = claim.delivery.envelope.addresses
    return Settlement(
        state="delivered",
        outcomes={each: Delivered("op-1") for each in addresses},
        closed=dict.fromkeys(addresses, "delivered"),
    )
