"""What one client sent ahead does not hold up the others: a budget for each turn of the reactor."""

from itertools import pairwise

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.smtp.iteration_budget import CONTENT, MOST, IterationBudget
from smtprelay.smtp.session import MOST_JUNK, SEGMENT
from tests.smtp.doubles import Line, Site
from tests.steps import counted

MAIL = "MAIL FROM:<a@x.test>"
RCPT = "RCPT TO:<b@x.test>"
OK = "250 2.1.5 Ok"


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun = 0
        self.turn = IterationBudget(self.clock, self.go_on)

    def go_on(self) -> None:
        self.begun += 1

    def test_spent(self) -> None:
        """It is over when all is spent; the next turn begins with everything, once, if it was waited for."""
        self.turn.left -= MOST - 1
        self.assertGreater(self.turn.left, 0)
        self.turn.left -= 1
        self.assertEqual(self.turn.left, 0)
        self.clock.advance(0)
        self.assertEqual((self.begun, self.turn.left), (0, 0))
        self.turn.wait()
        self.turn.wait()
        self.assertTrue(self.turn.waiting)
        self.clock.advance(0)
        self.assertEqual((self.begun, self.turn.left, self.turn.waiting), (1, MOST, False))

    def test_cancelled(self) -> None:
        """What is cancelled does not go on, and leaves no timer; nor is there harm in doing it again."""
        self.turn.wait()
        self.turn.cancel()
        self.turn.cancel()
        self.assertEqual((self.clock.getDelayedCalls(), self.turn.waiting), ([], False))


