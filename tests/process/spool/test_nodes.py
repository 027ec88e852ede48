"""
Several relays on one PostgreSQL: what one of them does to the others, and what it must not.

The lease of a claim is one second here; a node that is gone is missed for no longer.
"""

import signal
import socket
from collections.abc import Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from smtprelay.spool.engines.postgres_connection import PostgresConnection
from smtprelay.spool.tables.schema import MIGRATIONS
from smtprelay.testing.smtp import SmtpSink
from tests.postgres import new_spool_url
from tests.process.acs_server import KEY, AcsServer
from tests.process.crash.storm import Sink, at_rest
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message, on_postgres
from tests.process.smtp_sink import CountingSink
from tests.process.spool_tables import SpoolTables
from tests.process.stage import Stage
from tests.process.traffic import Tally, Traffic

CLIENTS = 12


class NodesCase(Stage):
    """Starts relays that share a spool, each in a folder of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.url = self.new_url()
        self.tables = SpoolTables(lambda: PostgresConnection(lambda: self.url, reading=True))
        self.traffic = Traffic()

    def new_url(self) -> str:
        """Return where the spool is."""
        return new_spool_url()

    def to_acs(
        self, acs: AcsServer, count: int = 3, *, more: str = "", lease: str = "1s"
    ) -> list[RelayProcess]:
        """Return ``count`` nodes that send everything to ``acs``, none of them started."""
        nodes = []
        for folder in self.folders(count):
            spool = on_postgres(folder, self.url, lease=lease)
            nodes.append(self.ending(RelayProcess.to_acs(folder, acs, spool=spool, more=more)))
        return nodes

    def to_smarthost(self, port: int, count: int = 3) -> list[RelayProcess]:
        """Return ``count`` nodes that send everything to the SMTP server at ``port``."""
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port}, tls: none}}"
        return [
            self.ending(RelayProcess.of(folder, provider, spool=on_postgres(folder, self.url)))
            for folder in self.folders(count)
        ]

    def folders(self, count: int) -> list:
        folders = [self.folder / f"node{number}" for number in range(count)]
        for folder in folders:
            folder.mkdir()
        return folders

    async def start(self, nodes: Sequence[RelayProcess]) -> None:
        """Start them all at the same moment, and wait until all are ready."""
        lives = [(node, node.launch()) for node in nodes]
        for node, life in lives:
            await node.ready(life)

    def flow(self, nodes: Sequence[RelayProcess], count: int) -> Deferred[None]:
        """Hand in ``count`` mails at whichever of ``nodes`` takes them; fires when all are accepted."""
        self.traffic.add(count)
        return Deferred.fromCoroutine(self.traffic.hand_in(nodes, CLIENTS))

    async def accepted(self, count: int) -> None:
        """Wait until so many mails have got their 250."""
        await eventually(lambda: len(self.traffic.accepted) >= count, f"{count} accepted mails")

    async def see_to_the_end(self, sink: Sink, count: int, *, swept: bool = True) -> Tally:
        """Wait for the end of all that was accepted; see that nothing is lost or comes twice unexplained."""
        tally = await at_rest(self.traffic, sink, self.tables, swept=swept)
        self.assertEqual((tally.lost, tally.duplicated, tally.spoilt), ([], [], []), str(tally))
        self.assertGreaterEqual(tally.accepted, count)
        return tally


class NodesTests(NodesCase, TestCase):
    async def test_what_an_operator_must_see(self) -> None:
        """A provider that cannot be reached is one alarm of all nodes; so is the list of refused mail."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        nodes = self.to_smarthost(port, 2)
        await self.start(nodes)
        talk = await nodes[0].greet()
        await talk.say("XYZZY")
        for number in range(6):
            for node in nodes:
                await node.send(message(f"lost {number}"), "user@example.com")

        async def seen() -> bool:
            told = [(await node.status())["attention"] for node in nodes]
            return all(lines and lines[0]["kind"] == "unreachable" for lines in told)

        await eventually(seen, "the attention line at each node")
        rows = await eventually(lambda: self.refused(nodes[1]), "what the other node refused")
        self.assertEqual([row["command"] for row in rows], ["unknown command of 5 octets"])
        mended = reactor.listenTCP(port, SmtpSink(), interface="127.0.0.1")
        self.addCleanup(mended.stopListening)

        async def over() -> bool:
            return not any([(await node.status())["attention"] for node in nodes])

        await eventually(over, "no attention line any more")
        for event in (b'"provider.failing"', b'"provider.recovered"'):
            lines = [line for node in nodes for line in node.life.out.splitlines() if event in line]
            self.assertEqual(len(lines), 1, lines)

    async def refused(self, node: RelayProcess) -> list[dict]:
        return (await node.ask("refused"))["refused"]

    async def test_any_node_takes_any_mail(self) -> None:
        """Mail that came through all nodes is delivered once each, and each node can tell of all of it."""
        acs = await self.fake_acs()
        nodes = self.to_acs(acs)
        await self.start(nodes)
        await self.flow(nodes, 60)
        tally = await self.see_to_the_end(acs, 60)
        self.assertEqual((tally.delivered, tally.excused), (60, []))
        self.assertEqual(len(self.tables.nodes()), 3)
        seen = [await node.ask("queue?state=delivered&limit=100") for node in nodes]
        self.assertEqual([len(each["deliveries"]) for each in seen], [60] * 3)

    async def test_an_empty_database(self) -> None:
        """Nodes that start at the same moment on an empty database make its tables once."""
        acs = await self.fake_acs()
        await self.start(self.to_acs(acs, 4))
        versions = self.tables.ask("SELECT version FROM schema_version ORDER BY version")
        self.assertEqual(versions, [(number,) for number in range(1, len(MIGRATIONS) + 1)])

    async def test_a_node_is_killed(self) -> None:
        """What a node had under way when it was killed goes through the others, after its lease; once."""
        acs = await self.fake_acs()
        await acs.delay(1.0)
        nodes = self.to_acs(acs)
        await self.start(nodes)
        flowing = self.flow(nodes, 120)
        await eventually(lambda: len(self.tables.at_work()) == len(nodes), "attempts of each node")
        await nodes[0].kill()
        await flowing
        tally = await self.see_to_the_end(acs, 120)
        self.assertEqual(tally.excused, [])
        self.assertGreater(self.tables.in_doubt().total(), 0)

    async def test_a_node_is_frozen(self) -> None:
        """A node that stood still for longer than its lease settles nothing of what it had, and works on."""
        acs = await self.fake_acs()
        await acs.delay(0.3)
        nodes = self.to_acs(acs)
        await self.start(nodes)
        flowing = self.flow(nodes, 120)
        await eventually(lambda: len(self.tables.at_work()) == len(nodes), "attempts of each node")
        await self.freeze_beyond_the_lease(nodes[0])
        await flowing
        tally = await self.see_to_the_end(acs, 120)
        self.assertEqual(tally.excused, [])
        self.assertIn("250 2.0.0", await nodes[0].send(message("awake"), "user@example.com"))

    async def freeze_beyond_the_lease(self, node: RelayProcess) -> None:
        """Stop ``node`` and wake it when others have what it had."""
        node.life.signal(signal.SIGSTOP)
        try:
            await eventually(lambda: self.tables.in_doubt().total(), "claims that came back")
        finally:
            node.life.signal(signal.SIGCONT)

    async def test_a_node_is_frozen_within_a_transaction(self) -> None:
        """It holds locks then: the database ends its session, the others go on, and so does it when woken."""
        acs = await self.fake_acs()
        nodes = self.to_acs(acs)
        await nodes[0].start("--freeze", "accept uncommitted:1")
        await self.start(nodes[1:])
        flowing = self.flow(nodes[:1], 10)
        await eventually(lambda: b"died at" in nodes[0].life.err, "the freeze")
        begun = reactor.seconds()
        reply = await nodes[1].send(message("meanwhile"), "user@example.com")
        waited = reactor.seconds() - begun
        nodes[0].life.signal(signal.SIGCONT)
        self.assertIn("250 2.0.0", reply)
        self.assertLess(waited, 6.0)
        await flowing
        await eventually(lambda: not self.tables.waiting(), "an empty queue")
        self.assertEqual(sorted((await acs.deliveries()).values()), [1] * 11)
        self.assertEqual(self.tables.wrong(), [])

    async def test_without_idempotency(self) -> None:
        """Over SMTP, where nobody can ask, mail comes twice only if an attempt is recorded as uncertain."""
        sink = CountingSink(reactor, seconds=0.3)
        port = await sink.listen()
        self.addCleanup(sink.close)
        nodes = self.to_smarthost(port)
        await self.start(nodes)
        flowing = self.flow(nodes, 150)
        await self.accepted(30)
        await nodes[0].kill()
        await self.accepted(60)
        await self.freeze_beyond_the_lease(nodes[1])
        await flowing
        await self.see_to_the_end(sink, 150)
        self.assertGreater(self.tables.in_doubt().total(), 0)


