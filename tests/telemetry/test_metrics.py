"""The metrics: what is counted when the stations tell."""

import json
import re

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.queue import LaneState, QueueStats
from smtprelay.telemetry.exposition import bridge_metrics, render
from smtprelay.telemetry.families import METRICS, MOST_CHILDREN
from smtprelay.telemetry.log import EVENTS
from smtprelay.telemetry.metrics import Metrics, watch_lag


def lane(provider: str, reason: str = "", waiting: int = 0, key: str = "") -> LaneState:
    return LaneState(
        provider=provider,
        lane=key,
        waiting=waiting,
        active=0,
        due=None,
        blocked_until=1.0 if reason else None,
        blocked_reason=reason,
    )


class MetricsTests(SynchronousTestCase):
    def setUp(self):
        self.metrics = Metrics(seconds=lambda: 1000.0)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"smtprelay_{name}", labels)

    def test_a_message_is_counted_with_its_recipients_and_size(self):
        """message.queued feeds three metrics of its listener."""
        self.metrics("message.queued", id="a", listener="lan", count=3, size=2000)
        self.assertEqual(self.value("messages_received_total", listener="lan"), 1)
        self.assertEqual(self.value("message_recipients_received_total", listener="lan"), 3)
        self.assertEqual(self.value("message_size_bytes_sum", listener="lan"), 2000)
        self.assertEqual(self.value("message_size_bytes_bucket", listener="lan", le="1024.0"), 0)
        self.assertEqual(self.value("message_size_bytes_bucket", listener="lan", le="4096.0"), 1)

    def test_a_delivery(self):
        """An attempt that delivers moves attempts, recipients, latency and the time of success."""
        self.metrics("attempt.started", id="a.1", provider="acs", attempt=1)
        self.assertEqual(self.value("provider_in_flight", provider="acs"), 1)
        self.metrics("attempt.ended", id="a.1", provider="acs", attempt=1, outcome="delivered", seconds=0.2)
        self.metrics("message.delivered", id="a.1", provider="acs", recipients="x, y", count=2, age=0.4)
        self.assertEqual(self.value("provider_in_flight", provider="acs"), 0)
        self.assertEqual(self.value("delivery_attempts_total", provider="acs", result="delivered"), 1)
        self.assertEqual(self.value("delivery_recipients_total", provider="acs", result="delivered"), 2)
        self.assertEqual(self.value("delivery_attempt_duration_seconds_sum", provider="acs"), 0.2)
        self.assertEqual(self.value("delivery_latency_seconds_sum", provider="acs"), 0.4)
        self.assertEqual(self.value("provider_last_success_timestamp_seconds", provider="acs"), 1000.0)

    def test_recipients_that_differ_are_a_mixed_attempt(self):
        """The result label stays one of few words."""
        self.metrics(
            "attempt.ended", id="a.1", provider="acs", attempt=1, outcome="delivered+failed", seconds=1
        )
        self.assertEqual(self.value("delivery_attempts_total", provider="acs", result="mixed"), 1)

    def test_a_crashed_attempt_lands_once(self):
        """Whether its end is told, too, or not, it is in flight no more, and counted by its end."""
        fields = {"id": "a.1", "provider": "acs", "attempt": 1}
        self.metrics("attempt.started", **fields)
        self.metrics("attempt.crashed", **fields, exc="x")
        self.assertEqual(self.value("provider_in_flight", provider="acs"), 0)
        self.metrics("attempt.ended", **fields, outcome="crashed", seconds=1)
        self.assertEqual(self.value("provider_in_flight", provider="acs"), 0)
        self.assertEqual(self.value("delivery_attempts_total", provider="acs", result="crashed"), 1)

    def test_reports_by_their_kind(self):
        """A bounce is the report of a failure; those of successes and delays are no bounces."""
        self.metrics("message.bounced", id="a.1", provider="acs", to="x", bounce="b")
        for kind in ("success", "delay", "delay"):
            self.metrics("dsn.queued", id="a.1", provider="acs", to="x", kind=kind, notice="b")
        for kind, count in (("failure", 1), ("success", 1), ("delay", 2)):
            self.assertEqual(self.value("dsn_sent_total", kind=kind), count)
        self.assertEqual(self.value("deliveries_bounced_total", provider="acs"), 1)

    def test_what_was_deleted_and_what_has_no_end(self):
        """An operator's changes are counted by delivery, messages that a client did not end by listener."""
        self.metrics("queue.edited", who="ops", action="delete", ids="a.1, b.1", count=2, why="")
        self.assertEqual(self.value("deliveries_edited_total", action="delete"), 2)
        self.metrics("message.aborted", listener="lan", client="192.0.2.1", sender="", size=1, reason="x")
        self.assertEqual(self.value("smtp_messages_aborted_total", listener="lan"), 1)

    def test_connections_are_open_until_they_close(self):
        """The gauge goes up and down, the counter only up; a refused one is not open."""
        for event in ("session.open", "session.open", "session.close", "smtp.refused"):
            self.metrics(event, listener="lan", client="10.0.0.1", stage="connect")
        self.assertEqual(self.value("smtp_connections_open", listener="lan"), 1)
        self.assertEqual(self.value("smtp_connections_total", listener="lan", result="accepted"), 2)
        self.assertEqual(self.value("smtp_connections_total", listener="lan", result="refused"), 1)

    def test_words_of_the_client_do_not_become_labels(self):
        """Verbs and mechanisms outside the known ones count as ``other``."""
        self.metrics("smtp.reply", listener="lan", command="XYZZY", code=500)
        self.metrics("smtp.reply", listener="lan", command="RCPT", code=250)
        self.metrics("auth.failed", listener="lan", mechanism="EVIL", user="u", client="c")
        self.assertEqual(self.value("smtp_replies_total", listener="lan", command="other", code="500"), 1)
        self.assertEqual(self.value("smtp_replies_total", listener="lan", command="RCPT", code="250"), 1)
        self.assertEqual(
            self.value("smtp_auth_attempts_total", listener="lan", mechanism="other", result="failed"), 1
        )

    def test_labels_are_bounded(self):
        """Whatever somebody makes a label of, the number of series has an end."""
        for number in range(MOST_CHILDREN + 50):
            self.metrics("spool.failed", operation=f"op{number}", reason="x")
        self.assertEqual(self.value("spool_errors_total", operation="other"), 50)
        self.assertIsNone(self.value("spool_errors_total", operation=f"op{MOST_CHILDREN}"))

    def test_labels_that_read_alike_are_one_series(self):
        """A code that is told as a number and one that is told as text count together."""
        for code in (250, "250"):
            self.metrics("smtp.reply", listener="lan", command="RCPT", code=code)
        self.assertEqual(self.value("smtp_replies_total", listener="lan", command="RCPT", code="250"), 2)

    def test_a_field_that_is_missing_sometimes(self):
        """An event without it has a series of its own, whichever comes first."""
        for fields in ({"code": 250}, {"listener": "lan", "code": 250}, {"code": 250}, {"listener": "lan"}):
            self.metrics("smtp.reply", command="RCPT", **fields)
        counts = [
            self.value("smtp_replies_total", listener=listener, command="RCPT", code=code)
            for listener, code in (("", "250"), ("lan", "250"), ("lan", ""))
        ]
        self.assertEqual(counts, [2, 1, 1])

    def test_buckets_count_what_is_not_above_them(self):
        """A value on a bound is within it, one above all bounds only in the last; the rest is summed up."""
        for size in (1024, 1025, 10**12):
            self.metrics("message.queued", listener="lan", size=size)
        counts = {
            le: self.value("message_size_bytes_bucket", listener="lan", le=le)
            for le in ("1024.0", "4096.0", "+Inf")
        }
        self.assertEqual(counts, {"1024.0": 1, "4096.0": 2, "+Inf": 3})
        self.assertEqual(self.value("message_size_bytes_count", listener="lan"), 3)
        self.assertEqual(self.value("message_size_bytes_sum", listener="lan"), 10**12 + 2049)

    def test_help(self):
        """Each metric says in whole sentences, and not many, what it counts."""
        self.metrics.stats(QueueStats(states={}, bytes=10, free=1, oldest=1.0, lanes=()))
        ours = [each for each in self.metrics.registry.collect() if each.name.startswith("smtprelay_")]
        declared = {f"smtprelay_{name}" for name in re.findall(r"^\w+ (\w+)", METRICS, re.MULTILINE)}
        self.assertEqual(declared - {each.name for each in ours}, set())
        for metric in ours:
            self.assertRegex(metric.documentation, r"\A[A-Z0-9][^\n]{10,190}\.\Z", metric.name)

    def test_no_address_is_ever_a_label(self):
        """An event's private fields are not in the output."""
        private = {"client": "10.9.8.7", "user": "u-secret", "sender": "s@x.org", "recipients": "r@x.org"}
        for event in EVENTS:
            self.metrics(
                event, **private, id="ID-1", to="t@x.org", reason="why", path="/p", text="t", outcome="o"
            )
        body, _ = render(self.metrics.registry, "")
        self.assertEqual(re.findall(rb"10\.9\.8\.7|u-secret|x\.org|ID-1|why", body), [])

    def test_missing_fields_do_not_raise(self):
        """Every event can be told without any field."""
        for event in EVENTS:
            self.metrics(event)
        self.metrics("unheard.of")
        self.assertEqual(self.value("messages_received_total", listener=""), 1)

    def test_a_blocked_lane_takes_its_provider_down(self):
        """provider_up is 0 until the last lane is open again."""
        for key in ("a", "b"):
            self.metrics("lane.blocked", provider="graph", lane=key, reason="expired")
        self.assertEqual(self.value("provider_blocked_lanes", provider="graph"), 2)
        self.metrics("lane.unblocked", provider="graph", lane="a")
        self.assertEqual(self.value("provider_up", provider="graph"), 0)
        self.metrics("lane.unblocked", provider="graph", lane="b")
        self.assertEqual(self.value("provider_up", provider="graph"), 1)

    def test_the_spool_knows_better_which_lanes_are_blocked(self):
        """After a restart, or when another node opened a lane, the stats decide."""
        self.metrics.known(("acs",))
        self.metrics("lane.blocked", provider="graph", lane="", reason="expired")
        lanes = (lane("graph"), lane("ses", "no such region", 9), lane("ses", "", 2, "k"))
        self.metrics.stats(QueueStats(states={"queued": 9}, bytes=10, free=None, oldest=None, lanes=lanes))
        up = {name: self.value("provider_up", provider=name) for name in ("acs", "graph", "ses")}
        self.assertEqual(up, {"acs": 1, "graph": 1, "ses": 0})
        self.assertEqual(self.value("provider_waiting_deliveries", provider="ses"), 9)

    def test_the_stock_is_shown_as_it_is(self):
        """Known states are there with 0; what is unknown or empty is absent."""
        self.assertIsNone(self.value("spool_bytes"))
        self.metrics.stats(QueueStats(states={"deferred": 12}, bytes=10, free=None, oldest=None, lanes=()))
        self.assertEqual(self.value("spool_deliveries", state="deferred"), 12)
        self.assertEqual(self.value("spool_deliveries", state="held"), 0)
        self.assertIsNone(self.value("spool_deliveries", state="delivered"))
        self.assertIsNone(self.value("spool_filesystem_free_bytes"))
        self.assertIsNone(self.value("spool_oldest_message_timestamp_seconds"))
        self.metrics.stats(None)
        self.assertIsNone(self.value("spool_bytes"))

    def test_log_events_are_counted_by_level(self):
        """Ours by their kind, other people's as an observer, none twice."""
        self.metrics("lane.blocked", provider="x", lane="", reason="y")
        self.metrics.observe({"log_level": LogLevel.critical})
        self.metrics.observe({"log_level": LogLevel.error, "relay_event": "lane.blocked"})
        self.assertEqual(self.value("log_events_total", level="error"), 1)
        self.assertEqual(self.value("log_events_total", level="critical"), 1)

    def test_two_relays_fit_in_one_process(self):
        """Each has its registry; one that is given stays without the process's metrics."""
        mine = CollectorRegistry()
        other = Metrics(mine)
        other("spool.recovered", deliveries=4)
        self.assertEqual(
            mine.get_sample_value("smtprelay_spool_recovered_deliveries_total", {"outcome": "requeued"}), 4
        )
        self.assertIsNone(self.value("spool_recovered_deliveries_total", outcome="requeued"))
        self.assertIsNone(mine.get_sample_value("process_open_fds"))
        self.assertIsNotNone(self.metrics.registry.get_sample_value("process_open_fds"))


