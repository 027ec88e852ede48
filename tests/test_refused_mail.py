from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.refusal import MOST_ROWS, RefusalFilter
from smtprelay.refused_mail import Ledger
from smtprelay.spool.memory import open_memory
from smtprelay.spool.terms import Terms
from tests.dispatch.stage import done
from tests.recording import Recording

EVERYTHING = RefusalFilter()


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.ledger = Ledger(self.clock.seconds)
        self.events = Recording()

    def refuse(self, **changes: object) -> None:
        """Tell of one refusal."""
        usual = {
            "listener": "lan", "client": "10.0.3.7", "stage": "rcpt", "command": "RCPT TO:<a@b>",
            "status": "550 5.7.1", "text": "no", "rule": "recipient", "user": "", "domain": "x.test",
            "count": 1,
        }  # fmt: skip
        event = "auth.failed" if "mechanism" in changes else "smtp.refused"
        hear = self.ledger.ear(event)
        hear({**usual, **changes})

    def rows(self, wanted: RefusalFilter = EVERYTHING):
        return self.successResultOf(Deferred.fromCoroutine(self.ledger.refused(wanted)))

    def spooled(self):
        """Give it a spool; return that."""
        spool = open_memory(Terms(paces={}, events=self.events), clock=self.clock)
        self.ledger.store = spool.refusals
        return spool

    def test_without_a_spool(self) -> None:
        """Equal refusals are added up, IPv6 clients by their network; other events are nothing to it."""
        self.refuse()
        self.clock.advance(10)
        self.refuse(text="again", count=4)
        self.refuse(client="2001:db8::1", mechanism="PLAIN", user="joe", rule="auth")
        self.refuse(client="2001:db8::2", mechanism="PLAIN", user="joe", rule="auth")
        self.assertIsNone(self.ledger.ear("smtp.reply"))
        self.ledger("session.open", listener="lan")
        of_v6, first = sorted(self.rows(), key=lambda row: row.rule)
        self.assertEqual((first.count, first.first, first.last, first.text), (5, 1000.0, 1010.0, "again"))
        self.assertEqual((of_v6.client, of_v6.user, of_v6.count), ("2001:db8::/64", "joe", 2))

    def test_bounded(self) -> None:
        """However many clients are refused, with or without a spool, the memory has an end; oldest out."""
        for number in range(MOST_ROWS + 500):
            self.refuse(client=f"10.0.{number // 250}.{number % 250}")
        rows = self.rows()
        self.assertEqual(len(rows), MOST_ROWS)
        self.assertNotIn("10.0.0.0", {row.client for row in rows})
        spool = self.spooled()
        self.successResultOf(Deferred.fromCoroutine(self.ledger.flush()))
        self.refuse()
        self.assertEqual(len(self.rows()), MOST_ROWS)
        self.assertEqual(len(done(spool.refusals.refused(EVERYTHING))), MOST_ROWS)

    def test_batches(self) -> None:
        """Many refusals are one commit, and none if nothing was refused."""
        self.spooled()
        commits: list[int] = []
        write = self.ledger.store._writer.do

        def counting(operation):
            commits.append(1)
            return write(operation)

        self.ledger.store._writer.do = counting
        for _ in range(100):
            self.refuse()
        self.successResultOf(Deferred.fromCoroutine(self.ledger.flush()))
        self.successResultOf(Deferred.fromCoroutine(self.ledger.flush()))
        self.assertEqual(len(commits), 1)
        self.assertEqual(self.rows()[0].count, 100)

    def test_reading_writes_nothing(self) -> None:
        """What is in the spool and what was heard since are one, also where the spool takes nothing more."""
        self.spooled()
        self.refuse(count=2)
        self.refuse(rule="sender")
        self.successResultOf(Deferred.fromCoroutine(self.ledger.flush()))
        self.ledger.store._writer.do = None
        self.clock.advance(100)
        self.refuse(count=3, text="again")
        self.refuse(client="10.0.3.8")
        rows = {(row.client, row.rule): (row.count, row.first, row.last, row.text) for row in self.rows()}
        self.assertEqual(
            rows,
            {
                ("10.0.3.7", "recipient"): (5, 1000.0, 1100.0, "again"),
                ("10.0.3.7", "sender"): (1, 1000.0, 1000.0, "no"),
                ("10.0.3.8", "recipient"): (1, 1100.0, 1100.0, "no"),
            },
        )
        late = self.rows(evolve(EVERYTHING, since=1050.0, client="10.0.3.7"))
        self.assertEqual([(row.rule, row.count) for row in late], [("recipient", 5)])
        self.assertEqual([row.last for row in self.rows(evolve(EVERYTHING, limit=1))], [1100.0])

    def test_reading_while_it_is_written(self) -> None:
        """A row that is on its way to the spool is not missing, and not counted twice."""
        self.spooled()
        write, gate = self.ledger.store._writer.do, Deferred()

        async def slow(operation):
            await gate
            return await write(operation)

        self.ledger.store._writer.do = slow
        self.refuse()
        flushed = Deferred.fromCoroutine(self.ledger.flush())
        read = Deferred.fromCoroutine(self.ledger.refused(EVERYTHING))
        self.refuse(count=2)
        gate.callback(None)
        self.successResultOf(flushed)
        self.assertEqual([row.count for row in self.successResultOf(read)], [3])

    def test_a_spool_that_fails(self) -> None:
        """Nothing is lost: it is written with the next batch."""
        self.spooled()
        write = self.ledger.store._writer.do

        def broken(_operation):
            self.refuse(count=2)
            raise OSError("no disk")

        self.ledger.store._writer.do = broken
        self.refuse()
        self.failureResultOf(Deferred.fromCoroutine(self.ledger.flush()), OSError)
        self.ledger.store._writer.do = write
        self.assertEqual(self.rows()[0].count, 3)

    def test_cleared(self) -> None:
        """Rows that are meant are forgotten, those that were not written yet, too."""
        for spooled in (False, True):
            if spooled:
                self.spooled()
            self.refuse()
            self.refuse(rule="sender")
            cleared = Deferred.fromCoroutine(self.ledger.clear(evolve(EVERYTHING, rule="sender")))
            self.assertEqual(self.successResultOf(cleared), 1)
            self.assertEqual([row.rule for row in self.rows()], ["recipient"])
