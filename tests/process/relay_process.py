"""
The real relay in a process of its own, with a spool that survives it.

A :class:`RelayProcess` is one place on the disk where a relay is started, killed and started
again; each life is a :class:`tests.process.program.Program`.
"""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from smtprelay.cli.client import ApiClient
from tests.process.acs_server import AcsServer
from tests.process.conversation import Conversation
from tests.process.program import Program

#: A relay for tests; ``{providers}`` and what follows is each test's own.
CONFIG = """\
hostname: relay.test
listeners: [{{name: lan, endpoint: "tcp:0:interface=127.0.0.1"{listener}}}]
providers: {{{provider}}}
http: [{{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}}]
spool: {{path: spool}}
routes: [{{name: all, via: [out], retry: {{first: 200ms, jitter: 0}}}}]
bounces: {{from: MAILER-DAEMON@relay.test}}
"""

#: A spool in the relay's own folder.
HERE = "{path: spool}"

ACS = (
    "out: {{type: acs, connection_string: {{file: acs.key}}, sender: noreply@mail.test,"
    " accept_on: {on}{more}}}"
)


class RelayProcess:
    """
    A relay at ``folder``.

    :ivar life: the process; of the last life if it has ended.
    :ivar environ: what the next life has in its environment beside the usual.
    :cvar has_workers: its work is done by child processes.
    :ivar is_imported: the next life is an interpreter of its own, for what a start shows, and not forked.
    :ivar smtp: the port of its listener.
    :ivar http: the URL of its health and metrics.
    """

    has_workers = False

    def __init__(self, folder: Path, config: str) -> None:
        self.life: Program | None = None
        self.smtp = 0
        self.http = ""
        self.environ: dict[str, str] = {}
        self.is_imported = False
        self.folder = folder
        self.config = folder / "relay.yaml"
        self.config.write_text(config)

    @classmethod
    def of(cls, folder: Path, provider: str, *, listener: str = "", spool: str = HERE) -> "RelayProcess":
        """Return a relay that sends everything to ``provider``, called ``out``."""
        config = CONFIG.format(provider=provider, listener=listener).replace(HERE, spool)
        return cls(folder, config)

    @classmethod
    def to_acs(
        cls,
        folder: Path,
        acs: AcsServer,
        *,
        accept_on: str = '"202"',
        listener: str = "",
        spool: str = HERE,
        more: str = "",
    ) -> "RelayProcess":
        """Return a relay that sends everything to ``acs``; its secret is in the file ``acs.key``."""
        (folder / "acs.key").write_text(acs.connection_string())
        return cls.of(folder, ACS.format(on=accept_on, more=more), listener=listener, spool=spool)

    def launch(self, *wrapping: str) -> Program:
        """Start a life, with options of :mod:`tests.process.wrapped_relay`; it need not become ready."""
        entry = ["tests.process.wrapped_relay", *wrapping, "--"] if wrapping else ["smtprelay"]
        command = ["-m", *entry, "run", "-c", str(self.config)]
        if self.is_imported or "LD_PRELOAD" in self.environ:
            self.life = Program.python(command, self.folder, **self.environ)
        else:
            self.life = Program.forked(command, self.folder, workers=self.has_workers, **self.environ)
        return self.life

    async def start(self, *wrapping: str) -> "RelayProcess":
        """Start a life and wait until it is ready."""
        return await self.ready(self.launch(*wrapping))

    async def ready(self, life: Program) -> "RelayProcess":
        """Wait until ``life`` is ready."""
        self.life = life
        told = await life.says(r'"ready: lan on [\d.]+:(\d+), http1 on ([\d.]+:\d+)')
        self.smtp, self.http = int(told[1]), f"http://{told[2]}"
        return self

    async def stop(self) -> int:
        """End it as a service manager does; return its exit status."""
        return await self.life.stop(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as the kernel does, if it was ever started."""
        if self.life is not None:
            await self.life.stop(signal.SIGKILL)

    def worker(self) -> int:
        """Return the process id of its MIME worker; 0 while there is none."""
        pid = self.life.transport.pid if self.life else None
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return 0
        return int(children[0]) if children else 0

    async def greet(self) -> Conversation:
        """Return a session with it that has said EHLO."""
        talk = await Conversation.open(self.smtp)
        await talk.say("EHLO client.test")
        return talk

    async def send(self, content: bytes, *recipients: str, sender: str = "app@example.org") -> str:
        """Hand one mail in, in a session of its own; return the reply."""
        talk = await self.greet()
        reply = await talk.mail(content, *recipients, sender=sender)
        await talk.close()
        return reply

    async def cli(self, *arguments: str) -> Any:
        """Run ``smtprelay ARGUMENTS -o json`` against it and return what it finds."""
        command = ["-m", "smtprelay", "-c", str(self.config), "-o", "json", *arguments]
        program = Program.forked(command, self.folder)
        status = await program.ends()
        if status:
            raise AssertionError(f"{arguments}: exit status {status}: {program.err.decode()}")
        return json.loads(program.out)["data"]

    async def ask(self, path: str) -> Any:
        """
        Return what its API says at ``path`` over the control socket, as the command line would.

        For what is asked again and again: a command costs more.
        """
        beside = (self.folder / "spool" / "control.sock", self.folder / "control.sock")
        socket = next((each for each in beside if each.exists()), beside[0])
        return await deferToThread(ApiClient(str(socket)).get, f"/api/v1/{path}")

    async def queued(self) -> Sequence[dict[str, Any]]:
        """Return what waits in its queue, whether it runs or not."""
        ended = self.life.status is not None
        found = await (self.cli("queue", "list") if ended else self.ask("queue"))
        return list(found["deliveries"])

    async def status(self) -> dict[str, Any]:
        """Return what ``smtprelay status`` shows."""
        return dict(await self.ask("status"))

    async def metric(self, name: str) -> float:
        """Return the value of the metric whose name and labels are ``name``."""
        answer = await treq.get(f"{self.http}/metrics", persistent=False, reactor=reactor)
        for line in (await answer.text()).splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")


def on_postgres(folder: Path, url: str, *, lease: str = "1s") -> str:
    """Return the setting of a spool at ``url``; the secret is in the file ``spool.url`` in ``folder``."""
    (folder / "spool.url").write_text(url)
    return f"{{engine: postgres, url: {{file: spool.url}}, lease: {lease}}}\ncontrol_socket: control.sock"


def message(subject: str, to: str = "user@example.com", text: str = "hello", number: str = "") -> bytes:
    """Return a small mail; ``number`` makes a Message-ID."""
    identity = f"Message-ID: <{number}@client.test>\r\n" if number else ""
    return (f"From: app@example.org\r\nTo: {to}\r\nSubject: {subject}\r\n{identity}\r\n{text}\r\n").encode()