class Commands(SynchronousTestCase):
    def setUp(self) -> None:
        self.site = Site(recipients=100_000)
        self.line = self.site.greeted()
        self.line.say(MAIL)

    def flood(self, count: int) -> list[str]:
        return self.line.say(*[RCPT] * count)

    def test_a_turn_is_bounded(self) -> None:
        """Of all that is sent at once so much is answered in a turn, in order, each turn in one write."""
        writes: list[bytes] = []
        self.line.transport.write = writes.append
        replies = [*[RCPT] * (2 * MOST), "NOOP x", "RCPT TO:<bad>"]
        self.line.say(*replies)
        for _ in range(3):
            self.line.turn()
        said = [octets.decode().splitlines() for octets in writes]
        self.assertEqual([len(lines) for lines in said], [MOST, MOST, 2])
        self.assertEqual(said[0] + said[1], [OK] * 2 * MOST)
        self.assertEqual([line[:3] for line in said[2]], ["250", "553"])

    def test_others_are_answered_within_it(self) -> None:
        """A client that asks while another one floods is answered in the next turn, whatever lies in wait."""
        self.flood(20_000)
        other = self.site.connect()
        self.assertEqual(other.codes("NOOP"), ["250"])
        done = len(self.line.turn())
        self.assertEqual((done, other.codes("NOOP")), (MOST, ["250"]))

    def test_all_is_answered(self) -> None:
        """Nothing is lost: turn by turn everything is answered, then reading goes on."""
        first = self.flood(1_000)
        self.assertEqual(self.line.transport.producerState, "paused")
        self.assertEqual(len(first) + sum(map(len, self.line.turns())), 1_000)
        self.assertEqual(self.line.transport.producerState, "producing")
        self.assertEqual(self.site.clock.getDelayedCalls()[0].getTime(), 60.0, "nothing but the deadline")

    def test_a_group_that_just_fits(self) -> None:
        """A group that is answered in one turn stops nothing."""
        self.assertEqual(len(self.flood(MOST)), MOST)
        self.assertEqual(self.line.transport.producerState, "producing")

    def test_half_a_line(self) -> None:
        """A line whose end has not come is waited for, not turned for again and again."""
        self.line.send(f"{RCPT}\r\n".encode() * MOST + b"RCPT TO:<b")
        self.assertEqual((self.line.turn(), self.line.turns()), ([], []))
        self.assertEqual(self.line.send(b"@x.test>\r\n"), [OK])

    def test_what_comes_meanwhile(self) -> None:
        """What a transport still hands over while a turn is waited for is kept in its order."""
        self.flood(MOST + 1)
        self.assertEqual(self.line.say("NOOP"), [])
        self.assertEqual(self.line.turn(), [OK, "250 2.0.0 Ok"])

    def test_pieces_of_what_comes_meanwhile(self) -> None:
        """However small the pieces of it are, keeping them costs no more than they are long."""

        def flooded(pieces: int) -> None:
            line = Site().greeted()
            line.say(MAIL, *[RCPT] * (MOST + 1))
            for _ in range(pieces):
                line.protocol.dataReceived(b"NOOP x\r\n")

        self.assertLess(counted(lambda: flooded(2_000)), 2.1 * counted(lambda: flooded(1_000)))

    def test_a_late_answer(self) -> None:
        """An answer that was waited for comes before the rest, which is bounded all the same."""
        late: Deferred[None] = Deferred()
        self.site.desk.answers["rcpt", "late@x.test"] = late
        self.assertEqual(self.line.say("RCPT TO:<late@x.test>", *[RCPT] * 100), [])
        late.callback(None)
        self.assertEqual(
            [len(replies) for replies in (self.line.heard(), *self.line.turns())], [33, 32, 32, 4]
        )

    def test_connection_lost_meanwhile(self) -> None:
        """What a client that has gone has sent is gone on with by turns, and then no timer is left."""
        self.flood(1_000)
        calls = self.site.desk.avatars[0].calls
        self.line.protocol.connectionLost(Failure(ConnectionDone()))
        worked_on = [len(calls)]
        while self.site.clock.getDelayedCalls():
            self.assertEqual(self.line.turn(), [])
            worked_on.append(len(calls))
        self.assertLessEqual(max(b - a for a, b in pairwise(worked_on)), 33)
        self.assertEqual((len(calls), self.site.desk.left), (1_001, 1))

    def test_dismissed_meanwhile(self) -> None:
        """A session that shall end says so in its next turn, and reads nothing more."""
        self.flood(1_000)
        self.site.factory.turn_away()
        self.assertEqual(self.line.heard(), [])
        self.assertEqual(self.line.turn(), ["421 4.3.2 Shutting down, try again later"])
        self.assertEqual((self.line.closed, self.line.turns()), (True, []))

    def test_cut_meanwhile(self) -> None:
        """A session that is cut goes on with nothing."""
        self.flood(1_000)
        self.site.factory.abort_sessions()
        calls = len(self.site.desk.avatars[0].calls)
        self.assertTrue(self.line.transport.disconnected)
        self.assertEqual(self.line.turns(), [])
        self.assertEqual(len(self.site.desk.avatars[0].calls), calls)

    def test_a_client_that_does_not_read_meanwhile(self) -> None:
        """Its turn comes and goes; what waits is answered when it reads."""
        self.flood(MOST + 5)
        self.line.protocol.pauseProducing()
        self.assertEqual(self.line.turns(), [])
        self.assertEqual(self.line.transport.producerState, "paused")
        self.line.protocol.resumeProducing()
        self.assertEqual((self.line.heard(), self.line.transport.producerState), ([OK] * 5, "producing"))

    def test_within_tls(self) -> None:
        """TLS hands over what it read record by record: all records of a turn have one budget."""
        self.site = Site(recipients=100_000, tls_implicit=True)
        self.line = self.site.greeted()
        self.line.say(MAIL)
        answered = [len(self.flood(5)) for _ in range(20)]
        self.assertEqual(sum(answered), MOST - 2)
        self.assertEqual(sum(map(len, self.line.turns())), 100 - sum(answered))


