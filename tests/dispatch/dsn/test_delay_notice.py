"""Senders hear, once, that their mail still waits."""

from typing import Any

from smtprelay.dispatch.dsn.delay_notice import Delays
from smtprelay.dispatch.dsn.reporter import DsnReporter
from smtprelay.model.outcome import Blocked, Deferred, Failed
from smtprelay.model.queue import Edit, Selection
from smtprelay.testing.provider import ScriptedProvider
from tests.dispatch.stage import BOUNCES, DispatcherTestCase, Stage, done

HOUR = 3600.0


class DelayTests(DispatcherTestCase):
    def late(self, *answers: Any, **route: Any) -> Stage:
        """Return a stage whose provider answers ``answers`` and then defers for ever."""
        busy = [Deferred("451 4.2.1 busy")] * 1000
        stage = self.stage(ScriptedProvider("one", [*answers, *busy]), route=route)
        self.delays = Delays(
            stage.spool,
            stage.routes,
            DsnReporter(BOUNCES, stage._post),
            after=HOUR,
            clock=stage.clock,
            events=stage.events,
        )
        return stage

    def look(self, stage: Stage) -> list[bytes]:
        """Look for what is late; return the reports that were made by then."""
        done(self.delays.check())
        return [each.body for each in stage.posted if b"\r\nSubject: Delayed" in each.body]

    def test_told_once(self) -> None:
        """After the time, not before it, and never again; whoever gave no NOTIFY wants to know."""
        stage = self.late(expire=2 * HOUR)
        stage.accept()
        stage.clock.pump([HOUR / 60] * 59)
        self.assertEqual(self.look(stage), [])
        stage.clock.advance(60)
        (told,) = self.look(stage)
        self.assertIn(b"Action: delayed\r\nStatus: 4.2.1\r\n", told)
        self.assertIn(b"Diagnostic-Code: X-Smtprelay; 451 4.2.1 busy\r\nLast-Attempt-Date: Fri, 20 Nov", told)
        self.assertIn(b"Will-Retry-Until: Fri, 20 Nov 2026 13:00:00 +0000\r\n", told)
        self.assertIn(b"Subject: Scan\r\n", told)
        stage.clock.advance(HOUR / 2)
        self.assertEqual(len(self.look(stage)), 1)
        (event,) = stage.events.of("dsn.queued")
        self.assertEqual((event["delivery"], event["kind"], event["notice"]), ("M1.1", "delay", "B1"))

    def test_stopping(self) -> None:
        """A relay that stops tells nobody any more."""
        stage = self.late()
        stage.accept()
        stage.clock.advance(HOUR)
        self.delays.stopping = True
        self.assertEqual(self.look(stage), [])

    def test_how_often(self) -> None:
        """Ten times in the time that makes mail late; at least once a minute, at most once a second."""
        self.late()
        for after, every in ((HOUR, 60.0), (100.0, 10.0), (2.0, 1.0)):
            self.delays._after = after
            self.assertEqual(self.delays.every, every)

    def test_however_it_waits(self) -> None:
        """In a blocked lane without a try, held, or deferred."""
        stage = self.late(*[Blocked("401 the secret has expired")] * 9)
        stage.accept()
        stage.accept()
        stage.accept()
        done(stage.spool.admin.edit(Selection(ids=("M3",)), Edit(action="hold", who="ops")))
        stage.clock.advance(HOUR)
        first, second, third = self.look(stage)
        self.assertIn(b"401 the secret has expired", first)
        self.assertIn(b"401 the secret has expired", second)
        self.assertNotIn(b"Last-Attempt-Date", second)
        self.assertIn(b"decision of the postmaster", b" ".join(third.split()))
        self.assertNotIn(b"operator", third)
        self.assertNotIn(b"one said", first + second + third)
        self.assertNotIn(b"Will-Retry-Until", third)

    def test_blocked_time_is_not_counted_for_the_end(self) -> None:
        """What it waited in a blocked lane is given to it later (promise 4)."""
        stage = self.late(Blocked("401"), expire=2 * HOUR)
        stage.accept()
        stage.clock.advance(HOUR)
        (told,) = self.look(stage)
        self.assertIn(b"Will-Retry-Until: Fri, 20 Nov 2026 14:00:00 +0000\r\n", told)

    def test_who_is_told(self) -> None:
        """As NOTIFY says; never the null sender, never of a report."""
        stage = self.late()
        for notify in ("DELAY", "NEVER", "SUCCESS,FAILURE"):
            stage.accept(f"{notify[:3]}@x.org", notify=notify)
        stage.accept(sender="")
        stage.accept(bounce_of="M0", notify="DELAY")
        stage.clock.advance(HOUR)
        (told,) = self.look(stage)
        self.assertIn(b"DEL@x.org", told)

    def test_what_has_ended_is_not_delayed(self) -> None:
        """It was told, or delivered, when it ended."""
        stage = self.late(Failed("no"))
        stage.accept()
        stage.clock.advance(HOUR)
        self.assertEqual(self.look(stage), [])

    def test_what_comes_later_is_found_later(self) -> None:
        """Each look goes on where the last one ended, and leaves alone what it has seen."""
        stage = self.late()
        for _ in range(3):
            stage.accept()
        stage.clock.advance(HOUR)
        self.assertEqual(len(self.look(stage)), 3)
        for _ in range(3):
            stage.accept()
        stage.clock.advance(HOUR)
        self.assertEqual(self.delays._mark, ("M3", 1))
        self.assertEqual(len(self.look(stage)), 6)
        self.assertEqual(self.delays._mark, ("M6", 1))

    def test_one_that_cannot_be_told(self) -> None:
        """It is warned of, and does not keep the others from being told."""
        stage = self.late()
        stage.accept()
        stage.accept()
        post, failures = stage._post, [LookupError("no route")]

        def refuse(*values: Any) -> Any:
            if failures:
                raise failures.pop()
            return post(*values)

        self.delays._reporter._post = refuse
        stage.clock.advance(HOUR)
        self.assertEqual(len(self.look(stage)), 1)
        self.assertIn("M1.1: no notice of its delay", str(stage.events.of("relay.warning")[0]["text"]))

    def test_after_a_restart(self) -> None:
        """What was told stays told."""
        stage = self.late()
        stage.accept()
        stage.clock.advance(HOUR)
        self.look(stage)
        self.delays._mark = ("", 0)
        self.assertEqual(len(self.look(stage)), 1)
