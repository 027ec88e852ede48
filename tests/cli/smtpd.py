"""A small SMTP server for :mod:`smtprelay.cli.commands.send` to talk to, over TLS too."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.certificates import Certificate, make_certificate

OFFERS = {
    "none": ("SIZE 1000000", "SMTPUTF8", "AUTH PLAIN"),
    "starttls": ("STARTTLS", "AUTH PLAIN"),
    "implicit": ("AUTH PLAIN",),
}


class FakeServer(socketserver.ThreadingTCPServer):
    """
    Takes mail on a port of loopback.

    :ivar heard: the command lines, in order; ``mails`` the contents, dots unstuffed.
    :ivar ca: the file of the authority that vouches for its certificate.
    :param replies: what to answer to a verb, or to a whole command line, instead of 250.
    :param tls: ``none``, ``starttls`` or ``implicit``.
    :param name: that its certificate is for.
    """

    daemon_threads = True

    def __init__(
        self,
        case: SynchronousTestCase,
        replies: Mapping[str, str] | None = None,
        tls: str = "none",
        name: str = "localhost",
    ) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.heard: list[str] = []
        self.mails: list[bytes] = []
        self.replies = replies or {}
        self.tls = tls
        made = make_certificate(case.mktemp(), name)
        self.ca = str(made.ca)
        self.context = _context(made)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        case.addCleanup(self.server_close)
        case.addCleanup(thread.join)
        case.addCleanup(self.shutdown)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that refuses our certificate is a part of some tests."""


class Session(socketserver.StreamRequestHandler):
    """One client of a :class:`FakeServer`."""

    server: FakeServer

    def handle(self) -> None:
        if self.server.tls == "implicit":
            self.start_tls()
        self.say("220 fake ESMTP")
        while line := self.rfile.readline().decode().strip():
            command, colon, address = line.partition(":")
            if colon:
                line = f"{command.upper()}:{address}"
            self.server.heard.append(line)
            verb = line.split(maxsplit=1)[0].upper()
            planned = self.server.replies.get(line) or self.server.replies.get(verb)
            if planned:
                self.say(planned)
            else:
                getattr(self, f"on_{verb.lower()}", self.on_other)(line)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def start_tls(self) -> None:
        self.rfile.close()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")

    def say(self, *lines: str) -> None:
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def on_ehlo(self, _: str) -> None:
        offers = OFFERS[self.server.tls]
        self.say("250-fake", *(f"250-{offer}" for offer in offers[:-1]), f"250 {offers[-1]}")

    def on_data(self, _: str) -> None:
        self.say("354 go on")
        lines = iter(self.rfile.readline, b".\r\n")
        self.server.mails.append(b"".join(line.removeprefix(b".") for line in lines))
        self.say("250 2.0.0 Ok: queued as 7QKB")

    def on_starttls(self, _: str) -> None:
        self.say("220 2.0.0 go on")
        self.start_tls()

    def on_auth(self, line: str) -> None:
        good = line.endswith(base64.b64encode(b"\0printer1\0pass word").decode())
        self.say("235 2.7.0 welcome" if good else "535 5.7.8 wrong password")

    def on_other(self, _: str) -> None:
        self.say("250 2.1.0 ok")


def _context(made: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    return context
