from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Application, IServiceCollection, Service
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.model import Privacy
from smtprelay.service import command
from smtprelay.service.command import Daemon


class DaemonTests(SynchronousTestCase):
    def test_one_log(self) -> None:
        """Under ``twistd`` nothing is written but by the relay's own log."""
        application = Application("smtprelay")
        Daemon().setServiceParent(application)
        observer = application.getComponent(ILogObserver)
        self.assertTrue(ILogObserver.providedBy(observer))
        self.assertIsNone(observer({"log_format": "another line"}))

    def test_runs_what_it_holds(self) -> None:
        """The relay in it starts and stops with the application."""
        application, relay, daemon = Application("smtprelay"), Service(), Daemon()
        relay.setServiceParent(daemon)
        daemon.setServiceParent(application)
        IServiceCollection(application).startService()
        self.assertTrue(relay.running)
        self.successResultOf(IServiceCollection(application).stopService())
        self.assertFalse(relay.running)


class LogTests(SynchronousTestCase):
    def test_processes_that_share_a_log_write_line_by_line(self) -> None:
        """Without a reactor no line waits for others, with which one of another process could tear it."""
        file = Path(self.mktemp())
        logging = SimpleNamespace(level="info", levels={}, format="json", file=str(file))
        config: Any = SimpleNamespace(logging=logging, privacy=Privacy())
        before = set(globalLogPublisher._observers)
        log = command.start_logging(config)
        self.addCleanup(
            lambda: [globalLogPublisher.removeObserver(o) for o in {*globalLogPublisher._observers} - before]
        )
        for count in (1, 2):
            log("relay.stop", reason="x")
            self.assertEqual(len(file.read_text().splitlines()), count)
        self.assertEqual(file.stat().st_mode & 0o137, 0, "a log is for its owner and group")
