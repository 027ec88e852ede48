"""A login of a client is sealed while its mail waits, and erased when that ends, however it ends."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve

from smtprelay.interfaces.spool import LoginMissingError, Spool
from smtprelay.model.attempt import Claim, Settlement
from smtprelay.model.message import Draft, Planned, Recipient, SessionLogin
from smtprelay.model.outcome import Deferred, Failed
from smtprelay.model.queue import Edit, Selection
from smtprelay.spool.seal import Sealer
from tests.behaviours.spool_stories import BODY, SpoolStories, done

SECRET = "s3cr3t~value"
LOGIN = SessionLogin(tenant="t", client_id="c", secret=SECRET)
SEALER = Sealer({"k1": b"k" * 32})
ALL = Selection(everything=True)
RETRY = Edit(action="retry", who="ops", why="again")


def later(claim: Claim, *split: str) -> Settlement:
    """Return the settlement of an attempt that was deferred until now."""
    outcomes = dict.fromkeys(claim.delivery.envelope.addresses, Deferred("busy"))
    return Settlement(state="deferred", outcomes=outcomes, due=0.0, split=split)


def failed(claim: Claim) -> Settlement:
    addresses = claim.delivery.envelope.addresses
    outcomes = dict.fromkeys(addresses, Failed("no", "5.0.0"))
    return Settlement(state="failed", outcomes=outcomes, closed=dict.fromkeys(addresses, "failed"))


class LoginContract(SpoolStories):
    """Mixed into a trial test case that has :meth:`play`."""

    def sealed(self, story: Callable[[Spool], Awaitable[None]]) -> Any:
        return self.play(story, sealer=SEALER)

    def with_login(self, *recipients: str, number: int = 1) -> Draft:
        draft = self.draft(*(recipients or ("anna@example.com",)), number=number)
        client = evolve(draft.client, user="t@c", application=LOGIN.application)
        return evolve(draft, client=client, login=LOGIN)

    async def take(self, spool: Spool, *recipients: str, number: int = 1) -> Claim:
        """Accept a mail whose provider sends with the login, and claim it."""
        draft = self.with_login(*recipients, number=number)
        await spool.accept(draft, BODY, [evolve(self.planned(draft), needs_login=True)])
        return await self.next_one(spool)

    async def next_one(self, spool: Spool) -> Claim:
        (claim,) = (await spool.claim()).claims
        return claim

    async def is_missing(self, spool: Spool, claim: Claim, why: str = "is not in the spool") -> None:
        with self.assertRaises(LoginMissingError) as caught:
            await spool.login(claim.delivery)
        self.assertIn(why, str(caught.exception))

    def test_sealed(self):
        """What waits is claimed without its login, which the spool tells when it is asked for it."""

        async def story(spool: Spool) -> None:
            claim = await self.take(spool)
            self.assertIsNone(claim.delivery.credential)
            self.assertEqual(LOGIN, await spool.login(claim.delivery))
            self.assertEqual(("t@c", LOGIN.application), (claim.delivery.login, claim.delivery.lane_login))
            await spool.settle(claim, later(claim))
            again = await self.next_one(spool)
            self.assertEqual(LOGIN, await spool.login(again.delivery))
            await spool.settle(again, done(again))
            await self.is_missing(spool, again)

        return self.sealed(story)

    def test_at_once(self):
        """What is claimed as it arrives has its login with it, and what is shown of it has no secret."""

        async def story(spool: Spool) -> None:
            claims: list[Claim] = []
            spool.listen(claims.extend)
            draft = self.with_login()
            await spool.accept(draft, BODY, [evolve(self.planned(draft), needs_login=True)])
            (claim,) = claims
            self.assertEqual(LOGIN, claim.delivery.credential)
            self.assertNotIn(SECRET, repr(claim) + repr(draft))
            await spool.settle(claim, done(claim))
            await self.is_missing(spool, claim)

        return self.sealed(story)

    def test_erased(self):
        """A delivery that fails or is deleted takes its login along; to retry it then cannot send it."""

        async def story(spool: Spool) -> None:
            claim = await self.take(spool)
            await spool.settle(claim, failed(claim))
            await self.is_missing(spool, claim)
            await spool.admin.edit(Selection(ids=(claim.delivery.id,)), RETRY)
            await self.is_missing(spool, await self.next_one(spool), "have the client send the mail again")
            claim = await self.take(spool, number=2)
            await spool.settle(claim, later(claim))
            delete = Edit(action="delete", who="ops", why="spam")
            await spool.admin.edit(Selection(ids=(claim.delivery.id,)), delete)
            await self.is_missing(spool, claim)
            self.assertEqual([], list((await spool.maintenance.check()).findings))

        return self.sealed(story)

    def test_each_delivery_has_its_own(self):
        """What one delivery of a message ends with costs no other its login; halves have it both."""

        async def story(spool: Spool) -> None:
            claim = await self.take(spool, "a@example.com", "b@example.com")
            await spool.settle(claim, later(claim, "b@example.com"))
            first, second = sorted((await spool.claim()).claims, key=lambda each: each.delivery.n)
            await spool.settle(first, done(first))
            await self.is_missing(spool, first)
            self.assertEqual(LOGIN, await spool.login(second.delivery))
            await spool.settle(second, failed(second))
            await self.is_missing(spool, second)

        return self.sealed(story)

    def test_only_what_needs_it(self):
        """Mail of no provider that sends with logins has none stored; nor has mail without a login."""

        async def story(spool: Spool) -> None:
            draft = self.with_login()
            await spool.accept(draft, BODY, [self.planned(draft)])
            await self.is_missing(spool, await self.next_one(spool))
            await self.send(spool, number=2)
            await self.is_missing(spool, await self.next_one(spool), "the client, which had none")

        return self.sealed(story)

    def test_without_a_key(self):
        """Without a key nothing is stored."""

        async def story(spool: Spool) -> None:
            await self.is_missing(spool, await self.take(spool), "without spool.seal_key")

        return self.play(story)

    def test_moved(self):
        """A mail that moves takes its sealed login along, which nobody can read in the archive."""

        async def story(spool: Spool) -> None:
            claim = await self.take(spool)
            await spool.settle(claim, later(claim))
            (item,) = (await spool.archive.export(ALL, moving=True)).items
            self.assertNotIn(SECRET, repr(item))
            (delivery,) = item.archived.deliveries
            self.assertEqual("k1", delivery.key_id)
            await spool.archive.exported([item.archived.id], "ops")
            await self.is_missing(spool, claim)
            await spool.archive.put([evolve(item, content=BODY)], "ops")
            self.assertEqual(LOGIN, await spool.login((await self.next_one(spool)).delivery))

        return self.sealed(story)

    def test_planned_apart(self):
        """Of a message that goes two ways, the way that needs the login has it."""

        async def story(spool: Spool) -> None:
            draft = self.with_login("a@example.com", "b@example.com")
            planned = [
                Planned(
                    route="r",
                    provider=provider,
                    lane="",
                    recipients=(Recipient(address=address),),
                    needs_login=provider == "main",
                )
                for provider, address in (("main", "a@example.com"), ("other", "b@example.com"))
            ]
            await spool.accept(draft, BODY, planned)
            claims = {each.delivery.provider: each for each in (await spool.claim()).claims}
            self.assertEqual(LOGIN, await spool.login(claims["main"].delivery))
            await self.is_missing(spool, claims["other"])

        return self.sealed(story)
