"""
Several workers whose clients wait for the provider's result: they need no spool, and no PostgreSQL.
"""

import os
import re
import signal
from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.process.program import eventually
from tests.process.relay_process import message
from tests.process.service.supervised import SupervisedRelay
from tests.process.stage import Stage

CONFIG = """\
hostname: relay.test
listeners:
  - name: lan
    endpoint: "tcp:0:interface=127.0.0.1"
    delivery: synchronous
    limits: {connections_per_client: 1000}
providers: {out: {type: capture, path: captured}}
routes: [{name: all, via: [out]}]
http: [{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}]
control_socket: control.sock
logging: {levels: {smtprelay.smtp: debug}}
workers: 2
"""

DELIVERED = 'smtprelay_delivery_recipients_total{provider="out",result="delivered"}'


class SynchronousWorkersTests(Stage, TestCase):
    async def both(self, config: str = CONFIG) -> SupervisedRelay:
        """Return a relay with two workers that are ready."""
        relay = self.ending(SupervisedRelay(self.folder, config))
        await relay.start()
        await eventually(lambda: self.ready(relay) == 2, "both workers")
        return relay

    def ready(self, relay: SupervisedRelay) -> int:
        """Return how many workers have become ready since the start."""
        return relay.life.out.count(b'"event":"worker.ready"')

    def captured(self) -> int:
        return len(list(Path(self.folder).glob("captured/new/*")))

    def workers_of(self, relay: SupervisedRelay, event: str) -> Counter[str]:
        """Return how often each worker has told ``event``."""
        lines = (line for line in relay.life.out.decode().splitlines() if f'"event":"{event}"' in line)
        return Counter(found[1] for line in lines if (found := re.search(r'"worker":(\d)', line)))

    async def load(self, relay: SupervisedRelay, count: int) -> None:
        """Send so many mails at once, each in a session of its own; all are delivered."""
        sending = [Deferred.fromCoroutine(relay.send(message(str(n)), "u@example.com")) for n in range(count)]
        for reply in await gatherResults(sending):
            self.assertRegex(reply, r"^250 2\.0\.0 Ok: [0-9A-Z]{16} delivered")

    async def test_both_deliver(self) -> None:
        """Each delivers by itself, nothing is stored, and the metrics are those of both together."""
        relay = await self.both()
        sent = 0
        while len(self.workers_of(relay, "message.delivered")) < 2:
            await self.load(relay, 20)
            sent += 20
        self.assertEqual(self.captured(), sent)
        self.assertEqual(await relay.metric(DELIVERED), sent)
        names = {path.name for path in self.folder.iterdir()}
        sockets = {"control.sock", "control.sock.1", "control.sock.2"}
        self.assertEqual(names, {"relay.yaml", "captured", *sockets})
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_one_is_killed(self) -> None:
        """It is restarted and delivers again; a provider that is suspended stays so at the new one."""
        relay = await self.both()
        await relay.cli("providers", "suspend", "out", "--why", "maintenance")
        pid = await relay.end_worker(1)
        await relay.life.says(rf'"event":"worker.died".*"pid":{pid},"reason":"killed by SIGKILL"')
        await eventually(lambda: self.ready(relay) == 3, "the restart")
        await eventually(lambda: self.workers_of(relay, "lane.changed")["1"] == 2, "its suspension")
        for _ in range(6):
            self.assertRegex(await relay.send(message("x"), "u@example.com"), "^451 .*maintenance")
        [lane] = (await relay.cli("providers", "list"))["lanes"]
        self.assertEqual((lane["provider"], lane["state"]), ("out", "suspended"))
        await relay.cli("providers", "resume", "out")
        await self.load(relay, 20)
        self.assertEqual(self.captured(), 20)

    async def test_sigterm(self) -> None:
        """Both finish the message that they receive, and tell its client the verdict."""
        relay = await self.both()
        talks = []
        while len(self.workers_of(relay, "session.open")) < 2:
            talks.append(await relay.greet())
        for talk in talks:
            for command in ("MAIL FROM:<a@b.test>", "RCPT TO:<user@example.com>", "DATA"):
                await talk.say(command)
        relay.life.signal(signal.SIGTERM)
        for worker in (1, 2):
            await relay.life.says(f'"event":"relay.stop".*"worker":{worker}')
        for talk in talks:
            talk.write(b"Subject: late\r\n\r\nhello\r\n.\r\n")
        for talk in talks:
            self.assertRegex(await talk.reply(), r"^250 2\.0\.0 Ok: [0-9A-Z]{16} delivered")
        self.assertEqual(await relay.life.ends(), 0)
        self.assertEqual(self.captured(), len(talks))

    async def test_more_workers_than_the_provider_takes(self) -> None:
        """The relay does not start, and says where, why, and what to do."""
        text = CONFIG.replace("path: captured", "path: captured, concurrency: 1")
        relay = SupervisedRelay(self.folder, text)
        life = self.ending_program(relay.launch())
        self.assertEqual(await life.ends(), os.EX_CONFIG)
        self.assertIn("relay.yaml:7:", life.err.decode())
        self.assertIn("set workers to 1 at most, or raise providers.out.concurrency", life.err.decode())
