"""
Who may ask what over HTTP.

There are three kinds of endpoint: the control socket, whose file mode decides; an endpoint with tokens; and
one without, which answers this machine only. A browser on this machine opens any page in the world, so the
Host is checked (against DNS rebinding), and a header is required for each change (against forged requests).
"""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import unquote

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from smtprelay.web.messages import ApiProblem, ApiRequest

#: A role includes those with a lower rank.
RANK: Final = {"viewer": 1, "operator": 2}

#: Has the token of a browser; HttpOnly, so that no script can read it.
COOKIE: Final = "smtprelay_token"

#: Seconds for which a verified token is not hashed again, and in which wrong ones are counted.
REMEMBER: Final = 300.0
WINDOW: Final = 60.0

#: Wrong tokens of one client in this time, after which no more are checked.
PATIENCE: Final = 10
MOST_REMEMBERED: Final = 1000

#: Headers in which the supervisor passes on who asks, and with which role.
WHO: Final = "X-Smtprelay-Who"
ROLE: Final = "X-Smtprelay-Role"

#: Returns whether a password matches a ``$scrypt$…`` hash; off the reactor thread.
Verify = Callable[[str, str], Awaitable[bool]]


@frozen(kw_only=True)
class Token:
    """
    A bearer token for the API.

    :ivar hash: ``$scrypt$ln=…,r=…,p=…$salt$hash``.
    :ivar role: ``"viewer"`` (reads) or ``"operator"`` (also changes the queue and reads mail).
    """

    name: str
    hash: str = field(repr=False)
    role: str = "viewer"


async def _nobody(_password: str, _hash: str) -> bool:
    return False


class Access:
    """
    Decides about each request before its action is called.

    :param tokens: without any, only clients on loopback are admitted, as operators.
    :param verify: called as ``verify(password, hash)``.
    :param hosts: names of the site, in addition to loopback names and IP addresses.
    :param control: the endpoint is the control socket: every client is an operator.
    :param admitted: requests come from the supervisor, which has decided and says who asks.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        tokens: Sequence[Token] = (),
        verify: Verify = _nobody,
        hosts: Sequence[str] = (),
        control: bool = False,
        admitted: bool = False,
    ) -> None:
        self._clock = clock
        self._tokens = tuple(tokens)
        self._verify = verify
        self._hosts = frozenset(host.lower() for host in hosts)
        self._control = control
        self._admitted = admitted
        self._known: dict[bytes, tuple[float, Token]] = {}
        self._wrong: dict[str, tuple[float, int]] = {}

    async def admit(self, request: Request, role: str, api_request: ApiRequest) -> ApiRequest:
        """
        Return ``api_request`` with who it is from.

        Raises :class:`ApiProblem`: 401 without a good token, 403 where the token's role, the client's
        address or a missing ``X-Smtprelay-CSRF`` forbids it, 421 for an unknown Host, 429 after
        too many wrong tokens.
        """
        if role == "anyone":
            return api_request
        if self._admitted:
            return evolve(
                api_request,
                who=request.getHeader(WHO) or "control",
                role=request.getHeader(ROLE) or "operator",
            )
        if self._control:
            return evolve(api_request, who="control", role="operator")
        self._check_host(request)
        if role == "visitor":
            return api_request
        api_request = await self._identify(request, api_request)
        if RANK[api_request.role] < RANK[role]:
            raise ApiProblem(
                403,
                f"the token {api_request.who!r} has the role {api_request.role}:"
                f" this needs one of the role {role}",
            )
        if request.method not in (b"GET", b"HEAD") and not request.getHeader("x-smtprelay-csrf"):
            raise ApiProblem(403, "a change needs the header X-Smtprelay-CSRF: 1")
        return api_request

    def _check_host(self, request: Request) -> None:
        host = _host_name(request.getHeader("host") or "")
        local = host == "localhost" or host.endswith(".localhost")
        if not local and host not in self._hosts and not _address(host):
            text = (
                f"the host {host!r} is unknown here: use an IP address, localhost, or the configured hostname"
            )
            raise ApiProblem(421, text)

    async def _identify(self, request: Request, api_request: ApiRequest) -> ApiRequest:
        client = getattr(request.getClientAddress(), "host", "")
        if not self._tokens:
            if not _is_loopback(client) or _is_forwarded(request):
                text = "this endpoint answers only this machine, and no proxy: set tokens for it under http"
                raise ApiProblem(403, text)
            return evolve(api_request, who="local", role="operator")
        offered = _offered(request)
        if not offered:
            text = "a token is required: send Authorization: Bearer TOKEN (smtprelay --token-file FILE)"
            raise ApiProblem(401, text, {"WWW-Authenticate": "Bearer"})
        token = self._remembered(offered) or await self._check(client, offered)
        return evolve(api_request, who=token.name, role=token.role, token=offered)

    def _remembered(self, offered: str) -> Token | None:
        until, token = self._known.get(_digest(offered), (0.0, None))
        return token if until > self._clock.seconds() else None

    async def _check(self, client: str, offered: str) -> Token:
        now = self._clock.seconds()
        since, wrong = self._wrong.get(client, (now, 0))
        if now - since > WINDOW:
            since, wrong = now, 0
        if wrong >= PATIENCE:
            wait = int(since + WINDOW - now) + 1
            text = f"too many wrong tokens from {client}: try again in {wait} s"
            raise ApiProblem(429, text, {"Retry-After": str(wait)})
        # Counted before it is checked: many at once must not exceed the limit.
        _remember(self._wrong, client, (since, wrong + 1))
        for token in self._tokens:
            if await self._verify(offered, token.hash):
                _remember(self._known, _digest(offered), (now + REMEMBER, token))
                self._wrong.pop(client, None)
                return token
        text = "the token is wrong: `tokens` under http in the configuration has the hashes of the right ones"
        raise ApiProblem(401, text, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _remember(memory: MutableMapping[Any, Any], key: object, value: object) -> None:
    if len(memory) >= MOST_REMEMBERED and key not in memory:
        memory.pop(next(iter(memory)))
    memory[key] = value


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _offered(request: Request) -> str:
    scheme, _, token = (request.getHeader("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    try:
        morsel = SimpleCookie(request.getHeader("cookie") or "").get(COOKIE)
    except CookieError:
        return ""
    return unquote(morsel.value) if morsel else ""


def _is_forwarded(request: Request) -> bool:
    return any(request.requestHeaders.hasHeader(name) for name in ("forwarded", "x-forwarded-for", "via"))


def _host_name(host: str) -> str:
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.lower().rstrip(".")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and (getattr(address, "ipv4_mapped", None) or address).is_loopback
