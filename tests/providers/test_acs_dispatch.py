"""The service, as strict as it is, behind the dispatcher: what each recipient of one mail gets in the end."""

from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.queue import Selection
from smtprelay.model.route import Route
from smtprelay.testing.acs import FakeAcs
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import Stage, done
from tests.listed import listed
from tests.providers.acs_wiring import KEYS, joined_acs

ROUTE = Route(name="default", via=("one",))
WAYS = ("nothing", "message", "place", "target", "details")


class OneMailTests(SynchronousTestCase):
    @settings(max_examples=15)
    @given(
        st.integers(1, 50),
        st.sets(st.integers(0, 49), max_size=4),
        st.sampled_from(WAYS),
        st.sampled_from(["named", "blind", "together"]),
    )
    @example(50, {49}, "nothing", "named")
    @example(50, {0, 25}, "details", "together")
    @example(3, {0, 1, 2}, "target", "named")
    def test_everyone_good_gets_it_once(
        self, count: int, numbers: set[int], naming: str, manner: str
    ) -> None:
        """
        However many recipients the service refuses, however it tells, and whether the mail names them or not:
        everyone else gets the mail once, those refused fail and are told to the sender, and nothing waits.
        """
        people = [f"p{number}@x.example" for number in range(count)]
        # What no syntax tells, and what it does.
        bad = [f"p{n}@x.example" if n % 2 else f"p{n}..@x.example" for n in sorted(numbers) if n < count]
        for address in bad:
            people[int(address.split("@")[0].strip("p."))] = address
        stage = Stage([ScriptedProvider("one")], [ROUTE])
        blind_to = "list@mail.example.com" if manner == "together" else ""
        joined = joined_acs(
            clock=stage.clock, fake=lambda clock: FakeAcs(clock, KEYS[:2], naming=naming), blind_to=blind_to
        )
        joined.fake.refuses = set(bad)
        stage.providers["one"] = joined.provider
        stage.restart()
        shown = people if manner == "named" else ["somebody@else.example"]
        body = (
            f"From: ann@mail.example.com\r\nTo: {', '.join(shown)}\r\nSubject: Hi\r\n\r\nhello\r\n".encode()
        )
        for start in range(0, count, joined.provider.limits.recipients):
            stage.accept(*people[start : start + joined.provider.limits.recipients], body=body)
        joined.joined.advance(*[1] * 400)
        reached = Counter(
            each["address"]
            for mail in joined.fake.mails
            if mail.request["content"]["subject"] == "Hi"
            for part in mail.request["recipients"].values()
            for each in part
        )
        reached.pop(blind_to, None)
        self.assertEqual(reached, Counter(each for each in people if each not in bad))
        self.assertEqual(done(listed(stage.spool, Selection())), [])
        told = b"".join(new.body for new in stage.posted)
        self.assertEqual({each for each in people if f"; {each}\r\n".encode() in told}, set(bad))
        stopped = stage.dispatcher.stop(0)
        stage.clock.advance(0)
        self.successResultOf(stopped)
