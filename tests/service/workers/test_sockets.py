"""How workers divide the clients of a socket that all of them accept from."""

import os
import socket
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.worker_memory import WorkerMemory, new_memory
from smtprelay.service.errors import StartFailed
from smtprelay.service.workers.sockets import Inherited


class Reactor(Clock):
    """Notes who wants to read; what is to be read a test decides."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        pass


class DividingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        descriptor = new_memory(2)
        self.addCleanup(os.close, descriptor)
        self.memory, self.other = WorkerMemory(descriptor, 1), WorkerMemory(descriptor, 2)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.addCleanup(self.socket.close)
        self.accepted: list[Protocol] = []
        factory = Factory.forProtocol(Protocol)
        factory.buildProtocol = self.accept
        inherited = Inherited({"lan": self.socket.fileno()}, self.memory)
        listening = inherited.endpoint(self.reactor, "lan", "tcp:2525:interface=127.0.0.1").listen(factory)
        self.port = self.successResultOf(listening)
        self.addCleanup(self.close)

    def close(self) -> None:
        for each in (self.port, *(client.transport for client in self.accepted)):
            if hasattr(each, "socket"):  # else it was closed by its test
                each.socket.close()

    def accept(self, _address: object) -> Protocol:
        self.memory.count("lan", "client", 1)
        self.accepted.append(Protocol())
        return self.accepted[-1]

    def connect(self, clients: int) -> None:
        for _ in range(clients):
            self.addCleanup(socket.create_connection(self.socket.getsockname()).close)

    def read(self) -> int:
        """Let the port read, if it wants to; return how many clients it has accepted by then."""
        if self.port in self.reactor.readers:
            self.port.doRead()
        return len(self.accepted)

    def test_one_in_a_turn(self) -> None:
        """Of many clients that wait it takes one in each turn of the reactor."""
        self.other.count("lan", "client", 5)
        self.connect(3)
        self.assertEqual([self.read() for _ in range(3)], [1, 2, 3])

    def test_one_that_is_ahead(self) -> None:
        """Who has more clients than the other leaves a client to it for a moment, and takes it after that."""
        self.connect(3)
        self.assertEqual([self.read() for _ in range(3)], [1, 1, 1])
        self.reactor.advance(0.01)
        self.assertEqual(self.read(), 2)
        self.other.count("lan", "client", 5)
        self.assertEqual(self.read(), 3)

    def test_closed_meanwhile(self) -> None:
        """A port that was closed while it left a client to others does not read again."""
        self.connect(2)
        self.read()
        self.read()
        closed = self.port.stopListening()
        self.reactor.advance(0.01)
        self.successResultOf(closed)
        self.assertEqual(self.reactor.readers & {self.port}, set())

    def test_a_listener_that_is_new(self) -> None:
        """There is no socket for it: the error says what to do."""
        with self.assertRaisesRegex(StartFailed, "the listener wan was added .* stop and start the relay"):
            Inherited({}, self.memory).endpoint(self.reactor, "wan", "tcp:25")
