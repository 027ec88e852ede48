"""
AWS keys from Vault or OpenBao, by hvac: of a secrets engine for AWS, or of KV.

Keys of an engine are leased, and a lease ends with its token. Both are renewed as long as that brings time;
then there are new keys, or a new login with new keys. Each call blocks, so it is made on a thread.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from threading import Lock
from typing import Any, Final

from attrs import evolve, field, frozen
from botocore.credentials import ReadOnlyCredentials
from hvac import Client
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest, Unauthorized

from smtprelay.http.client import NoAnswerError, NotSent
from smtprelay.http.renewed import YOUNG, Credential
from smtprelay.model.network import is_plain_remote
from smtprelay.providers.ses.sources import VaultSource
from smtprelay.providers.ses.vault_http import VaultSession, in_words, place

#: A renewal that brings a smaller share of the time that has passed since the last one is none.
_GROWTH: Final = 0.5
#: Vault counts in whole seconds.
_SLACK: Final = 2.0
#: Seconds from one reading of KV to the next, at least.
_READ_EVERY: Final = 60.0
#: Seconds for each step of a request that revokes: the relay stops.
_REVOKE_TIMEOUT: Final = 2.0
#: What claims to be valid for longer, seconds, is renewed all the same.
_LONGEST: Final = 10 * 366 * 86_400


@frozen
class _Expiry:
    """Until when a token or a lease is valid; ``expires`` is ``None`` if it has no end."""

    expires: float | None = None
    renewable: bool = False

    def has_grown(self, before: "_Expiry", seconds: float) -> bool:
        """Return whether it is later than ``before``, so many seconds ago, as long as it may be renewed."""
        if self.expires is None or before.expires is None:
            return True
        return self.expires - before.expires >= seconds * _GROWTH - _SLACK


@frozen
class _Kept:
    """
    What was obtained last.

    :ivar login: the term of the token.
    :ivar lease: its id; ``""`` in KV.
    :ivar since: when the keys were given.
    :ivar renewed: when it was renewed last.
    """

    token: str = field(repr=False)
    login: _Expiry
    keys: ReadOnlyCredentials = field(repr=False)
    lease: str
    term: _Expiry
    since: float
    renewed: float

    @property
    def end(self) -> float | None:
        """When it ends: the lease does, or its token."""
        ends = [each.expires for each in (self.term, self.login) if each.expires is not None]
        return min(ends, default=None)


class Vault:
    """
    A login at Vault, and the keys that were read with it.

    :param seconds: the time since the epoch.
    """

    def __init__(self, source: VaultSource, seconds: Callable[[], float]) -> None:
        self._source = source
        self._seconds = seconds
        self._lock = Lock()
        self._held: _Kept | None = None
        #: How often keys were asked for, and which of that has brought those that are held.
        self._asked = self._brought = 0
        self._closed = False

    def obtain(self, *, refused: bool) -> Credential[Any]:
        """Return the keys, for longer or new; it raises as :class:`CredentialService` says."""
        with self._lock:
            if self._closed:
                raise NotSent("Vault: the keys were given back")
            self._asked += 1
            number, before = self._asked, self._held
        with in_words(self._source.server):
            held = None if before is None or refused else self._renewed(before)
            held = held or self._new()
        with self._lock:
            late = self._closed or number < self._brought
            there = self._held
            if not late:
                self._held, self._brought = held, number
        if late:
            self._give_back(held, there)
            raise NotSent("Vault: the keys came too late, and were given back")
        # One that was taken to hang may have brought others meanwhile.
        if there is not None and (refused or there is not before):
            self._give_back(there, held)
        return self._credential(held)

    def revoke(self) -> None:
        """Revoke the keys, if they are leased, and our login; what is being obtained is revoked by itself."""
        with self._lock:
            self._closed = True
            held, self._held = self._held, None
        if held is not None:
            self._revoke(held)

    def _give_back(self, held: _Kept, current: _Kept | None) -> None:
        """Revoke what is not needed, as far as it does not belong to ``current``."""
        with suppress(ValueError, NoAnswerError):
            if current is None or current.token != held.token:
                self._revoke(held)
            elif held.lease != current.lease:
                self._revoke(held, with_token=False)

    def _credential(self, held: _Kept) -> Credential[Any]:
        now, login = self._seconds(), held.login.expires
        renew = None
        if not held.lease and login is not None:
            # These keys do not end, but the login does, and others may have been written.
            renew = now + max(_READ_EVERY, (login - now) * 2 / 3)
        return Credential(
            held.keys,
            held.end if held.lease else None,
            f"Vault {self._source.path}",
            renew=renew,
            # The clock may have been set back.
            is_new=bool(held.lease) and not held.keys.token and held.since <= now < held.since + YOUNG,
            login_expires=None if self._source.mount or held.login.renewable else login,
        )

    def _renewed(self, kept: _Kept) -> _Kept | None:
        """Return the same for longer, or new keys with the same login; ``None``: that ends."""
        try:
            with self._client(kept.token) as client:
                since, login = self._seconds() - kept.renewed, kept.login
                if login.renewable:
                    given = self._expiry(_part(client.auth.token.renew_self(), "auth"))
                    login = evolve(given, renewable=given.renewable and given.has_grown(login, since))
                if self._source.mount and login.expires is not None and not login.renewable:
                    return None
                if kept.term.renewable:
                    term = self._expiry(client.sys.renew_lease(kept.lease))
                    if term.has_grown(kept.term, since):
                        return evolve(kept, login=login, term=term, renewed=self._seconds())
                return self._read(client, login)
        except (Forbidden, InvalidPath, InvalidRequest, Unauthorized):
            return None

    def _new(self) -> _Kept:
        with self._client("") as client:
            login = self._log_in(client)
            try:
                return self._read(client, login)
            except Exception:
                if self._source.mount:  # each try would leave a token behind
                    with suppress(Exception):
                        client.auth.token.revoke_self()
                raise

    def _log_in(self, client: Client) -> _Expiry:
        """Give ``client`` a token; return its term."""
        sent, mount = self._source.login(), self._source.mount
        if mount:
            given = _part(client.adapter.post(f"/v1/auth/{mount}/login", json=sent), "auth")
            client.token = _part(given, "client_token", str)
            return self._expiry(given)
        client.token = sent["token"]
        try:
            found = _part(client.auth.token.lookup_self(), "data")
        except Forbidden:  # its policy may not allow that; a wrong token is refused again
            return _Expiry()
        return self._expiry(found, "ttl")

    def _read(self, client: Client, login: _Expiry) -> _Kept:
        path = self._source.path.strip("/")
        answer = client.adapter.get(f"/v1/{path}")
        found = _part(answer, "data")
        # KV v2 has its secret one level deeper.
        inner = found.get("data")
        found = inner if isinstance(inner, Mapping) else found
        key, secret = found.get("access_key"), found.get("secret_key")
        if not (isinstance(key, str) and isinstance(secret, str) and key and secret):
            raise ValueError(f"Vault: {path} has no access_key and secret_key")
        token = found.get("security_token") or found.get("session_token") or None
        lease, now = answer.get("lease_id") or "", self._seconds()
        if not all(isinstance(text, str) for text in (token or "", lease)):
            raise NotSent(f"Vault: {path}: a session token or a lease that is no text: is that a Vault?")
        return _Kept(
            client.token,
            login,
            ReadOnlyCredentials(key, secret, token),
            lease,
            self._expiry(answer) if lease else _Expiry(),
            now,
            now,
        )

    def _revoke(self, held: _Kept, *, with_token: bool = True) -> None:
        """Revoke our token, and so all that was leased with it; of one that was given the lease alone."""
        with in_words(self._source.server), self._client(held.token, _REVOKE_TIMEOUT) as client:
            if self._source.mount and with_token:
                client.auth.token.revoke_self()
            elif held.lease:
                client.sys.revoke_lease(held.lease)

    def _expiry(self, given: Any, name: str = "lease_duration") -> _Expiry:
        seconds = _part(given, name, int)
        if isinstance(seconds, bool) or seconds < 0:
            raise NotSent(f"Vault: {name} is {seconds}: is that a Vault?")
        end = self._seconds() + min(seconds, _LONGEST) if seconds else None
        return _Expiry(end, given.get("renewable") is True)

    @contextmanager
    def _client(self, token: str, timeout: float | None = None) -> Iterator[Client]:
        server = self._source.server
        if not server.address:
            raise ValueError("no address of Vault: set vault.address, or VAULT_ADDR")
        if is_plain_remote(server.address):
            raise ValueError(f"Vault: {place(server.address)}: http:// is for loopback only: use https://")
        # hvac leaves a session that it is given as it is.
        session = VaultSession()
        session.verify, session.cert, session.proxies = (
            server.ca or True,
            server.certificate,
            dict(server.proxies),
        )
        client = Client(
            url=server.address,
            token=token,
            namespace=server.namespace or None,
            timeout=server.timeout if timeout is None else timeout,
            session=session,
        )
        with closing(client.adapter):
            yield client


def _part(answer: Any, name: str, kind: Any = Mapping) -> Any:
    """Return a part of an answer; it is not Vault's if it has none."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, kind):
        raise NotSent(f"Vault: the answer has no {name}: is that a Vault?")
    return found
