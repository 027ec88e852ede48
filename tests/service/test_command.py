from twisted.application.service import Application, IServiceCollection, Service
from twisted.logger import ILogObserver
from twisted.trial.unittest import SynchronousTestCase

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
