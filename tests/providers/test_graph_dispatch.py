"""Graph behind the dispatcher, with a lane for each mailbox: what is wrong with one concerns no other."""

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.route import Route, Schedule
from smtprelay.testing.graph import GraphAct, GraphLost, GraphSilence
from smtprelay.testing.graph_mail import GraphRefuses
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import BOUNCES, Stage
from tests.providers.graph_wiring import BOB, JoinedGraph

PEOPLE = [f"p{number}@example.com" for number in range(40)]
MAIL = b"Subject: Hi\r\nTo: bob@example.net\r\n\r\nhello\r\n"
OPS = "ops@example.com"
HOUR = 3600.0


class GraphDispatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        route = Route(name="default", via=("one",), expire=4 * HOUR, retry=Schedule(jitter=0.0))
        settings: Any = JoinedGraph().settings
        self.stage = Stage([ScriptedProvider("one")], [route], settings.rate_limit)
        self.joined = JoinedGraph(clock=self.stage.clock, mailboxes=[*PEOPLE, OPS], sender=OPS)
        self.fake = self.joined.fake
        self.fake.mailboxes[OPS].aliases.add(BOUNCES.sender)
        self.stage.providers["one"] = self.joined.provider
        self.stage.restart()

    def tearDown(self) -> None:
        self.stop(0)

    def stop(self, seconds: float) -> None:
        stopped = self.stage.dispatcher.stop(seconds)
        self.joined.joined.advance(seconds)
        self.successResultOf(stopped)

    def mail(self, *senders: str) -> None:
        for sender in senders:
            self.stage.accept(BOB, sender=sender, lane=sender, body=MAIL)

    def passes(self, seconds: float, step: float = 1.0) -> None:
        self.joined.joined.advance(*[step] * int(seconds / step))

    def sent(self) -> Counter[str]:
        return Counter(mail.mailbox for mail in self.fake.mails)

    def hang(self, act: GraphAct) -> None:
        """Have one mailbox hang for an hour: its slots are taken, and nobody else waits."""
        self.fake.mailboxes[PEOPLE[0]].refusal = act
        self.mail(*[PEOPLE[0]] * 20)
        self.passes(1)
        self.mail(*PEOPLE[1:])
        self.passes(5)
        self.assertEqual(self.sent() - Counter([PEOPLE[0]] * 20), Counter(PEOPLE[1:]))
        for _ in range(12):
            self.passes(300, 5.0)
            self.mail(PEOPLE[1])
            self.passes(2)
        self.assertEqual(self.sent()[PEOPLE[1]], 13)

    def test_hung_request(self) -> None:
        """A mailbox whose requests are never answered, for an hour."""
        self.hang(GraphSilence())

    def test_hung_answer(self) -> None:
        """A mailbox whose answers begin and do not end."""
        self.hang(GraphSilence(headers=True))

    def test_hung_connection(self) -> None:
        """A connection that does not come up."""
        wire = self.joined.joined.wire
        connect, hung = wire.connect, []

        def connecting(factory: Any) -> Any:
            if len(hung) < 3:
                hung.append(Deferred(lambda _: None))
                return hung[-1]
            return connect(factory)

        wire.connect = connecting  # type: ignore[method-assign]
        self.mail(*[PEOPLE[0]] * 3)
        self.passes(1)
        self.mail(*PEOPLE[1:])
        self.passes(5)
        self.assertEqual(self.sent(), Counter(PEOPLE[1:]))
        self.passes(120)
        self.assertEqual(self.sent()[PEOPLE[0]], 3)

    def test_stop(self) -> None:
        """What hangs does not keep the relay from stopping in time."""
        self.fake.mailboxes[PEOPLE[0]].refusal = GraphSilence()
        self.mail(PEOPLE[0])
        self.passes(1)
        self.stop(5)

    def test_each_stops_itself(self) -> None:
        """
        One that Graph refuses, one that is throttled and one that was deleted.

        All others have their mail in time. The first goes on when it may send; the mail of the deleted one
        expires as usual, and its sender hears of it.
        """
        refused, throttled, deleted, *others = PEOPLE
        self.fake.mailboxes[refused].refusal = GraphRefuses(403, "ErrorAccessDenied", "Access is denied.")
        busy = GraphRefuses(429, "ApplicationThrottled", "MailboxConcurrency", headers={"Retry-After": "60"})
        self.fake.mailboxes[throttled].refusal = busy
        del self.fake.mailboxes[deleted]
        self.mail(*PEOPLE, *PEOPLE)
        self.passes(10)
        self.assertEqual(self.sent(), Counter(others * 2))
        blocked = {each["lane"] for each in self.stage.events.of("lane.blocked")}
        self.assertEqual(blocked, {refused, deleted})
        self.fake.mailboxes[throttled].refusal = None
        self.passes(300)
        self.assertEqual(self.sent(), Counter([throttled, *others] * 2))
        self.passes(2 * HOUR, 60.0)
        self.fake.mailboxes[refused].refusal = None
        self.passes(HOUR, 60.0)
        self.assertEqual(self.sent(), Counter([refused, throttled, *others] * 2))
        self.assertEqual(len(self.stage.posted), 0)
        self.passes(4 * HOUR, 60.0)
        self.assertEqual(self.sent()[OPS], 2)
        for report in self.stage.posted:
            self.assertEqual(report.draft.envelope.addresses, (deleted,))

    def test_lost_answer(self) -> None:
        """A lost answer is visible, and the mail is sent again: Graph knows no repetition."""
        self.fake.script(GraphLost())
        self.mail(PEOPLE[0])
        self.passes(120)
        self.assertEqual(self.sent()[PEOPLE[0]], 2)
        self.assertEqual(len({mail.message_id for mail in self.fake.mails}), 1)
