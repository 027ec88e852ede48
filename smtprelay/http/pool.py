"""
An agent below treq: it keeps connections, and puts each request on one, literally.

Twisted's own agent parses and puts together each URL anew; that costs time, and on
some Python versions it doubles a leading ``//`` of the target, which breaks a signature.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from smtprelay.http.connection import HttpConnection, Unanswered
from smtprelay.http.response import ReceivedResponse
from smtprelay.http.upload import Upload
from smtprelay.net.connect import Connect
from smtprelay.net.deadline import Deadlines

#: How long an unused connection is kept; load balancers in front of the providers keep them longer.
KEEP_ALIVE: Final = 50.0

_LINE: Final = re.compile(rb"[A-Z]+ [!-~]+")


class Origin:
    """
    The connections to one host and port.

    :param keep: maximum number of idle connections; more are closed.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, clock: IReactorTime, keep: int) -> None:
        self._endpoint = endpoint
        self._keep = keep
        self._resting: list[HttpConnection] = []
        self._deadlines = Deadlines(clock, KEEP_ALIVE, self._expire)

    def request(self, head: bytes, upload: Upload, *, again: bool) -> "Deferred[ReceivedResponse]":
        """
        Send a request on a connection that rests, or on a new one.

        :param again: do so once more, on a new connection, if the one that rested turns out
            to be closed: for requests that change nothing.
        """
        if not self._resting:
            return self._on_new(head, upload)
        connection = self._resting.pop()
        self._deadlines.end(connection)
        answered = connection.request(head, upload)
        if again:
            answered.addErrback(self._once_more, head, upload)
        return answered

    def rest(self, connection: HttpConnection) -> None:
        """Keep a connection that is free, or close it if there are enough."""
        if len(self._resting) < self._keep:
            self._resting.append(connection)
            self._deadlines.begin(connection)
        else:
            connection.lose()

    def gone(self, connection: HttpConnection) -> None:
        """Forget a connection that is no more."""
        if self._deadlines.end(connection):
            self._resting.remove(connection)

    def close(self) -> "list[Deferred[None]]":
        """Close what rests, and keep nothing from now on."""
        self._keep = 0
        resting, self._resting = self._resting, []
        for connection in resting:
            self._deadlines.end(connection)
        self._deadlines.stop()
        return [connection.close() for connection in resting]

    def _expire(self, connection: HttpConnection) -> None:
        self._resting.remove(connection)
        connection.lose()

    def _on_new(self, head: bytes, upload: Upload) -> "Deferred[ReceivedResponse]":
        upload.at("connect")
        connected: Deferred[Any] = self._endpoint.connect(_Connecting(self, upload))
        return connected.addCallback(lambda connection: connection.request(head, upload))

    def _once_more(self, failed: Failure, head: bytes, upload: Upload) -> "Deferred[ReceivedResponse]":
        failed.trap(Unanswered)
        return self._on_new(head, upload)


class _Connecting(Factory):
    """Makes one connection, and says when it is there: then TLS begins."""

    noisy = False

    def __init__(self, origin: Origin, upload: Upload) -> None:
        self._origin = origin
        self._upload = upload

    def buildProtocol(self, addr: IAddress | None) -> HttpConnection:  # noqa: ARG002 -- Twisted's signature
        """Make the connection."""
        self._upload.at("TLS")
        return HttpConnection(self._origin)


class RequestHeaders(Headers):
    """
    The headers of one request.

    Its own are put together at once: to take them apart, change and copy them, as the layers above an agent
    like to, costs more than they are worth. Those see none, and what they add follows.

    :raises ValueError: a name or value would not stay on its line.
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        super().__init__()
        text = "".join([f"{name}: {value}\r\n" for name, value in own.items()])
        if not text.count("\n") == text.count("\r") == len(own):
            raise ValueError("a header of more than one line")
        self._own = text.encode()

    def copy(self) -> "RequestHeaders":
        """Return itself: it was made for one request."""
        return self

    def lines(self) -> bytes:
        """Return all, as they stand in a request."""
        added = (
            b"%b: %b\r\n" % (name, value) for name, values in self.getAllRawHeaders() for value in values
        )
        return self._own + b"".join(added)


@implementer(IAgent)
class LiteralAgent:
    """
    An agent that puts the target on the request line exactly as the URL spells it.

    Redirects are not followed. The answer to ``HEAD`` cannot be read.

    :param keep: maximum number of idle connections for each origin.
    """

    def __init__(self, connect: Connect, clock: IReactorTime, keep: int) -> None:
        self._connect = connect
        self._clock = clock
        self._keep = keep
        self._origins: dict[bytes, Origin] = {}

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Any = None,
        bodyProducer: Any = None,  # noqa: N803
    ) -> "Deferred[Any]":
        """
        Send one request.

        :param headers: :class:`RequestHeaders`, with ``Host``.
        :param bodyProducer: an :class:`Upload`.
        """
        scheme, _, netloc, path = uri.split(b"/", 3)
        try:
            origin = self._origins.get(scheme + netloc) or self._origin(scheme + netloc, uri)
        except SchemeNotSupported as exc:
            return fail(exc)
        head = head_of(method, b"/" + path, headers, bodyProducer)
        return origin.request(head, bodyProducer, again=method == b"GET")

    def close(self) -> "Deferred[Any]":
        """Close the connections that are not in use, and the others after use; fires when the former are."""
        origins = self._origins.values()
        return gatherResults([closed for origin in origins for closed in origin.close()])

    def _origin(self, key: bytes, uri: bytes) -> Origin:
        parsed = URI.fromBytes(uri)
        endpoint = self._connect(parsed.scheme.decode(), parsed.host.decode().strip("[]"), parsed.port)
        origin = self._origins[key] = Origin(endpoint, self._clock, self._keep)
        return origin


def head_of(method: bytes, target: bytes, headers: RequestHeaders, upload: Upload) -> bytes:
    """
    Return a request up to its body.

    :raises ValueError: method or target would not stay within the request line.
    """
    line = b"%b %b" % (method, target)
    if not _LINE.fullmatch(line):
        raise ValueError(f"not to be put on a request line: {line!r}")
    length = b""
    if upload.size is None:
        length = b"Transfer-Encoding: chunked\r\n"
    elif upload.size or method in (b"POST", b"PUT"):
        length = b"Content-Length: %d\r\n" % upload.size
    return b"%b HTTP/1.1\r\n%b%b\r\n" % (line, headers.lines(), length)
