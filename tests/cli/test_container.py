"""How a command within a container finds the relay that runs there."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli.locate import settings_in_container
from smtprelay.cli.options import CliSettings


class ContainerTests(SynchronousTestCase):
    def found(self, *command: str, settings: CliSettings | None = None) -> CliSettings:
        """Return what is found where process 1 has this command line."""
        process = Path(self.mktemp())
        process.write_bytes(b"".join(word.encode() + b"\0" for word in command))
        return settings_in_container(settings or CliSettings(output="json"), process)

    def test_as_it_was_started(self) -> None:
        """The configuration and settings of the command line are found, however they are spelled."""
        for words in (
            ["-c", "/x.yaml", "--set", "a.b=c"],
            ["--config", "/x.yaml", "--set=a.b=c"],
            ["--set", "a.b=c", "--config=/x.yaml"],
            ["-c/x.yaml", "--set=a.b=c"],
        ):
            for before in (
                ["/opt/python", "/opt/smtprelay/bin/twistd", "--nodaemon", "--pidfile=", "smtprelay"],
                ["/sbin/docker-init", "--", "twistd", "-n", "smtprelay"],
                ["/opt/smtprelay/bin/smtprelay", "run"],
                ["python", "-m", "smtprelay", "run"],
            ):
                found = self.found(*before, *words)
                self.assertEqual((found.config, found.sets, found.output), ("/x.yaml", ("a.b=c",), "json"))

    def test_without_options(self) -> None:
        """A relay that was started without any is looked for in the usual places."""
        self.assertEqual(self.found("twistd", "smtprelay"), CliSettings(output="json"))

    def test_another_process(self) -> None:
        """On a machine process 1 is no relay, and says nothing; so too if it cannot be seen."""
        self.assertEqual(self.found("/sbin/init", "-c", "x"), CliSettings(output="json"))
        self.assertEqual(settings_in_container(CliSettings(), Path("/nowhere/cmdline")), CliSettings())

    def test_who_names_a_relay(self) -> None:
        """What a person names is meant, not what runs here."""
        for named in (
            CliSettings(config="/y.yaml"),
            CliSettings(sets=("x=y",)),
            CliSettings(endpoint="/sock"),
        ):
            self.assertEqual(self.found("twistd", "smtprelay", "-c", "/x.yaml", settings=named), named)
