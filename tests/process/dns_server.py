"""A DNS server on loopback, with the records that a test gives it."""

from collections.abc import Mapping, Sequence

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.names import dns
from twisted.names.common import ResolverBase
from twisted.names.error import DNSNameError, ResolverError
from twisted.names.server import DNSServerFactory
from twisted.trial.unittest import TestCase


class Zone(ResolverBase):
    """
    Answers for TXT records, each with its strings; for what it has not there is no such name.

    :ivar broken: it answers with an error.
    """

    broken = False

    def __init__(self, records: Mapping[str, Sequence[Sequence[bytes]]]) -> None:
        super().__init__()
        self.records = records

    def _lookup(self, name: bytes, cls: int, kind: int, _timeout: object) -> "Deferred[object]":
        found = self.records.get(name.decode().lower())
        if self.broken:
            return fail(ResolverError("broken"))
        if found is None:
            return fail(DNSNameError(dns.Message()))
        texts = found if kind == dns.TXT else ()
        answers = [
            dns.RRHeader(name, dns.TXT, dns.IN, 60, dns.Record_TXT(*strings), auth=True) for strings in texts
        ]
        return succeed((answers, [], []))


async def serve(test: TestCase, zone: Zone) -> int:
    """Serve ``zone`` over UDP and TCP, until the test ends, and return the port."""
    factory = DNSServerFactory(clients=[zone])
    factory.noisy = False
    protocol = dns.DNSDatagramProtocol(factory)
    protocol.noisy = False
    while True:
        tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
        port: int = tcp.getHost().port
        try:
            udp = reactor.listenUDP(port, protocol, interface="127.0.0.1")
            break
        except CannotListenError:  # another program has that one
            await tcp.stopListening()
    test.addCleanup(tcp.stopListening)
    test.addCleanup(udp.stopListening)
    return port
