"""
Several workers on one PostgreSQL, behind the same sockets.
"""

from collections.abc import Sequence
from contextlib import suppress as ignoring
from email import message_from_bytes

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.postgres import new_spool_url
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import message
from tests.process.service.supervised import CAPTURE, SupervisedRelay
from tests.process.stage import Stage

POSTGRES = """\
spool: {engine: postgres, url: {file: url}, lease: 3s}
control_socket: control.sock
workers: 2
"""

ACS = (
    "out: {type: acs, connection_string: {file: acs.key}, sender: noreply@mail.test, accept_on: '202',"
    " concurrency: 20}"
)


class WorkersTests(Stage, TestCase):
    def relay(self, provider: str = CAPTURE) -> SupervisedRelay:
        """Return a relay with two workers on a spool of its own."""
        (self.folder / "url").write_text(new_spool_url())
        return self.ending(SupervisedRelay.with_workers(self.folder, provider, more=POSTGRES))

    def captured(self) -> set[str]:
        """Return the subjects of all mails that have come out."""
        files = self.folder.glob("captured/new/*")
        return {str(message_from_bytes(file.read_bytes())["Subject"]) for file in files}

    async def hand_in(self, relay: SupervisedRelay, client: int, count: int) -> Sequence[str]:
        """Send mails in sessions of their own; return the subjects of those that were accepted."""
        accepted = []
        for number in range(count):
            subject = f"{client}-{number}"
            with ignoring(ConnectError, ConnectionLost, AssertionError):
                if (await relay.send(message(subject), "user@example.com")).startswith("250"):
                    accepted.append(subject)
        return accepted

    async def load(self, relay: SupervisedRelay, clients: int, count: int) -> set[str]:
        """Send from several clients at once; return the subjects of what was accepted."""
        sending = [Deferred.fromCoroutine(self.hand_in(relay, n, count)) for n in range(clients)]
        return {subject for subjects in await gatherResults(sending) for subject in subjects}

    async def test_they_share_the_work(self) -> None:
        """Both take mail at the same port, and the metrics are those of both together."""
        relay = await self.relay().start()
        await eventually(lambda: relay.life.out.count(b'"event":"worker.ready"') == 2, "both")
        accepted = await self.load(relay, 10, 10)
        self.assertEqual(len(accepted), 100)
        await eventually(lambda: self.captured() == accepted, "the mails")
        for name in (
            'smtprelay_messages_received_total{listener="lan"}',
            'smtprelay_smtp_connections_total{listener="lan",result="accepted"}',
            'smtprelay_delivery_recipients_total{provider="out",result="delivered"}',
        ):
            self.assertEqual(await relay.metric(name), 100, name)
        took = {b'"worker":1', b'"worker":2'}
        queued = [line for line in relay.life.out.splitlines() if b'"event":"message.queued"' in line]
        self.assertEqual({each for each in took if any(each in line for line in queued)}, took)
        self.assertEqual(await relay.stop(), 0)
        self.assertNotIn(b"Traceback", relay.life.out + relay.life.err)

    async def test_one_is_killed_under_load(self) -> None:
        """What it had accepted and what it was delivering others deliver, when its leases have run out."""
        acs = await self.fake_acs()
        await acs.delay(0.5)
        (self.folder / "acs.key").write_text(acs.connection_string())
        relay = await self.relay(provider=ACS).start()
        await eventually(lambda: relay.life.out.count(b'"event":"worker.ready"') == 2, "both")
        sending = Deferred.fromCoroutine(self.load(relay, 8, 15))
        # What it has just begun to deliver takes half a second.
        await relay.life.says(r'"event":"attempt.started"[^\n]*"worker":2|"message.queued"[^\n]*"worker":2')
        await relay.end_worker(2)
        accepted = await sending
        self.assertGreater(len(accepted), 50)

        async def all_there() -> bool:
            mails = await acs.mails()
            return accepted <= {mail["request"]["content"]["subject"] for mail in mails}

        await eventually(all_there, "what was accepted")
        await relay.life.says('"event":"spool.reclaimed"')
        await eventually(lambda: relay.life.out.count(b'"event":"worker.ready"') == 3, "the restart")
        await eventually(lambda: self.nothing_waits(relay), "an empty queue")
        self.assertEqual(await relay.stop(), 0)

    async def nothing_waits(self, relay: SupervisedRelay) -> bool:
        return not await relay.queued()

    async def welcome(self, relay: SupervisedRelay) -> Conversation | None:
        """Return a session, or nothing if there are too many."""
        talk = await HostnameEndpoint(reactor, "127.0.0.1", relay.smtp).connect(
            Factory.forProtocol(Conversation)
        )
        banner = await talk.reply()
        if banner.startswith("220"):
            return talk
        self.assertIn("Too many connections from", banner)
        await talk.gone
        return None

    async def fill(self, relay: SupervisedRelay, most: int = 40) -> list[Conversation]:
        """Return the sessions that one client gets, at whichever worker."""
        begun = [await self.welcome(relay) for _ in range(most)]
        return [talk for talk in begun if talk is not None]

    async def test_limits(self) -> None:
        """A client has as many sessions as it may, at all workers together; those that died have none."""
        relay = self.relay()
        text = relay.config.read_text()
        limited = '"tcp:0:interface=127.0.0.1", limits: {connections_per_client: 12}'
        relay.config.write_text(text.replace('"tcp:0:interface=127.0.0.1"', limited))
        await relay.start()
        await eventually(lambda: relay.life.out.count(b'"event":"worker.ready"') == 2, "both")
        there = await self.fill(relay)
        self.assertEqual(len(there), 12)
        await there.pop().close()
        await eventually(lambda: self.welcome(relay), "a place that was left")
        for number in (1, 2):
            await relay.end_worker(number)
            await relay.life.says(rf'"event":"worker.died".*"worker":{number}')
        self.assertEqual(len(await self.fill(relay)), 12)

    async def test_drain(self) -> None:
        """All workers are drained together, one that is started meanwhile too, and the database knows."""
        relay = await self.relay().start()
        await eventually(lambda: relay.life.out.count(b'"event":"worker.ready"') == 2, "both")
        told = await relay.cli("drain", "--wait")
        self.assertEqual(told, {"draining": True, "sessions": 0, "attempts": 0, "waiting": 0, "shared": True})
        await relay.end_worker(1)
        await eventually(lambda: relay.life.out.count(b'"event":"relay.drain"') == 3, "the new one's drain")
        lanes = (await relay.cli("providers", "list"))["lanes"]
        self.assertEqual([lane["state"] for lane in lanes if lane["provider"] == "out"], ["ok"])
        nodes = (await relay.status())["nodes"]
        self.assertEqual([node["draining"] for node in nodes[-2:]], [True, True])
        for _ in range(4):
            with self.assertRaisesRegex(AssertionError, "421 4.3.2"):
                await Conversation.open(relay.smtp)
        await relay.cli("drain", "--undo")
        self.assertEqual(await self.load(relay, 1, 1), {"0-0"})
