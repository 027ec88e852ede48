import tempfile
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.cli import locate
from smtprelay.cli.exit_codes import CliError
from smtprelay.cli.options import CliSettings
from smtprelay.config import ConfigError, load

CONFIG = """
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {local: {type: capture, path: captured}}
"""


class PlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.folder)
        self.file = self.folder / "relay.yaml"
        self.settings = CliSettings(config=str(self.file))

    def configured(self, more: str) -> None:
        self.file.write_text(CONFIG + more)

    def endpoint(self, **environ: str) -> str:
        return locate.client(self.settings, environ).endpoint

    def test_given(self) -> None:
        """An endpoint that is given is taken; no configuration is read for it."""
        settings = CliSettings(endpoint="/x/control.sock", config="no such file")
        self.assertEqual(locate.client(settings, {}).endpoint, "/x/control.sock")

    def test_control(self) -> None:
        """``control_socket`` of the configuration comes before everything that lies around."""
        self.configured(f"control_socket: /x/y.sock\nspool: {{path: {self.folder}}}")
        (self.folder / "control.sock").touch()
        self.assertEqual(self.endpoint(RUNTIME_DIRECTORY=str(self.folder)), "/x/y.sock")

    def test_runtime_directory(self) -> None:
        """Without ``control_socket`` the socket is in the service's runtime folder, else beside the spool."""
        self.configured(f"spool: {{path: {self.folder}/spool}}")
        for name in ("run", "spool"):
            (self.folder / name).mkdir()
            (self.folder / name / "control.sock").touch()
        run = self.folder / "run"
        self.assertEqual(self.endpoint(RUNTIME_DIRECTORY=str(run)), f"{run}/control.sock")
        self.assertEqual(self.endpoint(), f"{self.folder}/spool/control.sock")

    def test_not_there_yet(self) -> None:
        """While there is no socket at all, the one beside the spool is named."""
        self.configured(f"spool: {{path: {self.folder}/spool}}")
        self.assertEqual(self.endpoint(), f"{self.folder}/spool/control.sock")

    def test_written_out(self) -> None:
        """A socket that is there, where the file says, is enough: nothing else is read, and may be wrong."""
        (self.folder / "spool").mkdir()
        socket = self.folder / "spool" / "control.sock"
        spool = "spool: {path: spool}\n"
        for more in (spool, f"{spool}control_socket: null\n", "control_socket: spool/control.sock\n"):
            self.configured(f"{more}spol: x\n")
            self.assertRaises(CliError, self.endpoint)
            socket.touch()
            self.assertEqual(self.endpoint(), str(socket), more)
            socket.unlink()

    def test_not_written_out(self) -> None:
        """A socket counts only if it is the relay's, by the environment and by what the file leaves out."""
        for name in ("spool", "other"):
            (self.folder / name).mkdir()
            (self.folder / name / "control.sock").touch()
        (self.folder / "control.sock").touch()
        other = f"{self.folder}/other"
        self.configured("spool: {path: spool}")
        self.assertEqual(self.endpoint(SMTPRELAY_SPOOL__PATH=other), f"{other}/control.sock")
        self.assertEqual(self.endpoint(SMTPRELAY_CONTROL_SOCKET="/x/y.sock"), "/x/y.sock")
        self.settings = CliSettings(config=str(self.file), sets=(f"spool.path={other}",))
        self.assertEqual(self.endpoint(), f"{other}/control.sock")
        self.settings = CliSettings(config=str(self.file))
        memory = "spool: {engine: memory, path: spool}"
        for more in ("", "spool:", "spool: x", "spool: [path]", memory, "spool: {lease: 30s}"):
            self.configured(more)
            self.assertFalse(self.endpoint().startswith(str(self.folder)), more)
        self.configured("spool: {path: 5}")
        self.assertEqual(self.endpoint(), f"{self.folder}/5/control.sock")
        for more in ("control_socket: [x]", "*a", "- a", "\x01", "[" * 20_000):
            self.configured(more)
            self.assertEqual(self.assertRaises(CliError, self.endpoint).status, 78, more[:20])

    def test_nobody_names_a_relay(self) -> None:
        """The machine's own relay is found by its socket, and no configuration is read."""
        (self.folder / "control.sock").touch()
        environ = {"RUNTIME_DIRECTORY": str(self.folder)}
        self.assertEqual(locate.client(CliSettings(), environ).endpoint, f"{self.folder}/control.sock")

    def test_named_by_the_environment(self) -> None:
        """SMTPRELAY_CONFIG names a relay, and then no other's socket will do."""
        self.configured("control_socket: /x/y.sock")
        (self.folder / "control.sock").touch()
        environ = {"RUNTIME_DIRECTORY": str(self.folder), "SMTPRELAY_CONFIG": str(self.file)}
        self.assertEqual(locate.client(CliSettings(), environ).endpoint, "/x/y.sock")

    def test_wrong_configuration(self) -> None:
        """A configuration that is wrong is exit 78 and its first problem, in one line."""
        self.configured("hostnam: x\nspol: {}\n")
        error = self.assertRaises(CliError, self.endpoint)
        self.assertEqual(error.status, 78)
        self.assertTrue(str(error).startswith(f"{self.file}:5:1: error: "), str(error))

    def test_broken(self) -> None:
        """A file that is no YAML says no socket: that of the service's folder is taken, if there."""
        self.configured("spool: {path: [")
        folder = str(self.folder)
        for environ in ({}, {"RUNTIME_DIRECTORY": folder}):
            error = self.assertRaises(CliError, locate.client, self.settings, environ)
            self.assertEqual(error.status, 78)
            self.assertIn("[CFG-SYNTAX]", str(error))
            self.assertIn("reached with --endpoint SOCKET", str(error))
        (self.folder / "control.sock").touch()
        self.assertEqual(self.endpoint(RUNTIME_DIRECTORY=folder), f"{folder}/control.sock")

    def test_another_setting_is_wrong(self) -> None:
        """What is wrong in another setting does not matter to a command that only looks for the relay."""
        self.configured(f"spool: {{path: {self.folder}}}\nworkers: none\nroutes: [{{via: [x]}}]\n")
        self.assertRaises(ConfigError, load, str(self.file), {}, alone=True)
        self.assertEqual(self.endpoint(), f"{self.folder}/control.sock")
        self.assertEqual(str(locate.location(self.settings, {})), str(self.folder))

    def test_without_a_spool(self) -> None:
        """A relay whose listeners are all synchronous has no spool, and its socket is not beside one."""
        self.file.write_text(CONFIG.replace("name: lan,", "name: lan, delivery: synchronous,"))
        self.assertEqual(locate.location(self.settings, {}), None)
        self.assertNotIn("/var/lib", self.endpoint())

    def test_secrets_that_are_not_ours(self) -> None:
        """The secrets that the configuration names need not be readable for whoever only asks."""
        secret = "password: {file: /no/such/file}"
        self.file.write_text(
            "control_socket: /x/y.sock\n"
            f"providers: {{m: {{type: smarthost, host: h, username: u, {secret}}}}}\n"
            'listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]\n'
        )
        self.assertRaises(ConfigError, load, str(self.file), {})
        self.assertEqual(self.endpoint(), "/x/y.sock")

    def test_spool(self) -> None:
        """The spool is the configuration's folder; there is none for a URL, or an endpoint on its own."""
        self.configured(f"spool: {{path: {self.folder}/spool}}")
        cases = {
            self.settings: f"{self.folder}/spool",
            self.settings._replace(endpoint="/x/control.sock"): f"{self.folder}/spool",
            self.settings._replace(endpoint="http://127.0.0.1:1"): "",
            CliSettings(endpoint="/x/control.sock"): "",
        }
        for settings, wanted in cases.items():
            self.assertEqual(str(locate.location(settings, {}) or ""), wanted, settings)