class Contents(SynchronousTestCase):
    def test_a_large_segment(self) -> None:
        """Of many megabytes at once so much is decoded in a turn; all of it arrives, and is answered."""
        site = Site()
        line = site.in_content()
        content = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 200_000
        self.assertEqual(line.send(content + b".\r\nNOOP\r\n"), [])
        [inbox] = site.desk.inboxes
        most = SEGMENT * MOST // CONTENT + 4  # what was held back of the segment before
        sizes = [len(inbox.body)]
        while inbox.state == "open":
            site.clock.turn()
            sizes.append(len(inbox.body))
        self.assertLessEqual(max(after - before for before, after in pairwise(sizes)), most)
        self.assertLessEqual(max(map(len, inbox.chunks)), SEGMENT + 4)
        self.assertEqual(inbox.body, content)
        self.assertEqual([reply[:3] for reply in line.heard()], ["250", "250"])

    def test_what_a_transport_reads_at_once(self) -> None:
        """Content that comes as a socket is read costs no turns: reading is never stopped for it."""
        line = Site().in_content()
        for _ in range(100):
            line.send(b"x" * (SEGMENT - 2) + b"\r\n")
            self.assertEqual(line.transport.producerState, "producing")

    def test_many_small_messages(self) -> None:
        """Messages that are sent ahead are bounded like commands, and all are answered in their order."""
        site = Site()
        line = site.greeted()
        answered = [line.say(*[MAIL, RCPT, "DATA", "x", "."] * 200), *line.turns()]
        self.assertLessEqual(max(map(len, answered)), MOST)
        codes = [reply[:3] for replies in answered for reply in replies]
        self.assertEqual(codes, ["250", "250", "354", "250"] * 200)
        self.assertEqual({inbox.body for inbox in site.desk.inboxes}, {b"x\r\n"})


class Junk(SynchronousTestCase):
    def flooded(self, command: str, count: int) -> tuple[Line, list[str]]:
        line = Site().greeted()
        answered = [line.say(*[command] * count), *line.turns()]
        return line, [reply for replies in answered for reply in replies if reply[3] == " "]

    def test_commands_without_use(self) -> None:
        """A million commands that bring no mail nearer end the session after some dozens."""
        for command, code in [
            ("NOOP", "250"),
            ("EHLO x", "250"),
            ("HELO x", "250"),
            ("RSET", "250"),
            ("VRFY a", "252"),
            ("HELP", "214"),
        ]:
            line, replies = self.flooded(command, 10_000 if command != "NOOP" else 1_000_000)
            # One was said to begin with; each more than allowed is an error.
            expected = [code] * (MOST_JUNK - 1 + 20) + ["421"]
            self.assertEqual([reply[:3] for reply in replies], expected, command)
            self.assertEqual(line.closed, True)

    def test_so_many_are_allowed(self) -> None:
        """A client may say a hundred of them, and as many more within a minute; a message forgives all."""
        site = Site()
        line = site.greeted()
        for _ in range(10):
            self.assertEqual([len(line.say("NOOP")) for _ in range(MOST_JUNK - 1)], [1] * (MOST_JUNK - 1))
            self.assertEqual(line.codes(MAIL, RCPT, "DATA"), ["250", "250", "354"])
            self.assertEqual(line.codes("x", "."), ["250"])
        for _ in range(10):
            self.assertEqual([len(line.say("RSET")) for _ in range(MOST_JUNK)], [1] * MOST_JUNK)
            site.clock.advance(60)
        self.assertFalse(line.closed)

    def test_a_client_that_watches(self) -> None:
        """A connection that is held open by a NOOP now and then stays open for days."""
        site = Site()
        line = site.greeted()
        for _ in range(3 * 24 * 60):
            self.assertEqual(line.say("NOOP"), ["250 2.0.0 Ok"])
            site.clock.advance(59)
        self.assertFalse(line.closed)

    def test_refused_messages_forgive_nothing(self) -> None:
        """A client that only pretends to send mail is not forgiven."""
        site = Site()
        line = site.greeted()
        no = Reply(code=550, enhanced="5.7.1", text="no")
        replies = []
        for _ in range(MOST_JUNK + 30):
            replies += line.codes("RSET", MAIL, RCPT, "DATA")
            if line.closed:
                break
            site.desk.inboxes[-1].verdict = no
            replies += line.codes("x", ".")
        self.assertEqual((replies[-1], line.closed), ("421", True))
