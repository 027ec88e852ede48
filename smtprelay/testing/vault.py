"""
A faithful fake of Vault, or OpenBao, as a :mod:`twisted.web` resource.

It has logins by AppRole and JWT, tokens with an end, a secrets engine for AWS whose keys are leased, and KV
in both versions. What goes wrong in the real world is scripted::

    fake = FakeVault(reactor)
    fake.approles["mail"] = "a secret id"
    reactor.listenTCP(0, Site(fake), interface="127.0.0.1")
    fake.script(VaultRefuses(503, "Vault is sealed"))

hvac works against it, unchanged.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request

#: What ``path`` of KV version 2 is called without ``data``.
_VERSIONED: Final = "Invalid path for a versioned K/V secrets engine."

_Answer = Mapping[str, Any]


@frozen
class VaultRefuses(Exception):  # noqa: N818 -- what it does
    """Answer so."""

    status: int
    error: str = ""
    warning: str = ""


@define
class VaultExpiry:
    """
    How long a token or a lease is valid.

    :ivar seconds: given with each renewal; 0 is without an end.
    :ivar most: seconds after ``since`` when it ends, whatever is renewed.
    """

    seconds: float
    most: float
    since: float
    expires: float
    renewable: bool = True

    def renew(self, now: float) -> float:
        """Return the seconds that it is valid from now on."""
        self.expires = min(now + self.seconds, self.since + self.most)
        return self.expires - now


@define
class VaultToken:
    """A token, with the ids of what was leased with it."""

    term: VaultExpiry
    leases: list[str] = field(factory=list)


@define
class VaultEngine:
    """
    A secrets engine for AWS: how long its keys live.

    :ivar session: they have a session token, and cannot be renewed.
    :ivar make: makes a user with keys: returns access key, secret and session token.
    :ivar remove: removes a user by his access key.
    """

    make: Callable[[], tuple[str, str, str | None]]
    remove: Callable[[str], object] = lambda _: None
    seconds: float = 3600.0
    most: float = 7200.0
    session: bool = False


class FakeVault(Resource):
    """
    One server.

    :ivar namespace: the only one it knows.
    :ivar approles: secret ids by role id.
    :ivar jwts: the roles by JWT.
    :ivar tokens: by their text.
    :ivar engine: that at ``aws/creds/mail``.
    :ivar kv: secrets of version 1 by path; ``kv2`` those of version 2, without ``data``.
    :ivar leases: the access keys that are leased, with their terms, by id.
    :ivar asked: method and path of each request that it has understood.
    :ivar login_seconds: how long a token of a login lives, and at most.
    """

    isLeaf = True

    def __init__(self, clock: IReactorTime, engine: VaultEngine | None = None, namespace: str = "") -> None:
        super().__init__()
        self.namespace = namespace
        self.approles: dict[str, str] = {}
        self.jwts: dict[str, str] = {}
        self.tokens: dict[str, VaultToken] = {}
        self.engine = engine
        self.kv: dict[str, _Answer] = {}
        self.kv2: dict[str, _Answer] = {}
        self.leases: dict[str, tuple[str, VaultExpiry]] = {}
        self.asked: list[tuple[str, str]] = []
        self.login_seconds = (86_400.0, 864_000.0)
        self._clock = clock
        self._script: deque[VaultRefuses] = deque()
        self._numbers = iter(range(1, 1_000_000))

    def script(self, *acts: VaultRefuses) -> None:
        """Answer the next requests so."""
        self._script.extend(acts)

    def give_token(self, text: str, seconds: float = 0.0, *, renewable: bool = False) -> VaultToken:
        """Have this token; 0 seconds are without an end."""
        token = self.tokens[text] = VaultToken(self._term(seconds, seconds, renewable=renewable))
        return token

    def render(self, request: Request) -> bytes:
        """Answer one request."""
        answer: _Answer | None
        try:
            answer = self._answer(request)
        except VaultRefuses as refusal:
            request.setResponseCode(refusal.status)
            body: dict[str, Any] = {"errors": [refusal.error] if refusal.error else []}
            answer = body | ({"warnings": [refusal.warning]} if refusal.warning else {})
        request.setHeader("Content-Type", "application/json")
        if answer is None:
            request.setResponseCode(204)
            return b""
        return json.dumps({"request_id": "1", **answer}).encode()

    def _answer(self, request: Request) -> _Answer | None:
        method, path = request.method.decode("ascii"), request.path.decode("ascii")
        if request.getHeader("X-Vault-Request") != "true":
            raise VaultRefuses(412, "missing required header")
        if not path.startswith("/v1/") or (request.getHeader("X-Vault-Namespace") or "") != self.namespace:
            raise VaultRefuses(404, "no handler for route. route entry not found.")
        path = path.removeprefix("/v1/")
        self._end_what_expired()
        if self._script:
            raise self._script.popleft()
        body = request.content.read() if request.content else b""
        sent: _Answer = json.loads(body) if body else {}
        answer: _Answer | None
        if method in {"POST", "PUT"} and path.startswith("auth/") and path.endswith("/login"):
            answer = self._login(path, sent)
        else:
            text = request.getHeader("X-Vault-Token") or ""
            if text not in self.tokens:
                raise VaultRefuses(403, "permission denied")
            answer = self._called(method, path, sent, text)
        self.asked.append((method, path))
        return answer

    def _login(self, path: str, sent: _Answer) -> _Answer:
        if path == "auth/approle/login":
            role = sent.get("role_id", "")
            if not role or self.approles.get(role) != sent.get("secret_id"):
                raise VaultRefuses(400, "invalid role or secret ID")
        elif path == "auth/jwt/login":
            if not sent.get("jwt") or self.jwts.get(sent["jwt"]) != sent.get("role"):
                raise VaultRefuses(400, "error validating token: invalid signature")
        else:
            raise VaultRefuses(403, "permission denied")
        seconds, most = self.login_seconds
        text = f"hvs.of-login-{next(self._numbers)}"
        self.tokens[text] = VaultToken(self._term(seconds, most))
        return {"auth": {"client_token": text, "lease_duration": int(seconds), "renewable": True}}

    def _called(self, method: str, path: str, sent: _Answer, text: str) -> _Answer | None:
        token, now = self.tokens[text], self._clock.seconds()
        if method == "GET":
            if path == "auth/token/lookup-self":
                ttl = max(0, int(token.term.expires - now)) if token.term.seconds else 0
                return {"data": {"ttl": ttl, "renewable": token.term.renewable}}
            if path == "aws/creds/mail" and self.engine is not None:
                return self._keys(self.engine, path, token)
            return self._stored(path)
        match path:
            case "auth/token/renew-self":
                return {"auth": {"client_token": text, **_renewed(token.term, now)}}
            case "auth/token/revoke-self":
                self._end_token(text)
            case "sys/leases/renew":
                return self._renew_lease(sent.get("lease_id", ""), now)
            case "sys/leases/revoke":
                self._end_lease(sent.get("lease_id", ""))
            case _:
                raise VaultRefuses(405, "1 error occurred:\n\t* unsupported operation\n\n")
        return None

    def _renew_lease(self, name: str, now: float) -> _Answer:
        if name not in self.leases:
            raise VaultRefuses(400, "lease not found")
        return {"lease_id": name, **_renewed(self.leases[name][1], now)}

    def _keys(self, engine: VaultEngine, path: str, token: VaultToken) -> _Answer:
        key, secret, session = engine.make()
        name = f"{path}/{next(self._numbers)}"
        term = self._term(engine.seconds, engine.most, renewable=not engine.session)
        self.leases[name] = (key, term)
        token.leases.append(name)
        return {
            "lease_id": name,
            "lease_duration": int(engine.seconds),
            "renewable": term.renewable,
            "data": {"access_key": key, "secret_key": secret, "security_token": session},
        }

    def _stored(self, path: str) -> _Answer:
        nothing = {"lease_id": "", "renewable": False}
        mount, _, rest = path.partition("/")
        if rest.startswith("data/") and f"{mount}/{rest[5:]}" in self.kv2:
            secret = {"data": self.kv2[f"{mount}/{rest[5:]}"], "metadata": {"version": 1}}
            return {**nothing, "lease_duration": 0, "data": secret}
        if path in self.kv:
            return {**nothing, "lease_duration": 2_764_800, "data": self.kv[path]}
        raise VaultRefuses(404, warning=_VERSIONED if path in self.kv2 else "")

    def _term(self, seconds: float, most: float, *, renewable: bool = True) -> VaultExpiry:
        now = self._clock.seconds()
        return VaultExpiry(seconds, most, now, now + seconds, renewable)

    def _end_what_expired(self) -> None:
        now = self._clock.seconds()
        for text, token in list(self.tokens.items()):
            if token.term.seconds and token.term.expires <= now:
                self._end_token(text)
        for name, (_, term) in list(self.leases.items()):
            if term.expires <= now:
                self._end_lease(name)

    def _end_token(self, text: str) -> None:
        for name in self.tokens.pop(text).leases:
            self._end_lease(name)

    def _end_lease(self, name: str) -> None:
        held = self.leases.pop(name, None)
        if held is not None and self.engine is not None:
            self.engine.remove(held[0])


def _renewed(term: VaultExpiry, now: float) -> _Answer:
    if not term.renewable:
        raise VaultRefuses(400, "lease is not renewable")
    return {"lease_duration": int(term.renew(now)), "renewable": term.renewable}
