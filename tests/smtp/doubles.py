"""A portal, an avatar and an inbox that do what a test says, and a connection to them."""

from collections.abc import Callable, Iterable, Mapping

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.model.credentials import IAnonymousClient, IPasswordClient, PasswordClient
from smtprelay.model.message import Client, Refused, Reply
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.protocol import ESMTP
from smtprelay.smtp.settings import ListenerSettings
from tests.recording import Recording

TAKEN = Reply(code=250, enhanced="2.0.0", text="Ok: queued as x1")
NO = Reply(code=550, enhanced="5.7.1", text="no", rule="test")


class Inbox:
    """An Incoming that keeps what it gets; ``slow`` and ``verdict`` are a test's to change."""

    id = "x1"

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.state = "open"
        self.slow: Deferred[None] | None = None
        self.verdict: Deferred[Reply] | Reply | Exception = TAKEN

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def write(self, chunk: bytes) -> Deferred[None] | None:
        assert self.state == "open", self.state
        self.chunks.append(chunk)
        return self.slow

    async def finish(self) -> Reply:
        assert self.state == "open", self.state
        self.state = "finishing"
        if isinstance(self.verdict, Exception):
            raise self.verdict
        verdict = await self.verdict if isinstance(self.verdict, Deferred) else self.verdict
        self.state = "finished"
        return verdict

    def abort(self) -> None:
        assert self.state == "open", self.state
        self.state = "aborted"


@implementer(IEnvelopeDelivery)
class Avatar:
    """
    Accepts everything, unless ``answers`` says otherwise for a verb and argument.

    A value there is raised if it is an exception, else returned.
    """

    def __init__(self, answers: Mapping[tuple[str, str], object], make: Callable[[], Inbox]) -> None:
        self.answers = answers
        self.calls: list[tuple[object, ...]] = []
        self.client = Client(address="")
        self.inboxes: list[Inbox] = []
        self.make = make

    def _answer(self, verb: str, argument: str) -> object:
        self.calls.append((verb, argument))
        answer = self.answers.get((verb, argument))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client_is(self, client: Client) -> None:
        self.client = client

    def mail(self, sender: str, parameters: Mapping[str, str]) -> object:
        self.parameters = parameters
        return self._answer("mail", sender)

    def rcpt(self, recipient: str, _parameters: Mapping[str, str]) -> object:
        return self._answer("rcpt", recipient)

    def data(self) -> object:
        answer = self._answer("data", "")
        if answer is not None:
            return answer
        self.inboxes.append(self.make())
        return self.inboxes[-1]


@implementer(IRealm)
class Desk:
    """Gives avatars, and counts who came and left."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], object] = {}
        self.make: Callable[[], Inbox] = Inbox
        self.avatars: list[Avatar] = []
        self.logged_in: list[object] = []
        self.left = 0

    @property
    def inboxes(self) -> list[Inbox]:
        return [inbox for avatar in self.avatars for inbox in avatar.inboxes]

    def requestAvatar(self, avatar_id: object, _mind: object, *interfaces: object):
        assert IEnvelopeDelivery in interfaces
        self.logged_in.append(avatar_id)
        self.avatars.append(Avatar(self.answers, self.make))
        return IEnvelopeDelivery, self.avatars[-1], self._leave

    def _leave(self) -> None:
        self.left += 1


@implementer(ICredentialsChecker)
class AnyClient:
    """Lets everybody in without a name."""

    credentialInterfaces = (IAnonymousClient,)

    def requestAvatarId(self, _credentials: object):
        return ()


@implementer(ICredentialsChecker)
class Names:
    """Knows users with their passwords; an exception as password is raised."""

    credentialInterfaces = (IPasswordClient,)

    def __init__(self, users: Mapping[bytes, object]) -> None:
        self.users = users

    def requestAvatarId(self, credentials: PasswordClient):
        known = self.users.get(credentials.username)
        if isinstance(known, Exception):
            raise known
        if isinstance(known, Deferred):
            return known
        if not credentials.checkPassword(known):
            raise UnauthorizedLogin
        return credentials.username


class Line:
    """A client's end of a session over a StringTransport: say something, read what was answered."""

    def __init__(self, factory: ESMTPFactory, address: str = "192.0.2.7") -> None:
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", address, 4321))
        self.protocol: ESMTP = factory.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)
        self.banner = self.heard()

    def heard(self) -> list[str]:
        lines = self.transport.value().decode("ascii").splitlines()
        self.transport.clear()
        return lines

    def say(self, *lines: str) -> list[str]:
        """Send ``lines`` in one segment; return the lines of the replies."""
        return self.send("".join(f"{line}\r\n" for line in lines).encode())

    def send(self, octets: bytes) -> list[str]:
        self.protocol.dataReceived(octets)
        return self.heard()

    def send_all(self, segments: Iterable[bytes]) -> list[str]:
        """Send segments one after the other while the server listens; return all lines of the replies."""
        heard = []
        for octets in segments:
            if not self.closed:
                heard += self.send(octets)
                heard += (line for lines in self.turns() for line in lines)
        return heard

    def turn(self) -> list[str]:
        """Let the reactor have a turn; return what was answered in it."""
        self.protocol.factory.clock.turn()
        return self.heard()

    def turns(self) -> list[list[str]]:
        """Let the reactor turn until nothing comes any more; return what was answered in each turn."""
        answered = []
        while replies := self.turn():
            answered.append(replies)
        return answered

    def codes(self, *lines: str) -> list[str]:
        """Like :meth:`say`, but only the codes."""
        return [reply[:3] for reply in self.say(*lines)]

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting or self.transport.disconnected


class Turning(Clock):
    """A clock that can be stopped after each turn, as a reactor's: what is called later comes in the next."""

    def turn(self) -> None:
        for call in self.getDelayedCalls():
            if call.active() and call.getTime() <= self.seconds():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Site:
    """A factory with everything behind it."""

    def __init__(self, *checkers: object, anonymous: bool = True, **settings: object) -> None:
        self.clock = Turning()
        self.events = Recording()
        self.desk = Desk()
        everybody = [AnyClient()] if anonymous else []
        self.portal = Portal(self.desk, [*everybody, *checkers])
        chosen = {"listener": "lan", "hostname": "relay.test", **settings}
        self.factory = ESMTPFactory(self.portal, ListenerSettings(**chosen), self.clock, self.events)

    def connect(self, address: str = "192.0.2.7") -> Line:
        return Line(self.factory, address)

    def greeted(self) -> Line:
        """Return a connection that has said EHLO."""
        line = self.connect()
        line.say("EHLO client.test")
        return line

    def in_content(self) -> Line:
        """Return a connection that has got its 354."""
        line = self.greeted()
        replies = line.codes("MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA")
        assert replies == ["250", "250", "354"], replies
        return line


def refused(reply: Reply = NO) -> Refused:
    return Refused(reply)
