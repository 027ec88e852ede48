"""The probes and the metrics endpoint."""

import json

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.version import VERSION
from tests.web.asking import Fixture


class HealthTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture(("health",))

    def test_live_whatever_is_broken(self):
        """A restart would not help a full spool."""
        self.fixture.checks["spool"] = "full"
        self.assertEqual((self.fixture.get("/livez").status, self.fixture.get("/livez").body), (200, b"ok\n"))

    def test_ready(self):
        """200 while every check passes; 503 with the reasons of those that do not."""
        self.assertEqual(self.fixture.get("/readyz").body, b"ok\n")
        self.fixture.checks["listener lan"] = "not bound"
        response = self.fixture.get("/readyz")
        self.assertEqual((response.status, response.body), (503, b"[-]listener lan not bound\nnot ready\n"))

    def test_ready_in_detail(self):
        """Every check in a line; a blocked provider is told and changes nothing."""
        response = self.fixture.get("/readyz?verbose")
        self.assertEqual(response.status, 200)
        self.assertEqual(
            response.body.decode().splitlines(),
            [
                "[+]spool ok",
                "[+]listener lan ok",
                "[i]provider graph ups@example.com is blocked, 3 waiting: the client secret has expired",
                "ok",
            ],
        )

    def test_a_check_may_be_left_out(self):
        """``exclude`` takes it out of the verdict, for this request only."""
        self.fixture.checks["listener lan"] = "not bound"
        self.assertEqual(self.fixture.get("/readyz?exclude=listener%20lan").status, 200)
        self.assertEqual(self.fixture.get("/readyz").status, 503)

    def test_detail_survives_a_broken_spool(self):
        """The checks are shown even if the spool cannot be asked."""
        self.fixture.spool.error = OSError("disk on fire")
        self.assertEqual(self.fixture.get("/readyz?verbose").status, 200)
        self.assertEqual(self.fixture.events.of("spool.failed")[0]["reason"], "disk on fire")

    def test_started_when_recovery_is_over(self):
        """Only the check ``recovery`` counts."""
        self.fixture.checks["listener lan"] = "not bound"
        self.assertEqual(self.fixture.get("/startupz").status, 200)
        self.fixture.checks["recovery"] = "reading the spool"
        self.assertEqual(self.fixture.get("/startupz").status, 503)

    def test_health_has_the_shape_of_the_relays_before_us(self):
        """Name, status, version, uptime, time and numbers; a real verdict in the status code."""
        self.fixture.relay.metrics("message.delivered", provider="acs", count=2)
        for path in ("/health", "/ready", "/healthz"):
            answer = self.fixture.get(path).json
            metrics = answer.pop("metrics")
            self.assertEqual(
                answer,
                {
                    "name": "smtprelay",
                    "status": "ok",
                    "version": VERSION,
                    "uptime_seconds": 100.0,
                    "timestamp": "2026-09-21T14:13:20.000+00:00",
                },
            )
            self.assertEqual((metrics["emails_sent_total"], metrics["connections_active"]), (2, 0))
        self.fixture.checks["spool"] = "full"
        response = self.fixture.get("/health")
        self.assertEqual((response.status, response.json["status"]), (503, "degraded"))

    def test_only_what_is_served_is_there(self):
        """A health endpoint has neither API nor page nor metrics."""
        for path in ("/metrics", "/api/v1/status", "/"):
            self.assertEqual(self.fixture.get(path).status, 404)

    def test_an_unknown_part_is_a_mistake(self):
        """A misspelt part does not start."""
        with self.assertRaises(KeyError):
            Fixture(("helath",))


class MetricsTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture(("metrics",))

    def test_the_spool_is_asked_at_each_scrape(self):
        """Its gauges and readiness are as fresh as the answer."""
        self.fixture.checks["spool"] = "full"
        body = self.fixture.get("/metrics").body.decode()
        self.assertIn('smtprelay_spool_deliveries{state="deferred"} 12.0\n', body)
        self.assertIn('smtprelay_provider_up{provider="graph"} 0.0\n', body)
        self.assertIn("smtprelay_ready 0.0\n", body)
        self.fixture.checks["spool"] = None
        self.assertIn("smtprelay_ready 1.0\n", self.fixture.get("/metrics").body.decode())

    def test_a_broken_spool_does_not_take_the_rest(self):
        """Its numbers are missing rather than old, the others are there."""
        self.fixture.get("/metrics")
        self.fixture.spool.error = OSError("disk on fire")
        response = self.fixture.get("/metrics")
        self.assertEqual(response.status, 200)
        self.assertNotIn(b"smtprelay_spool_deliveries{", response.body)
        self.assertIn(b"smtprelay_build_info{", response.body)

    def test_negotiation(self):
        """Text for browsers and old scrapers, OpenMetrics and the bridge's JSON for who asks."""
        kinds = {
            "*/*": "text/plain; version=",
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5": "application/openmetrics-text",
            "application/json": "application/json",
        }
        for accept, kind in kinds.items():
            response = self.fixture.get("/metrics", headers={"Accept": accept})
            self.assertTrue(response.headers["content-type"].startswith(kind), accept)
        self.assertEqual(json.loads(response.body)["uptime_seconds"], 100.0)
