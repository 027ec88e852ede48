"""
One HTTP/1.1 connection: a request, its answer, the next request.

Twisted's own client builds a dozen objects for each request and switches reading off and on around each
answer, which together cost more than the mail that goes through. Here :mod:`httptools` reads, a request
leaves in one write, and an answer that comes in one segment is reported once, when it is complete.
"""

from typing import Any, Final
from typing import Protocol as Interface

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from smtprelay.http.response import DONE, ReceivedResponse
from smtprelay.http.upload import Upload
from smtprelay.net.reachability import connection_end

#: Headers of more bytes are no answer; so are fields behind a body.
MAX_HEAD: Final = 64 * 1024

_FIRST_FINAL: Final = 200


class BrokenOff(Exception):  # noqa: N818 -- it is what happened to the connection
    """The connection ended, or brought something else than HTTP, before the answer's headers."""


class Unanswered(BrokenOff):
    """It ended without a byte of an answer."""


class ConnectionOwner(Interface):
    """Where connections rest between two requests."""

    def rest(self, connection: "HttpConnection", /) -> None:
        """Take ``connection``, whose answer is complete."""

    def gone(self, connection: "HttpConnection", /) -> None:
        """Forget ``connection``: it is closed, or will be."""


class HttpConnection(Protocol):
    """One connection; it tells ``home`` when it is free, and when it is closed."""

    # Twisted's transports have more methods than ITransport.
    transport: Any

    def __init__(self, home: ConnectionOwner) -> None:
        self._home = home
        self._parser = HttpResponseParser(self)
        self._upload: Upload | None = None
        self._response: ReceivedResponse | None = None
        self._waiting: Deferred[ReceivedResponse] | None = None
        self._closed: Deferred[None] | None = None
        #: Octets of this answer, and those since the last piece of its body.
        self._received = self._apart = 0
        self._complete = self._keep_alive = False

    def connectionMade(self) -> None:
        """Send small requests without delay."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def request(self, head: bytes, upload: Upload) -> "Deferred[ReceivedResponse]":
        """
        Send a request, the one that is under way now.

        :return: fires when the answer's headers are there; fails with :class:`BrokenOff` or
            :class:`.upload.BodyError`.
        """
        self._upload = upload
        self._received, self._apart, self._complete = 0, 0, False
        self._response = ReceivedResponse(self.lose)
        waiting = self._waiting = Deferred(self._cancelled)
        uploading = upload.begin(head, self.transport)
        if uploading is not None:
            uploading.addErrback(self._not_uploaded)
        return waiting

    def lose(self) -> None:
        """Close; a body that is on its way is not waited for."""
        if self._upload is None or self._upload.sent:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def close(self) -> "Deferred[None]":
        """Close; fires when that is done."""
        closed = self._closed = Deferred()
        self.transport.loseConnection()
        return closed

    # --- Twisted's side

    def dataReceived(self, data: bytes) -> None:
        """Read a segment."""
        response = self._response
        if response is None:  # without a request: a last reply, such as 408
            self._home.gone(self)
            self.lose()
            return
        self._received += len(data)
        self._apart += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._keep_alive = False
            if not self._complete:
                first = self._received == len(data) and not data.startswith(b"HTTP/"[: len(data)])
                self._break_off(HttpParserError("what answers there does not speak HTTP") if first else exc)
                self.transport.abortConnection()
                return
        if self._complete:
            self._finish(response)
        elif self._apart > MAX_HEAD:
            self._break_off(HttpParserError("the answer's headers have no end"))
            self.transport.abortConnection()
        if response.code >= _FIRST_FINAL:
            self._answer(response)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the pending request."""
        self._home.gone(self)
        if self._upload is not None:
            self._upload.stopProducing()
        self._break_off(reason.value)
        if self._closed is not None:
            self._closed.callback(None)

    def _answer(self, response: ReceivedResponse) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(response)

    def _finish(self, response: ReceivedResponse) -> None:
        self._response = None
        if self._keep_alive and (self._upload is None or self._upload.sent):
            self._home.rest(self)
        else:
            self.lose()
        response.end(DONE)

    def _break_off(self, cause: BaseException | None) -> None:
        response, self._response = self._response, None
        if response is None:
            return
        if response.code:
            response.end(Failure(cause))
            self._answer(response)
            return
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Failure((BrokenOff if self._received else Unanswered)(connection_end(cause))))

    def _not_uploaded(self, failure: Failure) -> None:
        """Break the request off: its body has no end."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:  # it was not answered before
            self._response = None
            self.transport.abortConnection()
            waiting.errback(failure)

    def _cancelled(self, _waiting: "Deferred[ReceivedResponse]") -> None:
        self._waiting = self._response = None
        self.transport.abortConnection()

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """Begin an answer."""
        if self._complete:
            raise ValueError("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        assert self._response is not None
        self._response.headers.addRawHeader(name, value)

    def on_headers_complete(self) -> None:
        """Take the status."""
        assert self._response is not None
        code = self._parser.get_status_code()
        if code >= _FIRST_FINAL:
            self._response.code = code
        else:  # "100 Continue" and its like: the answer is still to come
            self._response.headers = Headers()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        assert self._response is not None
        self._apart = 0
        self._response.receive(piece)

    def on_message_complete(self) -> None:
        """Note the end of an answer."""
        assert self._response is not None
        self._complete = self._response.code >= _FIRST_FINAL
        self._keep_alive = self._parser.should_keep_alive()