class LagTests(SynchronousTestCase):
    def test_a_late_reactor_is_noticed(self):
        """A turn that came 3 s late is a lag of 3 s; punctual ones are none."""
        metrics, clock = Metrics(), Clock()
        call = watch_lag(clock, metrics)
        clock.advance(1)
        clock.advance(4)
        clock.advance(1)
        call.stop()
        clock.advance(10)
        value = metrics.registry.get_sample_value
        self.assertEqual(value("smtprelay_reactor_lag_seconds_count"), 3)
        self.assertEqual(value("smtprelay_reactor_lag_seconds_sum"), 3)


class ExpositionTests(SynchronousTestCase):
    def setUp(self):
        self.metrics = Metrics()
        self.metrics("message.queued", listener="lan", count=1, size=1)
        self.metrics("session.open", listener="lan")

    def test_text_by_default(self):
        """The text format parses, and has no ``_created`` series."""
        body, content_type = render(self.metrics.registry, "*/*")
        self.assertTrue(content_type.startswith("text/plain; version="))
        names = {sample.name for family in parse_text(body.decode()) for sample in family.samples}
        self.assertIn("smtprelay_messages_received_total", names)
        self.assertEqual({name for name in names if name.endswith("_created")}, set())

    def test_openmetrics_where_it_is_asked_for(self):
        """It ends with EOF and survives the strict parser."""
        body, content_type = render(self.metrics.registry, "application/openmetrics-text; version=1.0.0")
        self.assertTrue(content_type.startswith("application/openmetrics-text"))
        self.assertTrue(body.endswith(b"# EOF\n"))
        names = {family.name for family in parse_open(body.decode())}
        self.assertIn("smtprelay_smtp_connections", names)

    def test_the_bridges_json(self):
        """smtp-acs-bridge's names, over all listeners and providers."""
        for event in ("session.open", "smtp.refused", "session.close"):
            self.metrics(event, listener="other", stage="connect")
        for outcome, seconds in (("delivered", 0.1), ("failed", 0.3)):
            self.metrics(
                "attempt.ended", id="a", provider=outcome, attempt=1, outcome=outcome, seconds=seconds
            )
        self.metrics("message.delivered", provider="acs", count=3)
        self.metrics("message.failed", provider="ses", count=1)
        numbers = json.loads(bridge_metrics(self.metrics.registry, 12.5, "1.2.3"))
        self.assertAlmostEqual(numbers.pop("average_response_time_ms"), 200)
        self.assertEqual(
            numbers,
            {
                "connections_total": 2,
                "connections_active": 1,
                "emails_sent_total": 3,
                "emails_failed_total": 1,
                "bytes_processed_total": 1,
                "response_times_count": 2,
                "success_rate_percent": 75.0,
                "uptime_seconds": 12.5,
                "version": "1.2.3",
            },
        )
