"""
One HTTP client per provider, which says how far a request got before it failed.

A relay must know whether a request without an answer may have been acted upon: a mail whose request never
left whole goes again at once, one whose answer was lost may already be on its way. :mod:`treq` sends and
decodes; this module watches the body leave, bounds what comes back, and keeps the time.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from http.cookiejar import CookieJar
from typing import Any, Final

from attrs import field, frozen
from hyperlink import EncodedURL
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from smtprelay.http.connection import BrokenOff
from smtprelay.http.pool import LiteralAgent, RequestHeaders
from smtprelay.http.upload import BodyError, RequestBody, Upload
from smtprelay.model import outcome
from smtprelay.net.connect import connect_by_name
from smtprelay.net.deadline import Deadlines
from smtprelay.net.http_proxy import ProxyError, ProxyLoginError
from smtprelay.net.outbound import DIRECT, Outbound
from smtprelay.net.reachability import Contact, Reachability, silence
from smtprelay.net.tls_client import unreached

#: More of an answer than this is not read.
MAX_ANSWER: Final = 1024 * 1024

_NETWORK = (
    BodyError,
    BrokenOff,
    CancelledError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionClosed,
    OSError,
    ProxyError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    SchemeNotSupported,
    TLSError,
    VerificationError,
)


class NoAnswerError(Exception):
    """There is no answer; ``str()`` says why, in one line."""

    @property
    def outcome(self) -> outcome.Outcome:
        """What that means for the mail."""
        return outcome.Deferred(str(self))


class NotSent(NoAnswerError):  # noqa: N818 -- a fact about the request, not an error of ours
    """The request did not leave whole, so that nothing can have been done with it."""


class ProxyLoginFailed(NotSent):
    """The proxy wants another login."""

    @property
    def outcome(self) -> outcome.Outcome:
        """The lane waits for its operator."""
        return outcome.Blocked(str(self))


class OutcomeError(NotSent):
    """What a request needs cannot be had; :attr:`outcome` is what that means for the mail."""

    def __init__(self, outcome: outcome.Outcome) -> None:
        super().__init__(outcome.why)
        self._outcome = outcome

    @property
    def outcome(self) -> outcome.Outcome:
        """``Blocked`` if an operator must correct it, else ``Throttled`` or ``Deferred``."""
        return self._outcome


class AnswerLost(NoAnswerError):  # noqa: N818
    """The whole request was handed to the connection, and no answer to it came back."""

    @property
    def outcome(self) -> outcome.Outcome:
        """The provider may have acted on it."""
        return outcome.Uncertain(str(self))


@frozen
class Response:
    """
    What the provider answered.

    :ivar status: the HTTP status.
    :ivar body: decoded from gzip; never more than about :data:`MAX_ANSWER`.
    :ivar complete: ``False`` if the connection or our patience ended within the body.
    """

    status: int
    headers: Headers = field(factory=Headers)
    body: bytes = b""
    complete: bool = True

    def header(self, name: str) -> str:
        """Return the last value of the header ``name``, or ``""``."""
        # By octets: as text Twisted wants UTF-8, and raises if it is not.
        values = self.headers.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("latin-1") if values else ""


class _LiteralURL(EncodedURL):
    """A URL that leaves exactly as it is written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._literal = text

    def to_uri(self) -> "_LiteralURL":
        """Return itself: there is nothing to encode."""
        return self

    def to_text(self, with_password: bool = False) -> str:  # noqa: ARG002 -- hyperlink's signature
        """Return what was given."""
        return self._literal


#: A provider has few URLs, and one that all its mail goes to.
_literal: Final = lru_cache(maxsize=8)(_LiteralURL)


class NoCookies(CookieJar):
    """No API of a provider needs cookies, and keeping none is much cheaper than looking for them."""

    def add_cookie_header(self, request: Any) -> None:
        """Add no cookie to a request."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take no cookie from an answer."""


