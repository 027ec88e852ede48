import signal
import sys
from types import ModuleType
from typing import Any

from tests.cli.fakes import CommandCase


class StartTests(CommandCase):
    """The two commands that become the relay; the relay itself is not started here."""

    def stand_in(self, name: str) -> list[Any]:
        """Put a module with a ``run`` that keeps its arguments in the place of ``name``."""
        calls: list[Any] = []
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        module = ModuleType(name)

        def run(*args: object, **kwargs: object) -> int:
            calls.append((args, kwargs))
            return 75

        module.run = run  # what the command imports
        before = sys.modules.get(name)
        sys.modules[name] = module
        self.addCleanup(
            lambda: sys.modules.pop(name) if before is None else sys.modules.update({name: before})
        )
        return calls

    def test_run(self) -> None:
        """``run`` hands on the configuration and each --set, and its exit status is the relay's."""
        calls = self.stand_in("smtprelay.service")
        ran = self.run_command("--set", "a=1", "run", "-c", "relay.yaml", "--set", "b.c=2")
        self.assertEqual(ran.status, 75)
        self.assertEqual(calls, [(("relay.yaml", ("a=1", "b.c=2")), {})])

    def test_run_without_configuration(self) -> None:
        """Without -c the relay looks for its configuration itself."""
        calls = self.stand_in("smtprelay.service")
        self.run_command("run")
        self.assertEqual(calls, [((None, ()), {})])

    def test_demo(self) -> None:
        """``demo`` takes its ports, or those that the README names."""
        calls = self.stand_in("smtprelay.demo")
        self.run_command("demo")
        self.run_command("demo", "--smtp-port", "0", "--http-port", "8000")
        wanted = [{"smtp_port": 2525, "http_port": 8025}, {"smtp_port": 0, "http_port": 8000}]
        self.assertEqual([kwargs for _, kwargs in calls], wanted)

    def test_demo_with_an_impossible_port(self) -> None:
        """A port that does not exist is an error of usage."""
        calls = self.stand_in("smtprelay.demo")
        self.assertEqual(self.run_command("demo", "--smtp-port", "70000").status, 2)
        self.assertEqual(calls, [])
