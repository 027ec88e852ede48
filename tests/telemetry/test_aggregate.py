"""The metrics of several processes are those of one relay."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.telemetry.aggregate import Gathered
from smtprelay.telemetry.exposition import bridge_numbers
from smtprelay.telemetry.metrics import Metrics


def exposition(*events: tuple[str, dict[str, object]], ready: bool = True) -> str:
    """Return what a worker tells that has heard ``events``."""
    metrics = Metrics(CollectorRegistry(), seconds=lambda: 1000.0)
    metrics.ready(ready)
    for event, fields in events:
        metrics(event, **fields)
    return generate_latest(metrics.registry).decode()


QUEUED = ("message.queued", {"listener": "lan", "size": 2000, "count": 2})
OPENED = ("session.open", {"listener": "lan"})
DELIVERED = ("message.delivered", {"provider": "out", "count": 1, "age": 0.2})
BLOCKED = ("lane.blocked", {"provider": "out", "lane": ""})
OPEN = ("lane.unblocked", {"provider": "out", "lane": ""})


class GatheredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gathered = Gathered(CollectorRegistry())
        self.registry = CollectorRegistry()
        self.registry.register(self.gathered)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"smtprelay_{name}", labels)

    def test_what_grows_is_added_up(self) -> None:
        """Counters and histograms are sums, each series by itself."""
        self.gathered.take(1, exposition(QUEUED, DELIVERED))
        self.gathered.take(2, exposition(QUEUED, QUEUED))
        self.assertEqual(self.value("messages_received_total", listener="lan"), 3)
        self.assertEqual(self.value("message_size_bytes_sum", listener="lan"), 6000)
        self.assertEqual(self.value("message_size_bytes_bucket", listener="lan", le="4096.0"), 3)
        self.assertEqual(self.value("delivery_recipients_total", provider="out", result="delivered"), 1)

    def test_a_worker_that_is_asked_again(self) -> None:
        """What it tells takes the place of what it told before."""
        self.gathered.take(1, exposition(QUEUED))
        self.gathered.take(1, exposition(QUEUED, QUEUED))
        self.assertEqual(self.value("messages_received_total", listener="lan"), 2)

    def test_a_worker_that_is_gone(self) -> None:
        """What it counted stays, also when its successor begins at nothing; its sessions are gone."""
        self.gathered.take(1, exposition(QUEUED, OPENED))
        self.gathered.worker_ended(1)
        self.gathered.worker_ended(1)
        self.assertEqual(self.value("messages_received_total", listener="lan"), 1)
        self.assertIsNone(self.value("smtp_connections_open", listener="lan"))
        self.gathered.take(1, exposition(QUEUED))
        self.assertEqual(self.value("messages_received_total", listener="lan"), 2)
        self.gathered.worker_ended(1)
        self.assertEqual(self.value("messages_received_total", listener="lan"), 2)

    def test_who_asked(self) -> None:
        """That we have asked a worker is not counted: a request counts where it came in."""
        served = ("http.request", {"route": "/metrics", "method": "GET", "code": 200})
        self.gathered.take(1, exposition(served))
        self.assertIsNone(self.value("http_requests_total", handler="/metrics", method="GET", code="200"))

    def test_gauges(self) -> None:
        """Sessions are added up; a provider is up if no worker found it blocked; one ready worker will do."""
        self.gathered.take(1, exposition(OPENED, BLOCKED, ready=False))
        self.gathered.take(2, exposition(OPENED, OPEN))
        self.assertEqual(self.value("smtp_connections_open", listener="lan"), 2)
        self.assertEqual(self.value("provider_up", provider="out"), 0)
        self.assertEqual(self.value("provider_blocked_lanes", provider="out"), 1)
        self.assertEqual(self.value("ready"), 1)

    def test_each_series_is_there_once(self) -> None:
        """Whatever the order of its labels was, and in the text that a scraper reads."""
        own = CollectorRegistry()
        gauge = Gauge("smtprelay_build_info", "x", ["version", "python", "twisted"], registry=own)
        gauge.labels("1", "2", "3").set(1)
        gathered = Gathered(own)
        labels = 'twisted="3",python="2",version="1"'
        gathered.take(1, f"# TYPE smtprelay_build_info gauge\nsmtprelay_build_info{{{labels}}} 1.0\n")
        registry = CollectorRegistry()
        registry.register(gathered)
        lines = [each for each in generate_latest(registry).decode().splitlines() if each[0] != "#"]
        self.assertEqual(lines, ['smtprelay_build_info{python="2",twisted="3",version="1"} 1.0'])

    def test_the_numbers_of_the_bridge(self) -> None:
        """They, too, are those of all workers."""
        self.gathered.take(1, exposition(OPENED, DELIVERED))
        self.gathered.take(2, exposition(OPENED))
        numbers = bridge_numbers(self.registry)
        self.assertEqual((numbers["connections_active"], numbers["emails_sent_total"]), (2, 1))
