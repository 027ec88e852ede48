from twisted.trial.unittest import SynchronousTestCase

from smtprelay.refused_mail import Ledger
from tests.web.asking import NOW, Fixture

FIELDS = {
    "listener": "lan", "client": "10.0.3.7", "stage": "mail", "command": "MAIL FROM:<a@x.test>",
    "status": "550 5.7.1", "text": "no", "rule": "network", "user": "", "domain": "x.test", "count": 1,
}  # fmt: skip


class RefusedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ledger = Ledger(lambda: NOW)
        self.ledger("smtp.refused", **FIELDS)
        self.ledger("smtp.refused", **{**FIELDS, "client": "10.0.3.8", "rule": "syntax"})
        self.fixture = Fixture(refusals=self.ledger)

    def test_rows(self) -> None:
        """Each row with the setting that lets it in, or what the client must do."""
        answer = self.fixture.get("/api/v1/refused").json
        first, second = sorted(answer["refused"], key=lambda row: row["client"])
        self.assertEqual(first["setting"], "listeners[lan].allow_from: add 10.0.3.7/32")
        self.assertEqual((first["count"], first["first"], first["reply"]), (1, NOW, "550 5.7.1"))
        self.assertEqual(second["setting"], "")
        self.assertIn("RFC 5321", second["advice"])

    def test_filters(self) -> None:
        """What is asked for is found; what is not understood is refused."""
        for query, count in (
            ("client=10.0.3.7", 1),
            ("rule=*&limit=1", 1),
            (f"since={NOW + 1}", 0),
            ("user=joe", 0),
        ):
            self.assertEqual(len(self.fixture.get(f"/api/v1/refused?{query}").json["refused"]), count, query)
        for query in ("colour=red", "since=yesterday", "limit=-1"):
            self.assertEqual(self.fixture.get(f"/api/v1/refused?{query}").status, 400, query)

    def test_cleared(self) -> None:
        """Rows are cleared by filters; who did that is told."""
        answer = self.fixture.post("/api/v1/refused/clear", {"rule": "syntax", "who": "anna"})
        self.assertEqual(answer.json, {"count": 1})
        self.assertEqual(self.fixture.events.of("refused.cleared"), [{"who": "local (anna)", "count": 1}])
        self.assertEqual(len(self.fixture.get("/api/v1/refused").json["refused"]), 1)
        self.assertEqual(self.fixture.post("/api/v1/refused/clear", {"rule": 5}).status, 400)

    def test_without_a_spool(self) -> None:
        """A relay of synchronous listeners has it, too."""
        fixture = Fixture(refusals=self.ledger, spool=None)
        self.assertEqual(len(fixture.get("/api/v1/refused").json["refused"]), 2)
