"""
A relay that is started again when it dies: one worker, with the spool of one process.
"""

import contextlib
import os
import re
import select
import signal
import socket
import ssl
from pathlib import Path

import treq
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.policy.password_hash import hash_password
from smtprelay.testing.certificates import make_certificate
from tests.process.program import Program, eventually
from tests.process.relay_process import message
from tests.process.service.supervised import SupervisedRelay
from tests.process.service.test_shutdown import AT_ONCE, TWISTD
from tests.process.stage import Stage

NOBODY = "out: {type: smarthost, host: 127.0.0.1, port: 1, tls: none}"

TOKENS = """\
http:
  - {{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}}
  - {{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [api], tokens: [{{name: look, hash: "{hash}"}}]}}
"""


def is_there(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class SuperviseCase(Stage):
    def relay(self, **more: str) -> SupervisedRelay:
        return self.ending(SupervisedRelay.with_workers(self.folder, **more))

    def captured(self) -> int:
        """Return how many mails have come out."""
        return len(list(self.folder.glob("captured/new/*")))

    async def gone(self, pid: int) -> None:
        """Wait until a process has ended."""
        await eventually(lambda: not is_there(pid), f"the end of {pid}")

    def ends_with(self, pid: int) -> None:
        """See that a process does not outlive the test."""

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        self.addCleanup(kill)


class DeathTests(SuperviseCase, TestCase):
    async def test_a_worker_that_dies(self) -> None:
        """It is started again, says so, takes mail at the same port; what was counted before still counts."""
        relay = await self.relay().start()
        self.assertIn("250 2.0.0", await relay.send(message("one"), "user@example.com"))
        await eventually(lambda: self.captured() == 1, "the mail")
        self.assertEqual(await relay.metric('smtprelay_messages_received_total{listener="lan"}'), 1)
        pid = await relay.end_worker()
        await relay.life.says(rf'"event":"worker.died".*"pid":{pid},"reason":"killed by SIGKILL","deaths":1')
        self.assertIn("250 2.0.0", await relay.send(message("two"), "user@example.com"))
        await eventually(lambda: self.captured() == 2, "the second mail")
        self.assertEqual(await relay.metric('smtprelay_messages_received_total{listener="lan"}'), 2)
        self.assertEqual(await relay.metric('smtprelay_worker_deaths_total{worker="1"}'), 1)
        self.assertNotEqual(await relay.pid(), pid)
        self.assertEqual(await relay.stop(), 0)

    async def test_not_ready_meanwhile(self) -> None:
        """While no worker takes mail the relay is not ready, and lives."""
        relay = await self.relay().start()
        pid = await relay.pid()
        os.kill(pid, signal.SIGSTOP)
        self.ends_with(pid)
        answer = await treq.get(f"{relay.http}/readyz", persistent=False, reactor=reactor)
        self.assertEqual(
            (answer.code, await answer.text()), (503, "[-]workers no worker answers\nnot ready\n")
        )
        answer = await treq.get(f"{relay.http}/livez", persistent=False, reactor=reactor)
        self.assertEqual(answer.code, 200)

    async def test_a_worker_that_stands_still(self) -> None:
        """It is killed, says the log, and counts as one that died; another one takes mail."""
        relay = await self.relay().start("--look-every", "0.5")
        pid = await relay.pid()
        os.kill(pid, signal.SIGSTOP)
        self.ends_with(pid)
        await relay.life.says(rf'"event":"worker.unresponsive".*"pid":{pid}')
        await relay.life.says(rf'"event":"worker.died".*"pid":{pid},"reason":"killed by SIGKILL","deaths":1')
        self.assertIn("250 2.0.0", await relay.send(message("after"), "user@example.com"))
        self.assertEqual(relay.life.out.count(b"worker.unresponsive"), 1)
        self.assertEqual(await relay.stop(), 0)

    async def test_one_death_too_many(self) -> None:
        """More deaths within an hour than allowed end everything in order, with 1."""
        relay = await self.relay(more="supervise: {restarts_per_hour: 2}\n").start()
        for deaths in (1, 2, 3):
            await relay.end_worker()
            await relay.life.says(rf'"event":"worker.died".*"deaths":{deaths}')
            if deaths < 3:
                await relay.life.says(rf'(?s)("event":"worker.ready".*){{{deaths + 1}}}')
        self.assertEqual(await relay.life.ends(), 1)
        self.assertIn(b"stopping: more than 2 workers died within an hour", relay.life.out)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_a_worker_that_was_ended_by_somebody(self) -> None:
        """SIGTERM to the worker alone lets it finish; it is started again all the same."""
        relay = await self.relay().start()
        await relay.end_worker(how=signal.SIGTERM)
        await relay.life.says(r'"event":"worker.died".*"reason":"exit status 0"')
        self.assertIn("250 2.0.0", await relay.send(message("after"), "user@example.com"))


class SupervisorTests(SuperviseCase, TestCase):
    async def test_the_queue(self) -> None:
        """The commands ask and change the queue as with one process; errors keep words and status."""
        relay = await self.relay(provider=NOBODY).start()
        queued = re.search(r"queued as (\S+)", await relay.send(message("one"), "user@example.com"))[1]
        await relay.cli("drain", "--wait")
        await relay.cli("queue", "hold", queued)
        await relay.life.says(rf'"event":"queue.edited","msg":"\w+: hold of {queued}')
        [shown] = (await relay.cli("queue", "show", queued))["deliveries"]
        self.assertEqual(shown["summary"]["state"], "held")
        with self.assertRaisesRegex(AssertionError, "1: smtprelay: there is no message 'nosuch'"):
            await relay.cli("queue", "show", "nosuch")
        await relay.cli("queue", "delete", queued, "--yes")
        self.assertEqual(await relay.queued(), [])

    async def test_who_may(self) -> None:
        """The supervisor looks at tokens and roles; the worker records who it was."""
        relay = self.relay(
            more=TOKENS.format(hash=hash_password(b"opensesame", b"salt of 16 bytes", ln=10))
            + "supervise: {}\n"
        )
        life = relay.launch()
        told = await life.says(r'"ready: lan on [\d.]+:(\d+), http1 on \S+, http2 on ([\d.]+:\d+)')
        relay.life, relay.smtp, api = life, int(told[1]), f"http://{told[2]}/api/v1"

        async def ask(token: str, *, method: str = "POST", path: str = "/drain") -> int:
            headers = {"Authorization": f"Bearer {token}", "X-Smtprelay-CSRF": "1"}
            answer = await treq.request(
                method, api + path, json={}, headers=headers, persistent=False, reactor=reactor
            )
            await answer.content()
            return answer.code

        # Whoever may open the worker's socket may say to be anybody.
        sockets = [self.folder / "spool" / name for name in ("control.sock", "control.sock.1")]
        self.assertEqual([each.stat().st_mode & 0o777 for each in sockets], [0o660, 0o600])
        self.assertEqual(await ask("wrong"), 401)
        self.assertEqual(await ask("opensesame"), 403)
        self.assertEqual(await ask("opensesame", method="GET", path="/queue?state=held"), 200)
        self.assertEqual(await ask("opensesame", method="GET", path="/queue?state=no"), 400)
        self.assertNotIn(b"relay.drain", life.out)


class StartTests(SuperviseCase, TestCase):
    async def test_a_worker_that_cannot_start(self) -> None:
        """What keeps the first worker from starting is told as without supervision, with the same status."""
        first = await self.relay(more="").start()
        second = SupervisedRelay(self.folder, first.config.read_text())
        text = second.config.read_text() + "supervise: {}\ncontrol_socket: other.sock\n"
        second.config.write_text(text)
        life = self.ending_program(second.launch())
        self.assertEqual(await life.ends(), 69)
        told = life.err.decode()
        self.assertIn(f"is in use by process {first.life.transport.pid}", told)
        self.assertIn("smtprelay: worker 1 cannot start (exit status 69)", told)
        self.assertNotIn("Traceback", told + life.out.decode())

    async def test_port_in_use(self) -> None:
        """A port that another program has is told once; 69, and no worker was started."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            relay = self.relay()
            relay.config.write_text(relay.config.read_text().replace("tcp:0:", f"tcp:{port}:"))
            life = self.ending_program(relay.launch())
            self.assertEqual(await life.ends(), 69)
        [line] = life.err.decode().splitlines()
        self.assertIn(f"127.0.0.1:{port} is in use", line)
        self.assertNotIn(b"worker", life.out.rpartition(b"config.effective")[0])

    async def test_an_endpoint_with_more_than_a_port(self) -> None:
        """A worker speaks the PROXY protocol at an endpoint that does, and a UNIX socket keeps its mode."""
        relay = self.relay()
        listeners = (
            'listeners: [{name: lan, endpoint: "tcp:0:interface=127.0.0.1"},'
            ' {name: front, endpoint: "haproxy:tcp:0:interface=127.0.0.1"},'
            ' {name: local, endpoint: "unix:in.sock:mode=600"}]'
        )
        text = relay.config.read_text()
        relay.config.write_text(text.replace(text.splitlines()[1], listeners))
        life = relay.launch()
        told = await life.says(r'"ready: lan on [\d.]+:\d+, front on [\d.]+:(\d+), local on in.sock, http1')
        relay.life, relay.smtp = life, int(told[1])
        with socket.create_connection(("127.0.0.1", relay.smtp)) as client:
            client.sendall(b"PROXY TCP4 127.0.0.9 127.0.0.1 1000 25\r\n")
            await eventually(lambda: select.select([client], [], [], 0)[0], "the banner")
            self.assertEqual(client.recv(3), b"220")
        self.assertEqual((self.folder / "in.sock").stat().st_mode & 0o777, 0o600)
        pid = int((await life.says(r"is ready \(process (\d+)\)"))[1])
        os.kill(pid, signal.SIGTERM)
        await self.gone(pid)
        self.assertTrue((self.folder / "in.sock").exists())


class EndpointTests(SuperviseCase, TestCase):
    async def test_sockets_of_systemd(self) -> None:
        """A socket that systemd has opened is for the workers, too."""
        relay = self.relay()
        text = relay.config.read_text()
        relay.config.write_text(text.replace("tcp:0:interface=127.0.0.1", "systemd:domain=INET:name=smtp"))
        start = (
            "import os, socket, sys; s = socket.create_server(('127.0.0.1', 0)); os.dup2(s.detach(), 3);"
            " os.environ |= {'LISTEN_PID': str(os.getpid()), 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'smtp'};"
            " from smtprelay.cli import main; sys.exit(main(sys.argv[1:]))"
        )
        await relay.ready(Program.python(["-c", start, "run", "-c", str(relay.config)], self.folder))
        self.assertIn("250 2.0.0", await relay.send(message("one"), "user@example.com"))
        pid = await relay.end_worker()
        await relay.life.says(rf'"event":"worker.died".*"pid":{pid}')
        self.assertIn("250 2.0.0", await relay.send(message("two"), "user@example.com"))
        self.assertEqual(await relay.stop(), 0)

    async def test_tls(self) -> None:
        """An endpoint that speaks TLS by itself does so in a worker."""
        made = make_certificate(self.folder)
        endpoint = f"ssl:0:interface=127.0.0.1:privateKey={made.key}:certKey={made.certificate}"
        relay = self.relay()
        text = relay.config.read_text()
        relay.config.write_text(text.replace("tcp:0:interface=127.0.0.1", endpoint))
        await relay.start()
        context = ssl.create_default_context(cafile=made.ca)
        plain = socket.create_connection(("127.0.0.1", relay.smtp))
        with context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False) as client:
            client.setblocking(False)
            await eventually(lambda: shaken(client), "the handshake")
            client.setblocking(True)
            self.assertEqual(client.recv(3), b"220")

    async def test_twistd(self) -> None:
        """``twistd`` runs the workers as well, and ends as it always does."""
        relay = self.relay()
        arguments = ["-c", TWISTD, "-n", "smtprelay", "-c", str(relay.config)]
        await relay.ready(Program.forked(arguments, self.folder))
        self.assertIn("250 2.0.0", await relay.send(message("one"), "user@example.com"))
        pid = await relay.pid()
        self.assertEqual(await relay.stop(), -signal.SIGTERM)
        self.assertFalse(is_there(pid))
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)


def shaken(client: ssl.SSLSocket) -> bool:
    """Go on with a handshake; return whether it is done."""
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class EndTests(SuperviseCase, TestCase):
    async def test_sigterm(self) -> None:
        """SIGTERM to the parent lets the workers finish the message in progress; 0."""
        relay = await self.relay().start()
        busy = await relay.greet()
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await busy.say(command)
        busy.write(b"Subject: in progress\r\n\r\nfirst half\r\n")
        pid = await relay.pid()
        relay.life.signal(signal.SIGTERM)
        await relay.life.says('"event":"relay.stop".*"worker":1')
        busy.write(b"second half\r\n.\r\n")
        self.assertIn("250 2.0.0 Ok: queued as", await busy.reply())
        self.assertTrue((await busy.reply()).startswith("421 4.3.2"))
        self.assertEqual(await relay.life.ends(), 0)
        self.assertFalse(is_there(pid))
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_all_are_told(self) -> None:
        """A service manager's SIGTERM to parent and worker at once is the first signal for both."""
        relay = await self.relay().start()
        idle = await relay.greet()
        await relay.end_worker(how=signal.SIGTERM)
        self.assertEqual(await relay.stop(), 0)
        self.assertTrue((await idle.reply()).startswith("421 4.3.2"))

    async def test_second_signal(self) -> None:
        """A second signal to the parent kills the workers, too."""
        acs = await self.fake_acs()
        await acs.delay(60.0)
        (self.folder / "acs.key").write_text(acs.connection_string())
        provider = "out: {type: acs, connection_string: {file: acs.key}, sender: a@mail.test}"
        relay = await self.relay(provider=provider).start()
        await relay.send(message("on its way"), "user@example.com")
        await eventually(acs.arrivals, "the request")
        pid = await relay.pid()
        self.ends_with(pid)
        relay.life.signal(signal.SIGTERM)
        await relay.life.says('"event":"relay.stop".*"worker":1')
        self.assertEqual(await relay.life.insist(), 128 + signal.SIGTERM)
        self.assertEqual(relay.life.err.decode(), f"smtprelay: SIGTERM {AT_ONCE}")
        await self.gone(pid)

    async def test_the_parent_is_killed(self) -> None:
        """Workers end in order when their parent is gone: the message in progress is finished."""
        relay = await self.relay().start()
        pid = await relay.pid()
        self.ends_with(pid)
        busy = await relay.greet()
        for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
            await busy.say(command)
        relay.life.signal(signal.SIGKILL)
        busy.write(b"Subject: late\r\n\r\nhello\r\n.\r\n")
        self.assertIn("250 2.0.0 Ok: queued as", await busy.reply())
        await self.gone(pid)
