import os
from pathlib import Path

from tests.cli.fakes import CommandCase, FakeRelay, Ran

WELL = {"GET /livez": (200, b"ok"), "GET /readyz": (200, b"ok")}
STARTING = {"GET /livez": (200, b"ok"), "GET /readyz": (503, b"spool: not open")}


class HealthTests(CommandCase):
    def test_well(self) -> None:
        """A relay that is well is exit 0 and not a word."""
        relay = FakeRelay(self, WELL)
        for argv in ((), ("--live",), ("--ready",)):
            ran = self.run_command("healthcheck", "--endpoint", relay.endpoint, *argv)
            self.assertEqual(ran, Ran(0, "", ""))
        self.assertEqual([asked.path for asked in relay.asked], ["/livez", "/livez", "/readyz"])

    def test_not_ready(self) -> None:
        """A relay that is starting is live but not ready."""
        relay = FakeRelay(self, STARTING)
        statuses = [
            self.run_command("healthcheck", "--endpoint", relay.endpoint, question).status
            for question in ("--live", "--ready")
        ]
        self.assertEqual(statuses, [0, 1])

    def test_nobody(self) -> None:
        """No relay is exit 1 and not a word, with a URL too."""
        ran = self.run_command("healthcheck", "--endpoint", self.mktemp(), "--url", "http://127.0.0.1:1")
        self.assertEqual(ran, Ran(1, "", ""))

    def test_url(self) -> None:
        """The URL is asked when the socket does not answer, and only then."""
        relay, site = FakeRelay(self, WELL), FakeRelay(self, WELL, tcp=True)
        argv = ("healthcheck", "--url", site.endpoint)
        self.assertEqual(self.run_command(*argv, "--endpoint", self.mktemp()).status, 0)
        self.assertEqual(len(site.asked), 1)
        self.run_command(*argv, "--endpoint", relay.endpoint)
        self.assertEqual(len(site.asked), 1)

    def test_usual_place(self) -> None:
        """Without any option the socket is found where the service has its runtime folder."""
        relay = FakeRelay(self, WELL)
        Path(self.folder).mkdir()
        Path(relay.endpoint).rename(Path(self.folder) / "control.sock")
        os.environ["RUNTIME_DIRECTORY"] = self.folder
        self.addCleanup(os.environ.pop, "RUNTIME_DIRECTORY")
        self.assertEqual(self.run_command("healthcheck").status, 0)
        self.assertEqual(len(relay.asked), 1)
