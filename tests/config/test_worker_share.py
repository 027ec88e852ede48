from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import shares, worker_share
from smtprelay.model.route import Window
from tests.config.loading import SMALL, load_text

STATELESS = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1", delivery: synchronous}]
providers: {out: {type: capture, path: captured, concurrency: 7, rate: [1/s, 30/min]}}
"""


class WorkerShareTests(SynchronousTestCase):
    def test_concurrency(self) -> None:
        """It is divided without a rest that nobody has, and nobody has none."""
        for workers in (2, 3, 7):
            config = load_text(STATELESS + f"workers: {workers}\n").config
            parts = [worker_share(config, n).providers["out"].concurrency for n in range(1, workers + 1)]
            self.assertEqual((sum(parts), max(parts) - min(parts) <= 1, min(parts) > 0), (7, True, True))

    def test_rates(self) -> None:
        """The window is stretched: a rate of one a second can be shared, too."""
        config = load_text(STATELESS + "workers: 3\n").config
        windows = (Window(count=1, seconds=3.0), Window(count=30, seconds=180.0))
        for number in (1, 2, 3):
            self.assertEqual(worker_share(config, number).providers["out"].rate, windows)
        expected = {"out": {"concurrency": [3, 2, 2], "rate": ["1/3s", "30/3m"]}}
        self.assertEqual(shares(config), expected)

    def test_nothing_to_divide(self) -> None:
        """One worker has all, and what a spool counts for all workers is whole for each."""
        shared = SMALL.replace(
            "spool: {path: spool}", "spool: {engine: postgres, url: {env: URL}}\nworkers: 2"
        )
        for config in (
            load_text(STATELESS).config,
            load_text(shared, {"URL": "postgresql://db"}).config,
        ):
            self.assertIs(worker_share(config, 1), config)
            self.assertEqual(shares(config), {})
