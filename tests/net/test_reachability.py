from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.queue import Unreachable
from smtprelay.net.reachability import Reachability, connection_end

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
        self.reachability = Reachability("out", self.clock.seconds)

    def fail(self, seconds: float = 0.0) -> None:  # type: ignore[override]
        """Have one request end without an answer after ``seconds``."""
        contact = self.reachability.begin(HOST, "connect")
        self.clock.advance(seconds)
        contact.failed(f"connect at {HOST}: refused")

    def is_told(self, after: float) -> None:
        """See that it is told after so many seconds, and not before."""
        self.clock.advance(after - 0.1)
        self.assertIsNone(self.reachability.trouble())
        self.clock.advance(0.1)
        self.assertIsNotNone(self.reachability.trouble())

    def test_failures_in_a_row(self) -> None:
        """No answer for 20 seconds after a failure: that is told, with host, stage, reason and since when."""
        self.fail()
        self.clock.advance(14)
        contact = self.reachability.begin("other:25", "TLS")
        contact.failed("TLS at other:25: no")
        self.is_told(6)
        told = Unreachable("out", 1000.0, "other:25", "TLS", "TLS at other:25: no")
        self.assertEqual(self.reachability.trouble(), told)

    def test_a_failure_that_took_long(self) -> None:
        """The time that a request took to fail counts."""
        self.fail(15)
        self.is_told(5)

    def test_an_answer_between(self) -> None:
        """Whatever the provider says, it can be reached: all begins anew."""
        self.fail()
        self.clock.advance(10)
        self.reachability.begin(HOST, "connect").answered()
        self.fail()
        self.is_told(20)
        self.assertEqual(self.reachability.trouble().since, 1010.0)
        self.reachability.begin(HOST, "connect").answered()
        self.assertIsNone(self.reachability.trouble())

    def test_what_is_given_up(self) -> None:
        """A request that is dropped says nothing; one that has ended cannot end again."""
        dropped, ended = self.reachability.begin(HOST, "connect"), self.reachability.begin(HOST, "connect")
        dropped.dropped()
        ended.answered()
        ended.failed("too late")
        self.clock.advance(60)
        self.assertIsNone(self.reachability.trouble())

    def test_what_hangs(self) -> None:
        """A request that nobody answers for 20 seconds tells at which stage."""
        contact = self.reachability.begin(HOST, "connect")
        self.clock.advance(2)
        contact.at("AUTH")
        self.is_told(20)
        told = Unreachable("out", 1002.0, HOST, "AUTH", f"no answer to AUTH of {HOST} for 20 s")
        self.assertEqual(self.reachability.trouble(), told)
        contact.at("greeting")
        self.assertEqual(self.reachability.trouble(), told, "no answer yet")
        contact.answered()
        self.assertIsNone(self.reachability.trouble())

    def test_what_hangs_alone(self) -> None:
        """It is no trouble while others are answered, nor while something of it moves."""
        self.reachability.begin(HOST, "connect")
        moving = self.reachability.begin(HOST, "request")
        self.clock.advance(15)
        moving.at("request")
        self.reachability.begin(HOST, "connect").answered()
        self.clock.advance(15)
        self.assertIsNone(self.reachability.trouble())

    def test_an_old_one_hides_nothing(self) -> None:
        """A request that waits from before the last answer says nothing of those that hang since."""
        self.reachability.begin(HOST, "message")
        self.clock.advance(5)
        self.reachability.begin(HOST, "connect").answered()
        self.clock.advance(1)
        for _ in range(5):
            self.reachability.begin(HOST, "connect")
        self.is_told(20)
        trouble = self.reachability.trouble()
        self.assertEqual((trouble.stage, trouble.since), ("connect", 1006.0))

    def test_an_old_one_that_fails(self) -> None:
        """It counts from the last answer: one slow request among many is no trouble."""
        old = self.reachability.begin(HOST, "request")
        self.clock.advance(30)
        self.reachability.begin(HOST, "request").answered()
        old.failed("no answer")
        self.is_told(20)

    def test_a_clock_that_was_put(self) -> None:
        """What is late stays so, and what is not does not become so."""
        for step in (-5000.0, 5000.0):
            self.fail()
            waiting = self.reachability.begin(HOST, "connect")
            self.clock.advance(10)
            self.clock.rightNow += step
            self.reachability.clock_stepped(step)
            self.is_told(10)
            self.assertEqual(self.reachability.trouble().since, waiting.since)
            self.reachability.answered()
            waiting.dropped()
