"""
The spool's server dies, restarts, or another takes its place, while mail comes and goes.

The relays are not restarted. What they had said 250 to is safe; new mail is told to come again; and
when there is a server they work on.
"""

from collections.abc import Callable

import psycopg
import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.postgres import Server
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.spool.test_nodes import NodesCase

MAILS = 120

_WAITS_FOR_THE_STANDBY = """
    SELECT 1 FROM pg_stat_activity WHERE application_name = 'smtprelay' AND wait_event = 'SyncRep'"""


class DatabaseCase(NodesCase):
    """Has a server that may be killed."""

    async def serve(self) -> Server:
        """Return a server of this test's own, where the spool is from now on."""
        return self.ending_server(await deferToThread(Server.new, self.folder / "database"))

    def ending_server(self, server: Server) -> Server:
        self.addCleanup(deferToThread, server.kill)
        return server

    def new_url(self) -> str:
        """The spool has a server of its own here."""
        return psycopg.conninfo.make_conninfo("", host=str(self.folder / "database"), user="postgres")


class DatabaseTests(DatabaseCase, TestCase):
    async def see_through(self, down: Callable[[], object], up: Callable[[], object]) -> None:
        """Have mail come and go while the server goes ``down`` and comes ``up``; see what becomes of it."""
        acs = await self.fake_acs()
        nodes = self.to_acs(acs, 2)
        await self.start(nodes)
        flowing = self.flow(nodes, MAILS)
        await self.accepted(MAILS // 3)
        await deferToThread(down)
        begun = reactor.seconds()
        reply = await nodes[0].send(message("meanwhile"), "nobody@example.com")
        self.assertRegex(reply, r"^451 4\.3\.0 ")
        self.assertLess(reactor.seconds() - begun, 6.0)
        for node in nodes:
            await eventually(lambda node=node: self.answers(node, 503), "not ready")
        refused = self.traffic.refused.total()
        await eventually(lambda: self.traffic.refused.total() > refused, "mail that is told to come again")
        await deferToThread(up)
        await flowing
        for node in nodes:
            await eventually(lambda node=node: self.answers(node, 200), "ready again")
        tally = await self.see_to_the_end(acs, MAILS)
        self.assertEqual(tally.excused, [])
        self.assertEqual([node.life.status for node in nodes], [None, None])

    async def answers(self, node: RelayProcess, code: int) -> bool:
        """Say whether the question for its readiness is answered with ``code``."""
        answer = await treq.get(f"{node.http}/readyz", persistent=False, reactor=reactor)
        await answer.content()
        return answer.code == code

    async def test_killed_and_started(self) -> None:
        """The server loses its power and comes back."""
        server = await self.serve()
        await self.see_through(server.kill, server.start)

    async def test_failover(self) -> None:
        """The server is gone for good, and its standby, which has each commit, is promoted."""
        server = await self.serve()
        standby = self.ending_server(await deferToThread(server.follow, self.folder / "standby"))
        self.url = f"host={self.folder}/database,{self.folder}/standby user=postgres"
        await self.see_through(server.kill, standby.promote)

    async def test_a_commit_in_doubt(self) -> None:
        """While nobody can tell whether a commit happened, mail behind it need not wait; a 250 holds."""
        server, acs = await self.serve(), await self.fake_acs()
        standby = self.ending_server(await deferToThread(server.follow, self.folder / "standby"))
        [node] = self.to_acs(acs, 1, lease="60s")
        await self.start([node])
        await deferToThread(standby.kill)
        doubtful = Deferred.fromCoroutine(node.send(message("doubtful"), "user@example.com"))
        await eventually(lambda: server.ask(_WAITS_FOR_THE_STANDBY), "a commit")
        begun = reactor.seconds()
        await deferToThread(server.kill)
        reply = await node.send(message("meanwhile"), "nobody@example.com")
        self.assertRegex(reply, r"^451 4\.3\.0 ")
        self.assertLess(reactor.seconds() - begun, 12.0)
        await deferToThread(server.start)
        await deferToThread(standby.start)
        accepted = (await doubtful).startswith("250")
        await eventually(lambda: not self.tables.waiting(), "an empty queue")
        self.assertIn((accepted, (await acs.deliveries()).total()), [(True, 1), (False, 0), (False, 1)])

    async def test_restarted_in_order(self) -> None:
        """A restart takes a moment in which mail may be told to come again, and nothing else."""
        server, acs = await self.serve(), await self.fake_acs()
        nodes = self.to_acs(acs, 2)
        await self.start(nodes)
        flowing = self.flow(nodes, MAILS)
        await self.accepted(MAILS // 3)
        await deferToThread(server.restart)
        await flowing
        tally = await self.see_to_the_end(acs, MAILS)
        self.assertEqual(tally.excused, [])
        self.assertEqual([node.life.status for node in nodes], [None, None])