class SharedTests(NodesCase, TestCase):
    async def test_the_pace(self) -> None:
        """Twenty in two seconds is that for all nodes together: no more are claimed, and each goes once."""
        acs = await self.fake_acs()
        # A node that has no time to renew its claims shall not lose them: that is another test.
        nodes = self.to_acs(acs, more=", rate: [20/2s], concurrency: 30", lease="60s")
        await self.start(nodes)
        await self.flow(nodes, 50)
        await self.see_to_the_end(acs, 50)
        claimed = [when for (when,) in self.tables.ask("SELECT started FROM attempt ORDER BY started")]
        self.assertLessEqual(most_within(2.0, claimed), 20)
        self.assertEqual(len(claimed), 50)
        asked = [each for each in await acs.arrivals() if each["method"] == "POST"]
        self.assertEqual(len(asked), 50)

    async def test_a_blocked_lane(self) -> None:
        """A 401 that one node gets stops all of them, and what opens the lane again opens it for all."""
        acs = await self.fake_acs()
        nodes = self.to_acs(acs, more=", concurrency: 1")
        for node in nodes:
            (node.folder / "acs.key").write_text(acs.connection_string("d3Jvbmc="))
            node.launch("--probe-after", "3")
        for node in nodes:
            await node.ready(node.life)
        await self.flow(nodes, 30)
        for node in nodes:
            lines = await node.queued()
            self.assertEqual(["401" in line["waiting_for"] for line in lines], [True] * 30)
        asked = [each for each in await acs.arrivals() if each["method"] == "POST"]
        self.assertEqual([each["status"] for each in asked], [401])
        for node in nodes:
            (node.folder / "acs.key").write_text(acs.connection_string(KEY))
        await self.see_to_the_end(acs, 30)
        await gatherResults([Deferred.fromCoroutine(self.see_it_open(node)) for node in nodes])

    async def see_it_open(self, node: RelayProcess) -> None:
        self.assertEqual(await node.metric('smtprelay_provider_up{provider="out"}'), 1)


def most_within(seconds: float, times: Sequence[float]) -> int:
    """Return the largest number of ``times`` in any interval of that length; they are in order."""
    most = first = 0
    for last, when in enumerate(times):
        while times[first] <= when - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
