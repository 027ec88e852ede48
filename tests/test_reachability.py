from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.unreachable import Unreachable
from smtprelay.reachability import Reach, Reachability, connection_end

HOST = "smtp.example.com:587"


class WordsTests(SynchronousTestCase):
    def test_connections(self) -> None:
        """Why a connection ended is said in our words, or in those of an error that is not Twisted's."""
        for error, words in (
            (ConnectionRefusedError(111, "Connection refused"), "connection refused: nothing listens there"),
            (ConnectionDone(), "the other side closed the connection"),
            (ConnectionLost(), "the connection broke off"),
            (ValueError("odd"), "odd"),
        ):
            self.assertEqual(connection_end(error), words)


class ReachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.reach = Reach("out", self.clock.seconds)

    def fail(self, seconds: float = 0.0) -> None:  # type: ignore[override]
        """Have one request end without an answer after ``seconds``."""
        contact = self.reach.begin(HOST, "connect")
        self.clock.advance(seconds)
        contact.failed(f"connect at {HOST}: refused")

    def test_failures_in_a_row(self) -> None:
        """Nothing but failures for 15 seconds: that is told, with host, stage, reason and since when."""
        self.fail()
        self.clock.advance(14.9)
        self.fail()
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(0.1)
        self.assertEqual(
            self.reach.trouble(),
            Unreachable(
                provider="out",
                since=1000.0,
                host=HOST,
                stage="connect",
                reason=f"connect at {HOST}: refused",
            ),
        )

    def test_a_single_failure(self) -> None:
        """One failure is none to worry about, however long ago."""
        self.fail()
        self.clock.advance(3600)
        self.assertIsNone(self.reach.trouble())

    def test_a_single_failure_of_what_cannot_be_probed(self) -> None:
        """It stands for several where nobody can find out more."""
        self.fail()
        self.reach.unproven()
        self.clock.advance(15)
        self.assertIsNotNone(self.reach.trouble())

    def test_a_failure_that_took_long(self) -> None:
        """One that took 15 seconds to come needs no second."""
        self.fail(15)
        self.assertIsNotNone(self.reach.trouble())

    def test_an_answer_between(self) -> None:
        """Whatever the provider says, it can be reached: all begins anew."""
        self.fail()
        self.clock.advance(10)
        self.reach.begin(HOST, "connect").answered()
        self.fail()
        self.clock.advance(14)
        self.fail()
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(1)
        self.assertEqual(self.reach.trouble().since, 1010.0)
        self.reach.begin(HOST, "connect").answered()
        self.assertIsNone(self.reach.trouble())

    def test_what_hangs(self) -> None:
        """A request that nobody answers for 20 seconds tells at which stage."""
        contact = self.reach.begin(HOST, "connect")
        self.clock.advance(2)
        contact.at("AUTH")
        self.clock.advance(19.9)
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(0.1)
        trouble = self.reach.trouble()
        self.assertEqual((trouble.stage, trouble.since), ("AUTH", 1000.0))
        self.assertEqual(trouble.reason, f"no answer to AUTH of {HOST} for 20 s")
        contact.at("greeting")
        self.assertEqual(self.reach.trouble(), trouble, "no answer yet")
        contact.answered()
        self.assertIsNone(self.reach.trouble())

    def test_what_hangs_alone(self) -> None:
        """It is no trouble while others are answered, nor while something of it moves."""
        self.reach.begin(HOST, "connect")
        moving = self.reach.begin(HOST, "request")
        self.clock.advance(15)
        moving.at("request")
        self.reach.begin(HOST, "connect").answered()
        self.clock.advance(15)
        self.assertIsNone(self.reach.trouble())

    def test_an_old_one_hides_nothing(self) -> None:
        """A request that waits from before the last answer says nothing of those that hang since."""
        self.reach.begin(HOST, "message")
        self.clock.advance(5)
        self.reach.begin(HOST, "connect").answered()
        self.clock.advance(1)
        for _ in range(5):
            self.reach.begin(HOST, "connect")
        self.clock.advance(19.9)
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(0.1)
        trouble = self.reach.trouble()
        self.assertEqual((trouble.stage, trouble.since), ("connect", 1006.0))

    def test_an_old_one_hides_no_short_timeouts(self) -> None:
        """Nor of one that hangs behind a failure."""
        self.reach.begin(HOST, "message")
        self.clock.advance(5)
        self.reach.begin(HOST, "connect").answered()
        self.fail(12)
        self.reach.begin(HOST, "connect")
        self.clock.advance(4.9)
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(0.1)
        self.assertIsNotNone(self.reach.trouble())

    def test_short_timeouts(self) -> None:
        """After a failure the next try that hangs for 5 seconds is enough."""
        self.fail(12)
        self.clock.advance(5)
        self.reach.begin(HOST, "connect")
        self.clock.advance(4.9)
        self.assertIsNone(self.reach.trouble())
        self.clock.advance(0.1)
        self.assertIsNotNone(self.reach.trouble())

    def test_each_provider_its_own(self) -> None:
        """They are told apart by their names."""
        all_ = Reachability(self.clock.seconds)
        self.assertIs(all_.of("a"), all_.of("a"))
        self.assertEqual([each.provider for each in (all_.of("a"), all_.of("b"))], ["a", "b"])
        self.assertEqual({each.provider for each in all_}, {"a", "b"})