class Http:
    """
    An HTTP client with limits.

    :param client: treq's, over any agent; in tests also :class:`treq.testing.StubTreq`.
    :param headers: makes what ``client`` takes as headers.
    :param clock: an :class:`IReactorTime`.
    :param timeout: seconds of silence after which a request is given up: until the first piece of the body
        has left, between two pieces, until the answer's headers are there, and until its body is.
    :param close: closes the connections of ``client``.
    :param reachability: records whether the provider can be reached.
    :param place: returns what people are told of the host of a URL.
    """

    def __init__(
        self,
        client: Any,
        clock: Any,
        *,
        headers: Callable[[Mapping[str, str]], Any] = dict,
        timeout: float = 30.0,
        close: Callable[[], "Deferred[Any]"] = lambda: succeed(None),
        reachability: Reachability | None = None,
        place: Callable[[str], str] = str,
    ) -> None:
        self._client = client
        self._cookies = NoCookies()
        self._headers = headers
        self._clock = clock
        self._deadlines: Deadlines[Deferred[Any]] = Deadlines(clock, timeout, Deferred.cancel)
        self._close = close
        self._reachability = reachability or Reachability("", clock.seconds)
        self._place = place

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | RequestBody = b""
    ) -> Response:
        """
        Send one request and return the answer, whatever its status; redirects are not followed.

        :param url: leaves byte for byte as it is written.
        :param headers: with ``Host``, if it shall differ from the URL's.
        :raises NotSent: nothing can have come of it. So always for a request without a body that is no POST.
        :raises AnswerLost: the provider may have acted on it.
        """
        host = url.split("/", 3)[2]
        fields = self._headers(headers if "Host" in headers else {"Host": host, **headers})
        contact = self._reachability.begin(self._place(host), "request")
        upload = Upload(body, contact.at)
        data: Any = upload
        if not isinstance(self._client, HTTPClient):  # StubTreq takes octets, and tells nothing of their way
            upload.sent, data = True, body
        waiting = self._send(method, url, fields, data)
        if not upload.sent:
            upload.at = partial(self._moved, waiting, contact)
        self._deadlines.begin(waiting)
        try:
            response = await waiting
            contact.answered()
        except _NETWORK as exc:
            cause = cause_of(exc)
            reason = self._failed(cause, waiting, contact)
            if isinstance(cause, ProxyLoginError):
                raise ProxyLoginFailed(reason) from exc
            acts = body or method == "POST"
            raise (AnswerLost if acts and upload.sent else NotSent)(reason) from exc
        finally:
            contact.dropped()
            self._deadlines.end(waiting)
        return await self._read(response)

    def _failed(self, cause: BaseException, waiting: "Deferred[Any]", contact: Contact) -> str:
        """Return why there is no answer, in one line, and note whether the provider could be reached."""
        if isinstance(cause, BodyError):
            return str(cause)
        seconds = self._deadlines.seconds
        in_time = self._deadlines.end(waiting)
        if isinstance(cause, ProxyError):
            contact.stage, reason = "proxy", str(cause)
        elif in_time:
            contact.stage, reason = unreached(cause, contact.host, seconds, contact.stage)
        else:
            reason = f"{silence(contact.stage, contact.host)} within {seconds:g} s"
        contact.failed(reason)
        return reason

    def _moved(self, waiting: "Deferred[Any]", contact: Contact, stage: str) -> None:
        """Note progress: a connection comes up, or a piece of a large body has left."""
        contact.at(stage)
        self._deadlines.renew(waiting)

    def _send(self, method: str, url: str, headers: Any, data: Any) -> "Deferred[Any]":
        try:
            waiting: Deferred[Any] = self._client.request(
                method,
                _literal(url),
                headers=headers,
                data=data,
                cookies=self._cookies,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._clock,  # without one treq imports the global reactor
            )
        except Exception:  # noqa: BLE001 -- what cannot be sent fails as what was sent
            return fail()
        return waiting

    async def _read(self, response: IResponse) -> Response:
        collector = _Collector()
        response.deliverBody(collector)
        if not collector.finished.called:
            self._deadlines.begin(collector.finished)
            await collector.finished
            self._deadlines.end(collector.finished)
        body = b"".join(collector.pieces)
        return Response(response.code, response.headers, body, collector.complete)

    async def close(self) -> None:
        """Close all connections."""
        self._deadlines.stop()
        await self._close()


def open_http(
    reactor: Any,
    *,
    concurrency: int,
    timeout: float = 30.0,
    outbound: Outbound = DIRECT,
    reachability: Reachability | None = None,
) -> Http:
    """
    Return the client of one provider.

    :param concurrency: how many requests will be under way at once; as many connections are kept.
    :param timeout: seconds of silence after which a connection or request is given up.
    """
    connect = connect_by_name(reactor, timeout=timeout, outbound=outbound)
    agent = LiteralAgent(connect, reactor, concurrency)
    place = lru_cache(maxsize=8)(outbound.place)
    return literal_http(agent, reactor, timeout=timeout, reachability=reachability, place=place)


async def request_once(
    make_http: Callable[[], Http], method: str, url: str, headers: Mapping[str, str], body: bytes = b""
) -> Response:
    """Return the answer to one request, as :meth:`Http.request`; no connection is kept for another."""
    http = make_http()
    try:
        return await http.request(method, url, headers, body)
    finally:
        await http.close()


def literal_http(agent: LiteralAgent, clock: Any, **options: Any) -> Http:
    """Return a client over an agent of ours; ``options`` are those of :class:`Http`."""
    client = HTTPClient(agent, NoCookies())  # type: ignore[arg-type]  # a jar of treq's own only since 25.6
    return Http(client, clock, headers=RequestHeaders, close=agent.close, **options)


def cause_of(error: BaseException) -> BaseException:
    """Return why a request failed: Twisted's own agent wraps that, perhaps several times."""
    while reasons := getattr(error, "reasons", ()):
        error = reasons[0].value
    return error


class _Collector(Protocol):
    """Gathers an answer's body, up to a limit."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False
        self.finished: Deferred[None] = Deferred(self._cut)
        self._room = MAX_ANSWER

    def _cut(self, finished: "Deferred[None]") -> None:
        if self.transport is not None:
            self.transport.loseConnection()
        if not finished.called:
            finished.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data[: self._room])
        self._room -= len(self.pieces[-1])
        if not self._room and not self.finished.called:
            self._cut(self.finished)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.finished.called:
            self.complete = reason.check(ResponseDone) is not None
            self.finished.callback(None)
