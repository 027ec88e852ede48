import os
import socket
import tempfile
from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import load, setting_defaults
from smtprelay.model.route import Limits
from smtprelay.providers.smarthost.kind import SmarthostSettings
from tests.config.loading import HASH, SMALL, load_text, with_provider


def control(text: str, environ: dict[str, str]) -> str:
    """Return where the control socket of a configuration lies."""
    file = Path("smtprelay-control.yaml")
    file.write_text(text)
    return str(load(str(file), environ, alone=True).config.control_socket)


class CompleteTests(SynchronousTestCase):
    def test_machine(self) -> None:
        """The name is the machine's own, and bounces come from it."""
        config = load_text(SMALL).config
        self.assertEqual(config.hostname, socket.gethostname())
        self.assertEqual(config.bounces.from_, f"MAILER-DAEMON@{config.hostname}")

    def test_control_beside_no_spool(self) -> None:
        """Without a spool's folder the socket lies where its user may write; where nowhere is, in /run."""
        synchronous = SMALL.replace("name: lan", "delivery: synchronous").replace(
            "spool: {path: spool}\n", ""
        )
        postgres = SMALL.replace("path: spool", "engine: postgres, url: 'postgresql://db/mail'")
        memory = SMALL.replace("path: spool", "engine: memory")
        place = str(Path(self.mktemp()).absolute())
        Path(place).mkdir(parents=True)
        self.patch(setting_defaults, "RUNTIME", f"{place}/nowhere/smtprelay")
        self.patch(tempfile, "tempdir", f"{place}/nowhere")
        for text in (synchronous, postgres, memory):
            self.assertEqual(control(text, {}), f"{place}/nowhere/smtprelay/control.sock")
            self.assertEqual(control(text, {"XDG_RUNTIME_DIR": place}), f"{place}/smtprelay/control.sock")
            self.assertEqual(control(text, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}), "/run/a/control.sock")
        self.patch(tempfile, "tempdir", place)
        self.assertEqual(control(postgres, {}), f"{place}/smtprelay-{os.getuid()}/control.sock")
        self.patch(setting_defaults, "RUNTIME", place)
        self.assertEqual(control(postgres, {"XDG_RUNTIME_DIR": "/"}), f"{place}/control.sock")

    def test_control(self) -> None:
        """The socket lies in systemd's folder, else beside the spool, unless it is given."""
        config = load_text(SMALL).config
        self.assertEqual(config.control_socket, config.spool.path + "/control.sock")
        config = load_text(SMALL, {"RUNTIME_DIRECTORY": "/run/a:/run/b"}).config
        self.assertEqual(config.control_socket, "/run/a/control.sock")
        self.assertEqual(load_text(SMALL + "control_socket: /tmp/y\n").config.control_socket, "/tmp/y")

    def test_spool(self) -> None:
        """There is one, unless each client waits for the verdict and nobody asked for it."""
        spool = load_text(SMALL).config.spool
        assert spool is not None
        synchronous = SMALL.replace("name: lan", "name: lan, delivery: synchronous")
        control = "control_socket: control.sock\n"
        without = synchronous.replace("spool: {path: spool}\n", "") + control
        self.assertIsNone(load_text(without).config.spool)
        self.assertIsNone(load_text(without + "spool:\n").config.spool)
        self.assertIsNotNone(load_text(synchronous).config.spool)
        both = without.replace("listeners: [", "listeners: [{endpoint: 'tcp:25:interface=127.0.0.1'}, ")
        usual = load_text(both, sets=["spool.path=spool"]).config.spool
        assert usual is not None
        self.assertEqual(usual.lease, spool.lease)
        self.assertIsNotNone(load_text(without, {"SMTPRELAY_SPOOL__PATH": "spool"}).config.spool)

    def test_listener(self) -> None:
        """A listener is closed to others, limited, and called as its endpoint."""
        text = SMALL.replace("name: lan, ", "")
        [listener] = load_text(text).config.listeners
        self.assertEqual(listener.name, listener.endpoint)
        self.assertEqual(listener.allow_from, (ip_network("127.0.0.0/8"), ip_network("::1")))
        limits = listener.limits
        self.assertEqual((limits.size, limits.recipients), (25 << 20, 1000))
        self.assertEqual((limits.connections, limits.connections_per_client), (1000, 50))

    def test_checkers(self) -> None:
        """Users are checked where there are any and nothing else is said."""
        users = f"users: [{{name: u, password_hash: '{HASH}'}}]\n"
        self.assertEqual(load_text(SMALL).config.listeners[0].auth.checkers, ())
        self.assertEqual(load_text(SMALL + users).config.listeners[0].auth.checkers, ("users",))
        text = SMALL.replace("name: lan", "name: lan, auth: {checkers: []}") + users
        self.assertEqual(load_text(text).config.listeners[0].auth.checkers, ())

    def test_routes(self) -> None:
        """A route without a name is called by its position."""
        config = load_text(
            SMALL + "routes: [{match: {sender: [a@b]}, via: [local]}, {via: [local]}]\n"
        ).config
        self.assertEqual([route.name for route in config.routes], ["route1", "route2"])

    def test_smarthost(self) -> None:
        """The port follows from how TLS is spoken; we greet with the hostname."""
        for tls, port in {"starttls": 587, "implicit": 465, "none": 25}.items():
            text = "hostname: a.example\n" + with_provider(f"type: smarthost, host: h, tls: {tls}")
            provider = load_text(text).config.providers["more"]
            assert isinstance(provider, SmarthostSettings)
            self.assertEqual((provider.port, provider.helo), (port, "a.example"))

    def test_limits(self) -> None:
        """A limit that is not given is the documented one; one that is given does not hide the other."""
        environ = {"C": "endpoint=https://x.example;accesskey=a2V5"}
        for given, expected in {
            "": Limits(request=10_000_000, recipients=50),
            ", limits: {size: 1MB}": Limits(size=1_000_000, request=10_000_000, recipients=50),
            ", limits: {request: 20MB}": Limits(request=20_000_000, recipients=50),
        }.items():
            text = with_provider("type: acs, sender: a@b, connection_string: {env: C}" + given)
            self.assertEqual(load_text(text, environ).config.providers["more"].limits, expected)
