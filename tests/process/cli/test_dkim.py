"""``smtprelay dkim check``, and the look-up of records, with a DNS server on loopback."""

import json
from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.names.error import ResolverError
from twisted.trial.unittest import TestCase

from smtprelay.mime.dkim.key import new_key, parse_key
from smtprelay.mime.dkim.record import record_of
from smtprelay.net.dns_records import DnsFailed, make_resolver, text_records
from tests.mime.dkim.keys import ED25519, RECORDS
from tests.process.dns_server import Zone, serve
from tests.process.program import Program

CONFIG = """\
listeners: [{name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}]
providers: {local: {type: capture, path: captured}}
dkim: [{domain: example.com, selector: s1, key: {file: key.pem}}]
"""
NAME = "s1._domainkey.example.com"


class TextRecordsTests(TestCase):
    async def asked(self, zone: Zone, name: str = NAME) -> Sequence[str]:
        """Return what a server answers."""
        port = await serve(self, zone)
        return await text_records(make_resolver(reactor, ("127.0.0.1", port)), name)

    async def test_strings(self) -> None:
        """The strings of a record are joined; each record is one text."""
        self.assertEqual(await self.asked(Zone({NAME: [[b"a", b"b"], [b"c"]]})), ["ab", "c"])

    async def test_long(self) -> None:
        """A text that does not fit into a datagram comes over TCP."""
        text = [b"x" * 255] * 12
        self.assertEqual(await self.asked(Zone({NAME: [text]})), ["x" * 255 * 12])

    async def test_none(self) -> None:
        """A name that does not exist has no record, nor has one with others only."""
        self.assertEqual(list(await self.asked(Zone({}))), [])
        self.assertEqual(list(await self.asked(Zone({NAME: []}))), [])

    async def test_servers(self) -> None:
        """Without a server the machine's own are asked."""
        resolver = make_resolver(Clock())
        self.assertTrue(resolver.servers or resolver.dynServers)

    async def test_failed(self) -> None:
        """A server that fails has not said that there is none."""
        zone = Zone({})
        zone.broken = True
        with self.assertRaises(DnsFailed) as raised:
            await self.asked(zone)
        self.assertIn("SERVFAIL", str(raised.exception))
        self.assertEqual(len(self.flushLoggedErrors(ResolverError)), 1)  # by the server


class CheckTests(TestCase):
    async def checked(self, zone: Zone, key: str = ED25519, *options: str) -> Program:
        """Run the command."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "key.pem").write_text(key)
        (folder / "smtprelay.yaml").write_text(CONFIG)
        port = await serve(self, zone)
        arguments = ["dkim", "check", "--nameserver", f"127.0.0.1:{port}", *options]
        program = Program.python(["-m", "smtprelay", *arguments], folder)
        self.addCleanup(program.insist)
        await program.ends()
        return program

    async def test_published(self) -> None:
        """A record that fits is ok, also that of a long key in several strings."""
        program = await self.checked(Zone({NAME: [[RECORDS["ed25519"].encode()]]}))
        self.assertEqual((program.status, program.out.decode()), (0, f"{NAME}: ok\n"), program.err)

    async def test_other_key(self) -> None:
        """One of another key is said in words, and by the exit status; so for programs."""
        record = record_of(parse_key(new_key("rsa"))).encode()
        program = await self.checked(
            Zone({NAME: [[record[:255], record[255:]]]}), new_key("rsa"), "-o", "json"
        )
        [row] = json.loads(program.out)["data"]["keys"]
        self.assertEqual((program.status, row["ok"]), (1, False), program.err)
        self.assertEqual(row["findings"], ["the record has another key than the configuration"])

    async def test_unpublished(self) -> None:
        """Without a record the text to publish is shown."""
        program = await self.checked(Zone({}))
        self.assertEqual(program.status, 1)
        self.assertIn(f"there is no record: publish the text {RECORDS['ed25519']}", program.out.decode())
