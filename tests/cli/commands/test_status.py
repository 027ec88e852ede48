import time
from typing import Any

from tests.cli.fakes import CommandCase, FakeRelay, Ran, data_of, lane


def answer(**changes: Any) -> dict[str, Any]:
    stopped = lane(provider="host", state="blocked", blocked_until=1.8e9, blocked_reason="535 bad login")
    stats = {
        "states": {"queued": 0, "active": 3, "deferred": 12, "held": 2},
        "bytes": 48_000_000,
        "free": 41_000_000_000,
        "oldest": 1_800_000_000.0,
        "oldest_message": "7QK2-9FMD",
        "lanes": [lane(), stopped],
    }
    return {
        "version": "1.4.0",
        "uptime": 1_051_200.0,
        "ready": {"ok": True, "checks": {"spool": None}},
        "attention": [
            {
                "kind": "blocked",
                "about": "host",
                "text": "host is blocked, 12 waiting: 535 bad login",
                "since": 1_800_000_000.0,
                "until": 1_800_000_600.0,
            }
        ],
        "stats": stats,
        "listeners": [{"name": "lan", "endpoint": "tcp:2525", "connections": 12}],
        **changes,
    }


class StatusTests(CommandCase):
    def status(self, given: dict[str, Any], *argv: str) -> Ran:
        relay = FakeRelay(self, {"GET /api/v1/status": (200, given)})
        return self.run_command("status", "--endpoint", relay.endpoint, *argv)

    def test_ready(self) -> None:
        """One screen: version, age, readiness, listeners, what waits, each lane, what needs attention."""
        ran = self.status(answer())
        for words in (
            "smtprelay  1.4.0  up 12d  READY\n",
            "lan  endpoint tcp:2525  connections 12",
            "17 deliveries (3 active, 12 deferred, 2 held), 48M, 41G free, oldest ",
            " 7QK2-9FMD\n",
            "acs  ok  0 active, 12 waiting",
            "host  BLOCKED",
            "attention  host is blocked",
            "535 bad login, since ",
            ", tried again at ",
        ):
            self.assertIn(words, ran.out)
        self.assertEqual((ran.status, ran.err), (0, ""))

    def test_refused_mail(self) -> None:
        """It has a line when there was any in the last day, with the command that asks the same relay."""
        out = self.status(answer(refused=3)).out
        self.assertRegex(out, r"refused    3 in 24 h, see smtprelay --endpoint \S+ refused\n")
        for none in (answer(refused=0), answer()):
            self.assertNotIn("refused", self.status(none).out)

    def test_workers_and_nodes(self) -> None:
        """Each worker, and each node of a shared spool, has a line."""
        workers = [{"number": 1, "pid": 77, "ready": True}, {"number": 2, "pid": 0, "ready": False}]
        nodes = [{"name": "mx1.77.abc", "seen": 1_800_000_000.0, "draining": True}]
        out = self.status(answer(workers=workers, nodes=nodes)).out
        self.assertIn("worker     1  process 77  ready\n", out)
        self.assertIn("worker     2  no process  not ready\n", out)
        self.assertRegex(out, r"node       mx1\.77\.abc  seen \w+ ago  draining\n")

    def test_unreachable(self) -> None:
        """A provider that cannot be reached is in its line, and needs attention, with since when."""
        line = {
            "kind": "unreachable",
            "about": "acs",
            "text": "acs cannot be reached: connect at acs.test: refused",
            "since": time.time() - 90,
            "until": None,
        }
        out = self.status(answer(attention=[line])).out
        self.assertRegex(
            out, r"attention  acs cannot be reached: connect at acs.test: refused, since .*\(1m\)\n"
        )
        self.assertIn("attention  acs cannot", self.status(answer(attention=[line], stats=None)).out)

    def test_the_state_of_each_lane(self) -> None:
        """What is not ok is loud, and how slow a lane is stands there."""
        stats = answer()["stats"]
        states = {"acs": "unreachable", "ses": "suspended", "old": "removed", "box": "throttled"}
        stats["lanes"] = [lane(provider=name, state=state, ceiling=4.2) for name, state in states.items()]
        stats["lanes"].append(lane(provider="host", state="throttled", ceiling=0.1))
        out = self.status(answer(stats=stats)).out
        for words in (
            "acs  UNREACHABLE  0 active",
            "ses  SUSPENDED  0 active",
            "old  REMOVED  0 active",
            "box  THROTTLED to 4 at once  0 active",
            "host  THROTTLED to less than one at once  0 active",
        ):
            self.assertIn(words, out)

    def test_not_ready(self) -> None:
        """What keeps it from being ready is named."""
        ready = {"ok": False, "checks": {"spool": "disk full", "listeners": None}}
        out = self.status(answer(ready=ready)).out
        self.assertIn("NOT READY", out)
        self.assertIn("not ready  spool: disk full\n", out)
        self.assertNotIn("listeners:", out)

    def test_empty(self) -> None:
        """A relay with nothing to do says so, without what is unknown."""
        stats = {"states": {}, "bytes": 0, "free": None, "oldest": None, "lanes": []}
        self.assertIn("spool      0 deliveries, 0B\n", self.status(answer(stats=stats)).out)

    def test_no_spool(self) -> None:
        """A relay without a spool has no line about it."""
        ran = self.status(answer(stats=None))
        self.assertEqual(ran.status, 0)
        self.assertNotIn("spool  ", ran.out)

    def test_a_spool_that_does_not_answer(self) -> None:
        """The rest is shown, and why the spool is not."""
        line = {"kind": "spool", "about": "spool", "text": "the spool does not answer: x"}
        given = answer(stats=None, refused=None, nodes=[], attention=[{**line, "since": None, "until": None}])
        ran = self.status(given)
        self.assertEqual(ran.status, 0)
        self.assertIn("attention  the spool does not answer: x\n", ran.out)
        self.assertNotIn("refused", ran.out)

    def test_json(self) -> None:
        """JSON is the relay's own answer."""
        self.assertEqual(data_of(self.status(answer(), "-o", "json").out), answer())

    def test_not_running(self) -> None:
        """No relay is exit 69 and one line."""
        ran = self.run_command("status", "--endpoint", self.mktemp())
        self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (69, "", 1))
