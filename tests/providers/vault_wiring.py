"""A :class:`Vault` before the fake service, whose clock a test moves."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.http.renewed import Credential
from smtprelay.providers.ses.sources import VaultServer, VaultSource
from smtprelay.providers.ses.vault import Vault
from smtprelay.testing.vault import FakeVault, VaultEngine
from tests.providers.http_wiring import Server

PATH = "aws/creds/mail"
ROLE, SECRET_ID, JWT = "role-1", "secret-id-1", "a.jwt.1"


def served(test: TestCase, resource: Resource) -> str:
    """Serve ``resource`` until the test ends; return its URL."""
    server = Server(Site(resource))
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    test.addCleanup(port.stopListening)
    test.addCleanup(server.close)
    return f"http://127.0.0.1:{port.getHost().port}"


class Users:
    """The users that an engine makes: ``AKID1`` with ``secret1``, and so on; ``now``: those that are left."""

    def __init__(self, session: str | None = None) -> None:
        self.made = 0
        self.now: dict[str, str] = {}
        self._session = session

    def make(self) -> tuple[str, str, str | None]:
        self.made += 1
        key, secret = f"AKID{self.made}", f"secret{self.made}"
        self.now[key] = secret
        return key, secret, self._session

    def engine(self, **options: Any) -> VaultEngine:
        return VaultEngine(self.make, self.now.pop, **options)


class JoinedVault:
    """
    The fake, with everything it can give, and what asks it.

    :ivar source: what the next :meth:`begin` asks by.
    """

    def __init__(self, test: TestCase, users: Users | None = None, **engine: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.users = users or Users()
        self.fake = FakeVault(self.clock, self.users.engine(**engine))
        self.fake.approles[ROLE] = SECRET_ID
        self.fake.jwts[JWT] = "mail"
        self.url = served(test, self.fake)
        #: What happens once, on the thread, in the midst of obtaining.
        self.before_next: Callable[[], object] | None = None

    def begin(
        self, sent: Mapping[str, str] | None = None, *, mount: str = "approle", path: str = PATH, **more: Any
    ) -> Vault:
        """Return what asks, with this login."""
        login = {"role_id": ROLE, "secret_id": SECRET_ID} if sent is None else sent
        server = VaultServer(**{"address": self.url, "timeout": 5.0, **more})
        source = VaultSource(server=server, path=path, mount=mount, login=lambda: login)
        self.vault = Vault(source, self.seconds)
        return self.vault

    def seconds(self) -> float:
        """Return the time; this is asked in the midst of obtaining."""
        before, self.before_next = self.before_next, None
        if before is not None:
            before()
        return self.clock.seconds()

    def obtain(self, *, refused: bool = False) -> "Deferred[Credential[Any]]":
        return self.on_thread(lambda: self.vault.obtain(refused=refused))

    def on_thread(self, work: Callable[[], Any]) -> "Deferred[Any]":
        return deferToThread(work)
