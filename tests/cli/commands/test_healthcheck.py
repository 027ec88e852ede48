import os
from pathlib import Path

from tests.cli.fakes import CommandCase, FakeRelay, Ran

WELL = {"GET /livez": (200, b"ok"), "GET /readyz": (200, b"ok")}
STARTING = {"GET /livez": (200, b"ok"), "GET /readyz": (503, b"[-]spool not open\nnot ready\n")}


class HealthTests(CommandCase):
    def test_well(self) -> None:
        """A relay that is well is exit 0, and one line says what was asked and where."""
        relay = FakeRelay(self, WELL)
        live, ready = "live: the process answers", "ready: the relay accepts mail"
        for argv, told in (((), live), (("--live",), live), (("--ready",), ready)):
            ran = self.run_command("healthcheck", "--endpoint", relay.endpoint, *argv)
            self.assertEqual(ran, Ran(0, f"{told} ({relay.endpoint})\n", ""))
        self.assertEqual([asked.path for asked in relay.asked], ["/livez", "/livez", "/readyz"])

    def test_not_ready(self) -> None:
        """A relay that is starting is live but not ready, and the checks that fail are named."""
        relay = FakeRelay(self, STARTING)
        live, ready = (
            self.run_command("healthcheck", "--endpoint", relay.endpoint, question)
            for question in ("--live", "--ready")
        )
        self.assertEqual(live.status, 0)
        self.assertEqual(ready, Ran(1, f"not ready: spool not open ({relay.endpoint})\n", ""))

    def test_something_else(self) -> None:
        """What is no relay of ours is told with what it answered."""
        relay = FakeRelay(self, {})
        ran = self.run_command("healthcheck", "--endpoint", relay.endpoint, "--ready")
        self.assertEqual(ran, Ran(1, f"not ready: it answers 404 ({relay.endpoint})\n", ""))

    def test_nobody(self) -> None:
        """No relay is exit 1 and one line about where nobody answers, with a URL too."""
        ran = self.run_command("healthcheck", "--endpoint", self.mktemp(), "--url", "http://127.0.0.1:1")
        self.assertEqual((ran.status, ran.out.count("\n"), ran.err), (1, 1, ""))
        self.assertIn("not live: the relay is not running: nothing answers at http://127.0.0.1:1", ran.out)

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
